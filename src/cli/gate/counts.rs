//! `bench gate --counts`: instruction counts against a baseline, and the one way to update it.

use std::{
    collections::BTreeMap,
    env, fs,
    path::{Path, PathBuf},
};

use chrono::{SecondsFormat, Utc};
use miette::{Diagnostic, IntoDiagnostic, Result};
use septet_kernels::{Variant, registry};
use thiserror::Error;

use super::{Args, Exit, GateError, note, print, text};
use crate::{
    cli::select::Selection,
    counters::{NoCounters, callgrind::Simulator},
    gate::{
        Decision, Finding, Gate, Source, Terms,
        counted::{Counted, INSTRUCTIONS, findings, no_answer},
    },
    record::{
        RecordError,
        baseline::{BASELINE_SCHEMA, Baseline, Toolchain, Update, read_baseline, write_baseline},
    },
    runner::{machine, progress::Progress},
    stats::verdict::Verdict,
};

/// The margin of counts: what the compiler shuffles without anybody's doing is not to be discussed.
const MARGIN: f64 = 0.002;

/// Counts have no chance in them; intervals are points.
const CONFIDENCE: f64 = 0.95;

/// The matrix of a new baseline: several tiles of rows, and rows of several segments and a short one.
const ROWS: usize = 128;
const COLS: usize = 2112;

/// What `--counts` takes.
#[derive(Debug, clap::Args)]
pub struct CountsArgs {
    /// Count the instructions of every kernel under valgrind: are they those of the baseline?
    #[arg(long)]
    pub counts: bool,
    /// The counts that are right
    #[arg(long, value_name = "FILE", default_value = "results/counts/baseline.json", requires = "counts")]
    pub baseline: PathBuf,
    /// Replace the counts in the baseline by those of this program, for this reason
    #[arg(long, value_name = "REASON", requires = "counts", conflicts_with_all = ["junit", "summary"])]
    pub update: Option<String>,
    /// Update although some kernels take more instructions; they are recorded with the reason
    #[arg(long, requires = "update")]
    pub accept_regressions: bool,
}

/// Why there is no baseline, or none was written.
#[derive(Debug, Error, Diagnostic)]
enum BaselineError {
    #[error(transparent)]
    #[diagnostic(help("`bench gate --counts --update REASON` writes a baseline"))]
    Read(RecordError),
    #[error(transparent)]
    #[diagnostic(help("name a file in a folder that can be written with --baseline"))]
    Write(RecordError),
    #[error("--update has no reason")]
    #[diagnostic(help("say why these counts are right: --update 'the scale is loaded once for each segment'"))]
    NoReason,
    #[error("nothing can be counted here: {0}")]
    #[diagnostic(help("the baseline is as it was"))]
    NoCounts(NoCounters),
    #[error("a kernel has no count, and the baseline stays as it was: {kernel}: {reason}")]
    #[diagnostic(help("`bench check` says which kernels are right"))]
    Failed { kernel: String, reason: String },
    #[error("counts do not repeat, and the baseline stays as it was: {kernel} took {first} and {second} instructions")]
    #[diagnostic(help("run `bench product {kernel} --rows 64 --cols 512` under valgrind and see what differs"))]
    Unstable { kernel: String, first: u64, second: u64 },
    #[error("the baseline is of another toolchain ({difference}), and stays as it was")]
    #[diagnostic(help("update it as a whole, without -a"))]
    Part { difference: String },
    #[error("kernels that take more instructions than in the baseline: {count}; it stays as it was")]
    #[diagnostic(help("make them as short as they were, or accept and record them with --accept-regressions"))]
    Regressions { count: usize },
}

/// Counts and decides. What cannot be compared is one question without an answer.
pub fn gate(args: &Args) -> Result<Gate> {
    let path = &args.counts.baseline;
    let selection = args.select.compiled()?;
    let mut baseline = read_baseline(path).map_err(BaselineError::Read)?;
    baseline.instructions.retain(|name, _| is_selected(name, &selection));
    let kernels = selected(&selection)?;
    let mut notes = Vec::new();
    let findings = match Simulator::find() {
        Err(none) => vec![no_answer(&baseline, none.to_string())],
        Ok(simulator) => match baseline.toolchain.difference(&toolchain(&simulator)) {
            Some(difference) => vec![no_answer(&baseline, of_another_toolchain(&difference))],
            None => {
                let counted = count(&simulator, &kernels, (baseline.rows, baseline.cols))?;
                let (now, lacking) = split(counted);
                notes.extend(said_of(&lacking));
                findings(&baseline, &with_lost(now, &lacking, &baseline))
            }
        },
    };
    Ok(told(args, path, &baseline, &findings, notes))
}

