//! What the process of a block says to its parent, and when it may compute.
//!
//! Two processes that one parent runs at once take turns. So a comparison of two programs alternates within
//! milliseconds, faster than a shared machine changes its speed, and neither computes while the other does.

use std::io::{self, Write};

use serde::Serialize;

use super::turns::{Turns, Waited};

/// The line of a process that has been waiting for its turn for long.
pub const WAITS: &str = "\"turn\"";

/// The parent as its process sees it.
pub struct Parent<'a> {
    to: &'a mut dyn Write,
    /// Nothing where all turns are this process's own.
    turns: Option<Turns>,
}

impl<'a> Parent<'a> {
    /// A parent that hears events on `to`, and the turns of this process if it shares them with another.
    pub fn new(to: &'a mut dyn Write, turns: Option<Turns>) -> Self {
        Self { to, turns }
    }

    /// Whether another process has turns, too.
    pub fn takes_turns(&self) -> bool {
        self.turns.is_some()
    }

    /// Says one event, on a line of its own.
    ///
    /// # Errors
    /// Nobody listens any more.
    pub fn tell(&mut self, event: &impl Serialize) -> io::Result<()> {
        let line = serde_json::to_string(event)?;
        writeln!(self.to, "{line}")?;
        self.to.flush()
    }

    /// Returns once it is this process's turn, which lasts until the next call.
    ///
    /// # Errors
    /// The parent is gone, or the socket to the other process fails.
    pub fn wait_turn(&mut self) -> io::Result<()> {
        let Some(turns) = &mut self.turns else { return Ok(()) };
        turns.pass()?;
        while turns.wait()? == Waited::Long {
            writeln!(self.to, "{WAITS}")?;
            self.to.flush()?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_another_process_every_turn_is_its_own() {
        let mut to = Vec::new();
        Parent::new(&mut to, None).wait_turn().unwrap();
        assert!(to.is_empty());
    }
}
