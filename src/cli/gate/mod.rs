//! `bench gate`: has it become slower? Of two recorded runs, of two revisions measured now, or of instruction
//! counts against a baseline.

mod counts;

use std::{
    collections::BTreeMap,
    env, fs,
    io::{self, Write},
    ops::Range,
    path::{Path, PathBuf},
};

use miette::{Diagnostic, IntoDiagnostic, Result};
use thiserror::Error;

use self::counts::CountsArgs;
use super::{
    Exit,
    output::{note, print},
    run::{Planned, planned, run_id},
    select::SelectArgs,
};
use crate::{
    gate::{
        Decision, Finding, Gate, GateError, Overall, Run, Source, Terms, check_comparable, chosen_metrics,
        output::{annotations::annotations, go_bench::go_bench, junit::junit, summary::summary, text::text},
        paired, recorded,
    },
    plan::Plan,
    record::Side,
    report::{calibration::Calibration, metric::TOKEN_TIME},
    revision::Checkout,
    runner::{
        machine,
        pairs::{Pairs, Program},
        progress::Progress,
        session::Ending,
    },
    spec::Spec,
};

/// Where calibrations of this machine class are looked for.
const RESULTS: &str = "results";

/// Fewest pairs of blocks: one has no spread.
const MIN_BLOCKS: u32 = 2;

/// Margins that mean something, as in an experiment.
const MARGINS: Range<f64> = 0.0001..0.5;

/// Say whether something became slower
///
/// Exits with 0 (pass), 1 (regression), 2 (inconclusive) or 3 (input that cannot be compared).
#[derive(Debug, clap::Args)]
#[command(group(clap::ArgGroup::new("source").required(true).args(["results", "against", "bench_a", "counts"])))]
pub struct Args {
    /// Two recorded runs, the base first: is each step still worth what it was?
    #[arg(long, num_args = 2, value_names = ["A", "B"])]
    results: Option<Vec<PathBuf>>,
    /// A revision to build and to measure this checkout against, in pairs of blocks
    #[arg(long, value_name = "GIT_REF")]
    against: Option<String>,
    /// A ready program to measure as the base, in place of a revision
    #[arg(long, value_name = "PATH", requires = "bench_b")]
    bench_a: Option<PathBuf>,
    /// A ready program to measure as the candidate
    #[arg(long, value_name = "PATH", requires = "bench_a")]
    bench_b: Option<PathBuf>,
    #[command(flatten)]
    counts: CountsArgs,
    /// The experiment that two programs run
    #[arg(default_value = "experiments/gate.toml", conflicts_with_all = ["results", "counts"])]
    experiment: PathBuf,
    #[command(flatten)]
    select: SelectArgs,
    /// Pairs of blocks [default: the blocks of the experiment]
    #[arg(long, value_name = "N", conflicts_with_all = ["results", "counts"], value_parser = clap::value_parser!(u32).range(i64::from(MIN_BLOCKS)..))]
    blocks: Option<u32>,
    /// Folder of what two programs measure [default: results/gate/<id>]
    #[arg(long, value_name = "DIR", conflicts_with_all = ["results", "counts"])]
    out: Option<PathBuf>,
    /// Metrics that decide
    #[arg(long, value_name = "METRIC,…", value_delimiter = ',', default_value = TOKEN_TIME, conflicts_with = "counts")]
    metric: Vec<String>,
    /// Effects below this share are of no interest (0.02 is 2 %) [default: that of the experiment; of counts 0.002]
    #[arg(long, value_name = "SHARE")]
    margin: Option<f64>,
    /// Compare quick runs, too
    #[arg(long, requires = "results")]
    allow_quick: bool,
    /// Write JUnit XML
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Append Markdown [default: the file that $GITHUB_STEP_SUMMARY names, if it is set]
    #[arg(long, value_name = "FILE")]
    summary: Option<PathBuf>,
    /// Write the text of Go's benchmarks, for benchstat
    #[arg(long, value_name = "FILE", conflicts_with = "counts")]
    go_bench: Option<PathBuf>,
}

