//! Half-precision scales: stored as f16 bits, used as f32.

/// The f32 value of a finite f16, exactly.
///
/// Moves exponent and mantissa into place and corrects the exponent bias by one exact
/// multiplication with 2^112, which also normalizes subnormal halves.
#[inline(always)]
pub(crate) fn to_f32(bits: u16) -> f32 {
    let magnitude = f32::from_bits(u32::from(bits & 0x7fff) << 13) * f32::from_bits(0x7780_0000);
    f32::from_bits(magnitude.to_bits() | u32::from(bits & 0x8000) << 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_finite_half_converts_exactly() {
        for bits in 0..=u16::MAX {
            let half = half::f16::from_bits(bits);
            if half.is_finite() {
                assert_eq!(to_f32(bits).to_bits(), half.to_f32().to_bits(), "{bits:#06x}");
            }
        }
    }
}
