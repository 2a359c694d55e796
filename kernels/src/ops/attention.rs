//! Attention of one key/value head over the positions so far, in one pass and in memory that does not
//! grow with them.
//!
//! The naive algorithm keeps a score for each position: all scores of a query, their softmax, then the
//! weighted sum of the values. It reads the scores three times, needs room for a whole context, and for a
//! prompt either that room for each query or the keys again for each query.
//!
//! Here positions come in blocks of [`BLOCK`] (Milakov and Gimelshein 2018, arXiv:1805.02867; Dao et al.
//! 2022, arXiv:2205.14135). Of each query a running maximum `m`, a running sum `l` and the unfinished output
//! are kept. A block raises `m` to the largest of its scores if that is larger, shrinks `l` and the output by
//! `exp(m_old − m_new)`, and adds `exp(score − m)` to the one and `exp(score − m)·value` to the other; at
//! the end the output is divided by `l`.
//!
//! 1. *A block is decoded once* for all queries that see it: those of a group of heads that share the
//!    keys, and those of a batch of positions. Decoded keys and values stay in the first-level cache.
//! 2. *Blocks begin at multiples of [`BLOCK`]*, whatever a query sees of the last one, and queries never
//!    meet. So the bits of an output depend neither on the queries beside it nor on threads.
//! 3. *The output stays in registers* while a block is added to some of its elements. Each element
//!    takes the positions in ascending order all the same.

use super::exp::exp;
use super::lanes::{dot_here, max_here, sum_here};
use crate::isa::portable::{self, Portable};

/// Positions that are taken at once.
pub const BLOCK: usize = 64;

/// Elements of an output that are summed in registers.
const CHUNK: usize = 32;

/// The keys or the values of one head, as a cache stores them.
#[derive(Clone, Copy, Debug)]
pub enum Rows<'a> {
    /// (positions, head_dim)
    F32(&'a [f32]),
    /// (positions, head_dim): bits of finite numbers.
    F16(&'a [u16]),
    /// Integers (positions, head_dim), and what each position's are multiplied by (positions).
    Int8(&'a [i8], &'a [f32]),
}

/// Queries that see the same keys and values.
#[derive(Debug)]
pub struct Attention<'a> {
    /// Of at least as many positions as the last column sees.
    pub keys: Rows<'a>,
    /// As `keys`.
    pub values: Rows<'a>,
    /// Elements of a query, a key and a value.
    pub head_dim: usize,
    /// Query heads that share the keys.
    pub group: usize,
    /// Positions that the first column sees; each further column sees one more.
    pub visible: usize,
    /// (columns, all heads of a column): the queries (group, head_dim) of each column begin at `first`.
    pub queries: &'a [f32],
    /// As `queries`: what becomes of them.
    pub out: &'a mut [f32],
    /// Values of a column.
    pub stride: usize,
    /// Where the group lies in a column.
    pub first: usize,
}

/// What attention needs beside its operands.
#[derive(Clone, Debug)]
pub struct Workspace {
    /// (BLOCK, head_dim)
    keys: Vec<f32>,
    /// (BLOCK, head_dim)
    values: Vec<f32>,
    /// (columns, group): the largest score so far
    maxima: Vec<f32>,
    /// (columns, group): the sum so far of exponentials, relative to the maximum
    sums: Vec<f32>,
}

impl Workspace {
    /// Room for `columns` columns of `group` heads of `head_dim`.
    pub fn new(columns: usize, group: usize, head_dim: usize) -> Self {
        Self {
            keys: vec![0.0; BLOCK * head_dim],
            values: vec![0.0; BLOCK * head_dim],
            maxima: vec![0.0; columns * group],
            sums: vec![0.0; columns * group],
        }
    }
}

/// `out = softmax(q·Kᵀ / √head_dim)·V` of every query.
///
/// An output is within `(2·d + 5·b + 1.1·n + 100)·2⁻²⁴·Σ p·|v|` of its value for scores as they are rounded, and
/// `2⁻¹²⁵·Σ|v|` beside it, where `p` are the exact probabilities of the `n` positions, `b` the number of
/// blocks, and `d` the largest distance of a score from the maximum, or 88 if that is less. A score itself is
/// within `(head_dim/16 + 8)·2⁻²⁴·Σ|q·k| / √head_dim`. The results of two sizes of blocks differ by
/// at most the sum of their bounds. Operands must be finite, and the sum of all `|v|` of an element, too: an
/// output is divided when it is complete.
///
/// # Panics
///
/// When shapes disagree, or a column sees no position.
pub fn attend(attention: Attention, workspace: &mut Workspace) {
    attend_in_blocks::<BLOCK>(attention, workspace);
}