/// A file for CI that cannot be written.
#[derive(Debug, Error, Diagnostic)]
#[error("cannot write {path}: {cause}")]
#[diagnostic(help("name a file in a folder that exists and can be written"))]
struct Unwritable {
    path: PathBuf,
    cause: io::Error,
}

/// A decision, or none because a signal came.
enum Outcome {
    Decided(Gate, Vec<(Side, Run)>),
    Interrupted,
}

/// Measures where there is something to measure, decides, and tells.
pub fn run(args: &Args) -> Result<Exit> {
    if let Some(found) = args.margin.filter(|margin| !MARGINS.contains(margin)) {
        return Err(GateError::Margin { found }.into());
    }
    if let Some(reason) = &args.counts.update {
        return counts::update(args, reason);
    }
    let outcome = if args.counts.counts {
        Outcome::Decided(counts::gate(args)?, Vec::new())
    } else if let Some(runs) = &args.results {
        of_results(args, &runs[0], &runs[1])?
    } else if let Some(reference) = &args.against {
        of_revision(args, reference)?
    } else {
        let paths = [&args.bench_a, &args.bench_b].map(|path| path.clone().unwrap_or_default());
        let sides = paths.each_ref().map(|path| path.display().to_string());
        of_programs(args, paths.map(|path| Program { path, facts: BTreeMap::new() }), sides)?
    };
    match outcome {
        Outcome::Interrupted => {
            note("interrupted; what was measured is kept, and nothing was decided");
            Ok(Exit::Interrupted)
        }
        Outcome::Decided(gate, runs) => {
            tell(args, &gate, &runs)?;
            Ok(match gate.decision.overall() {
                Overall::Pass => Exit::Pass,
                Overall::Regression => Exit::Regression,
                Overall::Inconclusive => Exit::Inconclusive,
            })
        }
    }
}

/// Compares two recorded runs.
fn of_results(args: &Args, a: &Path, b: &Path) -> Result<Outcome> {
    let (a, b) = (Run::read(a)?, Run::read(b)?);
    let notes = check_comparable(&a, &b, args.allow_quick)?;
    let plan = &a.manifest.plan;
    let metrics = chosen_metrics(plan, &args.metric)?;
    let terms = terms(args, plan);
    let decision = Decision::recorded(&recorded::findings(&a, &b, &metrics, terms.confidence)?, terms);
    let (source, experiment) = (Source::Recorded, plan.experiment.clone());
    let sides = [a.describe(), b.describe()];
    let gate = Gate { source, experiment, metrics, sides, decision, notes };
    Ok(Outcome::Decided(gate, vec![(Side::A, a), (Side::B, b)]))
}

/// Builds a revision and this checkout, and compares them.
fn of_revision(args: &Args, reference: &str) -> Result<Outcome> {
    let checkout = Checkout::here()?;
    let commit = checkout.commit(reference)?;
    // A mistake in the experiment is told before minutes of compiling.
    plan_of_gate(args)?;
    note("building this checkout");
    let b = checkout.build_here()?;
    note(&format!("building {reference} ({commit})"));
    let a = checkout.build_commit(&commit)?;
    let describe = |program: &Program| {
        let fact = |name: &str| program.facts.get(name).cloned().unwrap_or_default();
        format!("commit {}, {}", fact("git_commit"), fact("git_dirty"))
    };
    let sides = [format!("{reference}: {}", describe(&a)), format!("this checkout: {}", describe(&b))];
    of_programs(args, [a, b], sides)
}

