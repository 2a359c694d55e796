//! Blocks of 32 values with one scale, `d`. Where codes begin at 0, the block also has the value of
//! code 0, `m`; elsewhere the middle code stands for 0.
//!
//! Codes of 4 bits lie in 16 bytes: the low halves are the first 16 values. Codes of 5 bits have their
//! highest bit apart, in 32 bits, value 0 lowest.

use super::{Fields, unpack};

/// `d`, codes of 8 bits with a sign
pub fn q8_0(block: &[u8; 34], values: &mut [f32; 32]) {
    let mut fields = Fields(block);
    let d = fields.scale();
    for (value, code) in values.iter_mut().zip(fields.bytes::<32>()) {
        *value = d * f32::from(code.cast_signed());
    }
}

/// `d`, codes
pub fn q4_0(block: &[u8; 18], values: &mut [f32; 32]) {
    let mut fields = Fields(block);
    let d = fields.scale();
    store(values, four_bits(&mut fields), |code| d * (code - 8.0));
}

/// `d`, `m`, codes
pub fn q4_1(block: &[u8; 20], values: &mut [f32; 32]) {
    let mut fields = Fields(block);
    let (d, m) = (fields.scale(), fields.scale());
    store(values, four_bits(&mut fields), |code| d * code + m);
}

/// `d`, highest bits, codes without them
pub fn q5_0(block: &[u8; 22], values: &mut [f32; 32]) {
    let mut fields = Fields(block);
    let d = fields.scale();
    store(values, five_bits(&mut fields), |code| d * (code - 16.0));
}

/// `d`, `m`, highest bits, codes without them
pub fn q5_1(block: &[u8; 24], values: &mut [f32; 32]) {
    let mut fields = Fields(block);
    let (d, m) = (fields.scale(), fields.scale());
    store(values, five_bits(&mut fields), |code| d * code + m);
}

/// The value of each code.
fn store(values: &mut [f32; 32], codes: impl IntoIterator<Item = u8>, value_of: impl Fn(f32) -> f32) {
    for (value, code) in values.iter_mut().zip(codes) {
        *value = value_of(code.into());
    }
}

fn four_bits(fields: &mut Fields<'_>) -> [u8; 32] {
    unpack(fields.bytes::<16>(), 4, 16)
}

fn five_bits(fields: &mut Fields<'_>) -> impl Iterator<Item = u8> {
    let high: [u8; 32] = unpack(fields.bytes::<4>(), 1, 1);
    four_bits(fields).into_iter().zip(high).map(|(low, high)| low | high << 4)
}
