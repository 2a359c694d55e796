//! Can the kernels explain what the pipeline gains?
//!
//! Where only the kernels change, the rest of a token takes the time that it took before (Amdahl,
//! "Validity of the Single Processor Approach to Achieving Large Scale Computing Capabilities", AFIPS
//! Spring Joint Computer Conference, 1967): with the kernels' share f of the reference's token and their
//! gain g, a token becomes 1 / ((1 − f) + f/g) times as fast. What was measured beyond that, or is missing
//! from it, happened outside of the kernels.

use super::contrast::{BlockTimes, Effect};
use super::student::Estimate;

/// Block times of one cell.
#[derive(Clone, Copy, Debug)]
pub struct Times<'a> {
    pub token: &'a BlockTimes,
    /// Of the token, what the kernels take.
    pub kernel: &'a BlockTimes,
}

/// The gain of a pipeline beside what its kernels predict.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Amdahl {
    /// The kernels' share of the reference's token: mean over blocks.
    pub share: Estimate,
    /// Gain of the kernels.
    pub kernel: Effect,
    /// Of the pipeline, if nothing but the kernels had changed.
    pub predicted: Effect,
    /// Of the pipeline.
    pub measured: Effect,
    /// Measured / predicted: above one, the pipeline gained outside of the kernels.
    pub beyond: Effect,
}

/// Predicts within each block that has all four times, and where kernels take no longer than the token
/// around them. `None` without such a block.
pub fn amdahl(arm: Times<'_>, reference: Times<'_>, confidence: f64) -> Option<Amdahl> {
    let (mut shares, mut kernel) = (Vec::new(), Vec::new());
    let (mut predicted, mut measured, mut beyond) = (Vec::new(), Vec::new(), Vec::new());
    for (block, arm_token) in arm.token {
        let times = (arm.kernel.get(block), reference.token.get(block), reference.kernel.get(block));
        let (Some(arm_kernel), Some(token), Some(of_token)) = times else { continue };
        if arm_kernel > arm_token || of_token > token {
            continue;
        }
        let (share, gain) = (of_token / token, of_token / arm_kernel);
        let prediction = 1.0 / ((1.0 - share) + share / gain);
        shares.push(share);
        kernel.push(gain.ln());
        predicted.push(prediction.ln());
        measured.push((token / arm_token).ln());
        beyond.push((token / arm_token / prediction).ln());
    }
    Some(Amdahl {
        share: Estimate::of(&shares, confidence)?,
        kernel: Effect::of_logs(&kernel, confidence)?,
        predicted: Effect::of_logs(&predicted, confidence)?,
        measured: Effect::of_logs(&measured, confidence)?,
        beyond: Effect::of_logs(&beyond, confidence)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(values: &[f64]) -> BlockTimes {
        (0..).zip(values.iter().copied()).collect()
    }

    fn found(arm: [&[f64]; 2], reference: [&[f64]; 2]) -> Option<Amdahl> {
        let [arm_token, arm_kernel] = arm.map(times);
        let [token, kernel] = reference.map(times);
        let arm = Times { token: &arm_token, kernel: &arm_kernel };
        amdahl(arm, Times { token: &token, kernel: &kernel }, 0.95)
    }

    /// The example of every textbook: nine tenths become ten times as fast, the whole 5.26 times.
    #[test]
    fn ninety_percent_ten_times_as_fast() {
        let found = found([&[19.0, 38.0, 19.0], &[9.0, 18.0, 9.0]], [&[100.0, 200.0, 100.0], &[90.0, 180.0, 90.0]]);
        let found = found.expect("three blocks");
        assert!((found.share.mean - 0.9).abs() < 1e-12 && (found.kernel.ratio - 10.0).abs() < 1e-12);
        assert!((found.predicted.ratio - 1.0 / 0.19).abs() < 1e-12);
        assert!((found.beyond.ratio - 1.0).abs() < 1e-12);
    }

    /// Kernels stay as they were, the rest is gone: no gain of the pipeline comes from them.
    #[test]
    fn a_gain_outside_of_the_kernels() {
        let found = found([&[80.0, 81.0], &[80.0, 80.0]], [&[100.0, 100.0], &[80.0, 80.0]]).expect("two blocks");
        assert_eq!((found.kernel.ratio, found.predicted.ratio), (1.0, 1.0));
        assert!(found.beyond.ratio > 1.2 && found.beyond.ratio == found.measured.ratio);
    }

    #[test]
    fn blocks_without_a_time_or_with_impossible_ones_do_not_count() {
        let one = found([&[50.0, 50.0, 50.0], &[40.0]], [&[100.0, 100.0], &[90.0, 90.0]]).expect("one block");
        assert_eq!(one.beyond.n_blocks, 1);
        assert_eq!(found([&[50.0], &[51.0]], [&[100.0], &[90.0]]), None);
        assert_eq!(found([&[50.0], &[40.0]], [&[], &[]]), None);
    }
}
