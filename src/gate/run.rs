//! A recorded run as a gate sees it: block medians by cell, and which cells prove nothing.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use super::GateError;
use crate::{
    record::{FailureRow, Manifest, Sample, TornLine, read_manifest, read_rows, read_rows_if_any},
    report::{
        ReportError,
        analysis::{Analysis, CellStatus},
        blocks::{BlockTable, blocks, counted_sessions},
    },
    stats::contrast::BlockTimes,
};

/// A run whose rows were read.
pub struct Run {
    pub dir: PathBuf,
    pub manifest: Manifest,
    /// Lines that an interrupted writer left unfinished.
    pub torn: Vec<TornLine>,
    /// Blocks with a measured repetition.
    pub blocks: BTreeSet<u32>,
    table: BlockTable,
    /// Cells whose times prove nothing, with the reason.
    unusable: BTreeMap<String, String>,
}

impl Run {
    /// Reads the run in `dir`.
    ///
    /// # Errors
    /// A file that is missing, malformed, or of another schema.
    pub fn read(dir: &Path) -> Result<Self, GateError> {
        let manifest = read_manifest(dir)?;
        let (samples, torn_sample) = read_rows::<Sample>(dir, &manifest)?;
        let (failures, torn_failure) = read_rows_if_any::<FailureRow>(dir, &manifest)?;
        let torn = [torn_sample, torn_failure].into_iter().flatten().collect();
        Ok(Self { torn, ..Self::new(dir, manifest, &samples, &failures)? })
    }

    /// The run with these rows.
    ///
    /// # Errors
    /// If the data frame library fails, which well-typed rows do not cause.
    pub fn new(dir: &Path, manifest: Manifest, samples: &[Sample], failures: &[FailureRow]) -> Result<Self, GateError> {
        let frame = |cause| GateError::Report(ReportError::Frame(cause));
        let sessions = counted_sessions(samples);
        let table = blocks(samples, &sessions, &manifest.facts).map_err(frame)?;
        let analysis = Analysis::new(manifest, samples, Vec::new(), &[], &[], failures).map_err(frame)?;
        let unusable = analysis.cells.iter().filter(|cell| cell.status != CellStatus::Measured);
        let unusable = unusable.map(|cell| (cell.cell.id.clone(), cell.status.to_string())).collect();
        let blocks = sessions.into_keys().collect();
        Ok(Self { dir: dir.to_owned(), manifest: analysis.manifest, torn: Vec::new(), blocks, table, unusable })
    }

    /// Median of a metric of a cell in each block that has it; nothing where it was not measured.
    pub fn times(&self, cell_id: &str, metric: &str) -> BlockTimes {
        let key = (cell_id.to_owned(), metric.to_owned());
        self.table.get(&key).map(|blocks| blocks.times.clone()).unwrap_or_default()
    }

    /// Why the times of a cell prove nothing, if they do not.
    pub fn unusable(&self, cell_id: &str) -> Option<&str> {
        self.unusable.get(cell_id).map(String::as_str)
    }

    /// The run in words, for the readers of a verdict.
    pub fn describe(&self) -> String {
        let commit = self.manifest.environment.get("git_commit").filter(|commit| commit.len() >= 12);
        let commit = commit.map(|commit| format!(", commit {}", &commit[..12])).unwrap_or_default();
        format!("{} (run {}{commit})", self.dir.display(), self.manifest.run_id)
    }
}