/// Counts twice, and replaces the baseline if every kernel has one count, is right, and takes no more
/// instructions than it took, or is accepted.
pub fn update(args: &Args, reason: &str) -> Result<Exit> {
    let path = &args.counts.baseline;
    if reason.trim().is_empty() {
        return Err(BaselineError::NoReason.into());
    }
    // One that cannot be read is not overwritten.
    let old = if path.exists() { Some(read_baseline(path).map_err(BaselineError::Read)?) } else { None };
    let selection = args.select.compiled()?;
    let kernels = selected(&selection)?;
    let simulator = Simulator::find().map_err(BaselineError::NoCounts)?;
    let mut baseline = old.clone().unwrap_or_else(|| Baseline {
        schema: BASELINE_SCHEMA,
        toolchain: toolchain(&simulator),
        rows: ROWS,
        cols: COLS,
        updates: Vec::new(),
        instructions: BTreeMap::new(),
    });
    let mut before = baseline.clone();
    before.instructions.retain(|name, _| is_selected(name, &selection));
    baseline.instructions.retain(|name, _| !is_selected(name, &selection));
    let difference = baseline.toolchain.difference(&toolchain(&simulator));
    if let Some(difference) = difference.clone().filter(|_| !baseline.instructions.is_empty()) {
        return Err(BaselineError::Part { difference }.into());
    }
    let pass = || -> Result<_> {
        let (now, lacking) = split(count(&simulator, &kernels, (baseline.rows, baseline.cols))?);
        Ok((with_lost(now, &lacking, &before), lacking))
    };
    let ((first, lacking), (second, _)) = (pass()?, pass()?);
    said_of(&lacking).iter().for_each(|line| note(line));
    let instructions = agreed(&first, &second)?;
    let mut accepted = Vec::new();
    // Counts of two toolchains say nothing about each other.
    if difference.is_none() && old.is_some() {
        let gate = told(args, path, &before, &findings(&before, &first), Vec::new());
        print(&text(&gate))?;
        let judgements = gate.decision.judgements.iter();
        let regressions = judgements.filter(|judgement| judgement.verdict == Verdict::Regression);
        accepted = regressions.map(|judgement| judgement.question.subject.clone()).collect();
    }
    if !accepted.is_empty() && !args.counts.accept_regressions {
        return Err(BaselineError::Regressions { count: accepted.len() }.into());
    }
    let utc = Utc::now().to_rfc3339_opts(SecondsFormat::Secs, true);
    baseline.updates.push(Update { utc, reason: reason.trim().to_owned(), accepted });
    baseline.toolchain = toolchain(&simulator);
    baseline.instructions.extend(instructions);
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let created = folder.map_or(Ok(()), fs::create_dir_all);
    let created = created.map_err(|cause| RecordError::Io { path: path.clone(), cause });
    created.and_then(|()| write_baseline(path, &baseline)).map_err(BaselineError::Write)?;
    note(&format!("{} kernels are in {}", baseline.instructions.len(), path.display()));
    Ok(Exit::Pass)
}

/// Kernels of the selection.
fn selected(selection: &Selection) -> Result<Vec<Variant>, GateError> {
    let kernels = registry::kernels().iter().map(|kernel| kernel.variant);
    let kernels: Vec<Variant> = kernels.filter(|variant| selection.holds(*variant)).collect();
    let (reason, help) = ("no kernel lies in the selection", "`bench list` prints the kernels");
    if kernels.is_empty() { Err(GateError::Nothing { reason, help }) } else { Ok(kernels) }
}

/// Whether a kernel of a baseline lies in the selection; a name that is none any more always does.
fn is_selected(name: &str, selection: &Selection) -> bool {
    name.parse().map_or(true, |variant: Variant| selection.holds(variant))
}

