//! No intrinsics: one weight at a time.
//!
//! Left alone, LLVM vectorizes some of these loops with SSE2 and not others, and regroups integer
//! sums as it likes; "scalar" and "unroll" would mean whatever the optimizer made of them. Each
//! code and each accumulator therefore pass through [`opaque`], which adds no instruction but pins the
//! loop: `unroll 1` is one pair an iteration on one accumulator, `unroll 4` four pairs
//! (eight weights) on four.

use super::prefetch;
use crate::{
    activations::HALF, format::PairFormat, granularity::MAX_SEGMENT, layout::PairLayout, row_block::RowBlock,
    unpack::ScalarUnpack,
};

/// `value`, by a way that the optimizer cannot see through, predict or leave out.
#[inline(always)]
pub(crate) fn opaque(mut value: i32) -> i32 {
    // SAFETY: the block is empty: it reads and writes nothing but the register that it is given.
    unsafe { core::arch::asm!("/* {0:e} */", inout(reg) value, options(nomem, nostack, preserves_flags)) };
    value
}

/// Products of the block's rows, `UNROLL` pairs an iteration.
pub(crate) fn rows<F, L, U, const UNROLL: usize, const PREFETCH: bool>(block: &mut RowBlock<'_>)
where
    F: PairFormat,
    L: PairLayout,
    U: ScalarUnpack,
{
    for row in 0..block.rows() {
        let scales = block.row_scales(row);
        let mut acc = 0.0;
        for segment in 0..block.segments() {
            let codes = &block.row_codes(row)[segment * block.segment_bytes()..];
            if PREFETCH {
                prefetch(codes.as_ptr().wrapping_add(block.prefetch_distance()));
            }
            let values = &block.values()[segment * MAX_SEGMENT..][..MAX_SEGMENT];
            let integer = segment_sum::<F, L, U, UNROLL>(codes, values, block.pairs());
            let bias = if U::BIASED { F::BIAS } else { 0 };
            acc = block.accumulate(acc, scales, segment, [integer], bias);
        }
        block.store(row, acc);
    }
}

/// Σ a·x + B_STEP·Σ b·x over the `pairs` pairs at the start of `codes`, with the strategy's bias.
#[inline(always)]
fn segment_sum<F, L, U, const UNROLL: usize>(codes: &[u8], values: &[i8], pairs: usize) -> i32
where
    F: PairFormat,
    L: PairLayout,
    U: ScalarUnpack,
{
    let stride = L::pair_bits::<F>();
    // Eight readable bytes from the last code on: `row_codes` ends `TAIL` bytes behind it.
    assert!(codes.len() >= pairs + 8 && values.len() == MAX_SEGMENT && pairs <= HALF && pairs.is_multiple_of(UNROLL));
    let (even, odd) = values.split_at(HALF);
    let mut acc = [0i32; UNROLL];
    let mut pair = 0;
    while pair < pairs {
        let bit = pair * stride as usize;
        // SAFETY: `bit / 8 ≤ pair < pairs`, and the assertion keeps eight bytes readable behind it.
        let word = unsafe { read::<UNROLL>(codes.as_ptr().add(bit / 8), stride) } >> (bit % 8);
        let word = U::prepare::<F>(word, stride, UNROLL as u32);
        for (lane, acc) in acc.iter_mut().enumerate() {
            let code = opaque((word >> (lane as u32 * stride)) as i32) as u32;
            // SAFETY: `pair + lane < pairs ≤ 64`, because `pairs` is a multiple of `UNROLL`.
            let (x, y) = unsafe { (*even.get_unchecked(pair + lane), *odd.get_unchecked(pair + lane)) };
            *acc = opaque(*acc + U::weight(code >> F::B_BITS, F::A_BITS) * i32::from(x));
            *acc = opaque(*acc + F::B_STEP * U::weight(code, F::B_BITS) * i32::from(y));
        }
        pair += UNROLL;
    }
    acc.iter().sum()
}

/// The narrowest load that covers `UNROLL` codes of `stride` bits from any bit of the first byte.
///
/// # Safety
/// Eight bytes from `at` are readable.
#[inline(always)]
unsafe fn read<const UNROLL: usize>(at: *const u8, stride: u32) -> u64 {
    // SAFETY: every load is at most eight bytes, which the caller vouches for.
    unsafe {
        match (UNROLL as u32 * stride, stride) {
            (8, _) => u64::from(at.read()),
            (..=8, _) => u64::from(u16::from_le_bytes(at.cast::<[u8; 2]>().read())),
            (32, 8) => u64::from(u32::from_le_bytes(at.cast::<[u8; 4]>().read())),
            _ => u64::from_le_bytes(at.cast::<[u8; 8]>().read()),
        }
    }
}
