//! No intrinsics: one weight at a time.
//!
//! Left alone, LLVM vectorizes some of these loops with SSE2 and not others, and regroups integer
//! sums as it likes; "scalar" and "unroll" would mean whatever the optimizer made of them. Each
//! code and each accumulator therefore pass through [`opaque`], which adds no instruction but pins the
//! loop: `unroll 1` is one pair an iteration on one accumulator, `unroll 4` four pairs
//! (eight weights) on four.

use super::{prefetch, tile::Workspace};
use crate::{
    activations::HALF,
    block::Block,
    format::PairFormat,
    gemm::{self, BLOCK, Tile},
    granularity::MAX_SEGMENT,
    layout::{PairLayout, STRIPE_ROWS, Unit, VECTOR, VECTOR_PAIRS},
    scale,
    unpack::{ScalarUnpack, mask},
};

/// `value`, by a way that the optimizer cannot see through, predict or leave out.
#[inline(always)]
pub(crate) fn opaque(mut value: i32) -> i32 {
    // SAFETY: the block is empty: it reads and writes nothing but the register that it is given.
    unsafe { core::arch::asm!("/* {0:x} */", inout(reg) value, options(nomem, nostack, preserves_flags)) };
    value
}

/// `at`, by a way that the optimizer cannot see through: it may not take what it read there before.
#[inline(always)]
pub(crate) fn opaque_at<T>(mut at: *const T) -> *const T {
    // SAFETY: the block is empty: it changes nothing but the register that it is given.
    unsafe { core::arch::asm!("/* {0} */", inout(reg) at, options(readonly, nostack, preserves_flags)) };
    at
}

/// Products of the block's rows, `UNROLL` pairs an iteration.
pub(crate) fn rows<F, L, U, const UNROLL: usize, const PREFETCH: bool>(block: &mut Block<'_>)
where
    F: PairFormat,
    L: PairLayout,
    U: ScalarUnpack,
{
    for row in 0..block.rows() {
        let scales = block.row_scales(row);
        let mut acc = block.start(row);
        for segment in 0..block.segments() {
            let codes = &block.stripe_codes(row)[segment * block.segment_bytes()..];
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
    // Eight readable bytes from the last code on: `stripe_codes` ends `TAIL` bytes behind it.
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

/// Products of the block's stripes of sixteen rows (`rows16`), a row after the other.
pub(crate) fn stripes<F: PairFormat, const PREFETCH: bool>(block: &mut Block<'_>) {
    for row in 0..block.rows() {
        let scales = block.row_scales(row);
        let (stripe, lane) = (row / STRIPE_ROWS, row % STRIPE_ROWS);
        let mut acc = block.start(row);
        for segment in 0..block.segments() {
            let bytes = block.segment_bytes();
            let codes = &block.stripe_codes(stripe)[segment * bytes..][..bytes];
            if PREFETCH {
                prefetch(codes[lane * VECTOR_PAIRS..].as_ptr().wrapping_add(block.prefetch_distance()));
            }
            let values = &block.values()[segment * MAX_SEGMENT..][..MAX_SEGMENT];
            acc = block.accumulate(acc, scales, segment, [lane_sum::<F>(codes, values, lane)], F::BIAS);
        }
        block.store(row, acc);
    }
}

/// Σ (a + BIAS)·x + Σ (B_STEP·b + BIAS)·x of one row of a segment.
#[inline(always)]
fn lane_sum<F: PairFormat>(codes: &[u8], values: &[i8], lane: usize) -> i32 {
    let unit = Unit::of(F::A_BITS + F::B_BITS);
    let (even, odd) = values.split_at(HALF);
    let pairs = unit.codes * VECTOR_PAIRS;
    let operands = even.chunks_exact(pairs).zip(odd.chunks_exact(pairs));
    let mut acc = 0;
    for (vectors, (even, odd)) in codes.chunks_exact(unit.stored * VECTOR).zip(operands) {
        each_pair::<F>(vectors, lane, |pair, a, b| {
            acc = opaque(acc + a * i32::from(even[pair]));
            acc = opaque(acc + F::B_STEP * b * i32::from(odd[pair]));
        });
    }
    acc
}

/// Each pair of one row in the vectors of a unit: its number in the unit, and its unsigned fields.
#[inline(always)]
fn each_pair<F: PairFormat>(vectors: &[u8], lane: usize, mut each: impl FnMut(usize, i32, i32)) {
    let pair_bits = F::A_BITS + F::B_BITS;
    let unit = Unit::of(pair_bits);
    // The remainder tells the compiler what every caller knows: no index below leaves its slice.
    let first = lane % STRIPE_ROWS * VECTOR_PAIRS;
    let mut fields = |code: u32, pair: usize| {
        let code = opaque(code as i32) as u32;
        each(pair, (code >> F::B_BITS & mask(F::A_BITS)) as i32, (code & mask(F::B_BITS)) as i32);
    };
    for byte in 0..VECTOR_PAIRS {
        let mut hidden = 0;
        for vector in 0..unit.stored {
            let code = u32::from(vectors[vector * VECTOR + first + byte]);
            hidden |= (code >> pair_bits) << (vector as u32 * (8 - pair_bits));
            fields(code, vector * VECTOR_PAIRS + byte);
        }
        if unit.codes > unit.stored {
            fields(hidden, unit.stored * VECTOR_PAIRS + byte);
        }
    }
}

/// Products of a tile (`rows16`): a segment of a row is unpacked once for all columns.
pub(crate) fn tile<F: PairFormat>(tile: &mut Tile<'_>, _: &mut Workspace) {
    let batch = tile.batch();
    for row in 0..tile.stripes() * STRIPE_ROWS {
        let (stripe, lane) = (row / STRIPE_ROWS, row % STRIPE_ROWS);
        for segment in 0..tile.segments() {
            // In the order of the batch: four members *a*, four members *b*, …
            let mut weights = [0; MAX_SEGMENT];
            let unit = Unit::of(F::A_BITS + F::B_BITS);
            for (n, vectors) in tile.codes(stripe, segment).chunks_exact(unit.stored * VECTOR).enumerate() {
                each_pair::<F>(vectors, lane, |pair, a, b| {
                    let vector = n * unit.codes + pair / VECTOR_PAIRS;
                    let at = vector * 2 * VECTOR_PAIRS + pair % VECTOR_PAIRS;
                    weights[at] = a - F::BIAS;
                    weights[at + VECTOR_PAIRS] = F::B_STEP * b - F::BIAS;
                });
            }
            let weight_scale = scale::to_f32(tile.weight_scales(stripe, segment)[lane]);
            for column in tile.columns() {
                let values = &batch.values(segment, column)[column % BLOCK * VECTOR_PAIRS..];
                let mut integer = 0;
                for (step, weights) in weights.chunks_exact(VECTOR_PAIRS).take(tile.steps()).enumerate() {
                    for (weight, value) in weights.iter().zip(&values[step * gemm::STEP..]) {
                        integer = opaque(integer + weight * i32::from(*value));
                    }
                }
                let term = integer as f32 * (weight_scale * batch.scales(segment, column)[0]);
                tile.out(column)[row] += term;
            }
        }
    }
}
