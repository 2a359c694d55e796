//! Operations on registers of 32 bytes, for each instruction set that has them with AVX2.
//!
//! A [`Set`] says how it multiplies bytes; everything else is here.

use core::{arch::x86_64::*, marker::PhantomData};

use super::{Body, Isa, Vector};

/// An instruction set with AVX2, F16C and FMA.
pub(super) trait Set: Copy + 'static {
    /// The instruction set as a value.
    const ISA: Isa;
    /// As [`Vector::MAX_FIELD`].
    const MAX_FIELD: u32;
    /// As [`Vector::MAX_NARROW`].
    const MAX_NARROW: u32;
    /// As [`Vector::COLUMNS`].
    const COLUMNS: usize;

    /// Whether this CPU has the instructions, AVX2, F16C and FMA among them.
    fn detect() -> bool;
    /// As [`Vector::enter`].
    ///
    /// # Safety
    /// `detect` was true.
    unsafe fn enter<B: Body>(v: Ymm<Self>, body: B);
    /// As [`Vector::dot`].
    ///
    /// # Safety
    /// `detect` was true.
    unsafe fn dot(acc: __m256i, w: __m256i, x: __m256i) -> __m256i;
    /// As [`Vector::begin`]. This and what follows are for a `dot` whose sums have 32 bits.
    #[inline(always)]
    fn begin(v: Ymm<Self>, start: i32) -> (__m256i, __m256i) {
        (v.zero(), v.fill(start))
    }
    /// As [`Vector::dot_narrow`].
    ///
    /// # Safety
    /// `detect` was true.
    #[inline(always)]
    unsafe fn dot_narrow(acc: __m256i, w: __m256i, x: __m256i) -> __m256i {
        // SAFETY: the caller's obligation.
        unsafe { Self::dot(acc, w, x) }
    }
    /// As [`Vector::widen`].
    ///
    /// # Safety
    /// `detect` was true.
    #[inline(always)]
    unsafe fn widen(acc: __m256i, sums: __m256i) -> __m256i {
        // SAFETY: the caller's obligation, which includes AVX2.
        unsafe { _mm256_add_epi32(acc, sums) }
    }
}

/// Proof that this CPU has the instructions of `S`. Canonical paths use no FMA; the f32 peak does.
#[derive(Clone, Copy)]
pub(crate) struct Ymm<S> {
    set: PhantomData<S>,
}

/// `vpmullw` factors that move the code in each 16-bit window to its high byte.
type Factors = [i16; 8];

/// For codes 0, 2, 4, … or 1, 3, 5, … of sixteen, the two bytes that hold each: `vpshufb` indices.
const fn windows(stride: usize, odd: usize) -> [u8; 16] {
    let mut bytes = [0; 16];
    let mut i = 0;
    while i < 8 {
        let bit = (2 * i + odd) * stride;
        bytes[2 * i] = (bit / 8) as u8;
        bytes[2 * i + 1] = (bit / 8 + 1) as u8;
        i += 1;
    }
    bytes
}

const fn factors(stride: usize, odd: usize) -> Factors {
    let mut factors = [0; 8];
    let mut i = 0;
    while i < 8 {
        factors[i] = 1 << (8 - (2 * i + odd) * stride % 8);
        i += 1;
    }
    factors
}

struct Spread {
    windows: [[u8; 16]; 2],
    factors: [Factors; 2],
}

const fn spread(stride: usize) -> Spread {
    Spread { windows: [windows(stride, 0), windows(stride, 1)], factors: [factors(stride, 0), factors(stride, 1)] }
}

static SPREAD_7: Spread = spread(7);
static SPREAD_6: Spread = spread(6);

impl<S: Set> Vector for Ymm<S> {
    const ISA: Isa = S::ISA;
    const LANES: usize = S::ISA.vector_bytes();
    const MAX_FIELD: u32 = S::MAX_FIELD;
    const MAX_NARROW: u32 = S::MAX_NARROW;
    const COLUMNS: usize = S::COLUMNS;
    type Bytes = __m256i;
    type Ints = __m256i;
    type Narrow = __m256i;
    type Floats = __m256;

    fn detect() -> Option<Self> {
        S::detect().then_some(Self { set: PhantomData })
    }

    fn enter<B: Body>(self, body: B) {
        // SAFETY: `self` proves that `detect` saw all features.
        unsafe { S::enter(self, body) }
    }

    #[inline(always)]
    unsafe fn load(self, at: *const i8) -> __m256i {
        // SAFETY: `self` proves AVX2; readability is the caller's obligation.
        unsafe { _mm256_loadu_si256(at.cast()) }
    }

