//! Looks at web sites and publishes on a ZeroMQ bus what it found.

fn main() {}
