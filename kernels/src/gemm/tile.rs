//! The unit of work of a compiled GEMM: one tile of 64 rows times some columns.

use std::ops::Range;

use super::batch::{ActivationBatch, BLOCK};
use crate::{
    format::Format,
    granularity::{Granularity, TILE_ROWS},
    layout::{Layout, STRIPE_ROWS},
    packed::PackedMatrix,
};

/// Most columns of a tile: f32 sums of 32 rows of them, a panel and a segment of their activations are
/// 37 KiB, less than a first-level cache of 48 KiB; their activations of 8192 values are about 1 MiB,
/// less than a second-level cache of 2 MiB. A Zen 3 has 32 and 512 KiB; there 72 columns were no faster.
pub(crate) const CHUNK: usize = 11 * BLOCK;

/// Stripes of a tile.
pub(crate) const TILE_STRIPES: usize = TILE_ROWS / STRIPE_ROWS;

/// A tile of a matrix, columns of a batch, and their products.
///
/// [`Tile::new`] checks every length that the kernels rely on; the fields stay private, so that a
/// tile that exists has been checked.
pub(crate) struct Tile<'a> {
    /// Codes of the tile's stripes and of those behind them.
    codes: &'a [u8],
    /// Stripes of the tile that are in the matrix, 1 to 4.
    stripes: usize,
    stripe_bytes: usize,
    segment_bytes: usize,
    segments: usize,
    /// Fours of weights of each row in a segment: 8, 16 or 32.
    steps: usize,
    scales: &'a [u16],
    granularity: Granularity,
    first_row: usize,
    batch: &'a ActivationBatch,
    columns: Range<usize>,
    /// `(columns, 64)`, zeros at first.
    out: &'a mut [f32],
}

impl<'a> Tile<'a> {
    /// Tile number `tile` times `columns`.
    ///
    /// # Panics
    /// If the matrix has another format than `format` or is not `rows16`, the batch does not fit
    /// it, there is no such tile or column, there are more than [`CHUNK`], or `out` is not 64 values a
    /// column: a mistake of the caller.
    pub(crate) fn new(
        format: Format,
        weights: &'a PackedMatrix,
        batch: &'a ActivationBatch,
        tile: usize,
        columns: Range<usize>,
        out: &'a mut [f32],
    ) -> Self {
        let first_row = tile * TILE_ROWS;
        assert_eq!((weights.format(), weights.layout()), (format, Layout::Rows16), "a kernel of {format} in rows16");
        assert_eq!(batch.cols(), weights.cols(), "the batch has another K than the matrix");
        assert_eq!(batch.segment(), weights.segment(), "the batch has other segments than the matrix");
        assert!(first_row < weights.rows(), "the matrix has no tile {tile}");
        assert!(columns.start <= columns.end && columns.end <= batch.columns(), "the batch has no columns {columns:?}");
        assert!(columns.len() <= CHUNK);
        assert_eq!(out.len(), columns.len() * TILE_ROWS, "64 products for each column");
        out.fill(0.0);
        Self {
            codes: weights.codes_from(first_row),
            stripes: (weights.stripes() - tile * TILE_STRIPES).min(TILE_STRIPES),
            stripe_bytes: weights.stripe_bytes(),
            segment_bytes: weights.segment_bytes(),
            segments: weights.segments(),
            steps: weights.segment() / 4,
            scales: weights.scales(),
            granularity: weights.granularity(),
            first_row,
            batch,
            columns,
            out,
        }
    }

    /// Segments of a row.
    #[inline(always)]
    pub(crate) fn segments(&self) -> usize {
        self.segments
    }

    /// Fours of weights of each row in a segment: 8, 16 or 32.
    #[inline(always)]
    pub(crate) fn steps(&self) -> usize {
        self.steps
    }

    /// Stripes of the tile that are in the matrix, 1 to 4.
    #[inline(always)]
    pub(crate) fn stripes(&self) -> usize {
        self.stripes
    }

    /// Bytes of the codes of a segment of a stripe.
    #[inline(always)]
    pub(crate) fn segment_bytes(&self) -> usize {
        self.segment_bytes
    }

    /// Codes of a segment of a stripe of the tile.
    #[inline(always)]
    pub(crate) fn codes(&self, stripe: usize, segment: usize) -> &[u8] {
        &self.codes[stripe * self.stripe_bytes + segment * self.segment_bytes..][..self.segment_bytes]
    }

    /// Where the codes of a segment of a stripe would be, which may be behind the matrix.
    #[inline(always)]
    pub(crate) fn codes_at(&self, stripe: usize, segment: usize) -> *const u8 {
        self.codes.as_ptr().wrapping_add(stripe * self.stripe_bytes + segment * self.segment_bytes)
    }

    /// f16 bits of the scales of a segment of a stripe of the tile.
    #[inline(always)]
    pub(crate) fn weight_scales(&self, stripe: usize, segment: usize) -> [u16; STRIPE_ROWS] {
        let row = self.first_row + stripe * STRIPE_ROWS;
        let first = Layout::Rows16.scale_index(self.granularity, row, segment, self.segments);
        match self.granularity {
            Granularity::Tile64 => [self.scales[first]; STRIPE_ROWS],
            _ => *self.scales[first..].first_chunk().expect("scales are padded to whole stripes"),
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
