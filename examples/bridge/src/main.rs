//! Turns a folder of JSON files, or webhook POSTs, into messages on a ZeroMQ bus.

fn main() {}
