//! Reductions in sixteen virtual lanes.
//!
//! Lane `i` takes the elements `i`, `i + 16`, `i + 32`, … in ascending order; a tail shorter than
//! sixteen goes to the lanes it would have had anyway. The lanes are folded by a fixed tree: lanes
//! eight apart are added, then four, two and one apart.

use crate::isa::portable::{self, Portable};

/// Number of virtual lanes: one AVX-512 register, or two of AVX2, or four of SSE or NEON.
pub const LANES: usize = 16;

/// Elements whose squares are summed together before tiles are folded: the rows that one tile of
/// a kernel stores.
pub const TILE: usize = 64;

/// Adds the lanes: eight apart, then four, two, one.
#[inline(always)]
fn fold(mut lanes: [f32; LANES]) -> f32 {
    let mut width = LANES / 2;
    while width > 0 {
        for i in 0..width {
            lanes[i] += lanes[i + width];
        }
        width /= 2;
    }
    lanes[0]
}

/// `Σ a[i]·b[i]`, each product and each sum rounded: within `(n/16 + 6)·2⁻²⁴·Σ|a[i]·b[i]|`.
///
/// # Panics
///
/// When the lengths differ.
pub fn dot(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len(), "dot product of unequal lengths");
    let mut dot = Dot { a, b, value: 0.0 };
    portable::run(&mut dot);
    dot.value
}

pub(super) struct Dot<'a> {
    pub(super) a: &'a [f32],
    pub(super) b: &'a [f32],
    pub(super) value: f32,
}

impl Portable for Dot<'_> {
    #[inline(always)]
    fn run(&mut self) {
        self.value = dot_here(self.a, self.b);
    }
}

/// [`dot`] with the instructions of the caller.
#[inline(always)]
pub(super) fn dot_here(a: &[f32], b: &[f32]) -> f32 {
    let (a, a_tail) = a.as_chunks::<LANES>();
    let (b, b_tail) = b.as_chunks::<LANES>();
    let mut lanes = [0.0; LANES];
    for (a, b) in a.iter().zip(b) {
        for i in 0..LANES {
            lanes[i] += a[i] * b[i];
        }
    }
    for (lane, (a, b)) in lanes.iter_mut().zip(a_tail.iter().zip(b_tail)) {
        *lane += a * b;
    }
    fold(lanes)
}

/// `Σ x[i]`, within `(n/16 + 5)·2⁻²⁴·Σ|x[i]|`.
pub fn sum(x: &[f32]) -> f32 {
    let mut sum = Sum { x, value: 0.0 };
    portable::run(&mut sum);
    sum.value
}

pub(super) struct Sum<'a> {
    pub(super) x: &'a [f32],
    pub(super) value: f32,
}

impl Portable for Sum<'_> {
    #[inline(always)]
    fn run(&mut self) {
        self.value = sum_here(self.x);
    }
}

/// [`sum`] with the instructions of the caller.
#[inline(always)]
pub(super) fn sum_here(x: &[f32]) -> f32 {
    let (chunks, tail) = x.as_chunks::<LANES>();
    let mut lanes = [0.0; LANES];
    for chunk in chunks {
        for i in 0..LANES {
            lanes[i] += chunk[i];
        }
    }
    for (lane, x) in lanes.iter_mut().zip(tail) {
        *lane += x;
    }
    fold(lanes)
}

/// The largest of `x`, −∞ of none; NaNs are passed over. With the instructions of the caller.
#[inline(always)]
pub(super) fn max_here(x: &[f32]) -> f32 {
    // The answer of `maxps`, in one instruction; `f32::max` takes three to pass over either NaN.
    let larger = |a: f32, b: f32| if b > a { b } else { a };
    let (chunks, tail) = x.as_chunks::<LANES>();
    let mut lanes = [f32::NEG_INFINITY; LANES];
    for chunk in chunks {
        for i in 0..LANES {
            lanes[i] = larger(lanes[i], chunk[i]);
        }
    }
    lanes.iter().chain(tail).fold(f32::NEG_INFINITY, |max, &x| larger(max, x))
}

