//! One try at a block: its process, followed from its start to its end.
//!
//! [`follow`] is about any process that speaks in lines; the rest is about blocks of runs.

#[cfg(unix)]
use std::os::unix::process::CommandExt as _;
use std::{
    collections::{BTreeSet, VecDeque},
    io::{self, BufRead, BufReader, Read, Write},
    path::Path,
    process::{Command, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use super::{RunError, block::Event, parent::WAITS, progress::Progress, stop::Stop, turns::Place};
use crate::record::{CeilingRow, Sample, WeightsRow};

/// Longest silence of a block's process before it counts as hanging. The slowest cell of the
/// largest experiment takes seconds.
pub const SILENCE: Duration = Duration::from_secs(120);

/// How a process that was followed ended.
pub struct Ended {
    /// Its exit status or signal, in words.
    pub status: String,
    /// Whether it was ended because it said nothing for so long.
    pub silent: bool,
    /// The last lines that it wrote to standard error, as one.
    pub last_words: String,
}

/// Lines of a process's standard error that its failure is told with.
const LAST_WORDS: usize = 8;

/// Starts the process of `command` and hands every line that it writes to `on_line`, until it ends. It is
/// ended when it is silent for `silence`, when `on_line` refuses a line, and when `stop` is requested. What it
/// writes to standard error is passed on. With a `place` it takes turns with another process.
///
/// # Errors
/// A process that cannot be started or waited for, and what `on_line` says.
pub fn follow(
    mut command: Command,
    stop: &Stop,
    silence: Duration,
    place: Option<Place>,
    mut on_line: impl FnMut(&str) -> io::Result<()>,
) -> io::Result<Ended> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    if let Some(place) = place {
        place.take(&mut command);
    }
    // Ctrl-C goes to all processes of a terminal: only the parent may take it, and then decides.
    #[cfg(unix)]
    command.process_group(0);
    let mut child = command.spawn()?;
    // It holds the child's end of a socket, which must end with the child.
    drop(command);
    let (output, errors) = (child.stdout.take(), child.stderr.take());
    let watched = stop.watch(child);
    let (sender, lines) = mpsc::channel();
    let reader = thread::spawn(move || {
        for line in output.into_iter().flat_map(|output| BufReader::new(output).lines()).map_while(Result::ok) {
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    let listener = thread::spawn(move || errors.map(pass_on).unwrap_or_default());
    let (mut silent, mut refused) = (false, None);
    loop {
        match lines.recv_timeout(silence) {
            Ok(line) if line == WAITS => {}
            Ok(line) if refused.is_none() => {
                refused = on_line(&line).err();
                if refused.is_some() {
                    watched.kill();
                }
            }
            Ok(_) => {}
            Err(mpsc::RecvTimeoutError::Disconnected) => break,
            Err(mpsc::RecvTimeoutError::Timeout) => {
                silent = true;
                watched.kill();
            }
        }
    }
    let status = watched.wait()?;
    // Both end with their pipes, which the process closed.
    let _ = reader.join();
    let last_words = listener.join().unwrap_or_default();
    refused.map_or(Ok(Ended { status, silent, last_words }), Err)
}

/// Passes what a process writes to standard error on to that of this one, and returns its last lines as one.
fn pass_on(errors: impl Read) -> String {
    let mut last = VecDeque::new();
    for line in BufReader::new(errors).lines().map_while(Result::ok) {
        // A stderr that does not take it leaves nobody to tell.
        let _ = writeln!(io::stderr(), "{line}");
        let words = line.trim();
        if !words.is_empty() {
            last.push_back(words.to_owned());
        }
        if last.len() > LAST_WORDS {
            last.pop_front();
        }
    }
    Vec::from(last).join("; ")
}

/// The rows of a block that is complete.
pub struct Measured {
    pub ceilings: Vec<CeilingRow>,
    pub weights: Vec<WeightsRow>,
    pub samples: Vec<Sample>,
}

/// How one try at a block ended.
pub enum Attempt {
    /// Every cell ran.
    Complete(Measured),
    /// A cell computed something wrong, or the process died or hung while it ran.
    Failed { cell: String, reason: String, rows: Vec<Sample> },
    /// A signal came.
    Interrupted(Vec<Sample>),
}

/// Which block, and what runs it.
pub struct Attempted<'a> {
    /// The program whose `block` command runs a block.
    pub program: &'a Path,
    /// Folder of the run.
    pub dir: &'a Path,
    pub session: u32,
    pub block: u32,
    /// Cells that are left out.
    pub skip: &'a BTreeSet<String>,
    /// Longest time without an event before the process counts as hanging.
    pub silence: Duration,
}

impl Attempted<'_> {
    /// Starts the process of the block and follows its events to the end; `keep` gets the samples of each
    /// cell as they come.
    ///
    /// # Errors
    /// A process that cannot be started, breaks the protocol, or dies while no cell runs; what `keep` says.
    pub fn run(
        &self,
        place: Option<Place>,
        stop: &Stop,
        progress: &Progress,
        keep: &mut dyn FnMut(&[Sample]) -> Result<(), RunError>,
    ) -> Result<Attempt, RunError> {
        let block = self.block;
        let trouble = |reason: String| RunError::Block { block, reason };
        let mut command = Command::new(self.program);
        command
            .args(["block", "--block", &block.to_string(), "--session", &self.session.to_string()])
            .args(self.skip.iter().flat_map(|cell| ["--skip", cell]))
            .arg(self.dir);
        let (mut ceilings, mut weights, mut rows) = (Vec::new(), Vec::new(), Vec::new());
        let mut running = None;
        let mut preparing = None;
        let (mut done, mut failure) = (false, None);
        let on_line = |line: &str| {
            match serde_json::from_str::<Event>(line) {
                Ok(Event::Ceilings(measured)) => ceilings = measured,
                Ok(Event::Weights(stored)) => weights.extend(stored),
                Ok(Event::Preparing(workload)) => {
                    progress.doing(format!("block {}: {workload}", block + 1));
                    (running, preparing) = (None, Some(workload));
                }
                Ok(Event::Started(cell)) => running = Some(cell),
                Ok(Event::Samples(samples)) => {
                    keep(&samples).map_err(io::Error::other)?;
                    rows.extend(samples);
                    running = None;
                    progress.step();
                }
                Ok(Event::Failed { cell, reason }) => failure = failure.take().or(Some((cell, reason))),
                Ok(Event::Done) => done = true,
                Err(error) => return Err(io::Error::other(format!("its process wrote `{line}`: {error}"))),
            }
            Ok(())
        };
        let ended = follow(command, stop, self.silence, place, on_line).map_err(|error| trouble(error.to_string()))?;
        if stop.requested() {
            return Ok(Attempt::Interrupted(rows));
        }
        if let Some((cell, reason)) = failure {
            return Ok(Attempt::Failed { cell, reason, rows });
        }
        if done {
            return Ok(Attempt::Complete(Measured { ceilings, weights, samples: rows }));
        }
        let reason = if ended.silent {
            format!("no sign of life for {} s", self.silence.as_secs())
        } else {
            format!("its process ended early: {}", ended.status)
        };
        let said = &ended.last_words;
        let last_words = if said.is_empty() { String::new() } else { format!(": {said}") };
        match (running, preparing) {
            (Some(cell), _) => Ok(Attempt::Failed { cell, reason, rows }),
            (None, Some(workload)) => {
                Err(trouble(format!("{reason}, while it made the weights of {workload}{last_words}")))
            }
            (None, None) => Err(trouble(format!("{reason}{last_words}"))),
        }
    }
}
