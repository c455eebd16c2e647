//! What `measure` runs: benchmarks of statscache, and power cuts.

pub mod measure;
pub mod powercut;
