//! `bench calibrate`: what a gate finds on this machine where the truth is known.

use std::path::{Path, PathBuf};

use chrono::Utc;
use miette::{Diagnostic, Result};
use thiserror::Error;

use super::{
    Exit,
    output::{note, print, shell_word},
};
use crate::{
    calibration::{
        Pilot, Settings, Size,
        session::{Ending, Session},
    },
    digest::sha256,
    report::calibration,
    runner::{RunError, machine, progress::Progress},
};

/// Measure how often identical arms are told apart here, and which slow-downs are found
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Folder of the results [default: results/calibration/<run-id>]
    #[arg(long, value_name = "DIR", conflicts_with = "resume")]
    out: Option<PathBuf>,
    /// Go on with an interrupted calibration
    #[arg(long, value_name = "DIR", conflicts_with_all = ["blocks", "window"])]
    resume: Option<PathBuf>,
    /// Blocks, each a pair of fresh processes: a multiple of 8 windows
    #[arg(long, default_value_t = 12_000)]
    blocks: u32,
    /// Blocks of a window, over which verdicts are counted
    #[arg(long, default_value_t = 60)]
    window: u32,
}

/// A number of blocks or a window that cannot be used.
#[derive(Debug, Error, Diagnostic)]
#[error("{0}")]
#[diagnostic(help("for example: bench calibrate --blocks 12000 --window 60"))]
struct BadSize(String);

/// Calibrates, then derives tables and the figure.
pub fn run(args: &Args) -> Result<Exit> {
    let (dir, session) = match &args.resume {
        Some(dir) => (dir.clone(), Session::resume(dir)?),
        None => {
            let size = Size { blocks: args.blocks, window: args.window, cores: machine::cores() };
            let mut settings = Settings::new(size, String::new(), machine::environment());
            settings.check().map_err(BadSize)?;
            let content = serde_json::to_string(&settings).unwrap_or_default();
            let hash = &sha256([content.as_bytes()])[..8];
            settings.run_id = format!("{}-{hash}", Utc::now().format("%Y%m%dT%H%M%SZ"));
            let dir = args.out.clone().unwrap_or_else(|| Path::new("results/calibration").join(&settings.run_id));
            note("running blocks that do not count, to know how long one takes");
            (dir.clone(), Session::begin(&dir, settings)?)
        }
    };
    let settings = session.settings();
    if let Some(pilot) = settings.pilot {
        note(&outlook(settings, pilot, session.done()));
    }
    let progress = Progress::counting("blocks", session.done().into(), settings.blocks.into());
    let ending = session.run(&progress)?;
    progress.finish();
    match ending {
        Ending::Interrupted => {
            note(&format!("interrupted; go on with\n  bench calibrate --resume {}", shell_word(&dir)));
            Ok(Exit::Interrupted)
        }
        Ending::Complete => {
            calibration::build(&dir).map_err(RunError::from)?;
            print(&format!("{}\n", dir.display()))?;
            Ok(Exit::Pass)
        }
    }
}

/// How long it will take, and what of it fresh processes cost.
fn outlook(settings: &Settings, pilot: Pilot, done: u32) -> String {
    let left = settings.blocks - done;
    let minutes = f64::from(left) * pilot.block_seconds / 60.0;
    let time = if minutes < 60.0 { format!("{minutes:.0} minutes") } else { format!("{:.1} hours", minutes / 60.0) };
    format!(
        "{left} blocks of about {:.2} s, {:.2} s of each for fresh processes and their weights: about {time}",
        pilot.block_seconds, pilot.setup_seconds
    )
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn the_outlook_counts_what_is_left() {
        let size = Size { blocks: 4000, window: 20, cores: 2 };
        let settings = Settings::new(size, String::new(), BTreeMap::new());
        let pilot = Pilot { block_seconds: 0.9, setup_seconds: 0.1 };
        let blocks = "blocks of about 0.90 s, 0.10 s of each for fresh processes and their weights";
        assert_eq!(outlook(&settings, pilot, 0), format!("4000 {blocks}: about 1.0 hours"));
        assert_eq!(outlook(&settings, pilot, 2000), format!("2000 {blocks}: about 30 minutes"));
    }
}
