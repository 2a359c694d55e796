//! The parent of the blocks: begins, goes on after an interruption, and writes whole blocks.

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use super::{
    Phase, Pilot, Settings,
    block::{Event, SideTurns},
    load::Load,
};
use crate::{
    affinity,
    record::{
        RowWriter, Side,
        calibration::{CalibrationRow, read_calibration, read_settings, write_settings},
    },
    runner::{
        RunError,
        child::{SILENCE, follow},
        machine,
        progress::Progress,
        resume,
        stop::Stop,
        turns::{Place, in_turns},
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

/// What one side of a block gave.
#[derive(Default)]
struct Measured {
    turns: Vec<SideTurns>,
    setup_seconds: f64,
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

    /// One block: two processes in turns, beside a load in the phase of interference; nothing when a signal came.
    fn block(&self, block: u32) -> Result<Option<Outcome>, RunError> {
        if self.stop.requested() {
            return Ok(None);
        }
        let clock = Instant::now();
        let _load = match self.settings.phase(block) {
            Phase::Quiet => None,
            Phase::Interference => {
                let cpu = affinity::allowed().ok().and_then(|cpus| cpus.last().copied());
                Some(Load::start(cpu, self.settings.seed ^ u64::from(block))?)
            }
        };
        let [a, b] = in_turns(
            self.settings.first(block),
            |place| self.side(block, Side::A, place),
            |place| self.side(block, Side::B, place),
        )?;
        let (Some(a), Some(b)) = (a?, b?) else { return Ok(None) };
        // Each counts from its own start, and who begins second waits for the other.
        let setup_seconds = a.setup_seconds.max(b.setup_seconds);
        let rows = a.turns.iter().zip(&b.turns).map(|(a, b)| self.row(block, a, b)).collect();
        Ok(Some(Outcome { rows, setup_seconds, seconds: clock.elapsed().as_secs_f64() }))
    }

    /// One side of a block in a process of its own; nothing when a signal came.
    fn side(&self, block: u32, side: Side, place: Place) -> Result<Option<Measured>, RunError> {
        let trouble = |reason: String| RunError::Block { block, reason };
        let mut command = Command::new(&self.program);
        command
            .args(["calibration-block", "--block", &block.to_string()])
            .args((side == Side::B).then_some("--compared"))
            .arg(&self.dir);
        let (mut measured, mut done) = (Measured::default(), false);
        let on_line = |line: &str| {
            match serde_json::from_str(line).map_err(std::io::Error::from)? {
                Event::Ready(seconds) => measured.setup_seconds = seconds,
                Event::Turns(turns) => measured.turns.push(turns),
                Event::Done => done = true,
            }
            Ok(())
        };
        let ended = follow(command, &self.stop, self.silence, Some(place), on_line)
            .map_err(|error| trouble(error.to_string()))?;
        let (found, expected) = (measured.turns.len(), self.settings.rows_of_a_block());
        if self.stop.requested() {
            Ok(None)
        } else if ended.silent {
            Err(trouble(format!("no sign of life for {} s", self.silence.as_secs())))
        } else if !done || found != expected {
            Err(trouble(format!("its process ended early: {}, with {found} of {expected} arms", ended.status)))
        } else {
            Ok(Some(measured))
        }
    }

    /// What both sides have of an arm.
    fn row(&self, block: u32, a: &SideTurns, b: &SideTurns) -> CalibrationRow {
        let arm = self.settings.order(block, b.threads)[b.order];
        let flags: BTreeSet<&str> = a.flags.iter().chain(&b.flags).map(String::as_str).collect();
        let evidence = a.evidence + b.evidence;
        CalibrationRow {
            session: self.session,
            block,
            threads: b.threads as u32,
            order: b.order as u32,
            arm: self.settings.compared()[arm].name.clone(),
            spin_ns: b.spin_ns.round(),
            a_ns: CalibrationRow::joined(&a.ns),
            b_ns: CalibrationRow::joined(&b.ns),
            flags: Vec::from_iter(flags).join("+"),
            voluntary_switches: evidence.voluntary_switches,
            involuntary_switches: evidence.involuntary_switches,
            migrations: evidence.migrations,
            minor_faults: evidence.minor_faults,
            major_faults: evidence.major_faults,
            steal_ticks: evidence.steal_ticks,
        }
    }
}

/// The rows of each block that is whole, from the latest session that made it so.
pub fn whole_blocks<'a>(settings: &Settings, rows: &'a [CalibrationRow]) -> BTreeMap<u32, Vec<&'a CalibrationRow>> {
    let mut sessions: BTreeMap<(u32, u32), Vec<&CalibrationRow>> = BTreeMap::new();
    for row in rows {
        sessions.entry((row.block, row.session)).or_default().push(row);
    }
    let expected = settings.rows_of_a_block();
    // In ascending order of sessions: the later replaces the earlier.
    sessions.into_iter().filter(|(_, rows)| rows.len() == expected).map(|((block, _), rows)| (block, rows)).collect()
}
