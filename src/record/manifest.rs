//! `manifest.json`: everything about a run that is not a sample.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::plan::Plan;

/// Version of `manifest.json`.
pub const MANIFEST_SCHEMA: u32 = 1;

/// Provenance and plan of one run; written before the first sample.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    pub schema: u32,
    /// Schema of the raw CSV files beside this file.
    pub samples_schema: u32,
    /// Name of the folder: `<UTC date and time>-<plan hash>`.
    pub run_id: String,
    pub plan: Plan,
    /// The experiment file, byte for byte.
    pub spec: String,
    /// What is known of each cell before it is timed; same order as `plan.cells`.
    pub facts: Vec<CellFacts>,
    /// Fingerprint, one `key: value` each: `git_commit` and `git_dirty` of the build, `rustc`, `profile`, `rustflags`,
    /// `cpu`, `cpu_flags`, `caches`, `os_kernel`, `governor`, `memory`, `binary_sha256`, `model_sha256`,
    /// `argv`, `started_utc`, … A fact that the machine does not expose has the value `not exposed`.
    pub environment: BTreeMap<String, String>,
}

impl Manifest {
    /// Every reference inside the manifest leads somewhere and every number can be divided by, so that
    /// later code may.
    ///
    /// # Errors
    /// What contradicts what, or is out of range.
    pub fn check(&self) -> Result<(), String> {
        let plan = &self.plan;
        let cells: BTreeMap<&str, &str> = plan.cells.iter().map(|c| (c.id.as_str(), c.workload.as_str())).collect();
        if cells.len() != plan.cells.len() {
            return Err("`plan.cells` lists a cell id twice".into());
        }
        let plain = |name: &str| name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
        for (at, design) in plan.designs.iter().enumerate() {
            // Names become file names.
            if !plain(&design.name) || plan.designs[..at].iter().any(|other| other.name == design.name) {
                return Err(format!("design name `{}` is used twice or is not a plain name", design.name));
            }
        }
        for cell in &plan.cells {
            if !plan.workloads.iter().any(|w| w.name == cell.workload) {
                return Err(format!(
                    "cell {} is on workload `{}`, which `plan.workloads` does not list",
                    cell.id, cell.workload
                ));
            }
        }
        if !self.facts.iter().map(|f| f.cell_id.as_str()).eq(plan.cells.iter().map(|c| c.id.as_str())) {
            return Err("`facts` does not list the cells of `plan.cells` in the same order".into());
        }
        for facts in &self.facts {
            let counts = [
                ("weights_per_unit", facts.weights_per_unit),
                ("bytes_per_unit", facts.bytes_per_unit),
                ("repetitions", u64::from(facts.repetitions)),
            ];
            if let Some((key, _)) = counts.iter().find(|(_, count)| *count == 0) {
                return Err(format!("facts of cell {}: `{key}` is 0, expected at least 1", facts.cell_id));
            }
        }
        if plan.protocol.blocks == 0 {
            return Err("`plan.protocol.blocks` is 0, expected at least 1".into());
        }
        let confidence = plan.protocol.confidence;
        if !(confidence > 0.0 && confidence < 1.0) {
            return Err(format!("`plan.protocol.confidence` is {confidence}, expected 0 to 1"));
        }
        let margin = plan.protocol.margin;
        if !(margin.is_finite() && margin >= 0.0) {
            return Err(format!("`plan.protocol.margin` is {margin}, expected 0 or more"));
        }
        for design in &plan.designs {
            let combined = design.combinations.iter().flat_map(|c| c.singles.iter().chain([&c.measured]));
            for contrast in design.contrasts.iter().chain(combined) {
                if contrast.published.is_some_and(|ratio| !(ratio.is_finite() && ratio > 0.0)) {
                    return Err(format!(
                        "design `{}`, step `{}`: `published` is not a positive, finite ratio",
                        design.name, contrast.step
                    ));
                }
                for id in [&contrast.arm, &contrast.reference] {
                    if cells.get(id.as_str()) != Some(&contrast.workload.as_str()) {
                        return Err(format!(
                            "design `{}`, step `{}`: `{id}` is not a cell of workload `{}`",
                            design.name, contrast.step, contrast.workload
                        ));
                    }
                }
            }
            for factorial in &design.factorials {
                factorial.check(&cells).map_err(|message| format!("design `{}`: {message}", design.name))?;
            }
        }
        Ok(())
    }
}

/// What a cell computes, known before it is timed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CellFacts {
    pub cell_id: String,
    /// Weights of linear layers used for one unit (token or layer-token).
    pub weights_per_unit: u64,
    /// Stored bytes read for them: codes, scales and padding.
    pub bytes_per_unit: u64,
    /// Tokens of the prompt that is read in each repetition, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt_tokens: Option<u32>,
    /// SHA-256 of the residual stream that the reference arm of the cell's format leaves: what the
    /// cell must compute in every block.
    pub output_sha256: String,
    /// Whether repetitions that do not count come first in every block.
    pub warm_up: bool,
    /// Repetitions that count in every block.
    pub repetitions: u32,
    pub quality: Quality,
}

/// How good the cell's output is; a field that was not measured is `None`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
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
