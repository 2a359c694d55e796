//! No sign extension at all: one XOR flips the sign bits of every field in a word, which adds the
//! bias; masks cut the fields out, *a* in place where the product allows its weight; the bias
//! leaves once a group, times the sum of the activations.

use super::{ScalarUnpack, Unpack, VectorUnpack, mask, sign_bits};
use crate::{format::PairFormat, isa::Vector};

/// The strategy `bit_parallel` as a type.
pub struct BitParallel;

impl ScalarUnpack for BitParallel {
    const UNPACK: Unpack = Unpack::BitParallel;
    const BIASED: bool = true;

    #[inline(always)]
    fn prepare<F: PairFormat>(word: u64, stride: u32, pairs: u32) -> u64 {
        let mut signs = 0;
        for pair in 0..pairs {
            signs |= u64::from(sign_bits::<F>()) << (pair * stride);
        }
        word ^ signs
    }

    #[inline(always)]
    fn weight(field: u32, bits: u32) -> i32 {
        (field & mask(bits)) as i32
    }
}

impl VectorUnpack for BitParallel {
    const UNPACK: Unpack = Unpack::BitParallel;

    #[inline(always)]
    fn a_shift<F: PairFormat, V: Vector>() -> u32 {
        if mask(F::A_BITS) << F::B_BITS <= V::MAX_FIELD { F::B_BITS } else { 0 }
    }

    #[inline(always)]
    fn fields<F: PairFormat, V: Vector>(v: V, codes: V::Bytes) -> (V::Bytes, V::Bytes) {
        let signs = sign_bits::<F>();
        let b = v.flip_and_mask(codes, signs as u8, mask(F::B_BITS) as u8);
        let a = if Self::a_shift::<F, V>() == F::B_BITS {
            v.flip_and_mask(codes, signs as u8, (mask(F::A_BITS) << F::B_BITS) as u8)
        } else {
            let shifted = v.shift_right(codes, F::B_BITS);
            v.flip_and_mask(shifted, (signs >> F::B_BITS) as u8, mask(F::A_BITS) as u8)
        };
        (a, b)
    }
}
