//! One loaded CPU: another process that runs and rests in bursts.

use std::{
    env,
    hint::black_box,
    io::{self, BufRead as _, BufReader, Write as _},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use septet_kernels::SplitMix64;

use crate::affinity;

/// A load that nobody ended ends itself: no block takes as long.
const LONGEST: Duration = Duration::from_secs(60);

/// Bursts, and the rests between them, take from a part of a turn to many rounds, each length between its ends
/// equally likely on a scale of logarithms: some slow one side of a round alone, others many rounds.
const SHORTEST_BURST: f64 = 1e-4;
const LONGEST_BURST: f64 = 1e-2;

/// The process of a load, which ends with this value.
pub struct Load(Child);

impl Load {
    /// Starts a load on `cpu`, or where the system puts it, whose bursts follow from `seed`, and waits until it
    /// runs.
    ///
    /// # Errors
    /// A process that cannot be started.
    pub fn start(cpu: Option<usize>, seed: u64) -> io::Result<Self> {
        let mut command = Command::new(env::current_exe()?);
        command.args(["load", &format!("--seed={seed}")]).args(cpu.map(|cpu| format!("--cpu={cpu}")));
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

/// What the process does: binds itself to `cpu`, says so, and runs and rests until it is ended.
///
/// # Errors
/// Nobody listens.
pub fn run(cpu: Option<usize>, seed: u64) -> io::Result<()> {
    // Where threads cannot be bound, the system decides.
    let _ = cpu.map(affinity::bind);
    let mut out = io::stdout().lock();
    writeln!(out, "running")?;
    out.flush()?;
    let (clock, mut random, mut value) = (Instant::now(), SplitMix64::new(seed), 0_u64);
    while clock.elapsed() < LONGEST {
        let (burst, end) = (Instant::now(), length(&mut random));
        while burst.elapsed() < end {
            for _ in 0..1 << 10 {
                value = black_box(value.wrapping_add(1));
            }
        }
        thread::sleep(length(&mut random));
    }
    Ok(())
}

/// The length of the next burst or rest.
fn length(random: &mut SplitMix64) -> Duration {
    let part = (random.next() >> 11) as f64 / (1_u64 << 53) as f64;
    Duration::from_secs_f64(SHORTEST_BURST * (LONGEST_BURST / SHORTEST_BURST).powf(part))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_the_bursts_are_shorter_than_a_millisecond() {
        let mut random = SplitMix64::new(1);
        let lengths: Vec<f64> = (0..10_000).map(|_| length(&mut random).as_secs_f64()).collect();
        // To the nanosecond of a duration.
        assert!(lengths.iter().all(|length| (0.99 * SHORTEST_BURST..=LONGEST_BURST).contains(length)));
        let short = lengths.iter().filter(|length| **length < 1e-3).count();
        // Four standard deviations of a binomial are 200.
        assert!((4_800..5_200).contains(&short), "{short}");
    }
}
