//! The other operand of a product with many columns: their activations, interleaved.
//!
//! A tile of columns meets four weights of every row at a time. Column by column, its operands
//! would lie in as many arrays as there are columns, more than there are pointer registers; here
//! they are neighbours, in the order in which a kernel reads them.

use crate::{
    activations::{Activations, HALF},
    granularity::MAX_SEGMENT,
    layout::VECTOR_PAIRS,
};

/// Columns that lie together: the widest register tile, and a multiple of every other.
pub(crate) const BLOCK: usize = 12;

/// Bytes of a step: four values of each column of a block.
pub(crate) const STEP: usize = VECTOR_PAIRS * BLOCK;

/// What every weight of a panel exceeds its value by: the largest bias of a format.
pub(crate) const PANEL_BIAS: i32 = 8;

/// Quantized activations of some columns, in segments.
///
/// ```
/// use septet_kernels::{ActivationBatch, Activations};
/// let mut batch = ActivationBatch::default();
/// let mut operand = Activations::default();
/// batch.reset(3, 256, 128);
/// for (column, x) in [[0.5; 256], [1.5; 256], [2.5; 256]].iter().enumerate() {
///     operand.quantize(x, 128)?;
///     batch.set(column, &operand);
/// }
/// # Ok::<(), septet_kernels::NonFinite>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct ActivationBatch {
    columns: usize,
    cols: usize,
    segment: usize,
    /// `(segments, blocks, segment / 4, BLOCK, 4)`: of each code vector even k, then odd k.
    values: Vec<i8>,
    /// `(segments, blocks, BLOCK)`.
    scales: Vec<f32>,
    /// `(segments, blocks, BLOCK)`: the integer that a sum of biased weights begins with.
    starts: Vec<i32>,
}

impl ActivationBatch {
    /// A batch that will hold up to `max_columns` columns of up to `max_cols` values without
    /// allocating, whatever their segments.
    pub fn with_capacity(max_columns: usize, max_cols: usize) -> Self {
        let columns = max_columns.next_multiple_of(BLOCK);
        // The narrowest segment has the most scales, the widest the most padding.
        let scales = columns * max_cols.div_ceil(32);
        Self {
            values: Vec::with_capacity(columns * max_cols.next_multiple_of(MAX_SEGMENT)),
            scales: Vec::with_capacity(scales),
            starts: Vec::with_capacity(scales),
            ..Self::default()
        }
    }

    /// Room for `columns` columns of `cols` values in segments of `segment`, all zero. Allocates
    /// only where the batch has never been as large.
    pub fn reset(&mut self, columns: usize, cols: usize, segment: usize) {
        assert!(matches!(segment, 32 | 64 | 128), "a segment holds 32, 64 or 128 values, not {segment}");
        (self.columns, self.cols, self.segment) = (columns, cols, segment);
        let padded = cols.div_ceil(segment) * self.padded_columns();
        self.values.clear();
        self.values.resize(padded * segment, 0);
        self.scales.clear();
        self.scales.resize(padded, 0.0);
        self.starts.clear();
        self.starts.resize(padded, 0);
    }

    /// Makes `operand` column number `column`.
    ///
    /// # Panics
    /// If there is no such column, or the operand has other segments or another K than the batch.
    pub fn set(&mut self, column: usize, operand: &Activations) {
        assert!(column < self.columns, "the batch has {} columns", self.columns);
        assert_eq!((operand.cols(), operand.segment()), (self.cols, self.segment), "K and segment of the batch");
        let block_bytes = BLOCK * self.segment;
        for segment in 0..self.segments() {
            let at = segment * self.padded_columns() + column;
            self.scales[at] = operand.scales()[segment];
            self.starts[at] = -PANEL_BIAS * operand.sums()[segment];
            let (even, odd) = operand.values()[segment * MAX_SEGMENT..][..MAX_SEGMENT].split_at(HALF);
            let block = &mut self.values[at / BLOCK * block_bytes..][..block_bytes];
            let fours = even.chunks_exact(VECTOR_PAIRS).zip(odd.chunks_exact(VECTOR_PAIRS));
            for (steps, (even, odd)) in block.chunks_exact_mut(2 * STEP).zip(fours) {
                let place = column % BLOCK * VECTOR_PAIRS;
                steps[place..][..VECTOR_PAIRS].copy_from_slice(even);
                steps[STEP + place..][..VECTOR_PAIRS].copy_from_slice(odd);
            }
        }
    }

    /// Number of columns.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Values of a column, padding not counted.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Values of a segment.
    pub fn segment(&self) -> usize {
        self.segment
    }

    /// Segments of a column, the last one padded.
    pub(crate) fn segments(&self) -> usize {
        self.cols.div_ceil(self.segment)
    }

    /// Columns, the last block padded.
    pub(crate) fn padded_columns(&self) -> usize {
        self.columns.next_multiple_of(BLOCK)
    }

    /// Values of a segment from the block of `column` on.
    #[inline(always)]
    pub(crate) fn values(&self, segment: usize, column: usize) -> &[i8] {
        &self.values[(segment * self.padded_columns() + column / BLOCK * BLOCK) * self.segment..]
    }

    /// Scales of a segment of the columns from `column` on.
    #[inline(always)]
    pub(crate) fn scales(&self, segment: usize, column: usize) -> &[f32] {
        &self.scales[segment * self.padded_columns() + column..]
    }

    /// First integers of a segment of the columns from `column` on.
    #[inline(always)]
    pub(crate) fn starts(&self, segment: usize, column: usize) -> &[i32] {
        &self.starts[segment * self.padded_columns() + column..]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::SplitMix64;

    #[test]
    fn columns_of_a_block_are_neighbours() {
        let mut random = SplitMix64::new(5);
        for segment in [32, 64, 128] {
            let columns: Vec<Activations> = (0..BLOCK + 1)
                .map(|_| {
                    let x: Vec<f32> = (0..172).map(|_| random.normal_f32()).collect();
                    let mut operand = Activations::default();
                    operand.quantize(&x, segment).unwrap();
                    operand
                })
                .collect();
            let mut batch = ActivationBatch::with_capacity(columns.len(), 172);
            let room = (batch.values.capacity(), batch.scales.capacity(), batch.starts.capacity());
            batch.reset(columns.len(), 172, segment);
            assert_eq!((batch.values.capacity(), batch.scales.capacity(), batch.starts.capacity()), room);
            columns.iter().enumerate().for_each(|(column, operand)| batch.set(column, operand));
            for (column, operand) in columns.iter().enumerate() {
                for s in 0..batch.segments() {
                    assert_eq!(batch.scales(s, column)[0], operand.scales()[s]);
                    assert_eq!(batch.starts(s, column)[0], -8 * operand.sums()[s]);
                    for pair in 0..segment / 2 {
                        let at = pair / 4 * 2 * STEP + column % BLOCK * 4 + pair % 4;
                        let values = batch.values(s, column);
                        assert_eq!(values[at], operand.values()[s * MAX_SEGMENT + pair]);
                        assert_eq!(values[at + STEP], operand.values()[s * MAX_SEGMENT + HALF + pair]);
                    }
                }
            }
        }
    }
}