    #[inline(always)]
    unsafe fn load_pairs(self, at: *const u8, stride: u32) -> __m256i {
        if stride == 8 {
            // SAFETY: `self` proves AVX2; readability is the caller's obligation.
            return unsafe { _mm256_loadu_si256(at.cast()) };
        }
        let spread = if stride == 7 { &SPREAD_7 } else { &SPREAD_6 };
        // SAFETY: `self` proves AVX2. Sixteen codes take 2·stride ≤ 14 bytes, so the two loads end
        // 14 + 16 = 30 bytes behind `at`, within the 32 that the caller vouches for. The tables
        // are 16 bytes each.
        unsafe {
            let table = |bytes: &[u8; 16]| _mm256_broadcastsi128_si256(_mm_loadu_si128(bytes.as_ptr().cast()));
            let words = |f: &Factors| _mm256_broadcastsi128_si256(_mm_loadu_si128(f.as_ptr().cast()));
            let low = _mm_loadu_si128(at.cast());
            let high = _mm_loadu_si128(at.add(2 * stride as usize).cast());
            let both = _mm256_set_m128i(high, low);
            let even = _mm256_shuffle_epi8(both, table(&spread.windows[0]));
            let odd = _mm256_shuffle_epi8(both, table(&spread.windows[1]));
            let even = _mm256_srli_epi16::<8>(_mm256_mullo_epi16(even, words(&spread.factors[0])));
            let odd = _mm256_mullo_epi16(odd, words(&spread.factors[1]));
            _mm256_or_si256(even, _mm256_and_si256(odd, _mm256_set1_epi16(0xff00u16 as i16)))
        }
    }

    #[inline(always)]
    unsafe fn store(self, at: *mut u8, x: __m256i) {
        // SAFETY: `self` proves AVX2; writability is the caller's obligation.
        unsafe { _mm256_storeu_si256(at.cast(), x) }
    }

    #[inline(always)]
    fn splat(self, value: u8) -> __m256i {
        // SAFETY: `self` proves AVX2.
        unsafe { _mm256_set1_epi8(value as i8) }
    }

    #[inline(always)]
    unsafe fn load_four(self, at: *const i8) -> __m256i {
        // SAFETY: `self` proves AVX2; readability is the caller's obligation.
        unsafe { _mm256_set1_epi32(at.cast::<i32>().read_unaligned()) }
    }

    #[inline(always)]
    fn table(self, table: &[u8; 16]) -> __m256i {
        // SAFETY: `self` proves AVX2; the table is 16 bytes.
        unsafe { _mm256_broadcastsi128_si256(_mm_loadu_si128(table.as_ptr().cast())) }
    }

    #[inline(always)]
    fn and(self, a: __m256i, b: __m256i) -> __m256i {
        // SAFETY: `self` proves AVX2.
        unsafe { _mm256_and_si256(a, b) }
    }

    #[inline(always)]
    fn or(self, a: __m256i, b: __m256i) -> __m256i {
        // SAFETY: `self` proves AVX2.
        unsafe { _mm256_or_si256(a, b) }
    }

    #[inline(always)]
    fn add(self, a: __m256i, b: __m256i) -> __m256i {
        // SAFETY: `self` proves AVX2.
        unsafe { _mm256_add_epi8(a, b) }
    }

    #[inline(always)]
    fn flip_and_mask(self, x: __m256i, flip: u8, mask: u8) -> __m256i {
        // SAFETY: `self` proves AVX2.
        unsafe { _mm256_and_si256(_mm256_xor_si256(x, self.splat(flip)), self.splat(mask)) }
    }

    #[inline(always)]
    fn shift_right(self, x: __m256i, bits: u32) -> __m256i {
        // SAFETY: `self` proves AVX2.
        unsafe { _mm256_srl_epi16(x, _mm_cvtsi32_si128(bits as i32)) }
    }

    #[inline(always)]
    fn subtract_above(self, x: __m256i, limit: u8, amount: u8) -> __m256i {
        // SAFETY: `self` proves AVX2.
        unsafe {
            let above = _mm256_cmpgt_epi8(x, self.splat(limit));
            _mm256_sub_epi8(x, _mm256_and_si256(above, self.splat(amount)))
        }
    }

    #[inline(always)]
    fn look_up(self, table: __m256i, index: __m256i) -> __m256i {
        // SAFETY: `self` proves AVX2.
        unsafe { _mm256_shuffle_epi8(table, index) }
    }

    #[inline(always)]
    fn dot(self, acc: __m256i, w: __m256i, x: __m256i) -> __m256i {
        // SAFETY: `self` proves the instructions of `S`.
        unsafe { S::dot(acc, w, x) }
    }

    #[inline(always)]
    fn zero(self) -> __m256i {
        // SAFETY: `self` proves AVX2.
        unsafe { _mm256_setzero_si256() }
    }

    #[inline(always)]
    fn combine(self, a: __m256i, a_shift: u32, b: __m256i, b_step: i32) -> __m256i {
        // SAFETY: `self` proves AVX2.
        unsafe {
            let a = match a_shift {
                0 => a,
                3 => _mm256_srai_epi32::<3>(a),
                _ => _mm256_srai_epi32::<4>(a),
            };
            _mm256_add_epi32(a, if b_step == 1 { b } else { _mm256_slli_epi32::<1>(b) })
        }
    }

    #[inline(always)]
    fn sum(self, x: __m256i) -> i32 {
        // SAFETY: `self` proves AVX2.
        unsafe { sum(x) }
    }

