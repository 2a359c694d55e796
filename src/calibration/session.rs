//! The parent of the blocks: begins, goes on after an interruption, and writes whole blocks.

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use super::{Pilot, Settings, block::Event};
use crate::{
    record::{
        RowWriter,
        calibration::{CalibrationRow, read_calibration, read_settings, write_settings},
    },
    runner::{
        RunError,
        child::{SILENCE, follow},
        machine,
        progress::Progress,
        resume,
        stop::Stop,
    },
};

/// Blocks that are run and thrown away before the first: what one takes, and that it runs at all.
const PILOT_BLOCKS: u32 = 3;

/// A calibration in its folder.
pub struct Session {
    dir: PathBuf,
    settings: Settings,
    session: u32,
    done: BTreeSet<u32>,
    stop: Stop,
    /// The program whose `calibration-block` command runs a block: this one.
    program: PathBuf,
    silence: Duration,
}

/// How a calibration ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    Complete,
    /// Stopped by a signal; it can be resumed.
    Interrupted,
}

/// What one block gave.
struct Outcome {
    rows: Vec<CalibrationRow>,
    setup_seconds: f64,
    seconds: f64,
}

impl Session {
    /// Begins a calibration in `dir`, which is created or empty: runs a few blocks that do not count, to
    /// know how long one takes, and writes the settings.
    ///
    /// # Errors
    /// A folder that is in use or cannot be written, or a block that does not run.
    pub fn begin(dir: &Path, settings: Settings) -> Result<Self, RunError> {
        let unwritable = |cause| RunError::Unwritable { path: dir.to_owned(), cause };
        fs::create_dir_all(dir).map_err(unwritable)?;
        if fs::read_dir(dir).map_err(unwritable)?.next().is_some() {
            return Err(RunError::Exists { path: dir.to_owned() });
        }
        let program = env::current_exe()?;
        let (done, stop) = (BTreeSet::new(), Stop::install());
        let mut session = Self { dir: dir.to_owned(), settings, session: 0, done, stop, program, silence: SILENCE };
        // Blocks read their settings from the folder.
        write_settings(dir, &session.settings)?;
        match session.pilot() {
            Ok(Some(pilot)) => session.settings.pilot = Some(pilot),
            Ok(None) => {}
            Err(error) => {
                // Nothing of it is worth keeping.
                let _ = fs::remove_dir_all(dir);
                return Err(error);
            }
        }
        write_settings(dir, &session.settings)?;
        Ok(session)
    }

    /// Goes on with the calibration in `dir`.
    ///
    /// # Errors
    /// Files that cannot be read, or another program or machine than that of the first start.
    pub fn resume(dir: &Path) -> Result<Self, RunError> {
        let settings = read_settings(dir)?;
        resume::check_environment(dir, &settings.environment, &machine::environment())?;
        let (rows, _) = read_calibration(dir, &settings)?;
        let session = rows.iter().map(|row| row.session).max().map_or(0, |last| last.saturating_add(1));
        let done = whole_blocks(&settings, &rows).into_keys().collect();
        let (stop, program) = (Stop::install(), env::current_exe()?);
        Ok(Self { dir: dir.to_owned(), settings, session, done, stop, program, silence: SILENCE })
    }

    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Blocks that are there.
    pub fn done(&self) -> u32 {
        self.done.len() as u32
    }

    /// Runs the blocks that are missing.
    ///
    /// # Errors
    /// A block that fails, or files that cannot be written.
    pub fn run(&self, progress: &Progress) -> Result<Ending, RunError> {
        let mut writer = RowWriter::<CalibrationRow>::append(&self.dir)?;
        let mut done = u64::from(self.done());
        for block in (0..self.settings.blocks).filter(|block| !self.done.contains(block)) {
            progress.doing(format!("block {}: {}", block + 1, self.settings.phase(block).name()));
            let Some(outcome) = self.block(block)? else { return Ok(Ending::Interrupted) };
            writer.write_block(&outcome.rows)?;
            done += 1;
            progress.step();
            if (block + 1) % self.settings.window == 0 {
                progress.reached(done, &format!("block {}", block + 1));
            }
        }
        Ok(Ending::Complete)
    }

    /// Means over a few blocks; nothing when a signal came meanwhile.
    fn pilot(&self) -> Result<Option<Pilot>, RunError> {
        let mut outcomes = Vec::new();
        for block in 0..PILOT_BLOCKS {
            let Some(outcome) = self.block(block)? else { return Ok(None) };
            outcomes.push(outcome);
        }
        let mean = |of: fn(&Outcome) -> f64| outcomes.iter().map(of).sum::<f64>() / outcomes.len() as f64;
        Ok(Some(Pilot { block_seconds: mean(|o| o.seconds), setup_seconds: mean(|o| o.setup_seconds) }))
    }

    /// One block in a process of its own; nothing when a signal came.
    fn block(&self, block: u32) -> Result<Option<Outcome>, RunError> {
        if self.stop.requested() {
            return Ok(None);
        }
        let trouble = |reason: String| RunError::Block { block, reason };
        let clock = Instant::now();
        let mut command = Command::new(&self.program);
        command
            .args(["calibration-block", "--block", &block.to_string(), "--session", &self.session.to_string()])
            .arg(&self.dir);
        let (mut rows, mut setup_seconds, mut done) = (Vec::new(), 0.0, false);
        let on_line = |line: &str| {
            match serde_json::from_str(line).map_err(std::io::Error::from)? {
                Event::Ready(seconds) => setup_seconds = seconds,
                Event::Row(row) => rows.push(row),
                Event::Done => done = true,
            }
            Ok(())
        };
        let ended =
            follow(command, &self.stop, self.silence, None, on_line).map_err(|error| trouble(error.to_string()))?;
        if self.stop.requested() {
            return Ok(None);
        }
        let expected = self.settings.arms.len() * self.settings.threads.len();
        if ended.silent {
            Err(trouble(format!("no sign of life for {} s", self.silence.as_secs())))
        } else if !done || rows.len() != expected {
            Err(trouble(format!("its process ended early: {}, with {} of {expected} rows", ended.status, rows.len())))
        } else {
            Ok(Some(Outcome { rows, setup_seconds, seconds: clock.elapsed().as_secs_f64() }))
        }
    }
}

/// The rows of each block that is whole, from the latest session that made it so.
pub fn whole_blocks<'a>(settings: &Settings, rows: &'a [CalibrationRow]) -> BTreeMap<u32, Vec<&'a CalibrationRow>> {
    let mut sessions: BTreeMap<(u32, u32), Vec<&CalibrationRow>> = BTreeMap::new();
    for row in rows {
        sessions.entry((row.block, row.session)).or_default().push(row);
    }
    let expected = settings.arms.len() * settings.threads.len();
    // In ascending order of sessions: the later replaces the earlier.
    sessions.into_iter().filter(|(_, rows)| rows.len() == expected).map(|((block, _), rows)| (block, rows)).collect()
}
