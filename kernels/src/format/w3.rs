//! Signed 3-bit weights: 6 bits a pair, both members with the same step.

use super::{Format, PairFormat};

/// The format `w3` as a type.
pub struct W3;

impl PairFormat for W3 {
    const FORMAT: Format = Format::W3;
    const A_BITS: u32 = 3;
    const B_BITS: u32 = 3;
    const B_STEP: i32 = 1;
}
