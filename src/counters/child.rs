//! The process of a product, waited for.

use std::{
    io::Read,
    process::{Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use super::{NoCounters, product::Event};

/// How often it is asked whether it has ended.
const POLL: Duration = Duration::from_millis(10);

/// What to do about a process that misbehaves.
const REMEDY: &str = "run the command by itself and see";

/// What a process left.
pub struct Ended {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

/// Runs `command` to its end, or ends it at `limit`. It writes less than a pipe holds.
///
/// # Errors
/// A command that does not start or does not end in time.
pub fn run(command: &mut Command, limit: Duration) -> Result<Ended, NoCounters> {
    let program = command.get_program().to_string_lossy().into_owned();
    let failed = |what: String| NoCounters::new(format!("{program}: {what}"), REMEDY);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| failed(format!("cannot be started: {error}")))?;
    let started = Instant::now();
    let status = loop {
        match child.try_wait().map_err(|error| failed(error.to_string()))? {
            Some(status) => break status,
            None if started.elapsed() > limit => {
                // One that has just ended by itself need not be ended.
                let _ = child.kill();
                let _ = child.wait();
                return Err(failed(format!("was ended after {} s", limit.as_secs())));
            }
            None => thread::sleep(POLL),
        }
    };
    let text = |stream: Option<&mut dyn Read>| {
        let mut bytes = Vec::new();
        // What cannot be read is missing from a message, or from events, which says so.
        let _ = stream.map(|stream| stream.read_to_end(&mut bytes));
        String::from_utf8_lossy(&bytes).into_owned()
    };
    let stdout = text(child.stdout.as_mut().map(|stream| stream as &mut dyn Read));
    let stderr = text(child.stderr.as_mut().map(|stream| stream as &mut dyn Read));
    Ok(Ended { status, stdout, stderr })
}

/// What a process of a product said of itself.
///
/// # Errors
/// A line that is no event.
pub fn events(stdout: &str) -> Result<Vec<Event>, NoCounters> {
    stdout.lines().map(event).collect()
}

/// One line of it.
///
/// # Errors
/// A line that is no event.
pub fn event(line: &str) -> Result<Event, NoCounters> {
    serde_json::from_str(line)
        .map_err(|_| NoCounters::new(format!("the process of a product wrote `{}`", line.trim_end()), REMEDY))
}

/// Why a process that ended with `status` has no counts.
pub fn ended_early(status: ExitStatus, stderr: &str) -> NoCounters {
    let said = stderr.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" ");
    let said = if said.is_empty() { "it said nothing".to_owned() } else { said };
    NoCounters::new(format!("the process of the product ended with {status}: {said}"), REMEDY)
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_does_not_end_is_ended() {
        let none = run(Command::new("sleep").arg("60"), Duration::from_millis(50)).err().unwrap();
        assert!(none.reason.contains("sleep: was ended"), "{none}");
        let none = run(&mut Command::new("/nonexistent"), POLL).err().unwrap();
        assert!(none.reason.contains("cannot be started"), "{none}");
    }

    #[test]
    fn what_it_said_and_how_it_ended_is_kept() {
        let ended =
            run(Command::new("sh").args(["-c", "echo out; echo why >&2; kill -ILL $$"]), Duration::from_secs(9));
        let Ended { status, stdout, stderr } = ended.unwrap();
        assert_eq!(stdout, "out\n");
        let none = ended_early(status, &stderr);
        assert!(!status.success() && none.reason.contains("signal: 4") && none.reason.ends_with("why"), "{none}");
        assert!(events(&stdout).unwrap_err().reason.contains("`out`"));
    }
}