    #[inline(always)]
    fn sum4(self, x: [__m256i; 4]) -> [i32; 4] {
        // SAFETY: `self` proves AVX2.
        unsafe { sum4(x) }
    }

    #[inline(always)]
    fn zero_narrow(self) -> __m256i {
        self.zero()
    }

    #[inline(always)]
    fn begin(self, start: i32) -> (__m256i, __m256i) {
        S::begin(self, start)
    }

    #[inline(always)]
    fn dot_narrow(self, acc: __m256i, w: __m256i, x: __m256i) -> __m256i {
        // SAFETY: `self` proves the instructions of `S`.
        unsafe { S::dot_narrow(acc, w, x) }
    }

    #[inline(always)]
    fn widen(self, acc: __m256i, sums: __m256i) -> __m256i {
        // SAFETY: `self` proves the instructions of `S`.
        unsafe { S::widen(acc, sums) }
    }

    #[inline(always)]
    fn fill(self, value: i32) -> __m256i {
        // SAFETY: `self` proves AVX2.
        unsafe { _mm256_set1_epi32(value) }
    }

    #[inline(always)]
    fn zero_floats(self) -> __m256 {
        // SAFETY: `self` proves AVX2.
        unsafe { _mm256_setzero_ps() }
    }

    #[inline(always)]
    unsafe fn load_floats(self, at: *const f32) -> __m256 {
        // SAFETY: `self` proves AVX2; readability is the caller's obligation.
        unsafe { _mm256_loadu_ps(at) }
    }

    #[inline(always)]
    unsafe fn load_halves(self, at: *const u16) -> __m256 {
        // SAFETY: `self` proves F16C; readability is the caller's obligation.
        unsafe { _mm256_cvtph_ps(_mm_loadu_si128(at.cast())) }
    }

    #[inline(always)]
    fn accumulate(self, acc: __m256, integers: __m256i, weight_scales: __m256, activation_scale: f32) -> __m256 {
        // SAFETY: `self` proves AVX2.
        unsafe {
            let scales = _mm256_mul_ps(weight_scales, _mm256_set1_ps(activation_scale));
            _mm256_add_ps(acc, _mm256_mul_ps(_mm256_cvtepi32_ps(integers), scales))
        }
    }

    #[inline(always)]
    unsafe fn store_floats(self, at: *mut f32, x: __m256) {
        // SAFETY: `self` proves AVX2; writability is the caller's obligation.
        unsafe { _mm256_storeu_ps(at, x) }
    }

    fn opaque(self, x: __m256i) -> __m256i {
        // SAFETY: `self` proves AVX2.
        unsafe { opaque(x) }
    }

    #[inline(always)]
    fn splat_f32(self, value: f32) -> __m256 {
        // SAFETY: `self` proves AVX2.
        unsafe { _mm256_set1_ps(value) }
    }

    #[inline(always)]
    fn multiply_add(self, a: __m256, b: __m256, c: __m256) -> __m256 {
        // SAFETY: `self` proves AVX2 and FMA.
        unsafe { _mm256_fmadd_ps(a, b, c) }
    }

    #[inline(always)]
    fn bits(self, x: __m256) -> __m256i {
        // SAFETY: `self` proves AVX2.
        unsafe { _mm256_castps_si256(x) }
    }
}

/// [`Vector::opaque`]: only with the feature may a register of this width be named.
#[inline]
#[target_feature(enable = "avx2")]
fn opaque(mut x: __m256i) -> __m256i {
    // SAFETY: the block is empty: it reads and writes nothing but the register that it is given.
    unsafe { core::arch::asm!("/* {0} */", inout(ymm_reg) x, options(nomem, nostack, preserves_flags)) };
    x
}

/// Sum of eight 32-bit lanes.
///
/// # Safety
/// The CPU has AVX2.
#[inline(always)]
pub(super) unsafe fn sum(x: __m256i) -> i32 {
    // SAFETY: the caller's obligation.
    unsafe {
        let four = _mm_add_epi32(_mm256_castsi256_si128(x), _mm256_extracti128_si256::<1>(x));
        let two = _mm_add_epi32(four, _mm_shuffle_epi32::<0b_01_00_11_10>(four));
        _mm_cvtsi128_si32(_mm_add_epi32(two, _mm_shuffle_epi32::<0b_10_11_00_01>(two)))
    }
}

/// Sums of eight 32-bit lanes of each of four vectors.
///
/// # Safety
/// The CPU has AVX2.
#[inline(always)]
pub(super) unsafe fn sum4(x: [__m256i; 4]) -> [i32; 4] {
    let mut sums = [0; 4];
    // SAFETY: AVX2 is the caller's obligation; `sums` is 16 bytes, and the store is unaligned.
    unsafe {
        let pairs = _mm256_hadd_epi32(_mm256_hadd_epi32(x[0], x[1]), _mm256_hadd_epi32(x[2], x[3]));
        let four = _mm_add_epi32(_mm256_castsi256_si128(pairs), _mm256_extracti128_si256::<1>(pairs));
        _mm_storeu_si128(sums.as_mut_ptr().cast(), four);
    }
    sums
}
