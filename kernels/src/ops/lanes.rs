//! Reductions in sixteen virtual lanes.
//!
//! Lane `i` takes the elements `i`, `i + 16`, `i + 32`, … in ascending order; a tail shorter than
//! sixteen goes to the lanes it would have had anyway. The lanes are folded by a fixed tree: lanes
//! eight apart are added, then four, two and one apart.

/// Number of virtual lanes: one AVX-512 register, or two of AVX2, or four of SSE or NEON.
pub const LANES: usize = 16;

/// Elements whose squares are summed together before tiles are folded: the rows that one tile of
/// a kernel stores.
pub const TILE: usize = 64;

/// Adds the lanes: eight apart, then four, two, one.
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

/// `Σ a[i]·b[i]`, each product and each sum rounded.
///
/// # Panics
///
/// When the lengths differ.
pub fn dot(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len(), "dot product of unequal lengths");
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

/// `Σ x[i]`.
pub fn sum(x: &[f32]) -> f32 {
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

/// `Σ x[i]²` of one tile: at most [`TILE`] elements.
pub fn tile_square_sum(tile: &[f32]) -> f32 {
    debug_assert!(tile.len() <= TILE);
    dot(tile, tile)
}

/// `Σ x[i]²`: the tiles of `x` in ascending order, the last of which may be short.
pub fn square_sum(x: &[f32]) -> f32 {
    x.chunks(TILE).fold(0.0, |sum, tile| sum + tile_square_sum(tile))
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

    /// Bound of any summation order: `(n + 1)·ε·Σ|terms|`.
    fn bound(terms: &[f64]) -> f64 {
        (terms.len() + 1) as f64 * f64::from(f32::EPSILON) * terms.iter().map(|t| t.abs()).sum::<f64>()
    }

    #[test]
    fn reductions_stay_within_the_rounding_bound_of_f64() {
        for n in [0, 1, 15, 16, 17, 63, 64, 65, 256, 1000] {
            let (a, b) = (values(n, 1), values(n, 2));
            let products: Vec<f64> = (0..n).map(|i| f64::from(a[i]) * f64::from(b[i])).collect();
            let squares: Vec<f64> = a.iter().map(|&a| f64::from(a).powi(2)).collect();
            let plain: Vec<f64> = a.iter().map(|&a| f64::from(a)).collect();
            for (got, terms) in [(dot(&a, &b), &products), (square_sum(&a), &squares), (sum(&a), &plain)] {
                let error = (f64::from(got) - terms.iter().sum::<f64>()).abs();
                assert!(error <= bound(terms), "n = {n}: error {error:e}");
            }
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
