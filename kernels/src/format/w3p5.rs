//! Septets: 7 bits a pair. The 3-bit member has twice the step, so that both members cover the
//! same range (-8…7 and -8…6); with one step for both, the 3-bit member would clip at half the
//! range.

use super::{Format, PairFormat};

/// The format `w3p5` as a type.
pub struct W3p5;

impl PairFormat for W3p5 {
    const FORMAT: Format = Format::W3p5;
    const A_BITS: u32 = 4;
    const B_BITS: u32 = 3;
    const B_STEP: i32 = 2;
}
