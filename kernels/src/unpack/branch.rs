//! Sign extension by a conditional jump, the baseline of the published ladder.
//!
//! LLVM turns `if q >= 8 { q -= 16 }` into straight-line code, and an experiment that compares the
//! two compares nothing. The value on the taken side passes through an empty `asm!` block: the
//! compiler may not run that block speculatively, so the jump stays. It adds no instruction.

use super::{ScalarUnpack, Unpack, mask};
use crate::isa::scalar::opaque;

/// The strategy `branch` as a type.
pub struct Branch;

impl ScalarUnpack for Branch {
    const UNPACK: Unpack = Unpack::Branch;
    const BIASED: bool = false;

    #[inline(always)]
    fn weight(field: u32, bits: u32) -> i32 {
        let mut value = (field & mask(bits)) as i32;
        if value >= 1 << (bits - 1) {
            value = opaque(value - (1 << bits));
        }
        value
    }
}
