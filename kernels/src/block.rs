//! The unit of work of a compiled kernel: some consecutive rows of a packed matrix times one vector,
//! or some consecutive segments of these rows.
//!
//! One block serves both families of layouts. Codes lie in *stripes*: single rows under `dense` and
//! `byte_per_pair`, sixteen interleaved rows under `rows16`.

use std::ops::Range;

use crate::{
    activations::{Activations, HALF},
    format::Format,
    granularity::{Granularity, MAX_SEGMENT},
    layout::{Layout, STRIPE_ROWS},
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

/// Weight scales of sixteen rows.
#[derive(Clone, Copy)]
pub(crate) struct StripeScales<'a> {
    /// f16 bits, sixteen for each segment: those of segment `s` begin at `s · step`.
    scales: &'a [u16],
    /// From one segment's scales to the next: 0 where they share them.
    step: usize,
}

impl<'a> StripeScales<'a> {
    /// Scales of no segment.
    pub(crate) const NONE: Self = Self { scales: &[], step: 0 };

    /// # Panics
    /// If `scales` do not hold sixteen for each of `segments` segments.
    #[inline(always)]
    fn new(scales: &'a [u16], step: usize, segments: usize) -> Self {
        assert!(scales.len() >= (segments - 1) * step + STRIPE_ROWS, "scales of the stripe are too short");
        Self { scales, step }
    }

    /// Where the sixteen scales of a segment of the matrix begin; they are readable, as `new` has checked.
    #[inline(always)]
    pub(crate) fn of(&self, segment: usize) -> *const u16 {
        self.scales.as_ptr().wrapping_add(segment * self.step)
    }
}

/// Rows `first_row .. first_row + out.len()` of a matrix, and where their products go.
///
/// [`Block::new`] checks every length that the kernels rely on; the fields stay private, so that
/// a block that exists has been checked.
pub(crate) struct Block<'a> {
    /// Codes of the rows' stripes, then at least [`TAIL`] readable bytes.
    /// They begin at the block's first segment.
    codes: &'a [u8],
    layout: Layout,
    stripe_bytes: usize,
    segment_bytes: usize,
    /// Segments of a row of the matrix.
    row_segments: usize,
    first_segment: usize,
    /// Segments of the block.
    segments: usize,
    /// Pair codes of a segment: 16, 32 or 64.
    pairs: usize,
    scales: &'a [u16],
    granularity: Granularity,
    first_row: usize,
    /// Of the block's segments, 128 int8 values each.
    values: &'a [i8],
    /// Of the block's segments, the sum of the integers.
    sums: &'a [i32],
    /// Of the block's segments.
    activation_scales: &'a [f32],
    prefetch_distance: usize,
    out: &'a mut [f32],
}

impl<'a> Block<'a> {
    /// A block over `codes`, which hold the stripes from `first_row` on of `matrix`, and over
    /// `segments` of each row. Products of segments behind the first add to what `out` holds: the
    /// canonical order goes on where the block before this one stopped.
    ///
    /// # Panics
    /// If `codes`, the operand, the rows or the segments do not fit the matrix, or a stripe is cut: a
    /// mistake of the caller.
    pub(crate) fn new(
        matrix: &'a PackedMatrix,
        codes: &'a [u8],
        first_row: usize,
        segments: Range<usize>,
        activations: &'a Activations,
        prefetch_distance: usize,
        out: &'a mut [f32],
    ) -> Self {
        let row_segments = matrix.segments();
        assert!(segments.start < segments.end && segments.end <= row_segments, "segments of the block");
        assert!(first_row + out.len() <= matrix.rows(), "rows of the block exceed the matrix");
        let height = matrix.layout().stripe_rows();
        assert!(first_row.is_multiple_of(height), "the block begins within a stripe");
        let stripes = out.len().div_ceil(height);
        assert!(codes.len() >= stripes * matrix.stripe_bytes() + TAIL, "codes of the block are too short");
        assert_eq!(activations.cols(), matrix.cols(), "the operand has another K than the matrix");
        assert_eq!(activations.segment(), matrix.segment(), "the operand has other segments than the matrix");
        Self {
            codes: &codes[segments.start * matrix.segment_bytes()..],
            layout: matrix.layout(),
            stripe_bytes: matrix.stripe_bytes(),
            segment_bytes: matrix.segment_bytes(),
            row_segments,
            first_segment: segments.start,
            segments: segments.len(),
            pairs: matrix.segment() / 2,
            scales: matrix.scales(),
            granularity: matrix.granularity(),
            first_row,
            values: &activations.values()[segments.start * MAX_SEGMENT..segments.end * MAX_SEGMENT],
            sums: &activations.sums()[segments.clone()],
            activation_scales: &activations.scales()[segments],
            prefetch_distance,
            out,
        }
    }