/// `Σ x[i]²` of one tile: at most [`TILE`] elements, too few to be worth a choice of instructions.
pub fn tile_square_sum(tile: &[f32]) -> f32 {
    debug_assert!(tile.len() <= TILE);
    dot_here(tile, tile)
}

/// `Σ x[i]²`: the tiles of `x` in ascending order, the last of which may be short; within
/// `(n/64 + 10)·2⁻²⁴` of the value.
pub fn square_sum(x: &[f32]) -> f32 {
    let mut sum = SquareSum { x, value: 0.0 };
    portable::run(&mut sum);
    sum.value
}

pub(super) struct SquareSum<'a> {
    pub(super) x: &'a [f32],
    pub(super) value: f32,
}

impl Portable for SquareSum<'_> {
    #[inline(always)]
    fn run(&mut self) {
        // A loop: `fold` would be a function of its own, compiled for the build target.
        let mut sum = 0.0;
        for tile in self.x.chunks(TILE) {
            sum += dot_here(tile, tile);
        }
        self.value = sum;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values with no structure: a linear congruential generator mapped to [−1, 1).
    fn values(n: usize, seed: u32) -> Vec<f32> {
        let mut state = seed;
        (0..n)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 8) as f32 / (1 << 23) as f32 - 1.0
            })
            .collect()
    }

    #[test]
    fn reductions_are_within_their_bounds_of_f64() {
        for n in [0, 1, 15, 16, 17, 63, 64, 65, 256, 1000, 14_336] {
            let (a, b) = (values(n, 1), values(n, 2));
            let products: Vec<f64> = (0..n).map(|i| f64::from(a[i]) * f64::from(b[i])).collect();
            let squares: Vec<f64> = a.iter().map(|&a| f64::from(a).powi(2)).collect();
            let plain: Vec<f64> = a.iter().map(|&a| f64::from(a)).collect();
            let ulps = |lanes: usize, more: usize| (n / lanes + more) as f64 * 2.0_f64.powi(-24);
            for (got, terms, relative) in [
                (dot(&a, &b), &products, ulps(16, 6)),
                (sum(&a), &plain, ulps(16, 5)),
                (square_sum(&a), &squares, ulps(64, 10)),
            ] {
                let error = (f64::from(got) - terms.iter().sum::<f64>()).abs();
                let bound = relative * terms.iter().map(|t| t.abs()).sum::<f64>();
                assert!(error <= bound, "n = {n}: error {error:e}, bound {bound:e}");
            }
        }
    }

    #[test]
    fn the_maximum_passes_over_nan() {
        assert_eq!(max_here(&[]), f32::NEG_INFINITY);
        for at in 0..40 {
            let mut x = values(40, 5);
            x[at] = 2.0;
            x[(at + 7) % 40] = f32::NAN;
            assert_eq!(max_here(&x), 2.0);
        }
    }

    #[test]
    fn the_order_is_lanes_then_tree() {
        let x = values(40, 3);
        let mut lanes = [0.0_f32; 16];
        for (i, x) in x.iter().enumerate() {
            lanes[i % 16] += x;
        }
        let eight: Vec<f32> = (0..8).map(|i| lanes[i] + lanes[i + 8]).collect();
        let four: Vec<f32> = (0..4).map(|i| eight[i] + eight[i + 4]).collect();
        let two: Vec<f32> = (0..2).map(|i| four[i] + four[i + 2]).collect();
        assert_eq!(sum(&x).to_bits(), (two[0] + two[1]).to_bits());
    }

    #[test]
    fn tiles_fold_in_ascending_order() {
        let x = values(150, 4);
        let tiles = tile_square_sum(&x[..64]) + tile_square_sum(&x[64..128]);
        let expected = tiles + tile_square_sum(&x[128..]);
        assert_eq!(square_sum(&x).to_bits(), expected.to_bits());
    }
}
