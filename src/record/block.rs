//! `blocks.csv`: every try at a block, and what became of it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::rules::{Row, beyond};
use crate::plan::Plan;

/// How a try at a block ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum BlockStatus {
    /// Its rows are in the files of the run.
    Complete,
    /// Most of its repetitions carry evidence of a disturbance: its rows are in `partial.csv`, and it was
    /// run again after all others.
    Requeued,
    /// A cell failed: its rows are in `partial.csv`, and it was run again without the cell.
    Failed,
    /// A signal came: its rows are in `partial.csv`.
    Interrupted,
}

/// One try at a block.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BlockRow {
    /// As in `samples.csv`.
    pub session: u32,
    pub block: u32,
    /// Number of this try within its session, from 0.
    pub attempt: u32,
    pub status: BlockStatus,
    /// From the start of its process to its end.
    pub seconds: f64,
    /// Timed repetitions that it reported, of all cells.
    pub repetitions: u32,
    /// Those of them with a flag that says that others disturbed the machine.
    pub disturbed: u32,
}

impl Row for BlockRow {
    const FILE: &'static str = "blocks.csv";
    const COLUMNS: &'static [&'static str] =
        &["session", "block", "attempt", "status", "seconds", "repetitions", "disturbed"];
    const CHOICE: Option<(&'static str, &'static [&'static str])> =
        Some(("status", &["complete", "requeued", "failed", "interrupted"]));

    fn check(&self) -> Result<(), (&'static str, &'static str)> {
        if !(self.seconds.is_finite() && self.seconds >= 0.0) {
            Err(("seconds", "a finite number, 0 or more"))
        } else if self.disturbed > self.repetitions {
            Err(("disturbed", "at most as many as `repetitions`"))
        } else {
            Ok(())
        }
    }

    fn contradicts(&self, plan: &Plan) -> Option<(&'static str, String)> {
        beyond(self.block, plan)
    }

    fn key(&self) -> String {
        format!("attempt {} of session {}", self.attempt, self.session)
    }

    fn cell_id(&self) -> Option<&str> {
        None
    }
}
