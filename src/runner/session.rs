//! One run from the first check to the last block: the parent of the blocks.

use std::{
    collections::BTreeSet,
    env, fs, io,
    path::{Path, PathBuf},
};

use super::{
    RunError,
    child::{Attempt, Attempted, Measured},
    counters,
    examined::{Examined, examine},
    progress::Progress,
    resume,
    stop::Stop,
};
use crate::{
    plan::Plan,
    record::{
        CeilingRow, CounterRow, FailureRow, Manifest, PartialSample, RowWriter, Sample, WeightsRow, read_manifest,
        read_rows_if_any, rules::Row as _, write_manifest,
    },
};

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Every block is complete; these cells failed.
    Complete { failed: BTreeSet<String> },
    /// Stopped by a signal; the run can be resumed.
    Interrupted,
}

/// How one try at a block ended.
pub(super) enum Tried {
    /// Every cell ran.
    Complete(Measured),
    /// The block is void, because of this cell.
    Failed { cell: String, reason: String },
    /// A signal came.
    Interrupted,
}

/// A run in its folder.
pub struct Session {
    dir: PathBuf,
    manifest: Manifest,
    session: u32,
    /// Blocks that are complete already.
    done: BTreeSet<u32>,
    failed: BTreeSet<String>,
    stop: Stop,
    /// The program whose `block` command runs a block: this one.
    program: PathBuf,
}

