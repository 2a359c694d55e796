//! Operations on registers of 64 bytes, for each instruction set that has them with AVX-512 F and BW.
//!
//! A [`Set`] says how it multiplies bytes and how it spreads a dense stream; everything else is here.

use core::{arch::x86_64::*, marker::PhantomData};

use super::{Body, Isa, Vector, ymm};

/// An instruction set with AVX-512 F, BW and VL.
pub(super) trait Set: Copy + 'static {
    /// The instruction set as a value.
    const ISA: Isa;
    /// As [`Vector::MAX_FIELD`].
    const MAX_FIELD: u32;
    /// As [`Vector::MAX_NARROW`].
    const MAX_NARROW: u32;
    /// As [`Vector::COLUMNS`].
    const COLUMNS: usize;

    /// Whether this CPU has the instructions, AVX-512 F, BW and VL among them.
    fn detect() -> bool;
    /// As [`Vector::enter`].
    ///
    /// # Safety
    /// `detect` was true.
    unsafe fn enter<B: Body>(v: Zmm<Self>, body: B);
    /// As [`Vector::load_pairs`] with a stride of 6 or 7.
    ///
    /// # Safety
    /// `detect` was true, and 64 bytes from `at` are readable.
    unsafe fn load_pairs(at: *const u8, stride: u32) -> __m512i;
    /// As [`Vector::dot`].
    ///
    /// # Safety
    /// `detect` was true.
    unsafe fn dot(acc: __m512i, w: __m512i, x: __m512i) -> __m512i;
    /// As [`Vector::begin`]. This and what follows are for a `dot` whose sums have 32 bits.
    #[inline(always)]
    fn begin(v: Zmm<Self>, start: i32) -> (__m512i, __m512i) {
        (v.zero(), v.fill(start))
    }
    /// As [`Vector::dot_narrow`].
    ///
    /// # Safety
    /// `detect` was true.
    #[inline(always)]
    unsafe fn dot_narrow(acc: __m512i, w: __m512i, x: __m512i) -> __m512i {
        // SAFETY: the caller's obligation.
        unsafe { Self::dot(acc, w, x) }
    }
    /// As [`Vector::widen`].
    ///
    /// # Safety
    /// `detect` was true.
    #[inline(always)]
    unsafe fn widen(acc: __m512i, sums: __m512i) -> __m512i {
        // SAFETY: the caller's obligation, which includes AVX-512.
        unsafe { _mm512_add_epi32(acc, sums) }
    }
}

/// Proof that this CPU has the instructions of `S`.
#[derive(Clone, Copy)]
pub(crate) struct Zmm<S> {
    set: PhantomData<S>,
}

impl<S: Set> Vector for Zmm<S> {
    const ISA: Isa = S::ISA;
    const LANES: usize = S::ISA.vector_bytes();
    const MAX_FIELD: u32 = S::MAX_FIELD;
    const MAX_NARROW: u32 = S::MAX_NARROW;
    const COLUMNS: usize = S::COLUMNS;
    type Bytes = __m512i;
    type Ints = __m512i;
    type Narrow = __m512i;
    type Floats = __m512;

    fn detect() -> Option<Self> {
        S::detect().then_some(Self { set: PhantomData })
    }

    fn enter<B: Body>(self, body: B) {
        // SAFETY: `self` proves that `detect` saw all features.
        unsafe { S::enter(self, body) }
    }

    #[inline(always)]
    unsafe fn load(self, at: *const i8) -> __m512i {
        // SAFETY: `self` proves AVX-512; readability is the caller's obligation.
        unsafe { _mm512_loadu_si512(at.cast()) }
    }

    #[inline(always)]
    unsafe fn load_pairs(self, at: *const u8, stride: u32) -> __m512i {
        // SAFETY: `self` proves the instructions of `S`; readability is the caller's obligation.
        unsafe { if stride == 8 { _mm512_loadu_si512(at.cast()) } else { S::load_pairs(at, stride) } }
    }

