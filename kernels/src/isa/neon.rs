//! NEON with dot products: a vector is two 16-byte registers, so that the loop nests take its steps
//! as those of the other sets of 32 bytes.
//!
//! `sdot` multiplies signed bytes by signed bytes. Fields are unsigned, but below 128 both readings of
//! a byte are the same: fields in place up to 120 (`0x78`) are exact, 240 (`0xf0`) would be negative.
//! Two instructions are written out, because Rust 1.89 has no function for them: `sdot` and `fcvtl`.

use core::arch::{aarch64::*, asm};
use std::arch::is_aarch64_feature_detected;

use super::{Body, Isa, Vector};

/// Proof that this CPU has NEON and the dot product.
#[derive(Clone, Copy)]
pub(super) struct Neon(());

/// The tables that spread eight codes of one stride to 16-bit windows, and the next eight.
struct Spread {
    /// `tbl`: the two bytes that hold each code.
    windows: [[u8; 16]; 2],
    /// `ushl`: by how much a code is above bit 0 of its window, negative to move it there.
    down: [i16; 8],
}

const fn spread(stride: usize) -> Spread {
    let mut spread = Spread { windows: [[0; 16]; 2], down: [0; 8] };
    let mut code = 0;
    while code < 16 {
        let bit = code * stride;
        let (half, window) = (code / 8, code % 8);
        spread.windows[half][2 * window] = (bit / 8) as u8;
        spread.windows[half][2 * window + 1] = (bit / 8 + 1) as u8;
        // The same for both halves: eight codes are whole bytes.
        spread.down[window] = -((bit % 8) as i16);
        code += 1;
    }
    spread
}

static SPREAD_7: Spread = spread(7);
static SPREAD_6: Spread = spread(6);

impl Vector for Neon {
    const ISA: Isa = Isa::Neon;
    const LANES: usize = Self::ISA.vector_bytes();
    const MAX_FIELD: u32 = 127;
    const MAX_NARROW: u32 = u32::MAX;
    // Four registers of rows by six columns are 24 sums; with the operands, 29 of 32 registers.
    const COLUMNS: usize = 6;
    type Bytes = uint8x16x2_t;
    type Ints = int32x4x2_t;
    type Narrow = int32x4x2_t;
    type Floats = float32x4x2_t;

    fn detect() -> Option<Self> {
        (is_aarch64_feature_detected!("neon") && is_aarch64_feature_detected!("dotprod")).then_some(Self(()))
    }

    fn enter<B: Body>(self, body: B) {
        #[target_feature(enable = "neon,dotprod")]
        fn with_features<B: Body>(v: Neon, body: B) {
            body.run(v);
        }
        // SAFETY: `self` proves that `detect` saw the features.
        unsafe { with_features(self, body) }
    }

    #[inline(always)]
    unsafe fn load(self, at: *const i8) -> uint8x16x2_t {
        // SAFETY: `self` proves NEON; readability is the caller's obligation.
        unsafe { uint8x16x2_t(vld1q_u8(at.cast()), vld1q_u8(at.add(16).cast())) }
    }

    #[inline(always)]
    unsafe fn load_pairs(self, at: *const u8, stride: u32) -> uint8x16x2_t {
        if stride == 8 {
            // SAFETY: the caller's obligation.
            return unsafe { self.load(at.cast()) };
        }
        let spread = if stride == 7 { &SPREAD_7 } else { &SPREAD_6 };
        // SAFETY: `self` proves NEON. Sixteen codes take 2·stride ≤ 14 bytes, so the two loads end at most
        // 14 + 16 = 30 bytes behind `at`, within the 32 that the caller vouches for.
        unsafe {
            let (low, high) = (vld1q_u8(at), vld1q_u8(at.add(2 * stride as usize)));
            uint8x16x2_t(spread_codes(low, spread), spread_codes(high, spread))
        }
    }