fn attend_in_blocks<const BLOCK: usize>(attention: Attention, workspace: &mut Workspace) {
    let Attention { head_dim, group, visible, stride, first, .. } = attention;
    assert!(head_dim > 0 && stride > 0 && visible > 0, "attention to something");
    assert_eq!(attention.queries.len(), attention.out.len(), "an output for each query");
    assert!(attention.queries.len().is_multiple_of(stride) && first + group * head_dim <= stride, "whole columns");
    let columns = attention.queries.len() / stride;
    assert!(workspace.maxima.len() >= columns * group, "room for the queries");
    assert!(workspace.keys.len() >= BLOCK * head_dim, "room for a block");
    portable::run(&mut Attend::<BLOCK> { attention, workspace });
}

pub(super) struct Attend<'a, 'b, const BLOCK: usize> {
    pub(super) attention: Attention<'a>,
    pub(super) workspace: &'b mut Workspace,
}

impl<const BLOCK: usize> Portable for Attend<'_, '_, BLOCK> {
    #[inline(always)]
    fn run(&mut self) {
        let Attention { keys, values, head_dim, group, visible, queries, out, stride, first } = &mut self.attention;
        let (head_dim, group, visible, stride, first) = (*head_dim, *group, *visible, *stride, *first);
        let columns = queries.len() / stride;
        let Workspace { keys: key_block, values: value_block, maxima, sums } = &mut *self.workspace;
        maxima.fill(f32::NEG_INFINITY);
        sums.fill(0.0);
        for column in out.chunks_exact_mut(stride) {
            column[first..][..group * head_dim].fill(0.0);
        }
        let scale = 1.0 / (head_dim as f32).sqrt();
        let mut scores = [0.0; BLOCK];
        for start in (0..visible + columns - 1).step_by(BLOCK) {
            let end = (start + BLOCK).min(visible + columns - 1);
            let keys = keys.decoded(start, end, head_dim, key_block);
            let values = values.decoded(start, end, head_dim, value_block);
            // Columns before this one see nothing of the block.
            for column in (start + 1).saturating_sub(visible)..columns {
                let scores = &mut scores[..(visible + column).min(end) - start];
                for head in 0..group {
                    let at = column * stride + first + head * head_dim;
                    let (query, out) = (&queries[at..at + head_dim], &mut out[at..at + head_dim]);
                    let (max, sum) = (&mut maxima[column * group + head], &mut sums[column * group + head]);
                    for (score, key) in scores.iter_mut().zip(keys.chunks_exact(head_dim)) {
                        *score = dot_here(query, key) * scale;
                    }
                    let largest = max_here(scores);
                    if largest > *max {
                        // Nothing is shrunk to nothing at the first block: exp(−∞) is zero, and so are both.
                        let shrunk = exp(*max - largest);
                        *sum *= shrunk;
                        for out in out.iter_mut() {
                            *out *= shrunk;
                        }
                        *max = largest;
                    }
                    for score in scores.iter_mut() {
                        *score = exp(*score - *max);
                    }
                    *sum += sum_here(scores);
                    add_weighted(scores, values, out);
                }
            }
        }
        for (column, out) in out.chunks_exact_mut(stride).enumerate() {
            for (head, out) in out[first..][..group * head_dim].chunks_exact_mut(head_dim).enumerate() {
                let scale = 1.0 / sums[column * group + head];
                for out in out {
                    *out *= scale;
                }
            }
        }
    }
}

/// `out[k] += Σ_t weights[t]·rows[t][k]`, the positions in ascending order.
#[inline(always)]
fn add_weighted(weights: &[f32], rows: &[f32], out: &mut [f32]) {
    let cols = out.len();
    let (chunks, tail) = out.as_chunks_mut::<CHUNK>();
    for (at, chunk) in chunks.iter_mut().enumerate() {
        let mut sum = *chunk;
        for (weight, row) in weights.iter().zip(rows.chunks_exact(cols)) {
            let row = &row[at * CHUNK..][..CHUNK];
            for i in 0..CHUNK {
                sum[i] += weight * row[i];
            }
        }
        *chunk = sum;
    }
    let first = cols - tail.len();
    if !tail.is_empty() {
        for (weight, row) in weights.iter().zip(rows.chunks_exact(cols)) {
            for (out, value) in tail.iter_mut().zip(&row[first..]) {
                *out += weight * value;
            }
        }
    }
}

