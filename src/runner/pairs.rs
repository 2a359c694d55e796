//! Two programs on one plan, in pairs of blocks: what a gate between two revisions measures.
//!
//! A pair is two fresh processes, one of each program, which run the same cells in the same order and take
//! turns at every repetition (`turns.rs`): a shared machine changes its speed within tenths of a second, and
//! what is a few milliseconds apart has nearly the same. Which program begins alternates. Each side is a run
//! in a folder of its own, with its own manifest.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use super::{
    RunError,
    examined::{Blocks, Examined, examine},
    machine::NOT_EXPOSED,
    progress::Progress,
    session::{Ending, Session, Tried},
    stop::Stop,
    turns::in_turns,
    writers::Writers,
};
use crate::{
    digest::sha256,
    plan::Plan,
    record::{Manifest, PairRow, RowWriter, Side, write_manifest},
};

/// Facts of a manifest that are those of the program that runs a side, not of the one that began the run.
const OF_PROGRAM: [&str; 8] =
    ["program", "rustc", "target", "profile", "rustflags", "lock_sha256", "git_commit", "git_dirty"];

/// Many short turns of each cell, since the ratio of two has the noise of single repetitions.
const BLOCKS: Blocks = Blocks { processes: 2, enough_seconds: 0.2 };

/// A program whose `block` command runs the blocks of a side.
#[derive(Clone, Debug)]
pub struct Program {
    pub path: PathBuf,
    /// What is known of it, by the names of a manifest's environment; the rest of the facts of a program
    /// is `not exposed`.
    pub facts: BTreeMap<String, String>,
}

/// A plan that two programs are about to run.
pub struct Pairs {
    examined: Examined,
    programs: [Program; 2],
    stop: Stop,
}