    #[inline(always)]
    unsafe fn store(self, at: *mut u8, x: uint8x16x2_t) {
        // SAFETY: `self` proves NEON; writability is the caller's obligation.
        unsafe {
            vst1q_u8(at, x.0);
            vst1q_u8(at.add(16), x.1);
        }
    }

    #[inline(always)]
    fn splat(self, value: u8) -> uint8x16x2_t {
        // SAFETY: `self` proves NEON.
        unsafe { uint8x16x2_t(vdupq_n_u8(value), vdupq_n_u8(value)) }
    }

    #[inline(always)]
    fn table(self, table: &[u8; 16]) -> uint8x16x2_t {
        // SAFETY: `self` proves NEON; the table is 16 bytes.
        let table = unsafe { vld1q_u8(table.as_ptr()) };
        uint8x16x2_t(table, table)
    }

    #[inline(always)]
    unsafe fn load_four(self, at: *const i8) -> uint8x16x2_t {
        // SAFETY: `self` proves NEON; readability is the caller's obligation.
        let four = unsafe { vreinterpretq_u8_u32(vdupq_n_u32(at.cast::<u32>().read_unaligned())) };
        uint8x16x2_t(four, four)
    }

    #[inline(always)]
    fn and(self, a: uint8x16x2_t, b: uint8x16x2_t) -> uint8x16x2_t {
        // SAFETY: `self` proves NEON.
        unsafe { uint8x16x2_t(vandq_u8(a.0, b.0), vandq_u8(a.1, b.1)) }
    }

    #[inline(always)]
    fn or(self, a: uint8x16x2_t, b: uint8x16x2_t) -> uint8x16x2_t {
        // SAFETY: `self` proves NEON.
        unsafe { uint8x16x2_t(vorrq_u8(a.0, b.0), vorrq_u8(a.1, b.1)) }
    }

    #[inline(always)]
    fn add(self, a: uint8x16x2_t, b: uint8x16x2_t) -> uint8x16x2_t {
        // SAFETY: `self` proves NEON.
        unsafe { uint8x16x2_t(vaddq_u8(a.0, b.0), vaddq_u8(a.1, b.1)) }
    }

    #[inline(always)]
    fn flip_and_mask(self, x: uint8x16x2_t, flip: u8, mask: u8) -> uint8x16x2_t {
        let flip = self.splat(flip);
        // SAFETY: `self` proves NEON.
        let flipped = unsafe { uint8x16x2_t(veorq_u8(x.0, flip.0), veorq_u8(x.1, flip.1)) };
        self.and(flipped, self.splat(mask))
    }

    #[inline(always)]
    fn shift_right(self, x: uint8x16x2_t, bits: u32) -> uint8x16x2_t {
        // SAFETY: `self` proves NEON.
        unsafe {
            let by = vdupq_n_s16(-(bits as i16));
            uint8x16x2_t(shift_words(x.0, by), shift_words(x.1, by))
        }
    }

    #[inline(always)]
    fn subtract_above(self, x: uint8x16x2_t, limit: u8, amount: u8) -> uint8x16x2_t {
        // SAFETY: `self` proves NEON.
        unsafe {
            let (limit, amount) = (vdupq_n_s8(limit as i8), vdupq_n_u8(amount));
            let above = |x| vandq_u8(vcgtq_s8(vreinterpretq_s8_u8(x), limit), amount);
            uint8x16x2_t(vsubq_u8(x.0, above(x.0)), vsubq_u8(x.1, above(x.1)))
        }
    }

    #[inline(always)]
    fn look_up(self, table: uint8x16x2_t, index: uint8x16x2_t) -> uint8x16x2_t {
        // Behind the table `tbl` gives zeros.
        let index = self.and(index, self.splat(15));
        // SAFETY: `self` proves NEON.
        unsafe { uint8x16x2_t(vqtbl1q_u8(table.0, index.0), vqtbl1q_u8(table.1, index.1)) }
    }

    #[inline(always)]
    fn dot(self, acc: int32x4x2_t, w: uint8x16x2_t, x: uint8x16x2_t) -> int32x4x2_t {
        // SAFETY: `self` proves the dot product.
        unsafe { int32x4x2_t(sdot(acc.0, w.0, x.0), sdot(acc.1, w.1, x.1)) }
    }

