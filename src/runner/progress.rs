//! Progress on standard error: a bar with the time left on a terminal, plain lines elsewhere.

use std::{io::IsTerminal, time::Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// Progress over cells of blocks.
pub struct Progress {
    bar: ProgressBar,
    terminal: bool,
    total: u64,
    started: Instant,
}

impl Progress {
    /// Progress towards `total` steps.
    pub fn new(total: u64) -> Self {
        let terminal = std::io::stderr().is_terminal();
        let bar = if terminal { ProgressBar::new(total) } else { ProgressBar::hidden() };
        let style = ProgressStyle::with_template("{bar:30} {pos}/{len} cells, {elapsed} elapsed, {eta} left  {msg}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        Self { bar, terminal, total, started: Instant::now() }
    }

    /// What is going on, shown beside the bar.
    pub fn doing(&self, what: impl Into<String>) {
        self.bar.set_message(what.into());
    }

    /// A line that stays.
    pub fn note(&self, line: &str) {
        if self.terminal { self.bar.println(line) } else { eprintln!("{line}") }
    }

    /// One step is done.
    pub fn step(&self) {
        self.bar.inc(1);
    }

    /// `done` steps are done in all.
    pub fn set(&self, done: u64) {
        self.bar.set_position(done);
    }

    /// `done` steps are done in all; says so where there is no bar.
    pub fn reached(&self, done: u64, what: &str) {
        self.bar.set_position(done);
        if !self.terminal {
            let elapsed = self.started.elapsed().as_secs_f64();
            let left = elapsed * (self.total.saturating_sub(done)) as f64 / done.max(1) as f64;
            eprintln!("{what}: {done}/{} cells, {elapsed:.0} s elapsed, about {left:.0} s left", self.total);
        }
    }

    /// Removes the bar.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