impl Rows<'_> {
    /// The rows of the positions from `start` to `end`, as numbers: where they lie, or in `block`.
    #[inline(always)]
    fn decoded<'b>(&'b self, start: usize, end: usize, cols: usize, block: &'b mut [f32]) -> &'b [f32] {
        let range = start * cols..end * cols;
        match *self {
            Self::F32(rows) => &rows[range],
            Self::F16(rows) => {
                let block = &mut block[..range.len()];
                for (value, bits) in block.iter_mut().zip(&rows[range]) {
                    *value = half_value(*bits);
                }
                block
            }
            Self::Int8(codes, scales) => {
                let block = &mut block[..range.len()];
                let rows = block.chunks_exact_mut(cols).zip(codes[range].chunks_exact(cols));
                for ((values, codes), scale) in rows.zip(&scales[start..end]) {
                    for (value, code) in values.iter_mut().zip(codes) {
                        *value = f32::from(*code) * scale;
                    }
                }
                block
            }
        }
    }
}

/// The value of the bits of a finite f16, exactly: its exponent and fraction at the places of an f32, whose
/// exponent is then too small by 112.
#[inline(always)]
fn half_value(bits: u16) -> f32 {
    const UP: f32 = f32::from_bits((127 + 112) << 23);
    let magnitude = f32::from_bits((u32::from(bits) & 0x7fff) << 13) * UP;
    f32::from_bits(magnitude.to_bits() | (u32::from(bits) & 0x8000) << 16)
}

#[cfg(test)]
mod tests {
    use half::f16;

    use super::*;
    use crate::SplitMix64;

    /// Keys, values and queries of `columns` columns of two heads that share them, of which the last column sees
    /// `positions` positions.
    struct Case {
        positions: usize,
        columns: usize,
        head_dim: usize,
        keys: Vec<f32>,
        values: Vec<f32>,
        queries: Vec<f32>,
    }

    const GROUP: usize = 2;

    impl Case {
        fn new(positions: usize, columns: usize, head_dim: usize, spread: f32) -> Self {
            let mut random = SplitMix64::new((positions * 1000 + columns) as u64);
            let mut normal =
                |n: usize, deviation: f32| -> Vec<f32> { (0..n).map(|_| deviation * random.normal_f32()).collect() };
            let keys = normal(positions * head_dim, spread);
            let (values, queries) = (normal(positions * head_dim, 1.0), normal(columns * GROUP * head_dim, 1.0));
            Self { positions, columns, head_dim, keys, values, queries }
        }

        /// The outputs of `queries`, the last of which sees all positions, in blocks of `BLOCK`.
        fn outputs<const BLOCK: usize>(&self, queries: &[f32], visible: usize) -> Vec<f32> {
            let mut out = vec![f32::NAN; queries.len()];
            let stride = GROUP * self.head_dim;
            let attention = Attention {
                keys: Rows::F32(&self.keys),
                values: Rows::F32(&self.values),
                head_dim: self.head_dim,
                group: GROUP,
                visible,
                queries,
                out: &mut out,
                stride,
                first: 0,
            };
            let mut workspace = Workspace::new(queries.len() / stride, GROUP, self.head_dim);
            workspace.keys.resize(BLOCK * self.head_dim, 0.0);
            workspace.values.resize(BLOCK * self.head_dim, 0.0);
            attend_in_blocks::<BLOCK>(attention, &mut workspace);
            out
        }

        /// Every output in `f64`, and how far from it one in blocks of `block` may be.
        fn exact(&self, block: usize) -> Vec<(f64, f64)> {
            let ulp = 2.0_f64.powi(-24);
            let mut exact = Vec::new();
            for (query, q) in self.queries.chunks_exact(self.head_dim).enumerate() {
                let visible = self.positions + 1 - self.columns + query / GROUP;
                let keys = self.keys.chunks_exact(self.head_dim).take(visible);
                let scale = 1.0 / (self.head_dim as f64).sqrt();
                let (scores, sizes): (Vec<f64>, Vec<f64>) = keys
                    .map(|key| {
                        q.iter().zip(key).fold((0.0, 0.0), |(sum, size), (&q, &k)| {
                            let term = f64::from(q) * f64::from(k) * scale;
                            (sum + term, size + term.abs())
                        })
                    })
                    .unzip();
                let max = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                let distance = scores.iter().fold(0.0, |d: f64, score| d.max(max - score)).min(88.0);
                let weights: Vec<f64> = scores.iter().map(|score| (score - max).exp()).collect();
                let total: f64 = weights.iter().sum();
                // An error of a score is a factor of its weight, and of the total.
                let of_score = 2.0 * (self.head_dim / 16 + 8) as f64 * sizes.iter().copied().fold(0.0, f64::max);
                let blocks = visible.div_ceil(block);
                let of_sums = 2.0 * distance + (5 * blocks + 100) as f64 + 1.1 * visible as f64;
                for i in 0..self.head_dim {
                    let terms =
                        (0..visible).map(|t| weights[t] / total * f64::from(self.values[t * self.head_dim + i]));
                    let (sum, size) = terms.fold((0.0, 0.0), |(sum, size), term| (sum + term, size + term.abs()));
                    exact.push((sum, (of_sums + of_score) * ulp * size + 2.0_f64.powi(-100)));
                }
            }
            exact
        }
    }

