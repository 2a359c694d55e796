//! What a run writes: append-only rows and one manifest.

pub mod baseline;
pub mod block;
pub mod calibration;
pub mod error;
pub mod manifest;
pub mod row;
pub mod rules;
pub mod schema;
pub mod store;

pub use error::RecordError;
pub use manifest::{CellFacts, Manifest, Quality};
pub use row::{
    ApartSample, CeilingRow, CounterRow, CounterStatus, FailureRow, OpenSample, PairRow, PartialSample, Phase, Sample,
    Side, WeightsRow,
};
pub use store::{
    RowWriter, TornLine, parse_manifest, parse_rows, read_manifest, read_rows, read_rows_if_any, write_manifest,
};
