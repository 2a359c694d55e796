//! `bench calibration-block`: one block of a calibration, started by `bench calibrate` as a process of its
//! own; and `bench load`, which a block starts beside itself.

use std::{io, path::PathBuf, time::Instant};

use miette::{IntoDiagnostic, Result};

use super::{Exit, block::end_with_parent};
use crate::{
    calibration::{block::Block, load},
    record::calibration::read_settings,
    runner::{RunError, parent::Parent},
};

/// Run one block of a calibration (started by `bench calibrate`)
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The calibration's folder
    dir: PathBuf,
    /// Number of the block
    #[arg(long)]
    block: u32,
    /// Which start of the calibration it belongs to
    #[arg(long)]
    session: u32,
}

/// Runs the block and writes its events to stdout.
pub fn run(args: &Args) -> Result<Exit> {
    let began = Instant::now();
    end_with_parent();
    let settings = read_settings(&args.dir).map_err(RunError::from)?;
    let block = Block { settings: &settings, session: args.session, block: args.block, began };
    block.run(&mut Parent::new(&mut io::stdout().lock(), None))?;
    Ok(Exit::Pass)
}

/// Load one CPU until this process is ended (started by a block of a calibration)
#[derive(Debug, clap::Args)]
pub struct LoadArgs {
    /// The CPU
    #[arg(long)]
    cpu: Option<usize>,
}

/// Loads a CPU.
pub fn run_load(args: &LoadArgs) -> Result<Exit> {
    end_with_parent();
    load::run(args.cpu).into_diagnostic()?;
    Ok(Exit::Pass)
}