    /// The same block for code that is compiled for its shape: whole rows of `segments` segments of 128
    /// weights, each with a scale. Where the arguments are constants, so is each length of what this
    /// returns but the number of rows.
    ///
    /// # Panics
    /// If the block has another shape: a mistake of the caller.
    #[inline(always)]
    pub(crate) fn of_shape(&mut self, format: Format, layout: Layout, segments: usize) -> Block<'_> {
        let segment_bytes = HALF * layout.pair_bits(format) as usize / 8 * layout.stripe_rows();
        let (granularity, stripe_bytes) = (Granularity::Group128, segments * segment_bytes);
        let found = (self.layout, self.granularity, self.first_segment, self.segments, self.row_segments);
        assert!(found == (layout, granularity, 0, segments, segments), "segments of a block of compiled shape");
        let found = (self.pairs, self.segment_bytes, self.stripe_bytes);
        assert!(found == (HALF, segment_bytes, stripe_bytes), "bytes of a block of compiled shape");
        Block {
            codes: self.codes,
            layout,
            stripe_bytes,
            segment_bytes,
            row_segments: segments,
            first_segment: 0,
            segments,
            pairs: HALF,
            scales: self.scales,
            granularity,
            first_row: self.first_row,
            values: &self.values[..segments * MAX_SEGMENT],
            sums: &self.sums[..segments],
            activation_scales: &self.activation_scales[..segments],
            prefetch_distance: self.prefetch_distance,
            out: self.out,
        }
    }

    /// Number of rows.
    #[inline(always)]
    pub(crate) fn rows(&self) -> usize {
        self.out.len()
    }

    /// Segments of the block, in each row.
    #[inline(always)]
    pub(crate) fn segments(&self) -> usize {
        self.segments
    }

    /// Pair codes of a segment: 16, 32 or 64.
    #[inline(always)]
    pub(crate) fn pairs(&self) -> usize {
        self.pairs
    }

    /// Bytes from one segment of a stripe to the next.
    #[inline(always)]
    pub(crate) fn segment_bytes(&self) -> usize {
        self.segment_bytes
    }

    /// Bytes from an address to the one that is prefetched with it.
    #[inline(always)]
    pub(crate) fn prefetch_distance(&self) -> usize {
        self.prefetch_distance
    }

    /// Codes of the block's segments of a stripe (of a row, where stripes are rows): `segments ·
    /// segment_bytes` bytes, and [`TAIL`] readable bytes behind them.
    #[inline(always)]
    pub(crate) fn stripe_codes(&self, stripe: usize) -> &[u8] {
        &self.codes[stripe * self.stripe_bytes..][..self.segments * self.segment_bytes + TAIL]
    }

    /// Int8 values of the operand, `(segments, 2, 64)`.
    #[inline(always)]
    pub(crate) fn values(&self) -> &[i8] {
        self.values
    }

    /// What the sum of a row begins with.
    #[inline(always)]
    pub(crate) fn start(&self, row: usize) -> f32 {
        if self.first_segment == 0 { 0.0 } else { self.out[row] }
    }

    /// What the sums of a stripe of sixteen rows begin with; zeros for padded rows.
    #[inline(always)]
    pub(crate) fn start_stripe(&self, stripe: usize) -> [f32; STRIPE_ROWS] {
        let mut sums = [0.0; STRIPE_ROWS];
        if self.first_segment > 0 {
            for (sum, out) in sums.iter_mut().zip(&self.out[stripe * STRIPE_ROWS..]) {
                *sum = *out;
            }
        }
        sums
    }

    /// Where the scales of a row are: asked once a row, so that no segment tests the granularity.
    #[inline(always)]
    pub(crate) fn row_scales(&self, row: usize) -> RowScales {
        let (row, first) = (self.first_row + row, self.first_segment);
        let index = |segment| self.layout.scale_index(self.granularity, row, segment, self.row_segments);
        RowScales { first: index(first), step: index(first + 1) - index(first) }
    }

    /// The scales of sixteen interleaved rows, always in sixteens: a scale that the rows share goes
    /// to `spread` first, so that no segment tests the granularity.
    #[inline(always)]
    pub(crate) fn stripe_scales<'s>(&'s self, stripe: usize, spread: &'s mut [u16; STRIPE_ROWS]) -> StripeScales<'s> {
        let RowScales { first, step } = self.row_scales(stripe * STRIPE_ROWS);
        if self.granularity == Granularity::Tile64 {
            *spread = [self.scales[first]; STRIPE_ROWS];
            return StripeScales::new(spread, 0, self.segments);
        }
        StripeScales::new(&self.scales[first..], step, self.segments)
    }

    /// Of each segment of the operand, the sum of its integers and their scale.
    #[inline(always)]
    pub(crate) fn operand_segments(&self) -> impl Iterator<Item = (i32, f32)> {
        self.sums.iter().copied().zip(self.activation_scales.iter().copied())
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
        let sums: &[i32; N] = window(self.sums, segment);
        let activation_scales: &[f32; N] = window(self.activation_scales, segment);
        let mut terms = [0f32; N];
        for (u, term) in terms.iter_mut().enumerate() {
            let weight_scale = scale::to_f32(self.scales[scales.first + (segment + u) * scales.step]);
            *term = (integers[u] - bias * sums[u]) as f32 * (weight_scale * activation_scales[u]);
        }
        terms.iter().fold(acc, |acc, term| acc + term)
    }

    /// Stores the products of a stripe of sixteen rows; those of padded rows go nowhere.
    #[inline(always)]
    pub(crate) fn store_stripe(&mut self, stripe: usize, values: &[f32; STRIPE_ROWS]) {
        for (out, value) in self.out[stripe * STRIPE_ROWS..].iter_mut().zip(values) {
            *out = *value;
        }
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
    values[start..].first_chunk().expect("the operand has every segment of the block")
}
