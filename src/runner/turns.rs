//! Turns of two processes: one computes, the other waits.
//!
//! A round is one turn of each. The first round begins with one side, the next with the other, and so on (ABBA),
//! so that what drifts within rounds cancels over two of them. Each process has one end of a socket as its
//! standard input and counts its own turns: with the turn that begins a round it writes a line to the other, and
//! waits for one. Their parent has no part in it, since every process that has to wake makes a turn later. When a
//! process ends, so does its end of the socket, and all further turns are the other's.

use std::{
    io,
    panic::resume_unwind,
    process::Command,
    thread::{self, ScopedJoinHandle},
    time::Duration,
};

use crate::record::Side;

/// The words that tell a process whether it begins.
pub const PLACES: [&str; 2] = ["first", "second"];

/// How long a process waits before it says that it lives.
const LIFE: Duration = Duration::from_secs(30);

/// The place of a process before it starts.
pub struct Place {
    /// Its word of [`PLACES`].
    word: &'static str,
    end: system::Socket,
}

impl Place {
    /// Gives the place to the process of `command`: its word behind `--turns`, and its end of the socket.
    pub fn take(self, command: &mut Command) {
        command.args(["--turns", self.word]).stdin(self.end);
    }
}

/// Runs both sides at once, each with its place; `first` begins.
///
/// # Errors
/// A system without sockets between processes.
pub fn in_turns<T: Send>(
    first: Side,
    a: impl FnOnce(Place) -> T + Send,
    b: impl FnOnce(Place) -> T + Send,
) -> io::Result<[T; 2]> {
    let [one, other] = system::pair()?;
    let [word_of_a, word_of_b] = if first == Side::A { PLACES } else { [PLACES[1], PLACES[0]] };
    let (of_a, of_b) = (Place { word: word_of_a, end: one }, Place { word: word_of_b, end: other });
    // Who begins is followed by this thread, the other by one of its own, so that what comes of that alternates.
    Ok(thread::scope(|scope| match first {
        Side::A => {
            let b = scope.spawn(move || b(of_b));
            [a(of_a), joined(b)]
        }
        Side::B => {
            let a = scope.spawn(move || a(of_a));
            let b = b(of_b);
            [joined(a), b]
        }
    }))
}

/// Whether the other end of a socket is gone.
fn is_end(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset)
}

/// A panic of the other thread is one of this.
fn joined<T>(other: ScopedJoinHandle<'_, T>) -> T {
    other.join().unwrap_or_else(|panic| resume_unwind(panic))
}

/// The turns of this process.
pub struct Turns {
    end: system::Socket,
    /// 0 for the side that begins the first round, 1 for the other.
    place: u32,
    /// Turns that have begun.
    taken: u32,
    /// Whether the other process has ended.
    alone: bool,
}

/// What waiting for a turn gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waited {
    /// It is this process's turn.
    Came,
    /// Not yet, after so long that the parent should hear of this process.
    Long,
}

impl Turns {
    /// The turns of the process whose standard input is its end of the socket, in the place of this word.
    ///
    /// # Errors
    /// A standard input that is no socket.
    pub fn from_stdin(word: &str) -> io::Result<Self> {
        Self::new(system::stdin()?, word)
    }

    fn new(end: system::Socket, word: &str) -> io::Result<Self> {
        end.set_read_timeout(Some(LIFE))?;
        Ok(Self { end, place: u32::from(word != PLACES[0]), taken: 0, alone: false })
    }

    /// Ends the turn that this process has, if it has one.
    ///
    /// # Errors
    /// A socket that fails otherwise than by the end of the other process.
    pub fn pass(&mut self) -> io::Result<()> {
        // With the second turn of a round the next begins, and this side begins it.
        if self.taken > 0 && !self.begins() && !self.alone {
            match system::write_line(&self.end) {
                Err(error) if is_end(&error) => self.alone = true,
                written => written?,
            }
        }
        Ok(())
    }

    /// Waits for the next turn, which lasts until [`pass`](Self::pass).
    ///
    /// # Errors
    /// As [`pass`](Self::pass).
    pub fn wait(&mut self) -> io::Result<Waited> {
        while !self.begins() && !self.alone {
            match system::read_line(&self.end) {
                Ok(true) => break,
                Ok(false) => self.alone = true,
                Err(error) if is_end(&error) => self.alone = true,
                Err(error) => match error.kind() {
                    io::ErrorKind::Interrupted => {}
                    io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => return Ok(Waited::Long),
                    _ => return Err(error),
                },
            }
        }
        self.taken += 1;
        Ok(Waited::Came)
    }

