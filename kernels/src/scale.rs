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

/// The f16 nearest to `value`, which is not negative, as f32; ties to even. A multiple of 64 from 65536 on is no f16:
/// `value` is nearer to infinity there.
///
/// The sum with 2¹³ times the power of two in `value`, at least 2⁻¹⁴, has no bits below the last of the f16.
#[inline(always)]
pub(crate) fn round_to_f16(value: f32) -> f32 {
    let power = (value.to_bits() & 0x7f80_0000).max(0x3880_0000);
    let round = f32::from_bits(power + (13 << 23));
    (value + round) - round
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

    #[test]
    fn rounding_is_that_of_half() {
        for bits in 0..half::f16::INFINITY.to_bits() {
            let (here, next) = (to_f32(bits), to_f32(bits + 1));
            let middle = (here + next) / 2.0;
            for value in [here, middle.next_down(), middle, middle.next_up(), next.next_down()] {
                let expected = half::f16::from_f32(value).to_f32();
                let got = round_to_f16(value);
                let got = if got >= 65536.0 { f32::INFINITY } else { got };
                assert_eq!(got.to_bits(), expected.to_bits(), "{value:e}");
            }
        }
        assert_eq!(round_to_f16(1e-40), 0.0);
    }
}
