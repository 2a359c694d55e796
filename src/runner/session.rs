//! One run from the first check to the last block: the parent of the blocks.

use std::{
    collections::{BTreeSet, VecDeque},
    env, fs, io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use super::{
    RunError,
    child::{Attempt, Attempted, SILENCE},
    machine, preflight,
    progress::Progress,
    requeue::{self, Requeued},
    resume, stage,
    stop::Stop,
};
use crate::{
    affinity, counters,
    plan::{Cell, Plan, Residency},
    record::{
        CeilingRow, CounterRow, FailureRow, Manifest, OpenSample, PartialSample, RowWriter, Sample, WeightsRow,
        block::{BlockRow, BlockStatus},
        manifest::MANIFEST_SCHEMA,
        read_manifest, read_rows_if_any,
        row::SAMPLES_SCHEMA,
        rules::Row as _,
        write_manifest,
    },
};

/// Share of the free memory that a workload's copies may take.
const MEMORY_SHARE: f64 = 0.85;

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Every block is complete; these cells failed.
    Complete { failed: BTreeSet<String> },
    /// Stopped by a signal; the run can be resumed.
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
        // First of all: the load of the machine is that of others.
        let mut environment = machine::environment();
        check_memory(&plan)?;
        let preflight = preflight::run(&plan, &|what| progress.doing(what))?;
        if plan.cells.iter().any(Cell::is_peer) {
            environment.extend(septet_peers::facts());
        }
        environment.insert("model_sha256".to_owned(), stage::model_hash(&plan)?);
        environment.insert("pinning".to_owned(), pinning(&plan));
        environment.insert("started_utc".to_owned(), run_id[..run_id.len().min(16)].to_owned());
        let manifest = Manifest {
            schema: MANIFEST_SCHEMA,
            samples_schema: SAMPLES_SCHEMA,
            run_id: run_id.to_owned(),
            facts: preflight.facts,
            environment,
            spec,
            plan,
        };
        progress.doing("reading counters");
        RowWriter::<CounterRow>::append(dir)?
            .write_block(&counters::run(&manifest.plan, &|what| progress.doing(what))?)?;
        let mut session = Self {
            dir: dir.to_owned(),
            manifest,
            session: 0,
            done: BTreeSet::new(),
            failed: BTreeSet::new(),
            requeued: Requeued::default(),
            stop: stop.clone(),
            program: env::current_exe()?,
            silence: SILENCE,
        };
        for (cell, reason) in preflight.failed {
            session.fail(0, &cell, &reason, progress)?;
        }
        // From here on a signal leaves what there is: the manifest that follows makes it a run.
        stop.begun();
        write_manifest(dir, &session.manifest)?;
        Ok(session)
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
        let open: Vec<PartialSample> = open.into_iter().map(|row| PartialSample(row.0)).collect();
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
        let mut samples = RowWriter::<Sample>::append(&self.dir)?;
        let mut stored_weights = RowWriter::<WeightsRow>::append(&self.dir)?;
        let mut measured_ceilings = RowWriter::<CeilingRow>::append(&self.dir)?;
        let mut tries = RowWriter::<BlockRow>::append(&self.dir)?;
        let mut queue: VecDeque<u32> = (0..blocks).filter(|block| !self.done.contains(block)).collect();
        let mut attempt = 0;
        while let Some(block) = queue.pop_front() {
            if self.stop.requested() {
                return Ok(Ending::Interrupted);
            }
            progress.doing(format!("block {} of {blocks}", block + 1));
            let clock = Instant::now();
            let attempted = Attempted {
                program: &self.program,
                dir: &self.dir,
                session: self.session,
                block,
                skip: &self.failed,
                silence: self.silence,
            };
            let mut open = RowWriter::<OpenSample>::append(&self.dir)?;
            let outcome = attempted.run(&self.stop, progress, &mut |rows| {
                let rows: Vec<OpenSample> = rows.iter().cloned().map(OpenSample).collect();
                Ok(open.write_loosely(&rows)?)
            })?;
            let row = |status, rows: &[Sample]| {
                let (repetitions, disturbed) = requeue::repetitions(&self.manifest.plan, rows);
                let (session, seconds) = (self.session, clock.elapsed().as_secs_f64());
                BlockRow { session, block, attempt, status, seconds, repetitions, disturbed }
            };
            match outcome {
                Attempt::Complete { ceilings, weights, rows } => {
                    let complete = row(BlockStatus::Complete, &rows);
                    if requeue::is_disturbed(&complete) && self.requeued.may_repeat(block, blocks) {
                        self.keep_partial(&rows)?;
                        tries.write_block(&[BlockRow { status: BlockStatus::Requeued, ..complete }])?;
                        self.requeued.add(block);
                        queue.push_back(block);
                        let (disturbed, all) = (complete.disturbed, complete.repetitions);
                        progress.note(&format!(
                            "block {}: {disturbed} of {all} repetitions were disturbed; it is run again at the end",
                            block + 1
                        ));
                    } else {
                        // First, since samples are what makes a block complete.
                        measured_ceilings.write_block(&ceilings)?;
                        stored_weights.write_block(&weights)?;
                        tries.write_block(&[complete])?;
                        samples.write_block(&rows)?;
                        self.done.insert(block);
                    }
                }
                Attempt::Failed { cell, reason, rows } => {
                    tries.write_block(&[row(BlockStatus::Failed, &rows)])?;
                    self.keep_partial(&rows)?;
                    self.fail(block, &cell, &reason, progress)?;
                    if self.failed.len() == self.manifest.plan.cells.len() {
                        return Err(RunError::NothingToRun);
                    }
                    // A failed cell voids its block, which is run again without it.
                    queue.push_front(block);
                }
                Attempt::Interrupted(rows) => {
                    tries.write_block(&[row(BlockStatus::Interrupted, &rows)])?;
                    self.keep_partial(&rows)?;
                    forget_open(&self.dir)?;
                    return Ok(Ending::Interrupted);
                }
            }
            forget_open(&self.dir)?;
            attempt += 1;
            let done = self.done.len() as u64;
            progress.reached(done * cells, &format!("block {} of {blocks}", block + 1));
        }
        Ok(Ending::Complete { failed: self.failed.clone() })
    }

    /// Rows of a block that did not finish: kept for inspection, read by nothing.
    fn keep_partial(&self, rows: &[Sample]) -> Result<(), RunError> {
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

/// Removes what a run wrote into `dir` before its manifest, and `dir` if nothing else is there.
pub(super) fn discard(dir: &Path) {
    for file in [CounterRow::FILE, FailureRow::FILE] {
        // What is not there need not go, and what cannot go is not worth another error.
        let _ = fs::remove_file(dir.join(file));
    }
    let _ = fs::remove_dir(dir);
}

/// The block of these rows has ended, and they are elsewhere.
fn forget_open(dir: &Path) -> Result<(), RunError> {
    match fs::remove_file(dir.join(OpenSample::FILE)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}

/// For each number of threads of the plan, the CPUs that they are bound to, or why they are not.
fn pinning(plan: &Plan) -> String {
    let text = |&threads: &usize| match affinity::placement(threads) {
        Ok(cpus) => format!("{threads} threads on CPUs {cpus:?}"),
        Err(reason) => format!("{threads} threads free: {reason}"),
    };
    plan.thread_counts().iter().map(text).collect::<Vec<_>>().join("; ")
}

fn check_memory(plan: &Plan) -> Result<(), RunError> {
    let Some(available) = machine::available_memory() else { return Ok(()) };
    for workload in plan.workloads.iter().filter(|workload| workload.residency == Residency::Dram) {
        let needed = stage::memory(plan, workload)?;
        if needed as f64 > MEMORY_SHARE * available as f64 {
            let (needed, available) = (needed >> 20, available >> 20);
            return Err(RunError::Memory { workload: workload.name.clone(), needed, available });
        }
    }
    Ok(())
}

#[cfg(all(test, unix))]
mod tests;