impl Session {
    /// Begins a new run of `plan` in `dir`, which is created: checks arms, evaluates formats, reads
    /// counters, and last writes the manifest, which makes it a run that can be resumed. What ends
    /// before that leaves no folder behind.
    ///
    /// # Errors
    /// A folder that is in use or cannot be written, a workload that cannot be built or does not
    /// fit the memory.
    pub fn begin(dir: &Path, run_id: &str, plan: Plan, spec: String, progress: &Progress) -> Result<Self, RunError> {
        let unwritable = |cause| RunError::Unwritable { path: dir.to_owned(), cause };
        let stop = Stop::install();
        match fs::read_dir(dir).map(|entries| entries.count()) {
            Ok(0) => {}
            Ok(_) => return Err(RunError::Exists { path: dir.to_owned() }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => fs::create_dir_all(dir).map_err(unwritable)?,
            Err(error) => return Err(unwritable(error)),
        }
        stop.begin(dir);
        let begun = Self::prepare(dir, run_id, plan, spec, progress, &stop);
        if begun.is_err() {
            discard(dir);
        }
        stop.begun();
        begun
    }

    /// All that comes before the first block, in a folder of its own.
    fn prepare(
        dir: &Path,
        run_id: &str,
        plan: Plan,
        spec: String,
        progress: &Progress,
        stop: &Stop,
    ) -> Result<Self, RunError> {
        let Examined { manifest, failed } = examine(run_id, plan, spec, progress)?;
        progress.doing("reading counters");
        RowWriter::<CounterRow>::append(dir)?.write_block(&counters::run(&manifest.plan)?)?;
        let mut session = Self::new(dir, manifest, env::current_exe()?, stop);
        for (cell, reason) in failed {
            session.fail(0, &cell, &reason, progress)?;
        }
        // From here on a signal leaves what there is: the manifest that follows makes it a run.
        stop.begun();
        write_manifest(dir, &session.manifest)?;
        Ok(session)
    }

    /// A run in `dir` that has no block yet; `program` runs its blocks.
    pub(super) fn new(dir: &Path, manifest: Manifest, program: PathBuf, stop: &Stop) -> Self {
        let (done, failed) = (BTreeSet::new(), BTreeSet::new());
        Self { dir: dir.to_owned(), manifest, session: 0, done, failed, stop: stop.clone(), program }
    }

    /// Goes on with the run in `dir`, if it is of the same plan, program and model.
    ///
    /// # Errors
    /// Unreadable or different files of a run.
    pub fn resume(dir: &Path, plan: &Plan, spec: &str) -> Result<Self, RunError> {
        let manifest = read_manifest(dir)?;
        resume::check_same(dir, &manifest, plan, spec)?;
        let samples = read_rows_if_any::<Sample>(dir, &manifest)?.0;
        let failures = read_rows_if_any::<FailureRow>(dir, &manifest)?.0;
        let ceilings = read_rows_if_any::<CeilingRow>(dir, &manifest)?.0;
        // A writer that was killed may have left other rows of a session without its samples.
        let weights = read_rows_if_any::<WeightsRow>(dir, &manifest)?.0;
        let sessions = samples.iter().map(|row| row.session).chain(ceilings.iter().map(|row| row.session));
        let sessions = sessions.chain(weights.iter().map(|row| row.session));
        Ok(Self {
            dir: dir.to_owned(),
            session: sessions.max().map_or(0, |last| last.saturating_add(1)),
            done: resume::finished(&manifest, &samples, &failures),
            failed: failures.into_iter().map(|row| row.cell_id).collect(),
            manifest,
            stop: Stop::install(),
            program: env::current_exe()?,
        })
    }

    /// Runs the blocks that are missing.
    ///
    /// # Errors
    /// Files that cannot be written, or a block that cannot be run.
    pub fn run(&mut self, progress: &Progress) -> Result<Ending, RunError> {
        let blocks = self.manifest.plan.protocol.blocks;
        let cells = self.manifest.plan.cells.len() as u64;
        let mut writers = Writers::append(&self.dir)?;
        for block in 0..blocks {
            if self.done.contains(&block) {
                continue;
            }
            // A failed cell voids its block, which is run again without it.
            let measured = loop {
                progress.doing(format!("block {} of {blocks}", block + 1));
                progress.set(u64::from(block) * cells);
                match self.attempt(block, progress)? {
                    Tried::Complete(measured) => break measured,
                    Tried::Failed { cell, reason } => self.leave_out(block, &cell, &reason, progress)?,
                    Tried::Interrupted => return Ok(Ending::Interrupted),
                }
            };
            writers.write(&measured)?;
            progress.reached(u64::from(block + 1) * cells, &format!("block {} of {blocks}", block + 1));
        }
        Ok(Ending::Complete { failed: self.failed.clone() })
    }

    /// One try at a block. What it measured is not written; of a block that did not finish it goes to
    /// `partial.csv`.
    ///
    /// # Errors
    /// A block that cannot be run.
    pub(super) fn attempt(&self, block: u32, progress: &Progress) -> Result<Tried, RunError> {
        if self.stop.requested() {
            return Ok(Tried::Interrupted);
        }
        let attempt =
            Attempted { program: &self.program, dir: &self.dir, session: self.session, block, skip: &self.failed };
        match attempt.run(&self.stop, progress)? {
            Attempt::Complete(measured) => Ok(Tried::Complete(measured)),
            Attempt::Failed { cell, reason, rows } => {
                self.keep_partial(&rows)?;
                Ok(Tried::Failed { cell, reason })
            }
            Attempt::Interrupted(rows) => {
                self.keep_partial(&rows)?;
                Ok(Tried::Interrupted)
            }
        }
    }

    /// Leaves a cell out from now on, and records why.
    ///
    /// # Errors
    /// No cell is left, or the file cannot be written.
    pub(super) fn leave_out(
        &mut self,
        block: u32,
        cell: &str,
        reason: &str,
        progress: &Progress,
    ) -> Result<(), RunError> {
        self.fail(block, cell, reason, progress)?;
        if self.failed.len() == self.manifest.plan.cells.len() { Err(RunError::NothingToRun) } else { Ok(()) }
    }

    /// Cells that are left out.
    pub(super) fn failed(&self) -> &BTreeSet<String> {
        &self.failed
    }

    /// Rows of a block that did not finish: kept for inspection, read by nothing.
    pub(super) fn keep_partial(&self, rows: &[Sample]) -> Result<(), RunError> {
        let rows: Vec<PartialSample> = rows.iter().cloned().map(PartialSample).collect();
        Ok(RowWriter::<PartialSample>::append(&self.dir)?.write_block(&rows)?)
    }

    fn fail(&mut self, block: u32, cell: &str, reason: &str, progress: &Progress) -> Result<(), RunError> {
        let arm = self.manifest.plan.cells.iter().find(|c| c.id == cell);
        let arm = arm.map_or(cell.to_owned(), |c| format!("{} on {}", c.arm, c.workload));
        progress.note(&format!("failed: {arm}: {reason}"));
        let row = FailureRow { cell_id: cell.to_owned(), block, reason: reason.to_owned() };
        RowWriter::<FailureRow>::append(&self.dir)?.write_block(&[row])?;
        self.failed.insert(cell.to_owned());
        Ok(())
    }
}

/// The files that blocks are appended to.
pub(super) struct Writers {
    samples: RowWriter<Sample>,
    weights: RowWriter<WeightsRow>,
    ceilings: RowWriter<CeilingRow>,
}

impl Writers {
    /// Opens the files of the run in `dir`.
    ///
    /// # Errors
    /// A file that cannot be opened or has other columns.
    pub fn append(dir: &Path) -> Result<Self, RunError> {
        Ok(Self {
            samples: RowWriter::append(dir)?,
            weights: RowWriter::append(dir)?,
            ceilings: RowWriter::append(dir)?,
        })
    }

