//! The "K" formats: blocks of 256 values in groups of 16 or 32. A group has an integer scale of its own,
//! which the block's scale `d` multiplies. In Q2_K, Q4_K and Q5_K codes begin at 0, and a group has also
//! an integer minimum, which `dmin` multiplies and which is subtracted; in Q3_K and Q6_K the middle
//! code stands for 0.
//!
//! Scales and minima of 6 bits lie in 12 bytes, in two ways:
//!
//! - Q4_K and Q5_K have 8 scales and 8 minima. The first four scales are the low 6 bits of bytes 0..4, the first
//!   four minima those of bytes 4..8. Of the last four, byte 8 + i holds the low 4 bits: those of the scale in its
//!   low half, those of the minimum in its high half. Their high 2 bits are what the first ones leave of bytes i and
//!   4 + i.
//! - Q3_K has 16 scales and no minima; a scale is its 6 bits less 32. The low 4 bits lie in bytes 0..8, in the low
//!   halves those of scales 0..8, in the high halves those of 8..16. The high 2 bits lie in bytes 8..12, in four
//!   planes of four scales each.

use super::{Fields, unpack};

/// scales and minima of 16 groups, 4 bits each; codes of 2 bits; `d`, `dmin`
pub fn q2_k(block: &[u8; 84], values: &mut [f32; 256]) {
    let mut fields = Fields(block);
    let groups = fields.bytes::<16>();
    let codes = unpack(fields.bytes::<64>(), 2, 32);
    let (d, dmin) = (fields.scale(), fields.scale());
    let groups = groups.iter().map(|group| (d * f32::from(group & 15), dmin * f32::from(group >> 4)));
    each_group::<16, _>(&codes, values, groups, |(scale, min), code| scale * code - min);
}

/// highest bits; codes of 3 bits without them; scales of 16 groups, 6 bits each; `d`
pub fn q3_k(block: &[u8; 110], values: &mut [f32; 256]) {
    let mut fields = Fields(block);
    let high = unpack(fields.bytes::<32>(), 1, 32);
    let low = unpack(fields.bytes::<64>(), 2, 32);
    let low_scales: [u8; 16] = unpack(fields.bytes::<8>(), 4, 8);
    let high_scales: [u8; 16] = unpack(fields.bytes::<4>(), 2, 4);
    let d = fields.scale();
    let scales = low_scales.iter().zip(high_scales).map(|(low, high)| d * (f32::from(low | high << 4) - 32.0));
    each_group::<16, _>(&joined(&low, 2, &high), values, scales, |scale, code| scale * (code - 4.0));
}

/// `d`, `dmin`; scales and minima of 8 groups, 6 bits each; codes of 4 bits
pub fn q4_k(block: &[u8; 144], values: &mut [f32; 256]) {
    let mut fields = Fields(block);
    let groups = scales_and_minima(&mut fields);
    let codes = unpack(fields.bytes::<128>(), 4, 32);
    each_group::<32, _>(&codes, values, groups, |(scale, min), code| scale * code - min);
}

/// `d`, `dmin`; scales and minima of 8 groups, 6 bits each; highest bits; codes of 5 bits without them
pub fn q5_k(block: &[u8; 176], values: &mut [f32; 256]) {
    let mut fields = Fields(block);
    let groups = scales_and_minima(&mut fields);
    let high = unpack(fields.bytes::<32>(), 1, 32);
    let low = unpack(fields.bytes::<128>(), 4, 32);
    each_group::<32, _>(&joined(&low, 4, &high), values, groups, |(scale, min), code| scale * code - min);
}

/// codes of 6 bits, first their low 4, then their high 2; scales of 16 groups, 8 bits with a sign; `d`
pub fn q6_k(block: &[u8; 210], values: &mut [f32; 256]) {
    let mut fields = Fields(block);
    let low = unpack(fields.bytes::<128>(), 4, 64);
    let high = unpack(fields.bytes::<64>(), 2, 32);
    let scales = fields.bytes::<16>();
    let d = fields.scale();
    let scales = scales.iter().map(|scale| d * f32::from(scale.cast_signed()));
    each_group::<16, _>(&joined(&low, 4, &high), values, scales, |scale, code| scale * (code - 32.0));
}

/// `d`, `dmin` and the 12 bytes after them, as the scale and the minimum of each group of Q4_K and Q5_K.
fn scales_and_minima<'a>(fields: &mut Fields<'a>) -> impl Iterator<Item = (f32, f32)> + use<'a> {
    let (d, dmin) = (fields.scale(), fields.scale());
    let (scales, minima) = (fields.bytes::<4>(), fields.bytes::<4>());
    let low = fields.bytes::<4>();
    let first = scales.iter().zip(minima).map(|(scale, min)| (scale & 63, min & 63));
    let high = scales.iter().zip(minima).map(|(scale, min)| (scale >> 6 << 4, min >> 6 << 4));
    let last = low.iter().zip(high).map(|(low, (scale, min))| (low & 15 | scale, low >> 4 | min));
    first.chain(last).map(move |(scale, min)| (d * f32::from(scale), dmin * f32::from(min)))
}

/// Codes whose lowest `bits` bits are `low` and whose other bits are `high`.
fn joined(low: &[u8; 256], bits: u8, high: &[u8; 256]) -> [u8; 256] {
    let mut codes = *low;
    for (code, high) in codes.iter_mut().zip(high) {
        *code |= high << bits;
    }
    codes
}

/// Gives each of `values` what `value` makes of its code and of the scale of its group of `GROUP`.
fn each_group<const GROUP: usize, Scale: Copy>(
    codes: &[u8; 256],
    values: &mut [f32; 256],
    scales: impl Iterator<Item = Scale>,
    value: impl Fn(Scale, f32) -> f32,
) {
    let (codes, _) = codes.as_chunks::<GROUP>();
    let (values, _) = values.as_chunks_mut::<GROUP>();
    for ((values, codes), scale) in values.iter_mut().zip(codes).zip(scales) {
        for (out, code) in values.iter_mut().zip(codes) {
            *out = value(scale, f32::from(*code));
        }
    }
}
