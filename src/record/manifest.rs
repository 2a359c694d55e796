//! `manifest.json`: everything about a run that is not a sample.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::plan::Plan;

/// Version of `manifest.json`.
pub const MANIFEST_SCHEMA: u32 = 1;

/// Provenance and plan of one run; written before the first sample.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    pub schema: u32,
    /// Schema of `samples.csv` and `counters.csv` beside this file.
    pub samples_schema: u32,
    /// Name of the folder: `<UTC date and time>-<plan hash>`.
    pub run_id: String,
    pub plan: Plan,
    /// The experiment file, byte for byte.
    pub spec: String,
    /// What is known of each cell before it is timed; same order as `plan.cells`.
    pub facts: Vec<CellFacts>,
    /// Fingerprint, one `key: value` each: `git_commit`, `git_dirty`, `rustc`, `profile`, `rustflags`,
    /// `cpu`, `cpu_flags`, `caches`, `os_kernel`, `governor`, `memory`, `binary_sha256`, `model_sha256`,
    /// `argv`, `started_utc`, … A fact that the machine does not expose has the value `not exposed`.
    pub environment: BTreeMap<String, String>,
}

/// What a cell computes, known before it is timed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CellFacts {
    pub cell_id: String,
    /// Weights of linear layers used for one unit (token or layer-token).
    pub weights_per_unit: u64,
    /// Stored bytes read for them: codes, scales and padding.
    pub bytes_per_unit: u64,
    pub quality: Quality,
}

/// How good the cell's output is; a field that was not measured is `None`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Quality {
    /// The cell's output equals the reference arm of its format, bit for bit, checked in this run.
    pub bit_equal: Option<bool>,
    /// Perplexity of the format on the evaluation text divided by that of f32.
    pub perplexity_ratio: Option<f64>,
    /// Mean Kullback–Leibler divergence from f32, nats per token.
    pub kld: Option<f64>,
    /// Share of positions where the most likely token is that of f32.
    pub top1_agreement: Option<f64>,
}
