//! RMSNorm: `x / sqrt(mean(x²) + ε) · weight`.
//!
//! It comes in two halves, because fused kernels compute the square sum while they store the
//! residual stream, and apply the scale while they quantize the next operand.
//!
//! Both together are within `(n/128 + 10)·2⁻²⁴` of each value, where no square and no product
//! overflows or is subnormal.

use crate::isa::portable::{self, Portable};

/// `1 / sqrt(square_sum / n + eps)` for `n` elements whose squares sum to `square_sum`, which is
/// that of [`lanes::square_sum`](super::lanes::square_sum).
pub fn inv_rms(square_sum: f32, n: usize, eps: f32) -> f32 {
    1.0 / (square_sum / n as f32 + eps).sqrt()
}

/// `out = (x * inv_rms) * weight`, in this order of rounding.
///
/// # Panics
///
/// When the lengths differ.
pub fn normalize(x: &[f32], weight: &[f32], inv_rms: f32, out: &mut [f32]) {
    assert!(x.len() == weight.len() && x.len() == out.len());
    portable::run(&mut Normalize { x, weight, inv_rms, out });
}

pub(super) struct Normalize<'a> {
    pub(super) x: &'a [f32],
    pub(super) weight: &'a [f32],
    pub(super) inv_rms: f32,
    pub(super) out: &'a mut [f32],
}

impl Portable for Normalize<'_> {
    #[inline(always)]
    fn run(&mut self) {
        normalize_here(self.x, self.weight, self.inv_rms, self.out);
    }
}

/// [`normalize`] with the instructions of the caller.
#[inline(always)]
pub(crate) fn normalize_here(x: &[f32], weight: &[f32], inv_rms: f32, out: &mut [f32]) {
    for ((out, x), weight) in out.iter_mut().zip(x).zip(weight) {
        *out = (x * inv_rms) * weight;
    }
}

#[cfg(test)]
mod tests {
    use super::super::lanes::square_sum;
    use super::*;

    #[test]
    fn both_halves_are_within_their_bound_of_f64() {
        for n in [1, 64, 200, 4096] {
            let x: Vec<f32> = (0..n).map(|i| ((i * 61) % 211) as f32 * 0.013 - 1.1).collect();
            let weight: Vec<f32> = (0..n).map(|i| 0.5 + (i % 200) as f32 * 0.01).collect();
            let mut out = vec![0.0; n];
            normalize(&x, &weight, inv_rms(square_sum(&x), n, 1e-5), &mut out);
            let mean = x.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>() / n as f64;
            let relative = (n / 128 + 10) as f64 * 2.0_f64.powi(-24);
            for i in 0..n {
                let exact = f64::from(x[i]) / (mean + f64::from(1e-5_f32)).sqrt() * f64::from(weight[i]);
                let error = (f64::from(out[i]) - exact).abs();
                assert!(error <= relative * exact.abs(), "n = {n}, {i}: error {error:e} of {exact:e}");
            }
        }
    }

    #[test]
    fn zeros_stay_zeros() {
        let mut out = [1.0; 3];
        normalize(&[0.0; 3], &[2.0; 3], inv_rms(0.0, 3, 1e-5), &mut out);
        assert_eq!(out, [0.0; 3]);
    }
}
