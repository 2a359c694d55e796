//! `bench doctor`: what this machine can do, and how well it can be measured.

use miette::IntoDiagnostic;

use super::{
    Exit,
    output::{note, print},
};
use crate::doctor;

/// Measure the ceilings of this machine
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Fewer and shorter repetitions: about three seconds
    #[arg(long)]
    quick: bool,
}

/// Prints facts, ceilings and advice.
pub fn run(args: &Args) -> miette::Result<Exit> {
    let diagnosis = doctor::examine(args.quick, &note);
    let text = match args.json {
        true => serde_json::to_string_pretty(&diagnosis).into_diagnostic()? + "\n",
        false => diagnosis.to_string(),
    };
    print(&text)?;
    Ok(Exit::Pass)
}
