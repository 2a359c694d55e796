//! Rotary position embedding (Su et al. 2021, arXiv:2104.09864), in the half-split convention of
//! Hugging Face checkpoints: element `i` of a head is rotated with element `i + head_dim/2`.

use super::exp::{exp_f64, ln_f64};
use super::trig::sin_cos;
use crate::isa::portable::{self, Portable};

/// Cosines and sines of all positions.
#[derive(Clone, Debug)]
pub struct RotaryTable {
    /// `head_dim / 2`.
    half: usize,
    /// (position, half)
    cos: Vec<f32>,
    /// (position, half)
    sin: Vec<f32>,
}

/// What pair `i` of a head turns by from one position to the next: `theta^(−2i / head_dim)`, for the
/// `head_dim / 2` pairs.
pub fn frequencies(head_dim: usize, theta: f64) -> Vec<f64> {
    let ln_theta = ln_f64(theta);
    (0..head_dim / 2).map(|i| exp_f64(-ln_theta * (2 * i) as f64 / head_dim as f64)).collect()
}

impl RotaryTable {
    /// Tables for `positions` positions; pair `i` turns by `position · frequencies[i]`, computed in `f64`
    /// and rounded once.
    pub fn new(positions: usize, frequencies: &[f64]) -> Self {
        let (sin, cos) = (0..positions)
            .flat_map(|position| frequencies.iter().map(move |f| position as f64 * f))
            .map(|angle| {
                let (sin, cos) = sin_cos(angle);
                (sin as f32, cos as f32)
            })
            .unzip();
        Self { half: frequencies.len(), cos, sin }
    }

    /// Positions of the table.
    pub fn positions(&self) -> usize {
        self.cos.len() / self.half
    }

    /// Rotates every head of `x` (heads, head_dim) to `position`: each element of a pair (a, b)
    /// within `2⁻²²·(|a| + |b|)`, at positions below 10⁶.
    ///
    /// # Panics
    ///
    /// When `position` is beyond the table.
    pub fn rotate(&self, position: usize, x: &mut [f32]) {
        let row = position * self.half..(position + 1) * self.half;
        portable::run(&mut Rotate { cos: &self.cos[row.clone()], sin: &self.sin[row], x });
    }
}

pub(super) struct Rotate<'a> {
    /// (half)
    pub(super) cos: &'a [f32],
    /// (half)
    pub(super) sin: &'a [f32],
    /// (heads, 2·half)
    pub(super) x: &'a mut [f32],
}

impl Portable for Rotate<'_> {
    #[inline(always)]
    fn run(&mut self) {
        let half = self.cos.len();
        for head in self.x.chunks_exact_mut(2 * half) {
            let (first, second) = head.split_at_mut(half);
            rotate_head(self.cos, self.sin, first, second);
        }
    }
}

/// Rotates the halves of a head. A function, because its arguments are known not to overlap.
#[inline(always)]
fn rotate_head(cos: &[f32], sin: &[f32], first: &mut [f32], second: &mut [f32]) {
    for (((a, b), cos), sin) in first.iter_mut().zip(second).zip(cos).zip(sin) {
        (*a, *b) = (*a * cos - *b * sin, *b * cos + *a * sin);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rotation_is_within_its_bound_of_f64() {
        let (positions, head_dim, theta) = (600, 32, 10_000.0_f64);
        let table = RotaryTable::new(positions, &frequencies(head_dim, theta));
        for position in [0, 1, 17, 599] {
            let x: Vec<f32> = (0..64).map(|i| i as f32 * 0.1 - 3.0).collect();
            let mut got = x.clone();
            table.rotate(position, &mut got);
            for head in 0..2 {
                for i in 0..16 {
                    let angle = position as f64 * theta.powf(-2.0 * f64::from(i) / 32.0);
                    let at = head * 32 + i as usize;
                    let (a, b) = (f64::from(x[at]), f64::from(x[at + 16]));
                    let (first, second) = (a * angle.cos() - b * angle.sin(), b * angle.cos() + a * angle.sin());
                    let bound = 2.0_f64.powi(-22) * (a.abs() + b.abs());
                    assert!((f64::from(got[at]) - first).abs() <= bound);
                    assert!((f64::from(got[at + 16]) - second).abs() <= bound);
                }
            }
        }
    }

    #[test]
    fn position_zero_is_the_identity() {
        let mut x = [1.0, 2.0, 3.0, 4.0];
        RotaryTable::new(1, &frequencies(4, 10_000.0)).rotate(0, &mut x);
        assert_eq!(x, [1.0, 2.0, 3.0, 4.0]);
    }
}
