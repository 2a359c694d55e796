//! The unit of work of a compiled GEMM: one tile of 64 rows times some columns.

use std::ops::Range;

use super::batch::ActivationBatch;
use crate::{
    format::Format,
    granularity::{Granularity, TILE_ROWS},
    layout::{Layout, STRIPE_ROWS},
    packed::PackedMatrix,
};

/// Stripes of a tile.
pub(crate) const TILE_STRIPES: usize = TILE_ROWS / STRIPE_ROWS;

/// A tile of a matrix, columns of a batch, and their products.
///
/// [`Tile::new`] checks every length that the kernels rely on; the fields stay private, so that a
/// tile that exists has been checked.
pub(crate) struct Tile<'a> {
    weights: &'a PackedMatrix,
    batch: &'a ActivationBatch,
    tile: usize,
    columns: Range<usize>,
    /// `(columns, 64)`, zeros at first.
    out: &'a mut [f32],
}

impl<'a> Tile<'a> {
    /// Tile number `tile` times `columns`.
    ///
    /// # Panics
    /// If the matrix has another format than `format` or is not `rows16`, the batch does not fit
    /// it, there is no such tile or column, or `out` is not 64 values a column: a mistake of the caller.
    pub(crate) fn new(
        format: Format,
        weights: &'a PackedMatrix,
        batch: &'a ActivationBatch,
        tile: usize,
        columns: Range<usize>,
        out: &'a mut [f32],
    ) -> Self {
        assert_eq!((weights.format(), weights.layout()), (format, Layout::Rows16), "a kernel of {format} in rows16");
        assert_eq!(batch.cols(), weights.cols(), "the batch has another K than the matrix");
        assert_eq!(batch.segment(), weights.segment(), "the batch has other segments than the matrix");
        assert!(tile * TILE_ROWS < weights.rows(), "the matrix has no tile {tile}");
        assert!(columns.start <= columns.end && columns.end <= batch.columns(), "the batch has no columns {columns:?}");
        assert_eq!(out.len(), columns.len() * TILE_ROWS, "64 products for each column");
        out.fill(0.0);
        Self { weights, batch, tile, columns, out }
    }

    /// Segments of a row, at least one.
    #[inline(always)]
    pub(crate) fn segments(&self) -> usize {
        self.weights.segments()
    }

    /// Fours of weights of each row in a segment: 8, 16 or 32.
    #[inline(always)]
    pub(crate) fn steps(&self) -> usize {
        self.weights.segment() / 4
    }

    /// Stripes of the tile that are in the matrix, 1 to 4.
    #[inline(always)]
    pub(crate) fn stripes(&self) -> usize {
        (self.weights.stripes() - self.tile * TILE_STRIPES).min(TILE_STRIPES)
    }

    /// Codes of a segment of a stripe of the tile.
    #[inline(always)]
    pub(crate) fn codes(&self, stripe: usize, segment: usize) -> &[u8] {
        let bytes = self.weights.segment_bytes();
        let stripe = self.tile * TILE_STRIPES + stripe;
        &self.weights.codes()[stripe * self.weights.stripe_bytes() + segment * bytes..][..bytes]
    }

    /// f16 bits of the scales of a segment of a stripe of the tile.
    #[inline(always)]
    pub(crate) fn weight_scales(&self, stripe: usize, segment: usize) -> [u16; STRIPE_ROWS] {
        let (granularity, scales) = (self.weights.granularity(), self.weights.scales());
        let row = self.tile * TILE_ROWS + stripe * STRIPE_ROWS;
        let first = Layout::Rows16.scale_index(granularity, row, segment, self.weights.segments());
        match granularity {
            Granularity::Tile64 => [scales[first]; STRIPE_ROWS],
            _ => *scales[first..].first_chunk().expect("scales are padded to whole stripes"),
        }
    }

    /// The other operand.
    #[inline(always)]
    pub(crate) fn batch(&self) -> &'a ActivationBatch {
        self.batch
    }

    /// Columns of the batch.
    #[inline(always)]
    pub(crate) fn columns(&self) -> Range<usize> {
        self.columns.clone()
    }

    /// The products `(columns, 64)`, those of `column` (of the batch) and behind.
    #[inline(always)]
    pub(crate) fn out(&mut self, column: usize) -> &mut [f32] {
        &mut self.out[(column - self.columns.start) * TILE_ROWS..]
    }
}
