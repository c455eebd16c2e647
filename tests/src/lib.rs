//! Benchmarks of statscache: what `measure` runs.

pub mod measure;
