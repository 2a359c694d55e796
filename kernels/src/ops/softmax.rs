//! Softmax.

use super::exp::exp;
use super::lanes::{max_here, sum_here};
use crate::isa::portable::{self, Portable};

/// Turns scores into probabilities in place: subtract the maximum, exponentiate, and multiply by
/// the reciprocal of the lane sum.
///
/// Of `n` finite scores, each probability is within `(2·d + n/16 + 16)·2⁻²⁴` of its value and 2⁻¹²⁵
/// beside it, where `d` is the largest distance of a score from the maximum, or 88 if that is less.
pub fn softmax(x: &mut [f32]) {
    portable::run(&mut Softmax { x });
}

pub(super) struct Softmax<'a> {
    pub(super) x: &'a mut [f32],
}

impl Portable for Softmax<'_> {
    #[inline(always)]
    fn run(&mut self) {
        let max = max_here(self.x);
        for x in self.x.iter_mut() {
            *x = exp(*x - max);
        }
        let scale = 1.0 / sum_here(self.x);
        for x in self.x.iter_mut() {
            *x *= scale;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn softmax_is_within_its_bound_of_f64() {
        for (n, step) in [(1, 1.0), (37, 0.31), (2048, 0.0), (2048, 0.31), (2048, 5.0)] {
            let scores: Vec<f32> = (0..n).map(|i| ((i * 7) % 23) as f32 * step - 2.0).collect();
            let max = scores.iter().fold(f64::NEG_INFINITY, |max, &s| max.max(f64::from(s)));
            let exact: Vec<f64> = scores.iter().map(|&s| (f64::from(s) - max).exp()).collect();
            let total: f64 = exact.iter().sum();
            let distance = scores.iter().fold(0.0, |d: f64, &s| d.max(max - f64::from(s))).min(88.0);
            let relative = (2.0 * distance + (n / 16 + 16) as f64) * 2.0_f64.powi(-24);
            let mut got = scores;
            softmax(&mut got);
            for (got, exact) in got.iter().zip(exact) {
                let (exact, got) = (exact / total, f64::from(*got));
                let error = (got - exact).abs();
                assert!(error <= relative * exact + 2.0_f64.powi(-125), "n = {n}: error {error:e} of {exact:e}");
            }
        }
    }

    #[test]
    fn is_stable_for_large_scores() {
        let mut x = [1000.0, 1000.0, -1000.0];
        softmax(&mut x);
        assert_eq!(x, [0.5, 0.5, 0.0]);
    }
}
