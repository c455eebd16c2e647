//! Tests.
mod interop;
