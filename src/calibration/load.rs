//! One loaded CPU: a second process that does nothing but run.

use std::{
    env,
    hint::black_box,
    io::{self, BufRead as _, BufReader, Write as _},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use crate::affinity;

/// A load that nobody ended ends itself: no block takes as long.
const LONGEST: Duration = Duration::from_secs(60);

/// The process of a load, which ends with this value.
pub struct Load(Child);

impl Load {
    /// Starts a load on `cpu`, or where the system puts it, and waits until it runs.
    ///
    /// # Errors
    /// A process that cannot be started.
    pub fn start(cpu: Option<usize>) -> io::Result<Self> {
        let mut command = Command::new(env::current_exe()?);
        command.arg("load").args(cpu.map(|cpu| format!("--cpu={cpu}")));
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
        let output = child.stdout.take();
        let load = Self(child);
        if let Some(output) = output {
            BufReader::new(output).read_line(&mut String::new())?;
        }
        Ok(load)
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What the process does: binds itself to `cpu`, says so, and runs until it is ended.
///
/// # Errors
/// Nobody listens.
pub fn run(cpu: Option<usize>) -> io::Result<()> {
    // Where threads cannot be bound, the system decides.
    let _ = cpu.map(affinity::bind);
    let mut out = io::stdout().lock();
    writeln!(out, "running")?;
    out.flush()?;
    let clock = Instant::now();
    let mut value = 0_u64;
    while clock.elapsed() < LONGEST {
        for _ in 0..1 << 16 {
            value = black_box(value.wrapping_add(1));
        }
    }
    Ok(())
}
