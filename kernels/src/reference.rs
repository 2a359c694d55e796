//! The slow, obvious product that every kernel must equal, bit for bit. Never optimized.
//!
//! [`gemv`] defines the bits. [`gemm`] gives the same for many columns, from the same codes, without
//! doing for each column what does not depend on it: large products can be checked as a whole.

use std::ops::Range;

use crate::{granularity::MAX_SEGMENT, quantized::QuantizedMatrix};

/// `matrix · x`, in the canonical order: quantize `x` segment by segment, sum integers exactly, and
/// fold the segments in ascending K in f32, each operation rounded.
pub fn gemv(matrix: &QuantizedMatrix, x: &[f32]) -> Vec<f32> {
    let segment = matrix.granularity().segment();
    let operand: Vec<(Vec<i64>, f32)> = x.chunks(segment).map(quantize).collect();
    let fields = matrix.format().fields();
    let row_product = |row: usize| {
        let mut acc = 0f32;
        for (s, (q, activation_scale)) in operand.iter().enumerate() {
            let codes = &matrix.row_codes(row)[s * segment / 2..][..segment / 2];
            let mut integer = 0i64;
            for (k, q) in q.iter().enumerate() {
                let (a, b) = fields.integers(codes[k / 2]);
                integer += i64::from(if k % 2 == 0 { a } else { b }) * q;
            }
            let scale = matrix.scale(row, s) * activation_scale;
            acc += integer as f32 * scale;
        }
        acc
    };
    (0..matrix.rows()).map(row_product).collect()
}

/// Integers and scale of one segment.
fn quantize(group: &[f32]) -> (Vec<i64>, f32) {
    let amax = group.iter().fold(0f32, |m, x| m.max(x.abs()));
    if amax == 0.0 {
        return (vec![0; group.len()], 0.0);
    }
    let inverse = 127.0 / amax;
    let integers = group.iter().map(|x| (x * inverse).round_ties_even().clamp(-127.0, 127.0) as i64).collect();
    (integers, amax / 127.0)
}

/// Several vectors, quantized as in [`gemv`].
#[derive(Clone, Debug)]
pub struct Columns {
    cols: usize,
    segment: usize,
    /// (segments, columns): integers, a short segment padded with zeros, and scale.
    segments: Vec<Vec<([i16; MAX_SEGMENT], f32)>>,
}

impl Columns {
    /// The columns `xs`, each of `matrix.cols()` finite values, in the segments of `matrix`.
    ///
    /// # Panics
    /// If a column has another length: a mistake of the caller.
    pub fn new(matrix: &QuantizedMatrix, xs: &[Vec<f32>]) -> Self {
        let (cols, segment) = (matrix.cols(), matrix.granularity().segment());
        assert!(xs.iter().all(|x| x.len() == cols), "every column has {cols} values");
        let of_segment = |x: &Vec<f32>, s: usize| {
            let (integers, scale) = quantize(&x[s * segment..cols.min((s + 1) * segment)]);
            let mut padded = [0; MAX_SEGMENT];
            padded.iter_mut().zip(integers).for_each(|(to, integer)| *to = integer as i16);
            (padded, scale)
        };
        let segments = (0..matrix.segments()).map(|s| xs.iter().map(|x| of_segment(x, s)).collect()).collect();
        Self { cols, segment, segments }
    }
}

/// `matrix · x` for each of `columns`: products of `rows` in `out`, (columns, rows).
///
/// # Panics
/// If `columns` was made for a matrix of another K or other segments, the matrix does not have `rows`,
/// or `out` has another length: a mistake of the caller.
pub fn gemm(matrix: &QuantizedMatrix, columns: &Columns, rows: Range<usize>, out: &mut [f32]) {
    let Columns { cols, segment, ref segments } = *columns;
    assert_eq!((cols, segment), (matrix.cols(), matrix.granularity().segment()), "K and segment of the matrix");
    assert_eq!(out.len(), segments[0].len() * rows.len(), "a product for each row and column");
    let fields = matrix.format().fields();
    let mut weights = [0i16; MAX_SEGMENT];
    out.fill(0.0);
    for (s, columns) in segments.iter().enumerate() {
        for (at, row) in rows.clone().enumerate() {
            let codes = &matrix.row_codes(row)[s * segment / 2..][..segment / 2];
            for (pair, &code) in weights.chunks_exact_mut(2).zip(codes) {
                let (a, b) = fields.integers(code);
                (pair[0], pair[1]) = (a as i16, b as i16);
            }
            let weight_scale = matrix.scale(row, s);
            for (acc, (x, activation_scale)) in out[at..].iter_mut().step_by(rows.len()).zip(columns) {
                // Exact in any order: at most 128 · 8 · 127. Behind a short segment `x` is zero.
                let integer: i32 = weights.iter().zip(x).map(|(&w, &x)| i32::from(w) * i32::from(x)).sum();
                *acc += integer as f32 * (weight_scale * activation_scale);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{format::Format, granularity::Granularity, level::Level, random::SplitMix64};

    #[test]
    fn many_columns_have_the_bits_of_one() {
        let (rows, cols) = (65, 299);
        for (&format, &granularity) in Format::ALL.iter().flat_map(|f| Granularity::ALL.iter().map(move |g| (f, g))) {
            let matrix = QuantizedMatrix::random(rows, cols, format, granularity, 7).unwrap();
            let mut random = SplitMix64::new(8);
            let mut xs: Vec<Vec<f32>> = (0..5).map(|_| (0..cols).map(|_| random.normal_f32()).collect()).collect();
            xs[2][..128].fill(0.0);
            let columns = Columns::new(&matrix, &xs);
            for rows in [0..rows, 3..64, 64..65] {
                let mut out = vec![f32::NAN; xs.len() * rows.len()];
                gemm(&matrix, &columns, rows.clone(), &mut out);
                for (out, x) in out.chunks_exact(rows.len()).zip(&xs) {
                    let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
                    assert_eq!(bits(out), bits(&gemv(&matrix, x)[rows.clone()]), "{format} {granularity} {rows:?}");
                }
            }
        }
    }
}
