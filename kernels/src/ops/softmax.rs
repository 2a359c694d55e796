//! Softmax.

use super::exp::exp;
use super::lanes;

/// Turns scores into probabilities in place: subtract the maximum, exponentiate, and multiply by
/// the reciprocal of the lane sum.
pub fn softmax(x: &mut [f32]) {
    let max = x.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    for x in x.iter_mut() {
        *x = exp(*x - max);
    }
    let scale = 1.0 / lanes::sum(x);
    for x in x {
        *x *= scale;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_f64() {
        let scores: Vec<f32> = (0..37).map(|i| ((i * 7) % 23) as f32 * 0.31 - 2.0).collect();
        let exact: Vec<f64> = scores.iter().map(|&s| f64::from(s).exp()).collect();
        let total: f64 = exact.iter().sum();
        let mut got = scores;
        softmax(&mut got);
        for (got, exact) in got.iter().zip(exact) {
            assert!((f64::from(*got) / (exact / total) - 1.0).abs() < 1e-5);
        }
    }

    #[test]
    fn is_stable_for_large_scores() {
        let mut x = [1000.0, 1000.0, -1000.0];
        softmax(&mut x);
        assert_eq!(x, [0.5, 0.5, 0.0]);
    }
}
