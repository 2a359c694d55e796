//! Sign extension by comparing and subtracting: what a compiler makes of the branch.

use super::{ScalarUnpack, Unpack, VectorUnpack, mask};
use crate::{format::PairFormat, isa::Vector};

/// The strategy `select` as a type.
pub struct Select;

impl ScalarUnpack for Select {
    const UNPACK: Unpack = Unpack::Select;
    const BIASED: bool = false;

    #[inline(always)]
    fn weight(field: u32, bits: u32) -> i32 {
        let value = (field & mask(bits)) as i32;
        if value >= 1 << (bits - 1) { value - (1 << bits) } else { value }
    }
}

/// Compares, subtracts where above, and adds the bias that the unsigned byte product needs.
impl VectorUnpack for Select {
    const UNPACK: Unpack = Unpack::Select;

    #[inline(always)]
    fn a_shift<F: PairFormat, V: Vector>() -> u32 {
        0
    }

    #[inline(always)]
    fn fields<F: PairFormat, V: Vector>(v: V, codes: V::Bytes) -> (V::Bytes, V::Bytes) {
        let extend = |field: V::Bytes, bits: u32| {
            let raw = v.and(field, v.splat(mask(bits) as u8));
            let signed = v.subtract_above(raw, (1 << (bits - 1)) - 1, 1 << bits);
            v.add(signed, v.splat(1 << (bits - 1)))
        };
        (extend(v.shift_right(codes, F::B_BITS), F::A_BITS), extend(codes, F::B_BITS))
    }
}
