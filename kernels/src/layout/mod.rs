//! How the pair codes of a row lie in memory.
//!
//! A layout is a stride: pair *i* of a row occupies the `pair_bits` bits from bit `i · pair_bits`
//! on, in a little-endian bit stream. Groups hold a multiple of eight pairs, so every group begins
//! at a byte. Scales lie in an array of their own.

use std::{fmt, str::FromStr};

use crate::{
    format::{Format, PairFormat},
    level::{Level, UnknownLevel},
};

mod byte_per_pair;
mod dense;

pub use byte_per_pair::BytePerPair;
pub use dense::Dense;

/// A layout as a type: what kernels are compiled for.
pub trait PairLayout: 'static {
    /// The layout as a value.
    const LAYOUT: Layout;
    /// Bits from one pair code to the next.
    fn pair_bits<F: PairFormat>() -> u32 {
        Self::LAYOUT.pair_bits(F::FORMAT)
    }
}

/// A layout as a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Layout {
    /// No bit is wasted: 56 bytes for 128 `w3p5` weights.
    Dense,
    /// One byte for each pair, as published for 3.5 bits: 4.0 stored bits per weight.
    BytePerPair,
}

impl Layout {
    /// Bits from one pair code to the next.
    pub const fn pair_bits(self, format: Format) -> u32 {
        match self {
            Self::Dense => format.fields().pair_bits(),
            Self::BytePerPair => 8,
        }
    }

    /// Why this layout is not offered for `format`, if it is not.
    pub const fn infeasible(self, format: Format) -> Option<&'static str> {
        match (self, format) {
            (Self::BytePerPair, Format::W4) => Some("a dense pair of w4 is one byte already"),
            (Self::BytePerPair, Format::W3) => Some("byte_per_pair is the published layout of 3.5 bits only"),
            _ => None,
        }
    }

    /// Writes the pair codes of one row into `bytes` (zeroed, `⌈codes·pair_bits/8⌉` long).
    pub(crate) fn pack_row(self, format: Format, codes: &[u8], bytes: &mut [u8]) {
        let stride = self.pair_bits(format) as usize;
        for (i, &code) in codes.iter().enumerate() {
            let bit = i * stride;
            let shifted = u16::from(code) << (bit % 8);
            bytes[bit / 8] |= shifted as u8;
            if shifted > 0xff {
                bytes[bit / 8 + 1] |= (shifted >> 8) as u8;
            }
        }
    }
}

impl Level for Layout {
    const AXIS: &'static str = "layout";
    const ALL: &'static [Self] = &[Self::Dense, Self::BytePerPair];

    fn name(self) -> &'static str {
        match self {
            Self::Dense => "dense",
            Self::BytePerPair => "byte_per_pair",
        }
    }

    fn about(self) -> &'static str {
        match self {
            Self::Dense => "a bit stream of pair codes: 8, 7 or 6 bits a pair",
            Self::BytePerPair => "one byte a pair, as published (w3p5 only): 4.0 bits a weight before scales",
        }
    }
}

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Layout {
    type Err = UnknownLevel;
    fn from_str(name: &str) -> Result<Self, UnknownLevel> {
        Self::parse(name)
    }
}
