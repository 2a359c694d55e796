//! Statistics of blocks: pure functions of numbers, one concept a file, each with its source.
//!
//! The unit of inference is the block (one fresh process in which every arm ran), never the
//! repetition: repetitions of one process share its memory layout and its minute of the machine's
//! life, and counting them as independent manufactures significance (Kalibera and Jones, "Rigorous
//! Benchmarking in Reasonable Time", ISMM 2013). Differences are natural logarithms of ratios
//! until they are printed, so that a speed-up and its inverse are equally far from no effect.

pub mod amdahl;
pub mod binomial;
pub mod clusters;
pub mod combination;
pub mod contrast;
pub mod factorial;
pub mod holm;
pub mod shapley;
pub mod simultaneous;
pub mod student;
pub mod summary;
mod trimmed;
pub mod verdict;
pub mod welch;

/// A closed interval; infinite ends say that the data do not bound it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    pub low: f64,
    pub high: f64,
}

impl Interval {
    /// Both ends through an increasing function, such as the way from a logarithm to its ratio.
    pub fn map(self, f: impl Fn(f64) -> f64) -> Interval {
        Interval { low: f(self.low), high: f(self.high) }
    }

    pub fn contains(self, value: f64) -> bool {
        self.low <= value && value <= self.high
    }

    /// Whether the data bound it at both ends.
    pub fn is_bounded(self) -> bool {
        self.low.is_finite() && self.high.is_finite()
    }
}
