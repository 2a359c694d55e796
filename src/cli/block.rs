//! `bench block`: one block of a run, started by `bench run` as a process of its own.

use std::{collections::BTreeSet, io, path::PathBuf};

use miette::Result;
#[cfg(target_os = "linux")]
use rustix::process::{Signal, set_parent_process_death_signal};

use super::Exit;
use crate::{
    record::read_manifest,
    runner::{
        RunError,
        block::Block,
        parent::Parent,
        scatter::scatter_heap,
        turns::{PLACES, Turns},
    },
};

/// Run one block of a run (started by `bench run`)
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The run's folder
    dir: PathBuf,
    /// Number of the block
    #[arg(long)]
    block: u32,
    /// Which start of the run it belongs to
    #[arg(long)]
    session: u32,
    /// Cells that are left out
    #[arg(long = "skip", value_name = "CELL")]
    skip: Vec<String>,
    /// Take turns with another process, the other end of the socket that is stdin
    #[arg(long, value_name = "PLACE", value_parser = PLACES)]
    turns: Option<String>,
}

/// Runs the block and writes its events to stdout.
pub fn run(args: &Args) -> Result<Exit> {
    end_with_parent();
    scatter_heap();
    let manifest = read_manifest(&args.dir).map_err(RunError::from)?;
    let skip: BTreeSet<String> = args.skip.iter().cloned().collect();
    let block = Block { manifest: &manifest, session: args.session, block: args.block, skip: &skip };
    let turns = args.turns.as_deref().map(Turns::from_stdin).transpose().map_err(RunError::from)?;
    block.run(&mut Parent::new(&mut io::stdout().lock(), turns))?;
    Ok(Exit::Pass)
}

/// A block whose run was killed must not go on beside the run that resumes it. Where the system cannot do
/// this, it ends with its next event, which nobody reads.
pub fn end_with_parent() {
    #[cfg(target_os = "linux")]
    let _ = set_parent_process_death_signal(Some(Signal::KILL));
}
