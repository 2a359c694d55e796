//! `bench run`: the main job, from an experiment file to tables and figures.

use std::path::{Path, PathBuf};

use chrono::Utc;
use miette::Result;

use super::{
    Exit,
    output::{note, print},
    select::SelectArgs,
};
use crate::{
    arm::Arm,
    digest::sha256,
    model::shape::PRESETS,
    plan::{
        Plan,
        expand::{Options, expand},
    },
    report,
    runner::{
        RunError, machine,
        progress::Progress,
        session::{Ending, Session},
        stage::copies,
    },
    spec::Spec,
};

/// Run an experiment and write its samples, tables and figures
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The experiment, for example `experiments/ablation.toml`
    spec: PathBuf,
    /// Folder of the results [default: results/<experiment>/<run-id>]
    #[arg(long, value_name = "DIR", conflicts_with = "resume")]
    out: Option<PathBuf>,
    /// Fewer blocks and tokens: a look, never a citation
    #[arg(long)]
    quick: bool,
    /// Go on with an interrupted run
    #[arg(long, value_name = "DIR")]
    resume: Option<PathBuf>,
    #[command(flatten)]
    select: SelectArgs,
}

/// Measures, then derives everything from what was measured.
pub fn run(args: &Args) -> Result<Exit> {
    let (spec, plan) = plan_of(&args.spec, args.quick, &args.select)?;
    let run_id = run_id(&plan);
    let cells = plan.cells.len();
    let progress = Progress::new(plan.protocol.blocks as u64 * plan.cells.len() as u64);
    let (dir, mut session) = match &args.resume {
        Some(dir) => (dir.clone(), Session::resume(dir, &plan, &spec.text)?),
        None => {
            let dir = args.out.clone().unwrap_or_else(|| Path::new("results").join(&plan.experiment).join(&run_id));
            note(&format!("{}: {} cells in {} blocks", plan.experiment, plan.cells.len(), plan.protocol.blocks));
            let cores = machine::cores();
            for threads in plan.thread_counts().into_iter().filter(|&threads| threads > cores) {
                note(&format!(
                    "{threads} threads share {cores} CPUs, bound to none: their times are those of the scheduler, too; \
                     `threads = \"all\"` is one for each CPU"
                ));
            }
            for point in &plan.infeasible {
                note(&format!("left out: {}, {} on {}: {}", point.design, point.step, point.workload, point.reason));
            }
            let session = Session::begin(&dir, &run_id, plan, spec.text.clone(), &progress)?;
            (dir, session)
        }
    };
    let ending = session.run(&progress)?;
    progress.finish();
    match ending {
        Ending::Interrupted => {
            let quick = if args.quick { " --quick" } else { "" };
            let (spec, dir) = (shell_word(&args.spec), shell_word(&dir));
            let select = args.select.flags();
            note(&format!("interrupted; go on with\n  bench run {spec}{quick}{select} --resume {dir}"));
            Ok(Exit::Interrupted)
        }
        Ending::Complete { failed } => {
            report::build(&dir).map_err(RunError::from)?;
            print(&format!("{}\n", dir.display()))?;
            if failed.is_empty() {
                return Ok(Exit::Pass);
            }
            let file = dir.join("failures.csv");
            note(&format!("{} of {cells} cells failed: see {}", failed.len(), file.display()));
            Ok(Exit::Partial)
        }
    }
}

/// The experiment in `path` and its plan on this machine.
///
/// # Errors
/// A selection or a file that makes no sense.
pub(super) fn plan_of(path: &Path, quick: bool, select: &SelectArgs) -> Result<(Spec, Plan)> {
    let selection = select.selection()?;
    let spec = Spec::read(path).map_err(RunError::from)?;
    let presets: Vec<(&str, usize)> = PRESETS.iter().map(|preset| (preset.name, preset.weights())).collect();
    let options = Options {
        quick,
        keep: &|arm: &Arm| selection.keeps(arm),
        cores: machine::cores(),
        copies: &copies,
        presets: &presets,
    };
    let plan = expand(&spec, &options).map_err(RunError::from)?;
    Ok((spec, plan))
}

/// A path as one word of a shell's command line.
fn shell_word(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+=:@%,".contains(c);
    if !text.is_empty() && text.chars().all(plain) { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

/// When the run began, and what it measures.
pub(super) fn run_id(plan: &Plan) -> String {
    let plan = serde_json::to_string(plan).unwrap_or_default();
    format!("{}-{}", Utc::now().format("%Y%m%dT%H%M%SZ"), &sha256([plan.as_bytes()])[..8])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_quoted_where_a_shell_would_cut_them() {
        assert_eq!(shell_word(Path::new("results/a-b_1.toml")), "results/a-b_1.toml");
        assert_eq!(shell_word(Path::new("my results")), "'my results'");
        assert_eq!(shell_word(Path::new("it's")), r"'it'\''s'");
    }
}
