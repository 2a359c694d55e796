//! One run from the first check to the last block: the parent of the blocks.

#[cfg(unix)]
use std::os::unix::process::CommandExt as _;
use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
    io::{self, BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use super::{
    RunError,
    block::{Event, metric_names},
    counters, machine, preflight,
    progress::Progress,
    stage,
};
use crate::{
    plan::{Cell, Plan, Residency, Source},
    record::{
        CounterRow, FailureRow, Manifest, PartialSample, Phase, RowWriter, Sample, manifest::MANIFEST_SCHEMA,
        read_manifest, read_rows_if_any, row::SAMPLES_SCHEMA, write_manifest,
    },
};

/// Longest silence of a block's process before it counts as hanging. The slowest cell of the
/// largest experiment takes seconds.
const SILENCE: Duration = Duration::from_secs(120);

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
    /// counters, and last writes the manifest, which makes it a run that can be resumed.
    ///
    /// # Errors
    /// A folder that is in use or cannot be written, a workload that cannot be built or does not
    /// fit the memory.
    pub fn begin(dir: &Path, run_id: &str, plan: Plan, spec: String, progress: &Progress) -> Result<Self, RunError> {
        let unwritable = |source| RunError::Unwritable { path: dir.to_owned(), source };
        match fs::read_dir(dir).map(|entries| entries.count()) {
            Ok(0) => {}
            Ok(_) => return Err(RunError::Exists { path: dir.to_owned() }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => fs::create_dir_all(dir).map_err(unwritable)?,
            Err(error) => return Err(unwritable(error)),
        }
        check_memory(&plan)?;
        let preflight = preflight::run(&plan, &|what| progress.doing(what))?;
        let mut environment = machine::environment();
        environment.insert("model_sha256".to_owned(), model_hash(&plan)?);
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
        RowWriter::<CounterRow>::append(dir)?.write_block(&counters::run(&manifest.plan)?)?;
        let mut session = Self {
            dir: dir.to_owned(),
            manifest,
            session: 0,
            done: BTreeSet::new(),
            failed: BTreeSet::new(),
            stop: Stop::install(),
            program: env::current_exe()?,
        };
        for (cell, reason) in preflight.failed {
            session.fail(0, &cell, &reason, progress)?;
        }
        write_manifest(dir, &session.manifest)?;
        Ok(session)
    }

    /// Goes on with the run in `dir`, if it is of the same plan, program and model.
    ///
    /// # Errors
    /// Unreadable or different files of a run.
    pub fn resume(dir: &Path, plan: &Plan, spec: &str) -> Result<Self, RunError> {
        let manifest = read_manifest(dir)?;
        let different = |what: &str, recorded: &str, now: &str| RunError::Different {
            path: dir.to_owned(),
            what: what.to_owned(),
            recorded: recorded.to_owned(),
            now: now.to_owned(),
        };
        if manifest.spec != spec {
            let (old, new) = first_difference(&manifest.spec, spec);
            return Err(different("the experiment file", &old, &new));
        }
        if manifest.plan != *plan {
            return Err(different("the plan", "other arms, sizes or blocks", "see --quick, -a and this machine"));
        }
        let environment = machine::environment();
        let now = |key: &str| environment.get(key).cloned().unwrap_or_default();
        let recorded = |key: &str| manifest.environment.get(key).cloned().unwrap_or_default();
        if recorded("binary_sha256") != now("binary_sha256") {
            return Err(different("the program", &recorded("binary_sha256"), &now("binary_sha256")));
        }
        for key in ["cpu", "cpu_family_model_stepping", "microcode", "os_kernel"] {
            if recorded(key) != now(key) {
                return Err(different(&format!("the machine ({key})"), &recorded(key), &now(key)));
            }
        }
        let model = model_hash(plan)?;
        if recorded("model_sha256") != model {
            return Err(different("the model", &recorded("model_sha256"), &model));
        }
        let samples = read_rows_if_any::<Sample>(dir, &manifest)?.0;
        let failures = read_rows_if_any::<FailureRow>(dir, &manifest)?.0;
        Ok(Self {
            dir: dir.to_owned(),
            session: samples.iter().map(|sample| sample.session.saturating_add(1)).max().unwrap_or(0),
            done: finished(plan, &samples, &failures),
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
                match self.block(block, progress)? {
                    Attempt::Complete(rows) => {
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

    /// Starts the process of one block and follows its events to the end.
    fn block(&self, block: u32, progress: &Progress) -> Result<Attempt, RunError> {
        let trouble = |reason: String| RunError::Block { block, reason };
        let mut command = Command::new(&self.program);
        command
            .args(["block", "--block", &block.to_string(), "--session", &self.session.to_string()])
            .args(self.failed.iter().flat_map(|cell| ["--skip", cell]))
            .arg(&self.dir)
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        // Ctrl-C goes to all processes of a terminal: only this one may take it, and then decides.
        #[cfg(unix)]
        command.process_group(0);
        let mut child = command.spawn().map_err(|error| trouble(format!("cannot start its process: {error}")))?;
        let output = child.stdout.take().ok_or_else(|| trouble("its process has no output".to_owned()))?;
        let child = self.stop.watch(child);
        let (sender, events) = mpsc::channel();
        let reader = thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        let mut rows = Vec::new();
        let mut running = None;
        let (mut done, mut failure, mut silent) = (false, None, false);
        loop {
            match events.recv_timeout(SILENCE) {
                Ok(line) => match serde_json::from_str::<Event>(&line) {
                    Ok(Event::Preparing(workload)) => {
                        running = None;
                        progress.doing(format!("block {}: {workload}", block + 1));
                    }
                    Ok(Event::Started(cell)) => running = Some(cell),
                    Ok(Event::Samples(samples)) => {
                        rows.extend(samples);
                        running = None;
                        progress.step();
                    }
                    Ok(Event::Failed { cell, reason }) => failure = failure.or(Some((cell, reason))),
                    Ok(Event::Done) => done = true,
                    Err(error) => return Err(trouble(format!("its process wrote `{line}`: {error}"))),
                },
                Err(mpsc::RecvTimeoutError::Disconnected) => break,
                Err(mpsc::RecvTimeoutError::Timeout) => {
                    silent = true;
                    self.stop.kill();
                }
            }
        }
        let status = lock(&child).as_mut().map(Child::wait).transpose()?;
        *lock(&child) = None;
        // The reader ends with the pipe, which the process closed.
        let _ = reader.join();
        if self.stop.requested() {
            return Ok(Attempt::Interrupted(rows));
        }
        if let Some((cell, reason)) = failure {
            return Ok(Attempt::Failed { cell, reason, rows });
        }
        if done {
            return Ok(Attempt::Complete(rows));
        }
        let status = status.map_or_else(String::new, |status| status.to_string());
        let reason = if silent {
            format!("no sign of life for {} s", SILENCE.as_secs())
        } else {
            format!("its process ended early: {status}")
        };
        match running {
            Some(cell) => Ok(Attempt::Failed { cell, reason, rows }),
            None => Err(trouble(reason)),
        }
    }
}

/// How one try at a block ended.
enum Attempt {
    Complete(Vec<Sample>),
    Failed { cell: String, reason: String, rows: Vec<Sample> },
    Interrupted(Vec<Sample>),
}

/// The wish to stop, from Ctrl-C or a termination signal, which also ends the running block.
#[derive(Clone)]
struct Stop {
    requested: Arc<AtomicBool>,
    child: Arc<Mutex<Option<Child>>>,
}

impl Stop {
    /// Listens for signals from now on.
    fn install() -> Self {
        let stop = Self { requested: Arc::new(AtomicBool::new(false)), child: Arc::new(Mutex::new(None)) };
        let handler = stop.clone();
        // It fails only if a handler is there already: then that one decides.
        let _ = ctrlc::set_handler(move || {
            handler.requested.store(true, Ordering::Release);
            handler.kill();
        });
        stop
    }

    fn requested(&self) -> bool {
        self.requested.load(Ordering::Acquire)
    }

    /// Makes `child` the process that ends with the run.
    fn watch(&self, child: Child) -> Arc<Mutex<Option<Child>>> {
        *lock(&self.child) = Some(child);
        if self.requested() {
            self.kill();
        }
        Arc::clone(&self.child)
    }

    fn kill(&self) {
        if let Some(child) = lock(&self.child).as_mut() {
            // It may have ended by itself.
            let _ = child.kill();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Copies of a shape that exceed the last-level cache four times in every stored form, at least four.
pub fn copies(weights: usize, fewest_bits: f64) -> usize {
    let bytes = weights as f64 * fewest_bits / 8.0;
    ((4 * machine::last_level_cache()) as f64 / bytes).ceil().max(4.0) as usize
}

/// Blocks whose rows are all there. A writer that was killed leaves a beginning of its block.
fn finished(plan: &Plan, samples: &[Sample], failures: &[FailureRow]) -> BTreeSet<u32> {
    let mut rows: BTreeMap<(u32, &str), usize> = BTreeMap::new();
    let mut sessions: BTreeMap<u32, u32> = BTreeMap::new();
    for sample in samples {
        let latest = sessions.entry(sample.block).or_default();
        *latest = sample.session.max(*latest);
    }
    for sample in samples.iter().filter(|sample| sessions[&sample.block] == sample.session) {
        if sample.phase == Phase::Measure {
            *rows.entry((sample.block, &sample.cell_id)).or_default() += 1;
        }
    }
    let complete = |block: u32, cell: &Cell| {
        let ran = !failures.iter().any(|failure| failure.cell_id == cell.id && failure.block <= block);
        let workload = plan.workloads.iter().find(|workload| workload.name == cell.workload);
        let metrics = workload.map_or(1, |w| metric_names(w).len());
        let found = rows.get(&(block, cell.id.as_str())).copied().unwrap_or(0);
        // At least one measured repetition, each with every metric.
        !ran || (found >= metrics && found.is_multiple_of(metrics))
    };
    sessions.into_keys().filter(|&block| plan.cells.iter().all(|cell| complete(block, cell))).collect()
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

/// SHA-256 over the weights of every trained model of the plan.
fn model_hash(plan: &Plan) -> Result<String, RunError> {
    let mut hashes = Vec::new();
    for workload in &plan.workloads {
        if let Source::Trained { model, .. } = &workload.source {
            hashes.push(stage::model_sha256(model.as_deref())?);
        }
    }
    Ok(if hashes.is_empty() { "seeded weights only".to_owned() } else { hashes.join("+") })
}

/// The first line in which two texts differ, as it stands in each.
fn first_difference(old: &str, new: &str) -> (String, String) {
    let (mut old_lines, mut new_lines) = (old.lines(), new.lines());
    for number in 1.. {
        let (old, new) = (old_lines.next(), new_lines.next());
        if old != new || old.is_none() {
            let show = |line: Option<&str>| format!("line {number}: {}", line.unwrap_or("(end of the file)"));
            return (show(old), show(new));
        }
    }
    unreachable!("the texts end")
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::{
        plan::expand::{Options, expand},
        record::{CellFacts, Phase, Quality},
        spec::Spec,
    };

    const SPEC: &str = r#"
schema = 1
name = "crash"
question = "?"
hypothesis = "?"
refuted_by = "?"
protocol = { blocks = 10, quick_blocks = 2, seed = 1, margin = 0.01, confidence = 0.95 }
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
        let spec = Spec::parse(Path::new("spec.toml"), SPEC.to_owned()).unwrap();
        let options = Options { quick: true, keep: &|_| true, cores: 1, copies: &|_, _| None, presets: &[] };
        expand(&spec, &options).unwrap()
    }

    /// What a block's process reports of a cell, in every metric and repetition.
    fn samples(plan: &Plan, cell: &Cell, block: u32) -> Vec<Sample> {
        let sample = |phase, repetition, metric: &str| Sample {
            session: 0,
            block,
            order: 0,
            cell_id: cell.id.clone(),
            workload: cell.workload.clone(),
            arm: cell.arm.clone(),
            format: cell.factors["format"].clone(),
            granularity: cell.factors["granularity"].clone(),
            layout: cell.factors["layout"].clone(),
            unpack: cell.factors["unpack"].clone(),
            unroll: cell.factors["unroll"].clone(),
            isa: cell.factors["isa"].clone(),
            prefetch: cell.factors["prefetch"].clone(),
            epilogue: cell.factors["epilogue"].clone(),
            activations: cell.factors["activations"].clone(),
            threads: 1,
            phase,
            repetition,
            metric: metric.to_owned(),
            unit: "ns/token".to_owned(),
            value: 1.0,
            roof_before: 1.0,
            roof_after: 1.0,
            flags: String::new(),
            voluntary_switches: 0,
            involuntary_switches: 0,
            migrations: 0,
            minor_faults: 0,
            major_faults: 0,
            steal_ticks: 0,
        };
        let metrics = metric_names(&plan.workloads[0]);
        let of = |phase, repetition| metrics.iter().map(move |&metric| (phase, repetition, metric));
        let rows = of(Phase::Warmup, 0).chain(of(Phase::Measure, 1));
        rows.map(|(phase, repetition, metric)| sample(phase, repetition, metric)).collect()
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
            quality: Quality::default(),
        });
        let manifest = Manifest {
            schema: MANIFEST_SCHEMA,
            samples_schema: SAMPLES_SCHEMA,
            run_id: "crash".to_owned(),
            facts: facts.collect(),
            environment: BTreeMap::new(),
            spec: SPEC.to_owned(),
            plan,
        };
        write_manifest(dir, &manifest).unwrap();
        let stop = Stop { requested: Arc::new(AtomicBool::new(false)), child: Arc::new(Mutex::new(None)) };
        let (done, failed) = (BTreeSet::new(), BTreeSet::new());
        Session { dir: dir.to_owned(), manifest, session: 0, done, failed, stop, program }
    }

    /// Reports every cell that is not skipped, from files, and dies in the second one.
    fn crashing(dir: &Path, plan: &Plan) -> String {
        let mut script = String::from("block=$3\n");
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
        assert_eq!(finished(&plan, &samples, &failures), BTreeSet::from([0, 1]));
        assert_eq!(finished(&plan, &samples[..samples.len() - 1], &failures), BTreeSet::from([0]));
        assert_eq!(finished(&plan, &samples, &[]), BTreeSet::new(), "a cell is missing without a reason");
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
