//! The unit of work of a compiled kernel: some consecutive rows of a packed matrix times one vector.

use crate::{
    activations::Activations,
    granularity::{Granularity, MAX_SEGMENT},
    packed::{PackedMatrix, TAIL},
    scale,
};

/// Where the weight scales of a row are.
#[derive(Clone, Copy)]
pub(crate) struct RowScales {
    /// Index of the first segment's scale.
    first: usize,
    /// From one segment's scale to the next: 0 where they share one.
    step: usize,
}

/// Rows `first_row .. first_row + out.len()` of a matrix, and where their products go.
///
/// [`RowBlock::new`] checks every length that the kernels rely on; the fields stay private, so that
/// a block that exists has been checked.
pub(crate) struct RowBlock<'a> {
    /// Codes of the rows, then at least [`TAIL`] readable bytes.
    codes: &'a [u8],
    row_bytes: usize,
    segment_bytes: usize,
    segments: usize,
    /// Pair codes of a segment: 16, 32 or 64.
    pairs: usize,
    scales: &'a [u16],
    granularity: Granularity,
    first_row: usize,
    activations: &'a Activations,
    prefetch_distance: usize,
    out: &'a mut [f32],
}

impl<'a> RowBlock<'a> {
    /// A block over `codes`, which hold the packed rows `first_row ..` of `matrix`.
    ///
    /// # Panics
    /// If `codes`, the operand or the rows do not fit the matrix: a mistake of the caller.
    pub(crate) fn new(
        matrix: &'a PackedMatrix,
        codes: &'a [u8],
        first_row: usize,
        activations: &'a Activations,
        prefetch_distance: usize,
        out: &'a mut [f32],
    ) -> Self {
        let segments = matrix.segments();
        assert!(first_row + out.len() <= matrix.rows(), "rows of the block exceed the matrix");
        assert!(codes.len() >= out.len() * matrix.row_bytes() + TAIL, "codes of the block are too short");
        assert_eq!(activations.cols(), matrix.cols(), "the operand has another K than the matrix");
        assert_eq!(activations.segment(), matrix.segment(), "the operand has other segments than the matrix");
        assert!(activations.values().len() >= segments * MAX_SEGMENT);
        assert!(activations.scales().len() >= segments && activations.sums().len() >= segments);
        assert!(matrix.scales().len() >= matrix.granularity().scale_count(matrix.rows(), segments));
        Self {
            codes,
            row_bytes: matrix.row_bytes(),
            segment_bytes: matrix.segment_bytes(),
            segments,
            pairs: matrix.segment() / 2,
            scales: matrix.scales(),
            granularity: matrix.granularity(),
            first_row,
            activations,
            prefetch_distance,
            out,
        }
    }

    /// Number of rows.
    #[inline(always)]
    pub(crate) fn rows(&self) -> usize {
        self.out.len()
    }

    /// Segments of a row.
    #[inline(always)]
    pub(crate) fn segments(&self) -> usize {
        self.segments
    }

    /// Pair codes of a segment: 16, 32 or 64.
    #[inline(always)]
    pub(crate) fn pairs(&self) -> usize {
        self.pairs
    }

    /// Bytes from one segment's codes to the next.
    #[inline(always)]
    pub(crate) fn segment_bytes(&self) -> usize {
        self.segment_bytes
    }

    /// Bytes from an address to the one that is prefetched with it.
    #[inline(always)]
    pub(crate) fn prefetch_distance(&self) -> usize {
        self.prefetch_distance
    }

    /// Codes of a row: `segments · segment_bytes` bytes, and [`TAIL`] readable bytes behind them.
    #[inline(always)]
    pub(crate) fn row_codes(&self, row: usize) -> &[u8] {
        &self.codes[row * self.row_bytes..][..self.row_bytes + TAIL]
    }

    /// Int8 values of the operand, `(segments, 2, 64)`.
    #[inline(always)]
    pub(crate) fn values(&self) -> &[i8] {
        self.activations.values()
    }

    /// Where the scales of a row are: asked once a row, so that no segment tests the granularity.
    #[inline(always)]
    pub(crate) fn row_scales(&self, row: usize) -> RowScales {
        let index = |segment| self.granularity.scale_index(self.first_row + row, segment, self.segments);
        RowScales { first: index(0), step: index(1) - index(0) }
    }

    /// `N` steps of the canonical order, from segment `segment` on: each adds `(integer − bias · Σx) ·
    /// (weight scale · activation scale)` to `acc`, each operation rounded. Only the additions to
    /// `acc` wait for one another.
    #[inline(always)]
    pub(crate) fn accumulate<const N: usize>(
        &self,
        acc: f32,
        scales: RowScales,
        segment: usize,
        integers: [i32; N],
        bias: i32,
    ) -> f32 {
        let sums: &[i32; N] = window(self.activations.sums(), segment);
        let activation_scales: &[f32; N] = window(self.activations.scales(), segment);
        let mut terms = [0f32; N];
        for (u, term) in terms.iter_mut().enumerate() {
            let weight_scale = scale::to_f32(self.scales[scales.first + (segment + u) * scales.step]);
            *term = (integers[u] - bias * sums[u]) as f32 * (weight_scale * activation_scales[u]);
        }
        terms.iter().fold(acc, |acc, term| acc + term)
    }

    /// Stores the product of a row.
    #[inline(always)]
    pub(crate) fn store(&mut self, row: usize, value: f32) {
        self.out[row] = value;
    }
}

/// `N` values from `start` on.
#[inline(always)]
fn window<T, const N: usize>(values: &[T], start: usize) -> &[T; N] {
    values[start..].first_chunk().expect("the operand has every segment of the matrix")
}