    /// Appends a complete block.
    ///
    /// # Errors
    /// Rows that break their rules, or a disk that fails.
    pub fn write(&mut self, measured: &Measured) -> Result<(), RunError> {
        self.ceilings.write_block(&measured.ceilings)?;
        self.weights.write_block(&measured.weights)?;
        // Last, since samples are what makes a block complete.
        Ok(self.samples.write_block(&measured.samples)?)
    }
}

/// Removes what a run wrote into `dir` before its manifest, and `dir` if nothing else is there.
pub(super) fn discard(dir: &Path) {
    for file in [CounterRow::FILE, FailureRow::FILE] {
        // What is not there need not go, and what cannot go is not worth another error.
        let _ = fs::remove_file(dir.join(file));
    }
    let _ = fs::remove_dir(dir);
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use crate::runner::{
        fake::{self, ceiling, plan},
        resume::finished,
    };

    /// A run in `dir` whose blocks are run by a shell script with this text.
    fn session(dir: &Path, plan: Plan, script: &str) -> Session {
        let (manifest, program) = (fake::manifest(plan), fake::program(dir, script));
        write_manifest(dir, &manifest).unwrap();
        Session::new(dir, manifest, program, &Stop::default())
    }

    #[test]
    fn a_crash_voids_its_block_and_fails_its_cell() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path();
        let plan = plan();
        let script = fake::script(dir, &plan, Some(1));
        let mut session = session(dir, plan.clone(), &script);
        let ending = session.run(&Progress::new(6)).unwrap();
        let crashed = plan.cells[1].id.clone();
        assert_eq!(ending, Ending::Complete { failed: BTreeSet::from([crashed.clone()]) });

        let (failures, _) = read_rows_if_any::<FailureRow>(dir, &session.manifest).unwrap();
        assert!(failures.len() == 1 && failures[0].block == 0 && failures[0].cell_id == crashed, "{failures:?}");
        assert!(failures[0].reason.contains("ended early: signal: 11"), "{failures:?}");
        let (partial, _) = read_rows_if_any::<PartialSample>(dir, &session.manifest).unwrap();
        assert!(!partial.is_empty() && partial.iter().all(|row| row.0.cell_id == plan.cells[0].id));
        let (samples, _) = read_rows_if_any::<Sample>(dir, &session.manifest).unwrap();
        assert!(samples.iter().all(|sample| sample.cell_id != crashed));
        let (ceilings, _) = read_rows_if_any::<CeilingRow>(dir, &session.manifest).unwrap();
        assert_eq!(ceilings, [ceiling(0), ceiling(1)], "once for each complete block");
        assert_eq!(finished(&session.manifest, &samples, &failures), BTreeSet::from([0, 1]));
        assert_eq!(finished(&session.manifest, &samples[..samples.len() - 1], &failures), BTreeSet::from([0]));
        assert_eq!(finished(&session.manifest, &samples, &[]), BTreeSet::new(), "a cell is missing without a reason");
    }

    #[test]
    fn a_program_that_breaks_the_protocol_ends_the_run() {
        let folder = tempfile::tempdir().unwrap();
        let message = |script: &str| {
            let mut session = session(folder.path(), plan(), script);
            session.run(&Progress::new(6)).unwrap_err().to_string()
        };
        assert!(message("echo nonsense").contains("wrote `nonsense`"));
        assert!(message("exit 7").contains("block 0: its process ended early: exit status: 7"));
    }
}