    #[inline(always)]
    unsafe fn store(self, at: *mut u8, x: __m512i) {
        // SAFETY: `self` proves AVX-512; writability is the caller's obligation.
        unsafe { _mm512_storeu_si512(at.cast(), x) }
    }

    #[inline(always)]
    fn splat(self, value: u8) -> __m512i {
        // SAFETY: `self` proves AVX-512.
        unsafe { _mm512_set1_epi8(value as i8) }
    }

    #[inline(always)]
    unsafe fn load_four(self, at: *const i8) -> __m512i {
        // SAFETY: `self` proves AVX-512; readability is the caller's obligation.
        unsafe { _mm512_set1_epi32(at.cast::<i32>().read_unaligned()) }
    }

    #[inline(always)]
    fn table(self, table: &[u8; 16]) -> __m512i {
        // SAFETY: `self` proves AVX-512; the table is 16 bytes.
        unsafe { _mm512_broadcast_i32x4(_mm_loadu_si128(table.as_ptr().cast())) }
    }

    #[inline(always)]
    fn and(self, a: __m512i, b: __m512i) -> __m512i {
        // SAFETY: `self` proves AVX-512.
        unsafe { _mm512_and_si512(a, b) }
    }

    #[inline(always)]
    fn or(self, a: __m512i, b: __m512i) -> __m512i {
        // SAFETY: `self` proves AVX-512.
        unsafe { _mm512_or_si512(a, b) }
    }

    #[inline(always)]
    fn add(self, a: __m512i, b: __m512i) -> __m512i {
        // SAFETY: `self` proves AVX-512.
        unsafe { _mm512_add_epi8(a, b) }
    }

    #[inline(always)]
    fn flip_and_mask(self, x: __m512i, flip: u8, mask: u8) -> __m512i {
        // Truth table of (x ^ flip) & mask with x = 0xf0, flip = 0xcc, mask = 0xaa.
        const TABLE: i32 = (0xf0 ^ 0xcc) & 0xaa;
        // SAFETY: `self` proves AVX-512.
        unsafe { _mm512_ternarylogic_epi32::<TABLE>(x, self.splat(flip), self.splat(mask)) }
    }

    #[inline(always)]
    fn shift_right(self, x: __m512i, bits: u32) -> __m512i {
        // SAFETY: `self` proves AVX-512.
        unsafe { _mm512_srl_epi16(x, _mm_cvtsi32_si128(bits as i32)) }
    }

    #[inline(always)]
    fn subtract_above(self, x: __m512i, limit: u8, amount: u8) -> __m512i {
        // SAFETY: `self` proves AVX-512.
        unsafe {
            let above = _mm512_cmpgt_epi8_mask(x, self.splat(limit));
            _mm512_mask_sub_epi8(x, above, x, self.splat(amount))
        }
    }

    #[inline(always)]
    fn look_up(self, table: __m512i, index: __m512i) -> __m512i {
        // SAFETY: `self` proves AVX-512.
        unsafe { _mm512_shuffle_epi8(table, index) }
    }

    #[inline(always)]
    fn dot(self, acc: __m512i, w: __m512i, x: __m512i) -> __m512i {
        // SAFETY: `self` proves the instructions of `S`.
        unsafe { S::dot(acc, w, x) }
    }

    #[inline(always)]
    fn zero(self) -> __m512i {
        // SAFETY: `self` proves AVX-512.
        unsafe { _mm512_setzero_si512() }
    }

    #[inline(always)]
    fn combine(self, a: __m512i, a_shift: u32, b: __m512i, b_step: i32) -> __m512i {
        // SAFETY: `self` proves AVX-512.
        unsafe {
            let a = match a_shift {
                0 => a,
                3 => _mm512_srai_epi32::<3>(a),
                _ => _mm512_srai_epi32::<4>(a),
            };
            _mm512_add_epi32(a, if b_step == 1 { b } else { _mm512_slli_epi32::<1>(b) })
        }
    }

    #[inline(always)]
    fn sum(self, x: __m512i) -> i32 {
        // SAFETY: `self` proves AVX-512, which includes AVX2.
        unsafe { ymm::sum(halves(x)) }
    }