    /// Whether this side begins the round of its next turn.
    fn begins(&self) -> bool {
        self.taken % 2 == self.place
    }
}

#[cfg(unix)]
mod system {
    use std::{
        io::{self, Read as _, Write as _},
        os::{
            fd::{AsFd as _, OwnedFd},
            unix::net::UnixStream,
        },
        process::Stdio,
        time::Duration,
    };

    /// An end of the line between two processes.
    pub struct Socket(UnixStream);

    impl From<Socket> for Stdio {
        fn from(socket: Socket) -> Self {
            OwnedFd::from(socket.0).into()
        }
    }

    impl Socket {
        pub fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
            self.0.set_read_timeout(timeout)
        }
    }

    pub fn pair() -> io::Result<[Socket; 2]> {
        UnixStream::pair().map(|(one, other)| [Socket(one), Socket(other)])
    }

    pub fn stdin() -> io::Result<Socket> {
        io::stdin().as_fd().try_clone_to_owned().map(UnixStream::from).map(Socket)
    }

    pub fn write_line(socket: &Socket) -> io::Result<()> {
        (&socket.0).write_all(b"\n")
    }

    /// Whether there was one: the other end may be gone.
    pub fn read_line(socket: &Socket) -> io::Result<bool> {
        (&socket.0).read(&mut [0]).map(|bytes| bytes > 0)
    }
}

#[cfg(not(unix))]
mod system {
    use std::{convert::Infallible, io, process::Stdio, time::Duration};

    /// There is none.
    pub struct Socket(Infallible);

    impl From<Socket> for Stdio {
        fn from(socket: Socket) -> Self {
            match socket.0 {}
        }
    }

    impl Socket {
        pub fn set_read_timeout(&self, _: Option<Duration>) -> io::Result<()> {
            match self.0 {}
        }
    }

    fn unsupported() -> io::Error {
        io::Error::new(io::ErrorKind::Unsupported, "turns of two processes need a Unix system")
    }

    pub fn pair() -> io::Result<[Socket; 2]> {
        Err(unsupported())
    }

    pub fn stdin() -> io::Result<Socket> {
        Err(unsupported())
    }

    pub fn write_line(socket: &Socket) -> io::Result<()> {
        match socket.0 {}
    }

    pub fn read_line(socket: &Socket) -> io::Result<bool> {
        match socket.0 {}
    }
}

#[cfg(all(test, unix))]
mod tests {
    use std::sync::Mutex;

    use super::*;

    /// The order in which two sides take their turns, each in a thread of its own.
    fn order(first: Side, turns: [usize; 2]) -> Vec<Side> {
        let taken = Mutex::new(Vec::new());
        let take = |side: Side| {
            let taken = &taken;
            move |place: Place| {
                let mut own = Turns::new(place.end, place.word).unwrap();
                for _ in 0..turns[side as usize] {
                    own.pass().unwrap();
                    assert_eq!(own.wait().unwrap(), Waited::Came);
                    taken.lock().unwrap().push(side);
                }
            }
        };
        in_turns(first, take(Side::A), take(Side::B)).unwrap();
        taken.into_inner().unwrap()
    }

    #[test]
    fn turns_alternate_in_rounds() {
        use Side::{A, B};
        assert_eq!(order(A, [4, 4]), [A, B, B, A, A, B, B, A]);
        assert_eq!(order(B, [3, 3]), [B, A, A, B, B, A]);
    }

    #[test]
    fn who_is_left_alone_goes_on() {
        use Side::{A, B};
        assert_eq!(order(A, [1, 4]), [A, B, B, B, B]);
        assert_eq!(order(B, [0, 2]), [B, B]);
        assert_eq!(order(A, [3, 0]), [A, A, A]);
    }

    #[test]
    fn nobody_goes_while_the_other_runs() {
        let [one, other] = system::pair().unwrap();
        let mut waiting = Turns::new(one, PLACES[1]).unwrap();
        waiting.end.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let mut running = Turns::new(other, PLACES[0]).unwrap();
        assert_eq!((running.wait().unwrap(), waiting.wait().unwrap()), (Waited::Came, Waited::Long));
        running.pass().unwrap();
        assert_eq!(waiting.wait().unwrap(), Waited::Came);
        drop(waiting);
        assert_eq!((running.wait().unwrap(), running.alone), (Waited::Came, true));
    }
}
