//! RMSNorm: `x / sqrt(mean(x²) + ε) · weight`.
//!
//! It comes in two halves, because fused kernels compute the square sum while they store the
//! residual stream, and apply the scale while they quantize the next operand.

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
    for ((out, x), weight) in out.iter_mut().zip(x).zip(weight) {
        *out = (x * inv_rms) * weight;
    }
}

#[cfg(test)]
mod tests {
    use super::super::lanes::square_sum;
    use super::*;

    #[test]
    fn agrees_with_f64() {
        let x: Vec<f32> = (0..200).map(|i| (i as f32 - 90.0) * 0.013).collect();
        let weight: Vec<f32> = (0..200).map(|i| 0.5 + i as f32 * 0.01).collect();
        let mut out = vec![0.0; 200];
        normalize(&x, &weight, inv_rms(square_sum(&x), 200, 1e-5), &mut out);
        let mean = x.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>() / 200.0;
        for i in 0..200 {
            let exact = f64::from(x[i]) / (mean + 1e-5).sqrt() * f64::from(weight[i]);
            assert!((f64::from(out[i]) - exact).abs() <= 2e-6 * exact.abs());
        }
    }

    #[test]
    fn zeros_stay_zeros() {
        let mut out = [1.0; 3];
        normalize(&[0.0; 3], &[2.0; 3], inv_rms(0.0, 3, 1e-5), &mut out);
        assert_eq!(out, [0.0; 3]);
    }
}
