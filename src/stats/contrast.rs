//! One arm against its reference.
//!
//! In each block both ran within the same minute of the same process, so the machine's state
//! cancels in their ratio. The in-block natural log ratios, one a block, are a sample for
//! Student's t; its mean and interval are printed as ratios (geometric mean over blocks). Of two programs, whose
//! processes take turns, the ratios are those of neighbouring turns, and their mean is trimmed.

use std::collections::BTreeMap;

use super::Interval;
use super::student::Estimate;
use super::summary::median;

/// Median time of one cell in each block that has it, by block number.
pub type BlockTimes = BTreeMap<u32, f64>;

/// A speed-up with everything that is needed to judge it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Effect {
    /// Blocks in which both arms were measured; others do not count.
    pub n_blocks: usize,
    /// Reference time / arm time: above one, the arm is faster.
    pub ratio: f64,
    pub interval: Interval,
    /// Two-sided, not adjusted for other contrasts.
    pub p: f64,
    /// Standard deviation of the log ratios over blocks; of a trimmed mean its error times √n.
    pub spread: f64,
    /// Smallest true ratio, minus one, that is found with power 0.8 at this spread (0.02 = 2 %).
    pub detectable: f64,
}

impl Effect {
    /// From log ratios, one a block. `None` without blocks.
    pub fn of_logs(logs: &[f64], confidence: f64) -> Option<Effect> {
        Estimate::of(logs, confidence).map(Effect::from)
    }

    /// From the log ratios of neighbours, one a pair: their trimmed mean. `None` without pairs.
    pub fn of_pairs(logs: &[f64], confidence: f64) -> Option<Effect> {
        Estimate::trimmed(logs, confidence).map(Effect::from)
    }

    /// The same seen from the other side: arm time / reference time, above one where the arm is slower.
    pub fn inverted(self) -> Self {
        let Interval { low, high } = self.interval;
        Self { ratio: 1.0 / self.ratio, interval: Interval { low: 1.0 / high, high: 1.0 / low }, ..self }
    }
}

impl From<Estimate> for Effect {
    /// Of a mean of log ratios.
    fn from(estimate: Estimate) -> Effect {
        Effect {
            n_blocks: estimate.n,
            ratio: estimate.mean.exp(),
            interval: estimate.interval.map(f64::exp),
            p: estimate.p,
            spread: estimate.spread,
            detectable: estimate.detectable.exp_m1(),
        }
    }
}

/// ln(reference / arm) in each block that has both.
pub fn log_ratios(arm: &BlockTimes, reference: &BlockTimes) -> BTreeMap<u32, f64> {
    arm.iter().filter_map(|(block, time)| Some((*block, (reference.get(block)? / time).ln()))).collect()
}

/// The median of ln(a / b) over times that were taken next to each other, by their order: what slows both cancels,
/// and a burst beside one of them moves no median. `None` without times.
pub fn log_of_neighbours(a: &[f64], b: &[f64]) -> Option<f64> {
    let logs: Vec<f64> = a.iter().zip(b).map(|(a, b)| (a / b).ln()).collect();
    median(&logs)
}

/// The effect of `arm` against `reference`. `None` when no block has both.
pub fn contrast(arm: &BlockTimes, reference: &BlockTimes, confidence: f64) -> Option<Effect> {
    let logs: Vec<f64> = log_ratios(arm, reference).into_values().collect();
    Effect::of_logs(&logs, confidence)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(values: &[(u32, f64)]) -> BlockTimes {
        values.iter().copied().collect()
    }

    #[test]
    fn blocks_without_a_partner_are_left_out() {
        let arm = times(&[(0, 50.0), (1, 51.0), (2, 49.0), (3, 10.0)]);
        let reference = times(&[(0, 100.0), (1, 102.0), (2, 98.0), (9, 7.0)]);
        let effect = contrast(&arm, &reference, 0.95).expect("three common blocks");
        assert_eq!(effect.n_blocks, 3);
        assert!((effect.ratio - 2.0).abs() < 1e-12);
        assert!(effect.interval.high - effect.interval.low < 1e-12 && effect.p < 1e-12);
    }

    /// A machine that slows both arms down together leaves the contrast alone.
    #[test]
    fn drift_common_to_a_block_cancels() {
        let arm: BlockTimes = (0..8).map(|b| (b, 10.0 * 1.5_f64.powi(b as i32))).collect();
        let reference: BlockTimes = arm.iter().map(|(&b, t)| (b, t * 1.25)).collect();
        let effect = contrast(&arm, &reference, 0.95).expect("eight blocks");
        assert!((effect.ratio - 1.25).abs() < 1e-12 && effect.interval.high < 1.2501);
    }

    #[test]
    fn swapping_the_arms_inverts_the_ratio() {
        let a = times(&[(0, 10.0), (1, 11.0), (2, 10.5), (3, 9.0)]);
        let b = times(&[(0, 12.0), (1, 11.5), (2, 13.0), (3, 12.5)]);
        let one = contrast(&a, &b, 0.95).expect("blocks");
        let two = contrast(&b, &a, 0.95).expect("blocks");
        assert!((one.ratio * two.ratio - 1.0).abs() < 1e-12);
        assert!((one.interval.low * two.interval.high - 1.0).abs() < 1e-12);
        assert!((one.p - two.p).abs() < 1e-12);
    }

    #[test]
    fn identical_arms_and_too_few_blocks() {
        let a = times(&[(0, 10.0), (1, 11.0), (2, 12.0)]);
        let same = contrast(&a, &a, 0.95).expect("blocks");
        assert_eq!((same.ratio, same.p), (1.0, 1.0));
        assert_eq!((same.interval.low, same.interval.high), (1.0, 1.0));
        assert_eq!(contrast(&a, &times(&[]), 0.95), None);
        let single = contrast(&a, &times(&[(1, 22.0)]), 0.95).expect("one block");
        assert_eq!((single.interval.low, single.interval.high), (0.0, f64::INFINITY));
        assert_eq!(single.n_blocks, 1);
    }
}
