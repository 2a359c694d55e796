//! How two's complement fields of a pair code become integers: the axis of the first claim.
//!
//! Each strategy is one file with its scalar form ([`ScalarUnpack`]) and, where there is one, its
//! vector form ([`VectorUnpack`]).

use std::fmt;

use crate::{format::PairFormat, isa::Vector, level::Level};

mod bit_parallel;
mod branch;
mod lut;
mod select;

pub use bit_parallel::BitParallel;
pub use branch::Branch;
pub use lut::Lut;
pub use select::Select;

/// A strategy, one weight at a time.
pub trait ScalarUnpack: 'static {
    /// The strategy as a value.
    const UNPACK: Unpack;
    /// Whether [`weight`](Self::weight) returns `a + BIAS` and `b + BIAS/B_STEP`, to be corrected by
    /// the sum of the activations.
    const BIASED: bool;
    /// One operation on `pairs` codes at once, `stride` bits apart in `word`.
    #[inline(always)]
    fn prepare<F: PairFormat>(word: u64, stride: u32, pairs: u32) -> u64 {
        let _ = (stride, pairs);
        word
    }
    /// The member in the low `bits` bits of `field`; higher bits are foreign.
    fn weight(field: u32, bits: u32) -> i32;
}

/// A strategy on a vector of pair codes, one code in each byte.
///
/// The byte products of AVX2 and AVX-512 multiply unsigned by signed bytes, so every strategy
/// yields unsigned fields `(a + BIAS) << A_SHIFT` and `b + BIAS/B_STEP`. NEON multiplies signed bytes:
/// its `MAX_FIELD` is the largest byte that is the same number in both readings.
pub trait VectorUnpack: 'static {
    /// The strategy as a value.
    const UNPACK: Unpack;
    /// Left shift of field *a*.
    fn a_shift<F: PairFormat, V: Vector>() -> u32;
    /// Fields *a* and *b* of each byte's pair code; bits above the code are foreign.
    fn fields<F: PairFormat, V: Vector>(v: V, codes: V::Bytes) -> (V::Bytes, V::Bytes);
}

/// An unpack strategy as a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Unpack {
    /// Test the sign bit and jump.
    Branch,
    /// Compare and subtract, without a jump.
    Select,
    /// Look the field up in a table.
    Lut,
    /// Flip all sign bits at once and mask the fields in place.
    BitParallel,
}

impl Level for Unpack {
    const AXIS: &'static str = "unpack";
    const ALL: &'static [Self] = &[Self::Branch, Self::Select, Self::Lut, Self::BitParallel];

    fn name(self) -> &'static str {
        match self {
            Self::Branch => "branch",
            Self::Select => "select",
            Self::Lut => "lut",
            Self::BitParallel => "bit_parallel",
        }
    }

    fn about(self) -> &'static str {
        match self {
            Self::Branch => "a conditional jump for each weight extends its sign (scalar only)",
            Self::Select => "compare and subtract, no jump",
            Self::Lut => "a table of 16 entries; on vectors a byte shuffle",
            Self::BitParallel => "masks in place; the bias is corrected once a group",
        }
    }
}

impl fmt::Display for Unpack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The lowest `bits` bits.
pub(crate) const fn mask(bits: u32) -> u32 {
    (1 << bits) - 1
}

/// The sign bits of both members of a pair code.
pub(crate) const fn sign_bits<F: PairFormat>() -> u32 {
    1 << (F::A_BITS + F::B_BITS - 1) | 1 << (F::B_BITS - 1)
}
