//! The slow, obvious product that every kernel must equal, bit for bit. Never optimized.

use crate::quantized::QuantizedMatrix;

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