/// Measures two programs in pairs of blocks; a regression is measured again in reversed order.
fn of_programs(args: &Args, programs: [Program; 2], sides: [String; 2]) -> Result<Outcome> {
    let (spec, plan) = plan_of_gate(args)?;
    let metrics = chosen_metrics(&plan, &args.metric)?;
    let (terms, run_id, experiment) = (terms(args, &plan), run_id(&plan), plan.experiment.clone());
    let (blocks, cells) = (plan.protocol.blocks, plan.cells.len());
    let dir = args.out.clone().unwrap_or_else(|| Path::new("results/gate").join(&run_id));
    let progress = Progress::new(2 * u64::from(blocks) * cells as u64);
    note(&format!("{experiment}: {cells} cells in {blocks} pairs of blocks"));
    // A file that cannot be read is told before anything is measured.
    let calibration = Calibration::among(Path::new(RESULTS), &machine::environment()).map_err(GateError::Report)?;
    let pairs = Pairs::examine(&dir, &run_id, plan, spec.text, programs, &progress)?;
    let Some(mut runs) = measure(&pairs, &dir, Side::A, &progress)? else { return Ok(Outcome::Interrupted) };
    let first = findings(&runs, &metrics, terms)?;
    let mut decision = Decision::paired(&first, None, terms);
    if decision.awaits_confirmation() {
        note("a regression at first sight: confirming it in pairs that begin with the other program");
        let Some(again) = measure(&pairs, &dir.join("confirmation"), Side::B, &progress)? else {
            return Ok(Outcome::Interrupted);
        };
        decision = Decision::paired(&first, Some(&findings(&again, &metrics, terms)?), terms);
        runs.extend(again);
    }
    progress.finish();
    let mut notes = vec![format!("samples are in {}", dir.display())];
    notes.extend(calibration.and_then(|calibration| calibration.sentence()));
    let gate = Gate { source: Source::Paired, experiment, metrics, sides, decision, notes };
    Ok(Outcome::Decided(gate, runs))
}

/// Runs every pair and reads what was recorded; nothing if a signal came.
fn measure(pairs: &Pairs, dir: &Path, first: Side, progress: &Progress) -> Result<Option<Vec<(Side, Run)>>> {
    match pairs.run(dir, first, progress)? {
        Ending::Interrupted => Ok(None),
        Ending::Complete { .. } => {
            let read = |side: Side| Ok((side, Run::read(&dir.join(side.name()))?));
            [Side::A, Side::B].into_iter().map(read).collect::<Result<Vec<_>>>().map(Some)
        }
    }
}

/// What the two sides of a measurement say.
fn findings(runs: &[(Side, Run)], metrics: &[String], terms: Terms) -> Result<Vec<Finding>, GateError> {
    paired::findings(&runs[0].1, &runs[1].1, metrics, terms.confidence)
}

/// The experiment of a measurement, with the blocks and the margin that were asked for.
fn plan_of_gate(args: &Args) -> Result<(Spec, Plan)> {
    let Planned { spec, mut plan, .. } = planned(&args.experiment, false, &args.select)?;
    plan.protocol.blocks = args.blocks.unwrap_or(plan.protocol.blocks);
    plan.protocol.margin = args.margin.unwrap_or(plan.protocol.margin);
    Ok((spec, plan))
}

fn terms(args: &Args, plan: &Plan) -> Terms {
    Terms { margin: args.margin.unwrap_or(plan.protocol.margin), confidence: plan.protocol.confidence }
}

/// Prints the decision and writes the files that were asked for, or that a CI asks for.
fn tell(args: &Args, gate: &Gate, runs: &[(Side, Run)]) -> Result<()> {
    print(&text(gate))?;
    let write =
        |path: &Path, bytes: &str| fs::write(path, bytes).map_err(|cause| Unwritable { path: path.to_owned(), cause });
    if let Some(path) = &args.junit {
        write(path, &junit(gate).into_diagnostic()?)?;
    }
    if let Some(path) = &args.go_bench {
        let runs: Vec<(Side, &Run)> = runs.iter().map(|(side, run)| (*side, run)).collect();
        write(path, &go_bench(&runs))?;
    }
    let step_summary = || env::var_os("GITHUB_STEP_SUMMARY").filter(|path| !path.is_empty()).map(PathBuf::from);
    if let Some(path) = args.summary.clone().or_else(step_summary) {
        let file = fs::OpenOptions::new().create(true).append(true).open(&path);
        let appended = file.and_then(|mut file| file.write_all(summary(gate).as_bytes()));
        appended.map_err(|cause| Unwritable { path, cause })?;
    }
    if env::var_os("GITHUB_ACTIONS").is_some() {
        // GitHub reads commands from both streams; standard output carries the decision alone.
        annotations(gate).lines().for_each(note);
    }
    Ok(())
}
