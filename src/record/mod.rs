//! What a run writes: append-only rows and one manifest.

pub mod manifest;
pub mod row;

pub use manifest::{CellFacts, Manifest, Quality};
pub use row::{CounterRow, CounterStatus, Phase, Sample};
