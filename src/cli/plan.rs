//! `bench plan`: what a run would measure, how long it would take, and what it could detect.

use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
};

use miette::{IntoDiagnostic, Result};
use serde_json::json;

use super::{
    Exit,
    output::{note, print},
    run::{Planned, planned},
    select::SelectArgs,
};
use crate::{
    plan::Plan,
    record::{block::BlockRow, read_rows_if_any},
    report::{Report, ReportError, forecast::Forecast, text},
    runner::{RunError, pilot::Pilot},
};

/// Print what a run would measure, how long it would take, and what it could detect
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The experiment, for example `experiments/ablation.toml`
    spec: PathBuf,
    /// Fewer blocks and tokens, as in `bench run --quick`
    #[arg(long)]
    quick: bool,
    /// Run three blocks that do not count, to know time and spread
    #[arg(long, conflicts_with = "like")]
    pilot: bool,
    /// Take time and spread from this run of the same experiment
    #[arg(long, value_name = "RESULTS_DIR")]
    like: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    select: SelectArgs,
}

/// What stands where nothing is known.
const UNKNOWN: &str = "unknown: run with --pilot or --like";

/// Prints the plan.
pub fn run(args: &Args) -> Result<Exit> {
    let Planned { spec, plan, pilot_chooses, .. } = planned(&args.spec, args.quick, &args.select)?;
    let forecast = if args.pilot {
        match Pilot::run(&plan, &spec.text, &note)? {
            Some(pilot) => Some(forecast(&plan, pilot.dir())?),
            None => return Ok(Exit::Interrupted),
        }
    } else {
        args.like.as_deref().map(|dir| forecast(&plan, dir)).transpose()?
    };
    let text = if args.json {
        let value = json!({ "plan": plan, "forecast": forecast, "pilot_chooses_blocks": pilot_chooses });
        serde_json::to_string_pretty(&value).into_diagnostic()? + "\n"
    } else {
        describe(&plan, pilot_chooses, forecast.as_ref())
    };
    print(&text)?;
    Ok(Exit::Pass)
}

/// What the run in `dir` says of `plan`.
///
/// # Errors
/// Files of the run that cannot be read.
pub fn forecast(plan: &Plan, dir: &Path) -> Result<Forecast, RunError> {
    let report = Report::read(dir)?;
    let (blocks, _) = read_rows_if_any::<BlockRow>(dir, &report.analysis.manifest).map_err(ReportError::from)?;
    Ok(Forecast::new(plan, &report.analysis, &blocks))
}

fn describe(plan: &Plan, pilot_chooses: bool, forecast: Option<&Forecast>) -> String {
    let mut out = String::new();
    let protocol = &plan.protocol;
    let chooses = if pilot_chooses { "at most, a pilot chooses" } else { "planned" };
    let mut line = |text: String| {
        // Writing to a string does not fail.
        let _ = writeln!(out, "{text}");
    };
    line(format!("experiment  {}", plan.experiment));
    line(format!(
        "blocks      {} {chooses}; margin {}, confidence {}",
        protocol.blocks,
        text::percent(protocol.margin),
        text::percent(protocol.confidence)
    ));
    line(format!("\nworkloads   {}", plan.workloads.len()));
    for workload in &plan.workloads {
        let cells = plan.cells.iter().filter(|cell| cell.workload == workload.name).count();
        line(format!("  {}: {}; threads {}, {cells} cells", workload.name, workload.title, workload.threads));
    }
    line(format!("\ncells       {}", plan.cells.len()));
    for cell in &plan.cells {
        let null = if cell.null_of.is_some() { " (A′)" } else { "" };
        line(format!("  {} {}{null}: {}", cell.workload, cell.arm, cell.kernel));
    }
    line(format!("\ndesigns     {}", plan.designs.len()));
    for design in &plan.designs {
        let of = |workload: &str| design.contrasts.iter().filter(|c| c.workload == workload).count();
        let counts = plan.workloads.iter().map(|w| (&w.name, of(&w.name))).filter(|(_, count)| *count > 0);
        let counts: Vec<String> = counts.map(|(name, count)| format!("{count} on {name}")).collect();
        let counts = if counts.is_empty() { "no contrast".to_owned() } else { counts.join(", ") };
        line(format!("  {}: {}; {counts}", design.name, design.title));
    }
    line(format!("\nleft out    {}", plan.infeasible.len()));
    for point in &plan.infeasible {
        line(format!("  {}, {} on {}: {}", point.design, point.step, point.workload, point.reason));
    }
    let seconds = forecast.and_then(|forecast| forecast.block_seconds);
    let time = seconds.map_or(UNKNOWN.to_owned(), |seconds| {
        let minutes = seconds * f64::from(protocol.blocks) / 60.0;
        format!("{seconds:.1} s a block, {minutes:.0} min for {} blocks", protocol.blocks)
    });
    line(format!("\ntime        {time}"));
    match forecast {
        None => line(format!("detectable  {UNKNOWN}")),
        Some(forecast) => {
            line(format!("detectable  from run {} with {} blocks", forecast.from, forecast.from_blocks));
            for typical in &forecast.workloads {
                line(format!(
                    "  {} ({} contrasts): {}",
                    typical.workload,
                    typical.contrasts,
                    outlook(typical.spread, typical.detectable, typical.blocks_for_margin, protocol.blocks)
                ));
            }
            for contrast in &forecast.contrasts {
                line(format!(
                    "  {} {}, {}: {}",
                    contrast.workload,
                    contrast.design,
                    contrast.step,
                    outlook(contrast.spread, contrast.detectable, contrast.blocks_for_margin, protocol.blocks)
                ));
            }
        }
    }
    out
}

fn outlook(spread: f64, detectable: f64, needed: Option<usize>, planned: u32) -> String {
    let needed = needed.map_or("more than 1000".to_owned(), |blocks| blocks.to_string());
    format!(
        "spread {} a block, {planned} blocks detect {}, {needed} blocks detect the margin",
        text::two_decimals(spread),
        text::two_decimals(detectable)
    )
}