impl Pairs {
    /// Checks the arms of `plan` with this program, whose output is what both sides must compute. `dir`
    /// is where the rows will go: it must be empty or not be there.
    ///
    /// # Errors
    /// A folder in use, a workload that cannot be built or does not fit the memory, a program that cannot
    /// be read.
    pub fn examine(
        dir: &Path,
        run_id: &str,
        plan: Plan,
        spec: String,
        mut programs: [Program; 2],
        progress: &Progress,
    ) -> Result<Self, RunError> {
        match fs::read_dir(dir).map(|entries| entries.count()) {
            Ok(0) => {}
            Ok(_) => return Err(RunError::Exists { path: dir.to_owned() }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(cause) => return Err(RunError::Unwritable { path: dir.to_owned(), cause }),
        }
        for Program { path, .. } in &mut programs {
            // A bare name would be looked up among the commands of the system.
            *path = fs::canonicalize(&*path).map_err(|cause| RunError::Program { path: path.clone(), cause })?;
        }
        let stop = Stop::install();
        stop.begin(dir);
        let examined = examine(run_id, plan, spec, BLOCKS, progress);
        stop.begun();
        Ok(Self { examined: examined?, programs, stop })
    }

    /// Runs every pair; the first begins with `first`. The rows of the sides go to `dir/a` and `dir/b`, the
    /// order of each pair to `pairs.csv`.
    ///
    /// # Errors
    /// Files that cannot be written, or a block that cannot be run.
    pub fn run(&self, dir: &Path, first: Side, progress: &Progress) -> Result<Ending, RunError> {
        let plan = &self.examined.manifest.plan;
        let blocks = plan.protocol.blocks;
        let [a, b] = &self.programs;
        let mut sides = [self.side(dir, Side::A, a, progress)?, self.side(dir, Side::B, b, progress)?];
        let mut order = RowWriter::<PairRow>::append(dir)?;
        for pair in 0..blocks {
            let first = if pair % 2 == 0 { first } else { first.other() };
            progress.doing(format!("pair {} of {blocks}", pair + 1));
            // A failed cell voids the pair, which is run again without it on both sides.
            let measured = loop {
                let (mut measured, mut failed) = (Vec::new(), Vec::new());
                for (side, tried) in [Side::A, Side::B].into_iter().zip(attempt(&mut sides, pair, first, progress)?) {
                    match tried.map_err(|cause| self.of_side(side, cause))? {
                        Tried::Complete(rows, tried) => measured.push((side, rows, tried)),
                        Tried::Interrupted => return Ok(Ending::Interrupted),
                        Tried::Failed { cell, reason } => failed.push((side, cell, reason)),
                    }
                }
                if failed.is_empty() {
                    break measured;
                }
                for (side, rows, tried) in measured {
                    sides[side as usize].session.put_back(&rows, tried)?;
                }
                for (side, cell, reason) in failed {
                    let elsewhere = format!("left out, as it failed on the other side: {reason}");
                    for (side, reason) in [(side, &reason), (side.other(), &elsewhere)] {
                        let session = &mut sides[side as usize].session;
                        if !session.failed().contains(&cell) {
                            session.leave_out(pair, &cell, reason, progress)?;
                        }
                    }
                }
            };
            for (side, rows, tried) in measured {
                sides[side as usize].writers.write(&rows, tried)?;
            }
            order.write_block(&[PairRow { pair, first }])?;
            let done = 2 * u64::from(pair + 1) * plan.cells.len() as u64;
            progress.reached(done, &format!("pair {} of {blocks}", pair + 1));
        }
        Ok(Ending::Complete { failed: sides[0].session.failed().clone() })
    }

    /// The error of a side, with the program that it is about.
    fn of_side(&self, side: Side, cause: RunError) -> RunError {
        let program = self.programs[side as usize].path.clone();
        RunError::Side { side: side.name(), program, cause: Box::new(cause) }
    }

    /// The folder of a side, with its manifest and what failed before the first block.
    fn side(&self, dir: &Path, side: Side, program: &Program, progress: &Progress) -> Result<Recording, RunError> {
        let dir = dir.join(side.name());
        fs::create_dir_all(&dir).map_err(|cause| RunError::Unwritable { path: dir.clone(), cause })?;
        let manifest = self.manifest(side, program)?;
        write_manifest(&dir, &manifest)?;
        let mut session = Session::new(&dir, manifest, program.path.clone(), &self.stop);
        for (cell, reason) in &self.examined.failed {
            session.leave_out(0, cell, reason, progress)?;
        }
        Ok(Recording { session, writers: Writers::append(&dir)? })
    }

    /// The manifest of a side: that of the plan, with the facts of the program that runs its blocks.
    fn manifest(&self, side: Side, program: &Program) -> Result<Manifest, RunError> {
        let mut manifest = self.examined.manifest.clone();
        let binary =
            fs::read(&program.path).map_err(|cause| RunError::Program { path: program.path.clone(), cause })?;
        manifest.run_id = format!("{}-{}", manifest.run_id, side.name());
        let environment = &mut manifest.environment;
        environment.extend(OF_PROGRAM.map(|fact| (fact.to_owned(), NOT_EXPOSED.to_owned())));
        environment.insert("binary_sha256".to_owned(), sha256([binary.as_slice()]));
        environment.extend(program.facts.clone());
        Ok(manifest)
    }
}

/// One try at a pair: both sides at once, in turns of which `first` has the first one.
fn attempt(
    sides: &mut [Recording; 2],
    pair: u32,
    first: Side,
    progress: &Progress,
) -> io::Result<[Result<Tried, RunError>; 2]> {
    let [a, b] = sides;
    in_turns(
        first,
        |place| a.session.attempt(pair, Some(place), progress),
        |place| b.session.attempt(pair, Some(place), progress),
    )
}

/// A side while it is measured.
struct Recording {
    session: Session,
    writers: Writers,
}

#[cfg(all(test, unix))]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::{
        gate::{Decision, Overall, Run, Terms, paired},
        record::{FailureRow, PartialSample, Sample, read_manifest, read_rows, read_rows_if_any},
        report::metric::TOKEN_TIME,
        runner::fake,
        stats::verdict::Verdict,
    };

    /// Pairs of two scripts, each in a folder of its own; `crash` is the cell in which B dies.
    fn pairs(folder: &Path, crash: Option<usize>) -> Pairs {
        timed_pairs(folder, crash, 1.0)
    }

    /// The same, where B takes `time` and A takes 1.
    fn timed_pairs(folder: &Path, crash: Option<usize>, time: f64) -> Pairs {
        let programs = [("a", None, 1.0), ("b", crash, time)].map(|(name, crash, time)| {
            let dir = folder.join(format!("program-{name}"));
            fs::create_dir(&dir).unwrap();
            let script = format!("began=\"echo {name} >> '{}/log'\"\n", folder.display())
                + &fake::timed_script(&dir, &fake::plan(), crash.map(|cell| (cell, "kill -SEGV $$")), time);
            Program {
                path: fake::program(&dir, &script),
                facts: BTreeMap::from([("rustc".to_owned(), name.to_owned())]),
            }
        });
        let failed = BTreeMap::new();
        Pairs { examined: Examined { manifest: fake::manifest(fake::plan()), failed }, programs, stop: Stop::default() }
    }

    /// Which program ran when.
    fn log(folder: &Path) -> String {
        fs::read_to_string(folder.join("log")).unwrap().split_whitespace().collect()
    }

    fn firsts(dir: &Path) -> Vec<Side> {
        let manifest = read_manifest(&dir.join("a")).unwrap();
        read_rows::<PairRow>(dir, &manifest).unwrap().0.iter().map(|row| row.first).collect()
    }

    #[test]
    fn the_order_alternates_and_is_recorded() {
        let folder = tempfile::tempdir().unwrap();
        let (pairs, out) = (pairs(folder.path(), None), folder.path().join("out"));
        let ending = pairs.run(&out, Side::A, &Progress::new(12)).unwrap();
        assert_eq!(ending, Ending::Complete { failed: BTreeSet::new() });
        assert_eq!((log(folder.path()).as_str(), firsts(&out)), ("abba", vec![Side::A, Side::B]));

        // The confirmation begins with the other program.
        let again = out.join("confirmation");
        pairs.run(&again, Side::B, &Progress::new(12)).unwrap();
        assert_eq!((log(folder.path()).as_str(), firsts(&again)), ("abbabaab", vec![Side::B, Side::A]));

        for side in [Side::A, Side::B] {
            let dir = out.join(side.name());
            let manifest = read_manifest(&dir).unwrap();
            assert_eq!(
                (manifest.run_id, &manifest.environment["rustc"]),
                (format!("fake-{}", side.name()), &side.name().to_owned())
            );
            assert_eq!(manifest.environment["lock_sha256"], NOT_EXPOSED);
            assert_eq!(manifest.environment["binary_sha256"].len(), 64);
        }
    }

    #[test]
    fn a_cell_that_fails_on_one_side_leaves_both() {
        let folder = tempfile::tempdir().unwrap();
        let (pairs, out) = (pairs(folder.path(), Some(1)), folder.path().join("out"));
        let crashed = fake::plan().cells[1].id.clone();
        let ending = pairs.run(&out, Side::A, &Progress::new(12)).unwrap();
        assert_eq!(ending, Ending::Complete { failed: BTreeSet::from([crashed.clone()]) });
        // The first pair was void, and ran again.
        assert_eq!((log(folder.path()).as_str(), firsts(&out)), ("ababba", vec![Side::A, Side::B]));
        for (side, reason) in
            [(Side::A, "left out, as it failed on the other side"), (Side::B, "its process ended early")]
        {
            let dir = out.join(side.name());
            let manifest = read_manifest(&dir).unwrap();
            let failures = read_rows_if_any::<FailureRow>(&dir, &manifest).unwrap().0;
            assert!(failures.len() == 1 && failures[0].reason.starts_with(reason), "{failures:?}");
            let samples = read_rows::<Sample>(&dir, &manifest).unwrap().0;
            let blocks: BTreeSet<u32> = samples.iter().map(|row| row.block).collect();
            assert!(samples.iter().all(|row| row.cell_id != crashed) && blocks == BTreeSet::from([0, 1]));
            let partial = read_rows_if_any::<PartialSample>(&dir, &manifest).unwrap().0;
            assert!(!partial.is_empty() && partial.iter().all(|row| row.0.block == 0), "of the void pair");
        }
    }

    /// From the processes to the verdict: what two programs report is what the gate says, to the last digit.
    #[test]
    fn a_slower_program_fails_its_gate_by_exactly_its_time() {
        let metrics = [TOKEN_TIME.to_owned()];
        let terms = Terms { margin: 0.01, confidence: 0.95 };
        let cells = fake::plan().cells.len();
        let verdicts = |time: f64, crash: Option<usize>| {
            let folder = tempfile::tempdir().unwrap();
            let (pairs, out) = (timed_pairs(folder.path(), crash, time), folder.path().join("out"));
            let findings = |dir: &Path, first: Side| {
                pairs.run(dir, first, &Progress::new(12)).unwrap();
                let [a, b] = [Side::A, Side::B].map(|side| Run::read(&dir.join(side.name())).unwrap());
                paired::findings(&a, &b, &metrics, terms.confidence).unwrap()
            };
            let first = findings(&out, Side::A);
            let second = findings(&out.join("confirmation"), Side::B);
            assert_eq!(first.len(), cells);
            Decision::paired(&first, Some(&second), terms)
        };
        let slower = verdicts(1.05, None);
        assert_eq!((slower.overall(), slower.count(Verdict::Regression)), (Overall::Regression, cells));
        for judgement in &slower.judgements {
            let (first, second) = (judgement.judged.unwrap().effect, judgement.confirmation.unwrap().effect);
            assert!((first.ratio - 1.0 / 1.05).abs() < 1e-15 && first.ratio == second.ratio, "{first:?}");
        }
        let same = verdicts(1.0, None);
        assert_eq!((same.overall(), same.count(Verdict::Equivalent)), (Overall::Pass, cells));
        let faster = verdicts(1.0 / 1.05, None);
        assert_eq!((faster.overall(), faster.count(Verdict::Improvement)), (Overall::Pass, cells));
        let crashed = verdicts(1.0, Some(1));
        assert_eq!((crashed.overall(), crashed.count(Verdict::Inconclusive)), (Overall::Inconclusive, 1));
    }

    #[test]
    fn a_program_that_cannot_run_the_plan_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let mut pairs = pairs(folder.path(), None);
        pairs.programs[1].path = fake::program(folder.path(), "echo 'no such axis' >&2; exit 3");
        let message = pairs.run(&folder.path().join("out"), Side::A, &Progress::new(12)).unwrap_err().to_string();
        let parts = ["side b, ", "program.sh: block 0: its process ended early: exit status: 3: no such axis"];
        assert!(parts.iter().all(|part| message.contains(part)), "{message}");
    }
}
