//! `bench run`: the main job, from an experiment file to tables and figures.

use std::path::{Path, PathBuf};

use chrono::Utc;
use miette::Result;

use super::{
    Exit,
    output::{note, print, shell_word},
    plan::forecast,
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
    record::read_manifest,
    report,
    runner::{
        RunError, machine,
        pilot::Pilot,
        progress::Progress,
        session::{Ending, Session},
        stage::copies,
    },
    spec::{Blocks, Spec},
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
    /// Choose the number of blocks by three blocks that do not count, up to `max_blocks` of the experiment
    #[arg(long, conflicts_with = "quick")]
    pilot: bool,
    /// Go on with an interrupted run
    #[arg(long, value_name = "DIR")]
    resume: Option<PathBuf>,
    #[command(flatten)]
    select: SelectArgs,
}

/// Measures, then derives everything from what was measured.
pub fn run(args: &Args) -> Result<Exit> {
    let Planned { spec, mut plan, pilot_chooses, most_blocks, cores } = planned(&args.spec, args.quick, &args.select)?;
    if args.pilot || pilot_chooses {
        match &args.resume {
            // What was chosen once stays.
            Some(dir) => {
                let first = read_manifest(dir).map_err(RunError::from)?.plan.protocol;
                (plan.protocol.blocks, plan.protocol.chosen) = (first.blocks, first.chosen);
            }
            None => {
                let Some(pilot) = Pilot::run(&plan, &spec.text, &note)? else { return Ok(Exit::Interrupted) };
                let chosen = forecast(&plan, pilot.dir())?.choose(&plan, most_blocks);
                let Some((blocks, reason)) = chosen else { return Err(RunError::NothingToRun.into()) };
                note(&format!("{blocks} blocks: {reason}"));
                (plan.protocol.blocks, plan.protocol.chosen) = (blocks, Some(reason));
            }
        }
    }
    let run_id = run_id(&plan);
    let cells = plan.cells.len();
    let progress = Progress::new(plan.protocol.blocks as u64 * plan.cells.len() as u64);
    let (dir, mut session) = match &args.resume {
        Some(dir) => (dir.clone(), Session::resume(dir, &plan, &spec.text)?),
        None => {
            let dir = args.out.clone().unwrap_or_else(|| Path::new("results").join(&plan.experiment).join(&run_id));
            note(&format!("{}: {} cells in {} blocks", plan.experiment, plan.cells.len(), plan.protocol.blocks));
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
            let quick = if args.quick {
                " --quick"
            } else if args.pilot {
                " --pilot"
            } else {
                ""
            };
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

/// An experiment file and what it stands for here.
pub struct Planned {
    pub spec: Spec,
    pub plan: Plan,
    /// Whether the file leaves the number of blocks to a pilot; the plan has the most then.
    pub pilot_chooses: bool,
    /// Most blocks that a pilot may choose.
    pub most_blocks: u32,
    /// Cores of this machine.
    pub cores: usize,
}

/// Reads and expands the experiment at `path`.
///
/// # Errors
/// A selection or a file that cannot be used.
pub fn planned(path: &Path, quick: bool, select: &SelectArgs) -> Result<Planned> {
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
    let pilot_chooses = !quick && matches!(spec.file.protocol.blocks.get_ref(), Blocks::Word(_));
    let most_blocks = spec.file.protocol.max_blocks.as_ref().map_or(plan.protocol.blocks, |most| *most.get_ref());
    Ok(Planned { plan, pilot_chooses, most_blocks, cores: options.cores, spec })
}

/// When the run began, and what it measures.
pub(super) fn run_id(plan: &Plan) -> String {
    let plan = serde_json::to_string(plan).unwrap_or_default();
    format!("{}-{}", Utc::now().format("%Y%m%dT%H%M%SZ"), &sha256([plan.as_bytes()])[..8])
}