    #[inline(always)]
    fn sum4(self, x: [__m512i; 4]) -> [i32; 4] {
        // SAFETY: `self` proves AVX-512, which includes AVX2.
        unsafe { ymm::sum4([halves(x[0]), halves(x[1]), halves(x[2]), halves(x[3])]) }
    }

    #[inline(always)]
    fn zero_narrow(self) -> __m512i {
        self.zero()
    }

    #[inline(always)]
    fn begin(self, start: i32) -> (__m512i, __m512i) {
        S::begin(self, start)
    }

    #[inline(always)]
    fn dot_narrow(self, acc: __m512i, w: __m512i, x: __m512i) -> __m512i {
        // SAFETY: `self` proves the instructions of `S`.
        unsafe { S::dot_narrow(acc, w, x) }
    }

    #[inline(always)]
    fn widen(self, acc: __m512i, sums: __m512i) -> __m512i {
        // SAFETY: `self` proves the instructions of `S`.
        unsafe { S::widen(acc, sums) }
    }

    #[inline(always)]
    fn fill(self, value: i32) -> __m512i {
        // SAFETY: `self` proves AVX-512.
        unsafe { _mm512_set1_epi32(value) }
    }

    #[inline(always)]
    fn zero_floats(self) -> __m512 {
        // SAFETY: `self` proves AVX-512.
        unsafe { _mm512_setzero_ps() }
    }

    #[inline(always)]
    unsafe fn load_floats(self, at: *const f32) -> __m512 {
        // SAFETY: `self` proves AVX-512; readability is the caller's obligation.
        unsafe { _mm512_loadu_ps(at) }
    }

    #[inline(always)]
    unsafe fn load_halves(self, at: *const u16) -> __m512 {
        // SAFETY: `self` proves AVX-512; readability is the caller's obligation.
        unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(at.cast())) }
    }

    #[inline(always)]
    fn accumulate(self, acc: __m512, integers: __m512i, weight_scales: __m512, activation_scale: f32) -> __m512 {
        // SAFETY: `self` proves AVX-512.
        unsafe {
            let scales = _mm512_mul_ps(weight_scales, _mm512_set1_ps(activation_scale));
            _mm512_add_ps(acc, _mm512_mul_ps(_mm512_cvtepi32_ps(integers), scales))
        }
    }

    #[inline(always)]
    unsafe fn store_floats(self, at: *mut f32, x: __m512) {
        // SAFETY: `self` proves AVX-512; writability is the caller's obligation.
        unsafe { _mm512_storeu_ps(at, x) }
    }

    fn opaque(self, x: __m512i) -> __m512i {
        // SAFETY: `self` proves AVX-512.
        unsafe { opaque(x) }
    }

    #[inline(always)]
    fn splat_f32(self, value: f32) -> __m512 {
        // SAFETY: `self` proves AVX-512.
        unsafe { _mm512_set1_ps(value) }
    }

    #[inline(always)]
    fn multiply_add(self, a: __m512, b: __m512, c: __m512) -> __m512 {
        // SAFETY: `self` proves AVX-512.
        unsafe { _mm512_fmadd_ps(a, b, c) }
    }

    #[inline(always)]
    fn bits(self, x: __m512) -> __m512i {
        // SAFETY: `self` proves AVX-512.
        unsafe { _mm512_castps_si512(x) }
    }
}

/// [`Vector::opaque`]: only with the feature may a register of this width be named.
#[inline]
#[target_feature(enable = "avx512f")]
fn opaque(mut x: __m512i) -> __m512i {
    // SAFETY: the block is empty: it reads and writes nothing but the register that it is given.
    unsafe { core::arch::asm!("/* {0} */", inout(zmm_reg) x, options(nomem, nostack, preserves_flags)) };
    x
}

/// The sum of the low and the high half.
///
/// # Safety
/// The CPU has AVX-512 F.
#[inline(always)]
unsafe fn halves(x: __m512i) -> __m256i {
    // SAFETY: the caller's obligation.
    unsafe { _mm256_add_epi32(_mm512_castsi512_si256(x), _mm512_extracti64x4_epi64::<1>(x)) }
}
