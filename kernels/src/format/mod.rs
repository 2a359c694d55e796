//! Which numbers a weight can be. Numerics only: no memory layout, no instruction set.
//!
//! Every format codes weights in *pairs* along the input dimension K: member *a* at even k, member
//! *b* at odd k, as two's complement fields of one code,
//!
//! ```text
//!   code = a << B_BITS | b          w4: aaaabbbb     w3p5: aaaabbb     w3: aaabbb
//! ```
//!
//! and a group of consecutive weights shares one scale. The integer that a group contributes is
//! Σ a·x + B_STEP·Σ b·x. In all three formats `B_STEP · 2^(B_BITS−1) = 2^(A_BITS−1)`, so that
//! adding [`PairFormat::BIAS`] to `a` and to `B_STEP·b` makes both members unsigned, and one sum
//! of the activations corrects for both.

use std::fmt;

use crate::level::Level;

mod w3;
mod w3p5;
mod w4;

pub use w3::W3;
pub use w3p5::W3p5;
pub use w4::W4;

/// A format as a type: what kernels are compiled for.
pub trait PairFormat: 'static {
    /// The format as a value.
    const FORMAT: Format;
    /// Bits of member *a* (even k).
    const A_BITS: u32;
    /// Bits of member *b* (odd k).
    const B_BITS: u32;
    /// Step of member *b* in units of the group's scale.
    const B_STEP: i32;
    /// Added to `a` and to `B_STEP·b` to make them unsigned.
    const BIAS: i32 = 1 << (Self::A_BITS - 1);
}

/// Compile-time proof that one bias serves both members.
pub(crate) const fn one_bias_serves_both<F: PairFormat>() -> bool {
    F::B_STEP * (1 << (F::B_BITS - 1)) == F::BIAS
}

/// A weight format as a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Format {
    /// Pairs of signed 4-bit weights.
    W4,
    /// Pairs of a signed 4-bit and a signed 3-bit weight of twice the step: a septet.
    W3p5,
    /// Pairs of signed 3-bit weights.
    W3,
}

/// The field widths of a format as values, for code that is not compiled per format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fields {
    /// Bits of member *a*.
    pub a_bits: u32,
    /// Bits of member *b*.
    pub b_bits: u32,
    /// Step of member *b*.
    pub b_step: i32,
}

impl Fields {
    const fn of<F: PairFormat>() -> Self {
        assert!(one_bias_serves_both::<F>());
        Self { a_bits: F::A_BITS, b_bits: F::B_BITS, b_step: F::B_STEP }
    }

    /// Bits of a pair code.
    pub const fn pair_bits(self) -> u32 {
        self.a_bits + self.b_bits
    }

    /// The integers that a pair code stands for, in units of the scale: `(a, B_STEP·b)`.
    pub fn integers(self, code: u8) -> (i32, i32) {
        let a = sign_extend(u32::from(code) >> self.b_bits, self.a_bits);
        let b = sign_extend(u32::from(code), self.b_bits);
        (a, self.b_step * b)
    }

    /// The code of the pair `(a, b)`, members as signed codes (`b` not multiplied by its step).
    #[inline(always)]
    pub fn code(self, a: i32, b: i32) -> u8 {
        let mask = |bits: u32| (1u32 << bits) - 1;
        ((((a as u32) & mask(self.a_bits)) << self.b_bits) | ((b as u32) & mask(self.b_bits))) as u8
    }
}

/// The signed integer in the low `bits` bits of `raw`.
fn sign_extend(raw: u32, bits: u32) -> i32 {
    ((raw << (32 - bits)) as i32) >> (32 - bits)
}

impl Format {
    /// Field widths.
    pub const fn fields(self) -> Fields {
        match self {
            Self::W4 => Fields::of::<W4>(),
            Self::W3p5 => Fields::of::<W3p5>(),
            Self::W3 => Fields::of::<W3>(),
        }
    }
}

impl Level for Format {
    const AXIS: &'static str = "format";
    const ALL: &'static [Self] = &[Self::W4, Self::W3p5, Self::W3];

    fn name(self) -> &'static str {
        match self {
            Self::W4 => "w4",
            Self::W3p5 => "w3p5",
            Self::W3 => "w3",
        }
    }

    fn about(self) -> &'static str {
        match self {
            Self::W4 => "signed 4-bit weights, -8..7",
            Self::W3p5 => "septets: a 4-bit weight at even k, a 3-bit weight of twice the step at odd k",
            Self::W3 => "signed 3-bit weights, -4..3",
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_round_trip_through_integers() {
        for &format in Format::ALL {
            let fields = format.fields();
            for code in 0..1u32 << fields.pair_bits() {
                let (a, b) = fields.integers(code as u8);
                assert_eq!(fields.code(a, b / fields.b_step), code as u8, "{format} {code}");
            }
        }
    }

    #[test]
    fn extremes_are_those_of_the_documentation() {
        let range = |format: Format| {
            let all = (0..1u32 << format.fields().pair_bits()).map(|c| format.fields().integers(c as u8));
            let a: Vec<i32> = all.clone().map(|p| p.0).collect();
            let b: Vec<i32> = all.map(|p| p.1).collect();
            (*a.iter().min().unwrap(), *a.iter().max().unwrap(), *b.iter().min().unwrap(), *b.iter().max().unwrap())
        };
        assert_eq!(range(Format::W4), (-8, 7, -8, 7));
        assert_eq!(range(Format::W3p5), (-8, 7, -8, 6));
        assert_eq!(range(Format::W3), (-4, 3, -4, 3));
    }
}
