//! A recorded run as a gate sees it: block medians by cell, and which cells prove nothing.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use super::GateError;
use crate::{
    record::{FailureRow, Manifest, Phase, Sample, TornLine, read_manifest, read_rows, read_rows_if_any},
    report::{
        ReportError,
        analysis::{Analysis, CellStatus},
        blocks::{BlockTable, blocks, counted_sessions},
    },
    stats::contrast::BlockTimes,
};

/// Values of repetitions in each block.
pub type Repetitions = BTreeMap<u32, Vec<f64>>;

/// A run whose rows were read.
pub struct Run {
    pub dir: PathBuf,
    pub manifest: Manifest,
    /// Lines that an interrupted writer left unfinished.
    pub torn: Vec<TornLine>,
    /// Blocks with a measured repetition.
    pub blocks: BTreeSet<u32>,
    table: BlockTable,
    /// Of each (cell id, metric), the repetitions that count in their order, by block.
    repetitions: BTreeMap<(String, String), Repetitions>,
    /// Of each cell that was not simply measured, what happened.
    unusable: BTreeMap<String, CellStatus>,
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
        let repetitions = repetitions(samples, &sessions);
        let analysis = Analysis::new(manifest, samples, Vec::new(), &[], &[], failures).map_err(frame)?;
        let unusable = analysis.cells.iter().filter(|cell| cell.status != CellStatus::Measured);
        let unusable = unusable.map(|cell| (cell.cell.id.clone(), cell.status.clone())).collect();
        let blocks = sessions.into_keys().collect();
        Ok(Self {
            dir: dir.to_owned(),
            manifest: analysis.manifest,
            torn: Vec::new(),
            blocks,
            table,
            repetitions,
            unusable,
        })
    }

    /// Median of a metric of a cell in each block that has it; nothing where it was not measured.
    pub fn times(&self, cell_id: &str, metric: &str) -> BlockTimes {
        let key = (cell_id.to_owned(), metric.to_owned());
        self.table.get(&key).map(|blocks| blocks.times.clone()).unwrap_or_default()
    }

    /// A metric of a cell in each repetition that counts; nothing where it was not measured.
    pub fn repetitions(&self, cell_id: &str, metric: &str) -> Option<&Repetitions> {
        self.repetitions.get(&(cell_id.to_owned(), metric.to_owned()))
    }

    /// Why the times of a cell prove nothing about it, if they do not.
    pub fn unusable(&self, cell_id: &str) -> Option<String> {
        self.unusable.get(cell_id).map(CellStatus::to_string)
    }

    /// The run in words, for the readers of a verdict.
    pub fn describe(&self) -> String {
        let commit = self.manifest.environment.get("git_commit").filter(|commit| commit.len() >= 12);
        let commit = commit.map(|commit| format!(", commit {}", &commit[..12])).unwrap_or_default();
        format!("{} (run {}{commit})", self.dir.display(), self.manifest.run_id)
    }
}

/// Repetitions that count, of the sessions that count.
fn repetitions(samples: &[Sample], sessions: &BTreeMap<u32, u32>) -> BTreeMap<(String, String), Repetitions> {
    let mut counted: Vec<&Sample> =
        samples.iter().filter(|s| s.phase == Phase::Measure && sessions.get(&s.block) == Some(&s.session)).collect();
    counted.sort_by_key(|sample| sample.repetition);
    let mut of_cells: BTreeMap<_, Repetitions> = BTreeMap::new();
    for sample in counted {
        let of_cell = of_cells.entry((sample.cell_id.clone(), sample.metric.clone())).or_default();
        of_cell.entry(sample.block).or_default().push(sample.value);
    }
    of_cells
}
