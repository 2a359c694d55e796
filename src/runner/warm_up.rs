//! When a cell is warm: after a least time, and once its repetitions no longer get faster or slower.

use crate::stats::summary::median;

/// Least seconds of warm-up.
const LEAST_SECONDS: f64 = 0.02;

/// Seconds after which it ends, steady or not: what is still cold then is a small part of the block.
const MOST_SECONDS: f64 = 0.1;

/// Repetitions after which it ends, steady or not.
pub const MOST: u32 = 16;

/// Largest difference between the medians of the earlier and the later half, as a part of the larger.
const TOLERANCE: f64 = 0.05;

/// The repetitions of one cell that do not count.
#[derive(Clone, Debug, Default)]
pub struct WarmUp(Vec<f64>);

impl WarmUp {
    /// One more repetition took so many seconds.
    pub fn add(&mut self, seconds: f64) {
        self.0.push(seconds);
    }

    /// Whether repetitions count from now on. This depends on those that do not count alone.
    pub fn is_over(&self) -> bool {
        let total: f64 = self.0.iter().sum();
        total >= MOST_SECONDS || self.0.len() >= MOST as usize || (total >= LEAST_SECONDS && self.is_steady())
    }

    fn is_steady(&self) -> bool {
        let (earlier, later) = self.0.split_at(self.0.len() / 2);
        match (median(earlier), median(later)) {
            (Some(earlier), Some(later)) => (earlier - later).abs() <= TOLERANCE * earlier.max(later),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Repetitions that pass until a cell is warm, if they take these times one after another.
    fn passed(seconds: impl IntoIterator<Item = f64>) -> usize {
        let mut warm_up = WarmUp::default();
        let mut passed = 0;
        for seconds in seconds {
            if warm_up.is_over() {
                break;
            }
            warm_up.add(seconds);
            passed += 1;
        }
        passed
    }

    #[test]
    fn short_repetitions_pass_for_the_least_time() {
        assert_eq!(passed(std::iter::repeat(0.005)), 4);
        assert_eq!(passed(std::iter::repeat(0.03)), 2, "one has nothing to be steady against");
        assert_eq!(passed(std::iter::repeat(0.0001)), MOST as usize);
    }

    #[test]
    fn a_long_repetition_is_enough() {
        assert_eq!(passed(std::iter::repeat(0.2)), 1);
    }

    /// 20 ms have passed after the second; the halves agree when the slow ones are few.
    #[test]
    fn what_still_gets_faster_goes_on() {
        let cooling = [0.016, 0.012, 0.010, 0.008, 0.008, 0.008, 0.008, 0.008, 0.008, 0.008, 0.008, 0.008, 0.008];
        assert_eq!(passed(cooling), 11, "0.1 s end it");
        assert_eq!(passed([0.016, 0.008, 0.008, 0.008, 0.008, 0.008, 0.008]), 6, "the median forgets one");
    }
}