    #[inline(always)]
    fn zero(self) -> int32x4x2_t {
        self.fill(0)
    }

    #[inline(always)]
    fn combine(self, a: int32x4x2_t, a_shift: u32, b: int32x4x2_t, b_step: i32) -> int32x4x2_t {
        // SAFETY: `self` proves NEON.
        unsafe {
            let by = vdupq_n_s32(-(a_shift as i32));
            let b = if b_step == 1 { b } else { int32x4x2_t(vshlq_n_s32::<1>(b.0), vshlq_n_s32::<1>(b.1)) };
            int32x4x2_t(vaddq_s32(vshlq_s32(a.0, by), b.0), vaddq_s32(vshlq_s32(a.1, by), b.1))
        }
    }

    #[inline(always)]
    fn sum(self, x: int32x4x2_t) -> i32 {
        // SAFETY: `self` proves NEON.
        unsafe { vaddvq_s32(vaddq_s32(x.0, x.1)) }
    }

    #[inline(always)]
    fn sum4(self, x: [int32x4x2_t; 4]) -> [i32; 4] {
        let [a, b, c, d] = x;
        let mut sums = [0; 4];
        // SAFETY: `self` proves NEON; `sums` is 16 bytes.
        unsafe {
            let pairs = |a: int32x4x2_t, b: int32x4x2_t| vpaddq_s32(vaddq_s32(a.0, a.1), vaddq_s32(b.0, b.1));
            vst1q_s32(sums.as_mut_ptr(), vpaddq_s32(pairs(a, b), pairs(c, d)));
        }
        sums
    }

    #[inline(always)]
    fn zero_narrow(self) -> int32x4x2_t {
        self.zero()
    }

    #[inline(always)]
    fn begin(self, start: i32) -> (int32x4x2_t, int32x4x2_t) {
        (self.zero(), self.fill(start))
    }

    #[inline(always)]
    fn dot_narrow(self, acc: int32x4x2_t, w: uint8x16x2_t, x: uint8x16x2_t) -> int32x4x2_t {
        self.dot(acc, w, x)
    }

    #[inline(always)]
    fn widen(self, acc: int32x4x2_t, sums: int32x4x2_t) -> int32x4x2_t {
        // SAFETY: `self` proves NEON.
        unsafe { int32x4x2_t(vaddq_s32(acc.0, sums.0), vaddq_s32(acc.1, sums.1)) }
    }

    #[inline(always)]
    fn fill(self, value: i32) -> int32x4x2_t {
        // SAFETY: `self` proves NEON.
        unsafe { int32x4x2_t(vdupq_n_s32(value), vdupq_n_s32(value)) }
    }

    #[inline(always)]
    fn zero_floats(self) -> float32x4x2_t {
        self.splat_f32(0.0)
    }

    #[inline(always)]
    unsafe fn load_floats(self, at: *const f32) -> float32x4x2_t {
        // SAFETY: `self` proves NEON; readability is the caller's obligation.
        unsafe { float32x4x2_t(vld1q_f32(at), vld1q_f32(at.add(4))) }
    }

    #[inline(always)]
    unsafe fn load_halves(self, at: *const u16) -> float32x4x2_t {
        // SAFETY: `self` proves NEON; readability is the caller's obligation.
        unsafe { widen_halves(vld1q_u16(at)) }
    }

    #[inline(always)]
    fn accumulate(
        self,
        acc: float32x4x2_t,
        integers: int32x4x2_t,
        weight_scales: float32x4x2_t,
        activation_scale: f32,
    ) -> float32x4x2_t {
        // SAFETY: `self` proves NEON.
        unsafe {
            let activation_scale = vdupq_n_f32(activation_scale);
            let term = |integers, scales| vmulq_f32(vcvtq_f32_s32(integers), vmulq_f32(scales, activation_scale));
            let (low, high) = (term(integers.0, weight_scales.0), term(integers.1, weight_scales.1));
            float32x4x2_t(vaddq_f32(acc.0, low), vaddq_f32(acc.1, high))
        }
    }

