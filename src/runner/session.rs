//! One run from the first check to the last block: the parent of the blocks.

use std::{
    collections::{BTreeSet, VecDeque},
    env, fs, io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use super::{
    RunError,
    child::{Attempt, Attempted, Measured, SILENCE},
    examined::{Blocks, Examined, examine},
    progress::Progress,
    requeue::{self, Requeued},
    resume,
    stop::Stop,
    turns::Place,
    writers::{Writers, forget_open},
};
use crate::{
    counters,
    plan::Plan,
    record::{
        ApartSample, CeilingRow, CounterRow, FailureRow, Manifest, OpenSample, PartialSample, RowWriter, Sample,
        WeightsRow,
        block::{BlockRow, BlockStatus},
        read_manifest, read_rows_if_any,
        rules::Row as _,
        write_manifest,
    },
};

/// One process a block.
const BLOCKS: Blocks = Blocks { processes: 1, enough_seconds: 0.1 };

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
    /// Every cell ran; the rows are not written yet.
    Complete(Measured, BlockRow),
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
    requeued: Requeued,
    /// Tries at blocks of this session so far.
    attempts: u32,
    stop: Stop,
    /// The program whose `block` command runs a block: this one.
    program: PathBuf,
    /// Longest time without an event before a block counts as hanging.
    silence: Duration,
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
        let Examined { manifest, failed } = examine(run_id, plan, spec, BLOCKS, progress)?;
        progress.doing("reading counters");
        RowWriter::<CounterRow>::append(dir)?
            .write_block(&counters::run(&manifest.plan, &|what| progress.doing(what))?)?;
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
        Self {
            dir: dir.to_owned(),
            manifest,
            session: 0,
            done: BTreeSet::new(),
            failed: BTreeSet::new(),
            requeued: Requeued::default(),
            attempts: 0,
            stop: stop.clone(),
            program,
            silence: SILENCE,
        }
    }

    /// Goes on with the run in `dir`, if it is of the same plan, program and model.
    ///
    /// # Errors
    /// Unreadable or different files of a run.
    pub fn resume(dir: &Path, plan: &Plan, spec: &str) -> Result<Self, RunError> {
        let manifest = read_manifest(dir)?;
        resume::check_same(dir, &manifest, plan, spec)?;
        // What a killed run had of its open block.
        let open = read_rows_if_any::<OpenSample>(dir, &manifest)?.0;
        let open: Vec<PartialSample> = open.into_iter().map(|row| ApartSample(row.0)).collect();
        if !open.is_empty() {
            RowWriter::<PartialSample>::append(dir)?.write_block(&open)?;
        }
        forget_open(dir)?;
        let samples = read_rows_if_any::<Sample>(dir, &manifest)?.0;
        let failures = read_rows_if_any::<FailureRow>(dir, &manifest)?.0;
        let ceilings = read_rows_if_any::<CeilingRow>(dir, &manifest)?.0;
        // A writer that was killed may have left other rows of a session without its samples.
        let weights = read_rows_if_any::<WeightsRow>(dir, &manifest)?.0;
        let sessions = samples.iter().map(|row| row.session).chain(ceilings.iter().map(|row| row.session));
        let tries = read_rows_if_any::<BlockRow>(dir, &manifest)?.0;
        let sessions = sessions.chain(weights.iter().map(|row| row.session));
        let sessions = sessions.chain(tries.iter().map(|row| row.session));
        Ok(Self {
            dir: dir.to_owned(),
            session: sessions.max().map_or(0, |last| last.saturating_add(1)),
            done: resume::finished(&manifest, &samples, &failures),
            failed: failures.into_iter().map(|row| row.cell_id).collect(),
            requeued: Requeued::of(&tries),
            attempts: 0,
            manifest,
            stop: Stop::install(),
            program: env::current_exe()?,
            silence: SILENCE,
        })
    }

    /// Runs the blocks that are missing. A block whose repetitions were mostly disturbed is run again after
    /// all others, as far as [`requeue::cap`] goes.
    ///
    /// # Errors
    /// Files that cannot be written, or a block that cannot be run.
    pub fn run(&mut self, progress: &Progress) -> Result<Ending, RunError> {
        let blocks = self.manifest.plan.protocol.blocks;
        let cells = self.manifest.plan.cells.len() as u64;
        let mut writers = Writers::append(&self.dir)?;
        let mut queue: VecDeque<u32> = (0..blocks).filter(|block| !self.done.contains(block)).collect();
        while let Some(block) = queue.pop_front() {
            progress.doing(format!("block {} of {blocks}", block + 1));
            match self.attempt(block, None, progress)? {
                Tried::Complete(measured, row)
                    if requeue::is_disturbed(&row) && self.requeued.may_repeat(block, blocks) =>
                {
                    progress.note(&format!(
                        "block {}: {} of {} repetitions were disturbed; it is run again at the end",
                        block + 1,
                        row.disturbed,
                        row.repetitions
                    ));
                    self.put_back(&measured, row)?;
                    queue.push_back(block);
                }
                Tried::Complete(measured, row) => {
                    writers.write(&measured, row)?;
                    self.done.insert(block);
                }
                Tried::Failed { cell, reason } => {
                    self.leave_out(block, &cell, &reason, progress)?;
                    // A failed cell voids its block, which is run again without it.
                    queue.push_front(block);
                }
                Tried::Interrupted => return Ok(Ending::Interrupted),
            }
            let done = self.done.len() as u64;
            progress.reached(done * cells, &format!("block {} of {blocks}", block + 1));
        }
        Ok(Ending::Complete { failed: self.failed.clone() })
    }

    /// One try at a block, in turns with another side if it has one. What a complete one measured is not written;
    /// of a block that did not finish it goes to `partial.csv`.
    ///
    /// # Errors
    /// A block that cannot be run.
    pub(super) fn attempt(&mut self, block: u32, place: Option<Place>, progress: &Progress) -> Result<Tried, RunError> {
        if self.stop.requested() {
            return Ok(Tried::Interrupted);
        }
        let clock = Instant::now();
        let attempt = self.attempts;
        self.attempts += 1;
        let attempted = Attempted {
            program: &self.program,
            dir: &self.dir,
            session: self.session,
            block,
            skip: &self.failed,
            silence: self.silence,
        };
        let mut open = RowWriter::<OpenSample>::append(&self.dir)?;
        let outcome = attempted.run(place, &self.stop, progress, &mut |rows| {
            let rows: Vec<OpenSample> = rows.iter().cloned().map(ApartSample).collect();
            Ok(open.write_loosely(&rows)?)
        })?;
        let row = |status, rows: &[Sample]| {
            let (repetitions, disturbed) = requeue::repetitions(&self.manifest.plan, rows);
            let (session, seconds) = (self.session, clock.elapsed().as_secs_f64());
            BlockRow { session, block, attempt, status, seconds, repetitions, disturbed }
        };
        match outcome {
            Attempt::Complete(measured) => {
                let row = row(BlockStatus::Complete, &measured.samples);
                Ok(Tried::Complete(measured, row))
            }
            Attempt::Failed { cell, reason, rows } => {
                self.void(&rows, row(BlockStatus::Failed, &rows))?;
                Ok(Tried::Failed { cell, reason })
            }
            Attempt::Interrupted(rows) => {
                self.void(&rows, row(BlockStatus::Interrupted, &rows))?;
                Ok(Tried::Interrupted)
            }
        }
    }

    /// A complete block that is run again.
    ///
    /// # Errors
    /// Files that cannot be written.
    pub(super) fn put_back(&mut self, measured: &Measured, row: BlockRow) -> Result<(), RunError> {
        self.requeued.add(row.block);
        self.void(&measured.samples, BlockRow { status: BlockStatus::Requeued, ..row })
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

    /// Records a try that gave no block; its rows are kept for inspection, read by nothing.
    fn void(&self, rows: &[Sample], tried: BlockRow) -> Result<(), RunError> {
        RowWriter::<BlockRow>::append(&self.dir)?.write_block(&[tried])?;
        let rows: Vec<PartialSample> = rows.iter().cloned().map(ApartSample).collect();
        RowWriter::<PartialSample>::append(&self.dir)?.write_block(&rows)?;
        forget_open(&self.dir)
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

/// Removes what a run wrote into `dir` before its manifest, and `dir` if nothing else is there.
pub(super) fn discard(dir: &Path) {
    for file in [CounterRow::FILE, FailureRow::FILE] {
        // What is not there need not go, and what cannot go is not worth another error.
        let _ = fs::remove_file(dir.join(file));
    }
    let _ = fs::remove_dir(dir);
}

#[cfg(all(test, unix))]
mod tests;
