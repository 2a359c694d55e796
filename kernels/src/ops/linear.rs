//! Linear layers with `f32` weights: the unquantized baseline.

use super::lanes::dot;

/// `out[r] = Σ_k weights[r][k]·x[k]`, one lane [`dot`] per row.
///
/// `weights` is (out.len(), x.len()), row-major: the rows that belong to `out`, so that threads can
/// each be given their own.
///
/// # Panics
///
/// When the shapes disagree.
pub fn gemv(weights: &[f32], x: &[f32], out: &mut [f32]) {
    assert_eq!(weights.len(), x.len() * out.len(), "gemv of unequal shapes");
    for (out, row) in out.iter_mut().zip(weights.chunks_exact(x.len())) {
        *out = dot(row, x);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_f64() {
        let (rows, cols) = (5, 67);
        let weights: Vec<f32> = (0..rows * cols).map(|i| ((i * 37) % 101) as f32 * 0.01 - 0.5).collect();
        let x: Vec<f32> = (0..cols).map(|i| ((i * 13) % 29) as f32 - 14.0).collect();
        let mut out = vec![0.0; rows];
        gemv(&weights, &x, &mut out);
        for (r, out) in out.iter().enumerate() {
            let exact: f64 = (0..cols).map(|k| f64::from(weights[r * cols + k]) * f64::from(x[k])).sum();
            assert!((f64::from(*out) - exact).abs() < 1e-3);
        }
    }
}