    #[inline(always)]
    unsafe fn store_floats(self, at: *mut f32, x: float32x4x2_t) {
        // SAFETY: `self` proves NEON; writability is the caller's obligation.
        unsafe {
            vst1q_f32(at, x.0);
            vst1q_f32(at.add(4), x.1);
        }
    }

    #[inline(always)]
    fn opaque(self, mut x: uint8x16x2_t) -> uint8x16x2_t {
        // SAFETY: the block is empty: it reads and writes nothing but the registers that it is given.
        unsafe {
            asm!("/* {0:v} {1:v} */", inout(vreg) x.0, inout(vreg) x.1, options(nomem, nostack, preserves_flags));
        }
        x
    }

    #[inline(always)]
    fn splat_f32(self, value: f32) -> float32x4x2_t {
        // SAFETY: `self` proves NEON.
        unsafe { float32x4x2_t(vdupq_n_f32(value), vdupq_n_f32(value)) }
    }

    #[inline(always)]
    fn multiply_add(self, a: float32x4x2_t, b: float32x4x2_t, c: float32x4x2_t) -> float32x4x2_t {
        // SAFETY: `self` proves NEON.
        unsafe { float32x4x2_t(vfmaq_f32(c.0, a.0, b.0), vfmaq_f32(c.1, a.1, b.1)) }
    }

    #[inline(always)]
    fn bits(self, x: float32x4x2_t) -> int32x4x2_t {
        // SAFETY: `self` proves NEON.
        unsafe { int32x4x2_t(vreinterpretq_s32_f32(x.0), vreinterpretq_s32_f32(x.1)) }
    }
}

/// The sixteen codes at the start of `bytes`, one in each byte.
///
/// # Safety
/// The CPU has NEON.
#[inline(always)]
unsafe fn spread_codes(bytes: uint8x16_t, spread: &Spread) -> uint8x16_t {
    // SAFETY: NEON is the caller's obligation; the tables are 16 bytes each.
    unsafe {
        let by = vld1q_s16(spread.down.as_ptr());
        let windows = |table: &[u8; 16]| shift_words(vqtbl1q_u8(bytes, vld1q_u8(table.as_ptr())), by);
        vuzp1q_u8(windows(&spread.windows[0]), windows(&spread.windows[1]))
    }
}

/// Each 16-bit lane shifted right by minus the lane of `by`.
///
/// # Safety
/// The CPU has NEON.
#[inline(always)]
unsafe fn shift_words(x: uint8x16_t, by: int16x8_t) -> uint8x16_t {
    // SAFETY: the caller's obligation.
    unsafe { vreinterpretq_u8_u16(vshlq_u16(vreinterpretq_u16_u8(x), by)) }
}

/// `acc` plus the products of signed bytes, four by four.
#[inline]
#[target_feature(enable = "neon,dotprod")]
fn sdot(mut acc: int32x4_t, w: uint8x16_t, x: uint8x16_t) -> int32x4_t {
    // SAFETY: the instruction, which this function enables, reads and writes nothing but registers.
    unsafe {
        asm!(
            "sdot {0:v}.4s, {1:v}.16b, {2:v}.16b",
            inout(vreg) acc, in(vreg) w, in(vreg) x,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    acc
}

/// The f32 values of eight f16.
#[inline]
#[target_feature(enable = "neon")]
fn widen_halves(halves: uint16x8_t) -> float32x4x2_t {
    let (low, high);
    // SAFETY: the instructions, which this function enables, read and write nothing but registers.
    unsafe {
        asm!(
            "fcvtl {0:v}.4s, {2:v}.4h",
            "fcvtl2 {1:v}.4s, {2:v}.8h",
            out(vreg) low, lateout(vreg) high, in(vreg) halves,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    float32x4x2_t(low, high)
}
