//! Progress on standard error: a bar with the time left on a terminal, plain lines elsewhere.

use std::{io::IsTerminal, time::Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// Progress over cells of blocks.
pub struct Progress {
    bar: ProgressBar,
    terminal: bool,
    total: u64,
    /// What a step is, in the plural.
    steps: &'static str,
    /// Steps that were there before this start: they took no time of it.
    before: u64,
    started: Instant,
}

impl Progress {
    /// Progress towards `total` cells.
    pub fn new(total: u64) -> Self {
        Self::counting("cells", 0, total)
    }

    /// Progress towards `total` steps, `before` of which are done.
    pub fn counting(steps: &'static str, before: u64, total: u64) -> Self {
        let terminal = std::io::stderr().is_terminal();
        let bar = if terminal { ProgressBar::new(total) } else { ProgressBar::hidden() };
        let template = format!("{{bar:30}} {{pos}}/{{len}} {steps}, {{elapsed}} elapsed, {{eta}} left  {{msg}}");
        bar.set_style(ProgressStyle::with_template(&template).unwrap_or_else(|_| ProgressStyle::default_bar()));
        bar.set_position(before);
        bar.reset_eta();
        Self { bar, terminal, total, steps, before, started: Instant::now() }
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

    /// `done` steps are done in all; says so where there is no bar.
    pub fn reached(&self, done: u64, what: &str) {
        self.bar.set_position(done);
        if !self.terminal {
            let elapsed = self.started.elapsed().as_secs_f64();
            let now = done.saturating_sub(self.before).max(1);
            let left = elapsed * (self.total.saturating_sub(done)) as f64 / now as f64;
            let (total, steps) = (self.total, self.steps);
            eprintln!("{what}: {done}/{total} {steps}, {elapsed:.0} s elapsed, about {left:.0} s left");
        }
    }

    /// Removes the bar.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
