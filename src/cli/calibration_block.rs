//! `bench calibration-block`: one side of a block of a calibration, started by `bench calibrate` as a process of
//! its own; and `bench load`, which it starts beside some blocks.

use std::{io, path::PathBuf, time::Instant};

use miette::{IntoDiagnostic, Result};

use super::{Exit, block::end_with_parent};
use crate::{
    calibration::{block::Block, load},
    record::{Side, calibration::read_settings},
    runner::{
        RunError,
        parent::Parent,
        scatter::scatter_heap,
        turns::{PLACES, Turns},
    },
};

/// Run one side of a block of a calibration (started by `bench calibrate`)
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The calibration's folder
    dir: PathBuf,
    /// Number of the block
    #[arg(long)]
    block: u32,
    /// Run the arms, and not the reference in place of each
    #[arg(long)]
    compared: bool,
    /// Take turns with the other side, the other end of the socket that is stdin
    #[arg(long, value_name = "PLACE", value_parser = PLACES)]
    turns: Option<String>,
}

/// Runs the side and writes its events to stdout.
pub fn run(args: &Args) -> Result<Exit> {
    let began = Instant::now();
    end_with_parent();
    scatter_heap();
    let settings = read_settings(&args.dir).map_err(RunError::from)?;
    let side = if args.compared { Side::B } else { Side::A };
    let turns = args.turns.as_deref().map(Turns::from_stdin).transpose().map_err(RunError::from)?;
    let block = Block { settings: &settings, block: args.block, side, began };
    block.run(&mut Parent::new(&mut io::stdout().lock(), turns))?;
    Ok(Exit::Pass)
}

/// Load one CPU in bursts until this process is ended (started by `bench calibrate`)
#[derive(Debug, clap::Args)]
pub struct LoadArgs {
    /// The CPU
    #[arg(long)]
    cpu: Option<usize>,
    /// What the lengths of the bursts follow from
    #[arg(long)]
    seed: u64,
}

/// Loads a CPU.
pub fn run_load(args: &LoadArgs) -> Result<Exit> {
    end_with_parent();
    load::run(args.cpu, args.seed).into_diagnostic()?;
    Ok(Exit::Pass)
}
