//! Sign extension by a conditional jump, the baseline of the published ladder.
//!
//! LLVM turns `if q >= 8 { q -= 16 }` into straight-line code, and an experiment that compares the
//! two compares nothing. The value on the taken side passes through an empty `asm!` block: the
//! compiler may not run that block speculatively, so the jump stays. A second empty block behind the
//! join keeps the sides from being continued apart, which would copy the jump of the next weight
//! into both. Neither adds an instruction.

use super::{ScalarUnpack, Unpack, mask};
use crate::{format::PairFormat, isa::scalar::opaque};

/// The strategy `branch` as a type.
pub struct Branch;

impl ScalarUnpack for Branch {
    const UNPACK: Unpack = Unpack::Branch;
    const BIASED: bool = false;

    #[inline(always)]
    fn weights<F: PairFormat>(code: u32) -> (i32, i32) {
        (extend(code >> F::B_BITS, F::A_BITS), extend(code, F::B_BITS))
    }
}

#[inline(always)]
fn extend(field: u32, bits: u32) -> i32 {
    let mut value = (field & mask(bits)) as i32;
    if value >= 1 << (bits - 1) {
        value = opaque(value - (1 << bits));
    }
    opaque(value)
}
