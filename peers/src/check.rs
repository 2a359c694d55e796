//! A peer against the product that its stored weights and the exact activations give.
//!
//! Peers round activations and order sums as they like, so that their results cannot be compared
//! bit for bit: the difference must be what rounding explains ([`crate::Activations::tolerance`]). A
//! layout that is read wrongly gives an error of about 1.

use std::sync::Arc;

use septet_kernels::SplitMix64;

use crate::{DISTINCT_ROWS, Error, Peer, Product, Threads, Weights};

/// Columns of the matrices: some blocks of every format.
const COLS: usize = 1024;

/// Rows of the matrices: more than the distinct ones, and no multiple of a vector's lanes where a
/// peer takes any number.
const ROWS: usize = 515;

/// Rows of the matrices of peers that interleave them.
const INTERLEAVED_ROWS: usize = 520;

/// Vectors of the products: below, at and above the numbers at which peers change their kernels.
pub const COLUMNS: [usize; 4] = [1, 3, 8, 128];

/// Multiplies a random matrix with [`COLUMNS`] vectors on one and on `threads` threads, and gives
/// the largest relative error.
///
/// # Errors
/// A peer that cannot run here, or is wrong.
pub fn check(peer: Peer, threads: usize) -> Result<f64, Error> {
    // Those whose layout wants a multiple say so.
    let weights = [ROWS, INTERLEAVED_ROWS].map(|rows| random_weights(peer, rows));
    let weights = match weights {
        [Ok(any), _] => any,
        [Err(Error::Shape { .. }), interleaved] => interleaved?,
        [Err(error), _] => return Err(error),
    };
    let weights = Arc::new(weights);
    let mut worst = 0.0_f64;
    for columns in COLUMNS {
        let mut random = SplitMix64::new(columns as u64);
        let x: Vec<f32> = (0..columns * COLS).map(|_| random.normal_f32()).collect();
        let exact = exact_product(&weights, &x);
        for threads in [1, threads] {
            let mut product = Product::new(&weights, columns, &Threads::free(threads))?;
            for copy in 0..weights.copies() {
                // A result that is not written is an error, too.
                let mut out = vec![f32::NAN; columns * weights.rows()];
                product.run(copy, &x, &mut out)?;
                product.rest();
                let found = relative_error(&out, &exact);
                let tolerance = peer.activations().tolerance();
                if found.is_nan() || found >= tolerance {
                    let (rows, cols) = (weights.rows(), weights.cols());
                    return Err(Error::Wrong { peer, rows, cols, columns, threads, found, tolerance });
                }
                worst = worst.max(found);
            }
        }
    }
    Ok(worst)
}

/// Two copies of a matrix of normal weights.
fn random_weights(peer: Peer, rows: usize) -> Result<Weights, Error> {
    Weights::new(peer, rows, COLS, 2, &|row, out: &mut [f32]| {
        let mut random = SplitMix64::new(row as u64);
        out.fill_with(|| random.normal_f32());
    })
}

/// `out[column][row]` in f64, from the numbers that the stored weights stand for.
fn exact_product(weights: &Weights, x: &[f32]) -> Vec<f64> {
    let mut stored = vec![vec![0.0; weights.cols()]; weights.rows().min(DISTINCT_ROWS)];
    stored.iter_mut().enumerate().for_each(|(row, out)| weights.row(row, out));
    let dot = |w: &[f32], x: &[f32]| w.iter().zip(x).map(|(&w, &x)| f64::from(w) * f64::from(x)).sum::<f64>();
    let mut exact = Vec::with_capacity(x.len() / weights.cols() * weights.rows());
    for x in x.chunks_exact(weights.cols()) {
        let distinct: Vec<f64> = stored.iter().map(|row| dot(row, x)).collect();
        exact.extend((0..weights.rows()).map(|row| distinct[row % DISTINCT_ROWS]));
    }
    exact
}

/// 2-norm of the difference over 2-norm of the exact product.
fn relative_error(found: &[f32], exact: &[f64]) -> f64 {
    let square = |x: f64| x * x;
    let difference: f64 = found.iter().zip(exact).map(|(&found, &exact)| square(f64::from(found) - exact)).sum();
    (difference / exact.iter().copied().map(square).sum::<f64>()).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Activations;

    #[test]
    fn errors_are_relative_to_the_product() {
        assert_eq!(relative_error(&[3.0, 5.0], &[3.0, 4.0]), 0.2);
        assert!(relative_error(&[f32::NAN], &[1.0]).is_nan());
        assert!(Activations::F32.tolerance() < Activations::F16.tolerance());
    }
}