    fn assert_within<const BLOCK: usize>(case: &Case) {
        let found = case.outputs::<BLOCK>(&case.queries, case.positions + 1 - case.columns);
        for (at, (found, (exact, bound))) in found.iter().zip(case.exact(BLOCK)).enumerate() {
            let error = (f64::from(*found) - exact).abs();
            let Case { positions, columns, .. } = case;
            assert!(
                error <= bound,
                "{positions} positions, {columns} columns, blocks of {BLOCK}, output {at}: {error:e}"
            );
        }
    }

    #[test]
    fn every_size_of_blocks_is_within_its_bound_of_f64() {
        for (positions, columns) in [(1, 1), (63, 1), (64, 1), (65, 3), (200, 70), (1000, 1), (5000, 2)] {
            for (head_dim, spread) in [(8, 1.0), (128, 0.1), (80, 5.0)] {
                let case = Case::new(positions, columns, head_dim, spread);
                assert_within::<1>(&case);
                assert_within::<7>(&case);
                assert_within::<BLOCK>(&case);
                assert_within::<8192>(&case);
            }
        }
    }

    /// Equal weights and a value whose sum is rounded down each time: the error grows with the positions.
    #[test]
    fn errors_that_add_up_are_within_the_bound() {
        let mut case = Case::new(4096, 1, 8, 0.0);
        case.values.fill(1.0 + 0.98 * 2.0_f32.powi(-13));
        assert_within::<BLOCK>(&case);
        let out = f64::from(case.outputs::<BLOCK>(&case.queries, 4096)[0]);
        assert!((out - f64::from(case.values[0])).abs() > 676.0 * 2.0_f64.powi(-24), "nothing added up");
    }

    #[test]
    fn a_column_has_the_bits_that_it_has_alone() {
        let case = Case::new(200, 70, 48, 2.0);
        let together = case.outputs::<BLOCK>(&case.queries, 131);
        let width = GROUP * case.head_dim;
        for (column, (query, expected)) in case.queries.chunks(width).zip(together.chunks(width)).enumerate() {
            let alone = case.outputs::<BLOCK>(query, 131 + column);
            assert!(alone.iter().map(|x| x.to_bits()).eq(expected.iter().map(|x| x.to_bits())), "column {column}");
        }
    }

    #[test]
    fn scores_far_apart_neither_overflow_nor_vanish() {
        let mut case = Case::new(300, 1, 16, 100.0);
        // The largest score by far is in the last block: all before it shrinks to nothing.
        case.keys[299 * 16..].copy_from_slice(&case.queries[..16].iter().map(|q| q * 1e4).collect::<Vec<_>>());
        let out = case.outputs::<BLOCK>(&case.queries, 300);
        assert_eq!(out[..16], case.values[299 * 16..]);
        assert!(out.iter().all(|out| out.is_finite()));
    }

    #[test]
    fn every_finite_half_has_its_value() {
        for bits in (0..=u16::MAX).filter(|&bits| f16::from_bits(bits).is_finite()) {
            assert_eq!(half_value(bits).to_bits(), f16::from_bits(bits).to_f32().to_bits(), "{bits:#06x}");
        }
    }

    #[test]
    fn stored_rows_are_their_values() {
        let case = Case::new(100, 1, 24, 1.0);
        let halves: Vec<u16> = case.keys.iter().map(|key| f16::from_f32(*key).to_bits()).collect();
        let codes: Vec<i8> = (0..100 * 24).map(|i| ((i * 37) % 255) as u8 as i8).collect();
        let scales: Vec<f32> = (0..100).map(|i| 0.01 + i as f32 * 0.001).collect();
        let run = |keys: Rows, values: Rows| {
            let mut out = vec![0.0; 48];
            let attention = Attention {
                keys,
                values,
                head_dim: 24,
                group: GROUP,
                visible: 100,
                queries: &case.queries,
                out: &mut out,
                stride: 48,
                first: 0,
            };
            attend(attention, &mut Workspace::new(1, GROUP, 24));
            out
        };
        let key_values: Vec<f32> = halves.iter().map(|bits| f16::from_bits(*bits).to_f32()).collect();
        let values: Vec<f32> = codes.iter().enumerate().map(|(i, code)| f32::from(*code) * scales[i / 24]).collect();
        let stored = run(Rows::F16(&halves), Rows::Int8(&codes, &scales));
        assert_eq!(stored, run(Rows::F32(&key_values), Rows::F32(&values)));
    }
}
