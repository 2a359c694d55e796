//! The residual stream.

use septet_kernels::NonFinite;
use septet_kernels::ops::{lanes, norm};

use super::parts::Embedding;

/// The residual stream and the square sums of its tiles, which belong together.
#[derive(Clone, Debug)]
pub struct Residual {
    /// (hidden)
    pub(super) values: Vec<f32>,
    /// (hidden / 64, rounded up): `Σ x²` of each tile of `values`
    pub(super) square_sums: Vec<f32>,
}

impl Residual {
    /// A stream of `hidden` zeros.
    pub fn new(hidden: usize) -> Self {
        Self { values: vec![0.0; hidden], square_sums: vec![0.0; hidden.div_ceil(lanes::TILE)] }
    }

    /// The stream itself: (hidden).
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// The stream becomes `x` (hidden).
    pub fn set(&mut self, x: &[f32]) {
        self.values.copy_from_slice(x);
        self.sum_squares();
    }

    /// Starts a token: the stream becomes its embedding.
    ///
    /// # Errors
    ///
    /// When that is not finite.
    pub fn embed(&mut self, embedding: &Embedding, token: u32) -> Result<(), NonFinite> {
        embedding.read(token, &mut self.values)?;
        self.sum_squares();
        Ok(())
    }

    /// `stream += delta`, and then the square sums, each in a pass of its own.
    pub fn add(&mut self, delta: &[f32]) {
        for (x, delta) in self.values.iter_mut().zip(delta) {
            *x += delta;
        }
        self.sum_squares();
    }

    fn sum_squares(&mut self) {
        let tiles = self.values.chunks(lanes::TILE);
        for (sum, tile) in self.square_sums.iter_mut().zip(tiles) {
            *sum = lanes::tile_square_sum(tile);
        }
    }

    /// `1 / rms`: the tile sums folded in ascending order, as [`lanes::square_sum`] does.
    pub fn inv_rms(&self, eps: f32) -> f32 {
        let square_sum = self.square_sums.iter().fold(0.0, |sum, tile| sum + tile);
        norm::inv_rms(square_sum, self.values.len(), eps)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn square_sums_follow_the_stream() {
        let x: Vec<f32> = (0..150).map(|i| i as f32 * 0.01 - 0.7).collect();
        let mut residual = Residual::new(150);
        residual.set(&x);
        residual.add(&x);
        let doubled: Vec<f32> = x.iter().map(|x| x + x).collect();
        assert_eq!(residual.inv_rms(1e-5), norm::inv_rms(lanes::square_sum(&doubled), 150, 1e-5));
    }
}
