//! AVX2: 32-byte vectors without a four-way dot product.
//!
//! `vpmaddubsw` adds two products of an unsigned and a signed byte with saturation at 32767. With
//! activations of at most ±127 a field may reach 2·127·f ≤ 32767, f ≤ 129: fields in place up to
//! 120 (`0x78`) are exact, 240 (`0xf0`) would saturate. `dot` widens each pair sum to 32 bits at
//! once; `dot_narrow` leaves it at 16 as long as the fields that met stay below 129 in sum.

use core::arch::x86_64::*;

use super::{Body, Isa, Vector, x86};

/// Proof that this CPU has AVX2, F16C and FMA. Canonical paths use no FMA; the f32 peak does.
#[derive(Clone, Copy)]
pub struct Avx2 {
    _private: (),
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

impl Vector for Avx2 {
    const ISA: Isa = Isa::Avx2;
    const LANES: usize = Isa::Avx2.vector_bytes();
    const MAX_FIELD: u32 = 129;
    const MAX_NARROW: u32 = 129;
    const COLUMNS: usize = 4;
    type Bytes = __m256i;
    type Ints = __m256i;
    type Narrow = __m256i;
    type Floats = __m256;

    fn detect() -> Option<Self> {
        let all =
            is_x86_feature_detected!("avx2") && is_x86_feature_detected!("f16c") && is_x86_feature_detected!("fma");
        all.then_some(Self { _private: () })
    }

    fn enter<B: Body<Self>>(self, body: B) {
        #[target_feature(enable = "avx2,f16c,fma")]
        fn with_features<B: Body<Avx2>>(v: Avx2, body: B) {
            body.run(v);
        }
        // SAFETY: `self` proves that `detect` saw all three features.
        unsafe { with_features(self, body) }
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
        // SAFETY: `self` proves AVX2.
        unsafe {
            let pairs = _mm256_maddubs_epi16(w, x);
            _mm256_add_epi32(acc, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)))
        }
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
        unsafe { x86::sum(x) }
    }

    #[inline(always)]
    fn sum4(self, x: [__m256i; 4]) -> [i32; 4] {
        // SAFETY: `self` proves AVX2.
        unsafe { x86::sum4(x) }
    }

    #[inline(always)]
    fn zero_narrow(self) -> __m256i {
        self.zero()
    }

    #[inline(always)]
    fn begin(self, start: i32) -> (__m256i, __m256i) {
        (self.fill(start), self.zero())
    }

    #[inline(always)]
    fn dot_narrow(self, acc: __m256i, w: __m256i, x: __m256i) -> __m256i {
        // SAFETY: `self` proves AVX2.
        unsafe { _mm256_add_epi16(acc, _mm256_maddubs_epi16(w, x)) }
    }

    #[inline(always)]
    fn widen(self, acc: __m256i, sums: __m256i) -> __m256i {
        // SAFETY: `self` proves AVX2.
        unsafe { _mm256_add_epi32(acc, _mm256_madd_epi16(sums, _mm256_set1_epi16(1))) }
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
