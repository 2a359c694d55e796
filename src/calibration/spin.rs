//! Time that is lost on purpose: a chain of multiplications of a known rate, outside of every kernel.

use std::{hint::black_box, time::Instant};

use crate::runner::{
    RunError,
    stage::{PromptRead, Run},
};

/// Turns of one timing of the chain: some 50 µs, far above the step of the clock.
const TURNS: u64 = 1 << 15;

/// Timings of which the fastest counts: an interruption makes one longer, and nothing shorter.
const TIMINGS: usize = 9;

/// How long a turn takes here and now.
#[derive(Clone, Copy, Debug)]
pub struct Spin {
    ns_per_turn: f64,
}

impl Spin {
    /// Measures the rate of the chain on the calling thread.
    pub fn calibrated() -> Self {
        let timed = || {
            let clock = Instant::now();
            spin(TURNS);
            clock.elapsed().as_nanos() as f64
        };
        let fastest = (0..TIMINGS).map(|_| timed()).fold(f64::INFINITY, f64::min);
        Self { ns_per_turn: fastest.max(1.0) / TURNS as f64 }
    }

    /// Turns that take `ns`.
    pub fn turns(self, ns: f64) -> u64 {
        (ns / self.ns_per_turn).round() as u64
    }
}

/// A chain in which each multiplication waits for the one before it.
fn spin(turns: u64) {
    let mut value = turns;
    for _ in 0..turns {
        value = black_box(value.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1));
    }
}

/// An arm whose every token takes so many turns longer. All arms of a calibration run in one, those that
/// are not slowed with no turns, so that they are timed by the same instructions.
pub struct Slowed<'a> {
    inner: Box<dyn Run + 'a>,
    turns: u64,
}

impl<'a> Slowed<'a> {
    pub fn new(inner: Box<dyn Run + 'a>, turns: u64) -> Self {
        Self { inner, turns }
    }
}

impl Run for Slowed<'_> {
    fn rewind(&mut self) {
        self.inner.rewind();
    }

    fn read_prompt(&mut self) -> Result<Option<PromptRead>, RunError> {
        self.inner.read_prompt()
    }

    fn token(&mut self) -> Result<u64, RunError> {
        let clock = Instant::now();
        self.inner.token()?;
        spin(self.turns);
        Ok(clock.elapsed().as_nanos() as u64)
    }

    fn rest(&mut self) {
        self.inner.rest();
    }

    fn take_kernel_ns(&mut self) -> u64 {
        self.inner.take_kernel_ns()
    }

    fn output(&self) -> &[f32] {
        self.inner.output()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A token of no work.
    struct Idle;

    impl Run for Idle {
        fn rewind(&mut self) {}

        fn token(&mut self) -> Result<u64, RunError> {
            Ok(0)
        }

        fn take_kernel_ns(&mut self) -> u64 {
            0
        }

        fn output(&self) -> &[f32] {
            &[1.0]
        }
    }

    /// Interruptions make a token longer, never shorter: the fastest of many is the spin itself.
    #[test]
    fn a_slowed_token_takes_as_long_as_was_asked_for() {
        let spin = Spin::calibrated();
        for ns in [20_000.0, 200_000.0] {
            let mut run = Slowed::new(Box::new(Idle), spin.turns(ns));
            let fastest = (0..50).map(|_| run.token().unwrap()).min().unwrap() as f64;
            assert!((0.7 * ns..1.5 * ns).contains(&fastest), "{fastest} for {ns}");
        }
        assert_eq!(spin.turns(0.0), 0);
        assert_eq!(Slowed::new(Box::new(Idle), 0).output(), [1.0]);
    }
}
