//! What the process of a block says to its parent, and when it may compute.
//!
//! A parent that runs two processes at once lets them take turns: where one has come to, it says so and
//! waits for a line. So a comparison of two programs alternates within milliseconds, faster than a shared
//! machine changes its speed, and neither computes while the other does.

use std::io::{self, BufRead, Write};

use serde::Serialize;

/// The line that says that a process waits for its turn.
pub const WAITS: &str = "\"turn\"";

/// The parent as its process sees it.
pub struct Parent<'a> {
    to: &'a mut dyn Write,
    /// Where turns come from; nothing where all are this process's own.
    from: Option<&'a mut dyn BufRead>,
}

impl<'a> Parent<'a> {
    /// A parent that hears events on `to` and, if turns are taken, hands them out on `from`.
    pub fn new(to: &'a mut dyn Write, from: Option<&'a mut dyn BufRead>) -> Self {
        Self { to, from }
    }

    /// Whether another process has turns, too.
    pub fn takes_turns(&self) -> bool {
        self.from.is_some()
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
    /// The parent is gone.
    pub fn wait_turn(&mut self) -> io::Result<()> {
        let Some(from) = &mut self.from else { return Ok(()) };
        writeln!(self.to, "{WAITS}")?;
        self.to.flush()?;
        match from.read_line(&mut String::new())? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_are_asked_for_and_waited_for() {
        let (mut to, mut from) = (Vec::new(), &b"\n"[..]);
        let mut parent = Parent::new(&mut to, Some(&mut from));
        parent.tell(&1).unwrap();
        parent.wait_turn().unwrap();
        assert_eq!(parent.wait_turn().unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        assert_eq!(to, b"1\n\"turn\"\n\"turn\"\n");
    }

    #[test]
    fn without_another_process_every_turn_is_its_own() {
        let mut to = Vec::new();
        Parent::new(&mut to, None).wait_turn().unwrap();
        assert!(to.is_empty());
    }
}
