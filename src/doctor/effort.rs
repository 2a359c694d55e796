//! How long is measured, and from how much memory.

use std::time::{Duration, Instant};

/// Repetitions, and the time for one quantity.
pub struct Effort {
    pub repetitions: usize,
    /// All timed loops of one quantity together; memory windows are read whole and take what they
    /// take.
    budget: Duration,
    /// Bytes that one memory measurement reads.
    pub window: usize,
    /// Memory is read in turn from a buffer of at least this size, and of this many times the
    /// last-level cache, so that a window has left the caches when its turn comes.
    pub least_buffer: usize,
    pub caches: usize,
    /// Most bytes that a thread reads of a cache level: half of a large one takes as long as memory.
    pub largest_part: usize,
}

/// Shortest and longest timed loop: one reads far more than the timer's step, the other stays below
/// the time in which a shared host changes its state.
const SLICE: [Duration; 2] = [Duration::from_millis(1), Duration::from_millis(30)];

impl Effort {
    pub const FULL: Self = Self {
        repetitions: 9,
        budget: Duration::from_secs(4),
        window: 256 << 20,
        least_buffer: 1 << 30,
        caches: 4,
        largest_part: usize::MAX,
    };
    pub const QUICK: Self = Self { repetitions: 3, budget: Duration::from_millis(400), ..Self::FULL };
    /// Beside the workloads of a block, on one and on two threads: half a second with everything.
    pub const BLOCK: Self = Self {
        repetitions: 3,
        budget: Duration::from_millis(60),
        window: 64 << 20,
        least_buffer: 256 << 20,
        caches: 2,
        largest_part: 32 << 20,
    };

    /// The time of one loop, if a quantity has `loops` of them in each repetition.
    pub fn slice(&self, loops: usize) -> Duration {
        (self.budget / (loops.max(1) * self.repetitions) as u32).clamp(SLICE[0], SLICE[1])
    }
}

/// How often `work` has to be repeated to take about `slice`; this warms up, too.
///
/// Each number of passes is timed twice: one interruption must not pass for work, or the loops that
/// follow would be too short to tell anything.
pub fn passes(slice: Duration, work: impl Fn(u64)) -> u64 {
    let mut passes = 1;
    loop {
        let seconds = seconds(|| work(passes)).min(seconds(|| work(passes)));
        if seconds >= slice.as_secs_f64() / 4.0 {
            return ((passes as f64 * slice.as_secs_f64() / seconds) as u64).max(1);
        }
        passes *= 2;
    }
}

/// Seconds that `work` takes, never zero.
pub fn seconds(work: impl FnOnce()) -> f64 {
    let clock = Instant::now();
    work();
    clock.elapsed().as_secs_f64().max(1e-9)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_share_the_budget_within_limits() {
        assert_eq!(Effort::FULL.slice(1), SLICE[1]);
        assert_eq!(Effort::QUICK.slice(1 << 20), SLICE[0]);
    }
}
