//! Products with an `f32` matrix: linear layers of the unquantized baseline.

use super::lanes::dot_here;
use crate::isa::portable::{self, Portable};

/// `out[r] = Σ_k weights[r][k]·x[k]`, one lane [`dot`](super::lanes::dot) per row, with its error.
///
/// `weights` is (out.len(), x.len()), row-major: the rows that belong to `out`, so that threads can
/// each be given their own.
///
/// # Panics
///
/// When the shapes disagree.
pub fn gemv(weights: &[f32], x: &[f32], out: &mut [f32]) {
    assert_eq!(weights.len(), x.len() * out.len(), "gemv of unequal shapes");
    portable::run(&mut Gemv { weights, x, out });
}

pub(super) struct Gemv<'a> {
    pub(super) weights: &'a [f32],
    pub(super) x: &'a [f32],
    pub(super) out: &'a mut [f32],
}

impl Portable for Gemv<'_> {
    #[inline(always)]
    fn run(&mut self) {
        for (out, row) in self.out.iter_mut().zip(self.weights.chunks_exact(self.x.len())) {
            *out = dot_here(row, self.x);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A matrix and a vector without structure: small integers in steps that are coprime to the shape.
    fn operands(rows: usize, cols: usize, x: usize) -> (Vec<f32>, Vec<f32>) {
        let weights = (0..rows * cols).map(|i| ((i * 37) % 101) as f32 * 0.01 - 0.5).collect();
        (weights, (0..x).map(|i| ((i * 13) % 29) as f32 * 0.7 - 9.0).collect())
    }

    /// Holds `found` to `factor · 2⁻²⁴ · Σ|terms|` around the sum of `terms`.
    fn assert_close(found: f32, terms: impl Iterator<Item = (f32, f32)>, factor: usize) {
        let (sum, size) = terms.fold((0.0, 0.0), |(sum, size): (f64, f64), (a, b)| {
            let term = f64::from(a) * f64::from(b);
            (sum + term, size + term.abs())
        });
        let error = (f64::from(found) - sum).abs();
        assert!(error <= factor as f64 * 2.0_f64.powi(-24) * size, "error {error:e} of {size:e}");
    }

    #[test]
    fn products_are_within_their_bounds_of_f64() {
        for (rows, cols) in [(5, 67), (1, 1), (16, 128), (300, 64)] {
            let (weights, x) = operands(rows, cols, cols);
            let mut out = vec![0.0; rows];
            gemv(&weights, &x, &mut out);
            for (r, out) in out.iter().enumerate() {
                assert_close(*out, (0..cols).map(|k| (weights[r * cols + k], x[k])), cols / 16 + 6);
            }
        }
    }
}
