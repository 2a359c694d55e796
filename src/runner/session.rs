//! One run from the first check to the last block: the parent of the blocks.

use std::{
    collections::BTreeSet,
    env, fs, io,
    path::{Path, PathBuf},
};

use super::{
    RunError,
    child::{Attempt, Attempted},
    machine, preflight,
    progress::Progress,
    resume, stage,
    stop::Stop,
};
use crate::{
    affinity, counters,
    plan::{Cell, Plan, Residency},
    record::{
        CeilingRow, CounterRow, FailureRow, Manifest, PartialSample, RowWriter, Sample, WeightsRow,
        manifest::MANIFEST_SCHEMA, read_manifest, read_rows_if_any, row::SAMPLES_SCHEMA, rules::Row as _,
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
            stop: stop.clone(),
            program: env::current_exe()?,
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
        let mut samples = RowWriter::<Sample>::append(&self.dir)?;
        let mut stored_weights = RowWriter::<WeightsRow>::append(&self.dir)?;
        let mut measured_ceilings = RowWriter::<CeilingRow>::append(&self.dir)?;
        for block in 0..blocks {
            if self.done.contains(&block) {
                continue;
            }
            // A failed cell voids its block, which is run again without it.
            loop {
                if self.stop.requested() {
                    return Ok(Ending::Interrupted);
                }
                progress.doing(format!("block {} of {blocks}", block + 1));
                progress.set(u64::from(block) * cells);
                let attempt = Attempted {
                    program: &self.program,
                    dir: &self.dir,
                    session: self.session,
                    block,
                    skip: &self.failed,
                };
                match attempt.run(&self.stop, progress)? {
                    Attempt::Complete { ceilings, weights, rows } => {
                        // First, since samples are what makes a block complete.
                        measured_ceilings.write_block(&ceilings)?;
                        stored_weights.write_block(&weights)?;
                        samples.write_block(&rows)?;
                        break;
                    }
                    Attempt::Failed { cell, reason, rows } => {
                        self.keep_partial(&rows)?;
                        self.fail(block, &cell, &reason, progress)?;
                        if self.failed.len() == self.manifest.plan.cells.len() {
                            return Err(RunError::NothingToRun);
                        }
                    }
                    Attempt::Interrupted(rows) => {
                        self.keep_partial(&rows)?;
                        return Ok(Ending::Interrupted);
                    }
                }
            }
            progress.reached(u64::from(block + 1) * cells, &format!("block {} of {blocks}", block + 1));
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
mod tests {
    use std::{collections::BTreeMap, os::unix::fs::PermissionsExt as _};

    use super::*;
    use crate::{
        doctor::Quantity,
        plan::{Cell, small},
        record::{CellFacts, Phase, Quality},
        runner::{block::Event, resume::finished},
    };

    const BODY: &str = r#"
workload = [{ name = "tiny", title = "?", model = "builtin", prompt = "?", threads = 1, repetitions = 1, tokens = 1 }]
arm = { base = {} }
design = [
    { name = "one", title = "?", kind = "add-one-in", from = "base", step = [
        { set = { unpack = "lut" } },
        { set = { unpack = "select" } },
    ] },
]
"#;

    fn plan() -> Plan {
        small::plan(&small::spec(BODY)).unwrap()
    }

    /// What a block's process reports of a cell, in every metric and repetition.
    fn samples(plan: &Plan, cell: &Cell, block: u32) -> Vec<Sample> {
        let workload = &plan.workloads[0];
        let sample = |phase, repetition, metric: &str| Sample {
            block,
            phase,
            repetition,
            metric: metric.to_owned(),
            value: 1.0,
            ..Sample::of(cell, workload)
        };
        let of = |phase, repetition| workload.metrics().iter().map(move |&metric| (phase, repetition, metric));
        let rows = of(Phase::Warmup, 0).chain(of(Phase::Measure, 1));
        rows.map(|(phase, repetition, metric)| sample(phase, repetition, metric)).collect()
    }

    /// One ceiling of a block.
    fn ceiling(block: u32) -> CeilingRow {
        let (ceiling, place) = (Quantity::ReadBandwidth, "DRAM".to_owned());
        CeilingRow { session: 0, block, ceiling, place, threads: 1, value: 10.0, unit: ceiling.unit().to_owned() }
    }

    /// A run in `dir` whose blocks are run by a shell script with this text.
    fn session(dir: &Path, plan: Plan, script: &str) -> Session {
        let program = dir.join("program.sh");
        fs::write(&program, format!("#!/bin/sh\n{script}")).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let facts = plan.cells.iter().map(|cell| CellFacts {
            cell_id: cell.id.clone(),
            weights_per_unit: 1,
            bytes_per_unit: 1,
            prompt_tokens: None,
            output_sha256: String::new(),
            warm_up: true,
            repetitions: 1,
            quality: Quality::default(),
        });
        let manifest = Manifest {
            schema: MANIFEST_SCHEMA,
            samples_schema: SAMPLES_SCHEMA,
            run_id: "crash".to_owned(),
            facts: facts.collect(),
            environment: BTreeMap::new(),
            spec: small::spec(BODY),
            plan,
        };
        write_manifest(dir, &manifest).unwrap();
        let (done, failed) = (BTreeSet::new(), BTreeSet::new());
        Session { dir: dir.to_owned(), manifest, session: 0, done, failed, stop: Stop::default(), program }
    }

    /// Reports every cell that is not skipped, from files, and dies in the second one.
    fn crashing(dir: &Path, plan: &Plan) -> String {
        let mut script = String::from("block=$3\n");
        for block in 0..plan.protocol.blocks {
            let ceilings = Event::Ceilings(vec![ceiling(block)]);
            fs::write(dir.join(format!("ceilings.{block}")), serde_json::to_string(&ceilings).unwrap() + "\n").unwrap();
        }
        script += &format!("cat '{}/ceilings.'$block\n", dir.display());
        for (at, cell) in plan.cells.iter().enumerate() {
            for block in 0..plan.protocol.blocks {
                let event = serde_json::to_string(&Event::Samples(samples(plan, cell, block))).unwrap();
                fs::write(dir.join(format!("{}.{block}", cell.id)), event + "\n").unwrap();
            }
            let (id, dir) = (&cell.id, dir.display());
            let crash = if at == 1 { "kill -SEGV $$; " } else { "" };
            script += &format!(
                "case \"$*\" in *{id}*) ;; *) echo '{{\"started\":\"{id}\"}}'; {crash}cat '{dir}/{id}.'$block ;; esac\n"
            );
        }
        script + "echo '\"done\"'\n"
    }

    #[test]
    fn a_crash_voids_its_block_and_fails_its_cell() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path();
        let plan = plan();
        let script = crashing(dir, &plan);
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
