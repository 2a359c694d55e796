//! Signed 4-bit weights: 8 bits a pair, both members with the same step.

use super::{Format, PairFormat};

/// The format `w4` as a type.
pub struct W4;

impl PairFormat for W4 {
    const FORMAT: Format = Format::W4;
    const A_BITS: u32 = 4;
    const B_BITS: u32 = 4;
    const B_STEP: i32 = 1;
}