/// What counts of this program depend on.
fn toolchain(simulator: &Simulator) -> Toolchain {
    let facts = machine::environment();
    let fact = |name: &str| facts.get(name).cloned().unwrap_or_default();
    Toolchain {
        rustc: fact("rustc"),
        target: fact("target"),
        profile: fact("profile"),
        rustflags: fact("rustflags"),
        libc: fact("libc"),
        valgrind: simulator.version.clone(),
    }
}

fn of_another_toolchain(difference: &str) -> String {
    format!("the baseline is of another toolchain ({difference}); with this one, --update counts anew")
}

/// Instructions of each kernel, or why there are none.
type Counts = Vec<(Variant, Result<u64, NoCounters>)>;

fn count(simulator: &Simulator, kernels: &[Variant], shape: (usize, usize)) -> Result<Counts> {
    let program = env::current_exe().into_diagnostic()?;
    let progress = Progress::new(kernels.len() as u64);
    progress.doing("counting instructions");
    let counts = simulator.count_each(&program, kernels, shape, &|| progress.step());
    progress.finish();
    let instructions = counts.into_iter().map(|counts| counts.map(|counts| counts.instructions));
    Ok(kernels.iter().copied().zip(instructions).collect())
}

/// What was counted or failed, and the kernels whose instructions the simulator does not know.
fn split(counts: Counts) -> (Counted, Vec<(Variant, NoCounters)>) {
    let (mut counted, mut lacking) = (Counted::new(), Vec::new());
    for (variant, count) in counts {
        match count {
            Err(none) if none.lacks_instructions => lacking.push((variant, none)),
            count => {
                counted.insert(variant.to_string(), count.map_err(|none| none.to_string()));
            }
        }
    }
    (counted, lacking)
}

/// With the kernels that were counted once and cannot be counted here: they are questions, too.
fn with_lost(mut now: Counted, lacking: &[(Variant, NoCounters)], baseline: &Baseline) -> Counted {
    for (variant, none) in lacking {
        let name = variant.to_string();
        if baseline.instructions.contains_key(&name) {
            now.insert(name, Err(none.to_string()));
        }
    }
    now
}

/// How many kernels are not simulated, for each instruction set.
fn said_of(lacking: &[(Variant, NoCounters)]) -> Vec<String> {
    let mut sets: Vec<(&Variant, &NoCounters, usize)> = Vec::new();
    for (variant, none) in lacking {
        match sets.iter_mut().find(|(first, ..)| first.isa == variant.isa) {
            Some((.., count)) => *count += 1,
            None => sets.push((variant, none, 1)),
        }
    }
    let line = |(first, none, count): (&Variant, &NoCounters, usize)| {
        format!("{count} kernels of {} are not counted: {}", first.isa, none.reason)
    };
    sets.into_iter().map(line).collect()
}

/// The counts of two passes that agree.
fn agreed(first: &Counted, second: &Counted) -> Result<BTreeMap<String, u64>, BaselineError> {
    let one = |(kernel, first): (&String, &Result<u64, String>)| {
        let failed = |reason: &String| BaselineError::Failed { kernel: kernel.clone(), reason: reason.clone() };
        let first = *first.as_ref().map_err(failed)?;
        match second.get(kernel) {
            Some(Ok(second)) if *second != first => {
                Err(BaselineError::Unstable { kernel: kernel.clone(), first, second: *second })
            }
            Some(Err(reason)) => Err(failed(reason)),
            _ => Ok((kernel.clone(), first)),
        }
    };
    first.iter().map(one).collect()
}

/// The decision with what is known beside it.
fn told(args: &Args, path: &Path, baseline: &Baseline, findings: &[Finding], mut notes: Vec<String>) -> Gate {
    let terms = Terms { margin: args.margin.unwrap_or(MARGIN), confidence: CONFIDENCE };
    let decision = Decision::recorded(findings, terms);
    let fewer = decision.count(Verdict::Improvement);
    if fewer > 0 {
        notes.push(format!("{fewer} kernels take fewer instructions: --update holds them to it"));
    }
    let because = baseline.updates.last().map(|update| format!(", updated {}: {}", update.utc, update.reason));
    let sides = [format!("{}{}", path.display(), because.unwrap_or_default()), "this program".to_owned()];
    let experiment = "instruction counts".to_owned();
    Gate { source: Source::Counted, experiment, metrics: vec![INSTRUCTIONS.to_owned()], sides, decision, notes }
}
