//! AVX2: 32-byte vectors without a four-way dot product.
//!
//! `vpmaddubsw` adds two products of an unsigned and a signed byte with saturation at 32767. With
//! activations of at most ±127 a field may reach 2·127·f ≤ 32767, f ≤ 129: fields in place up to
//! 120 (`0x78`) are exact, 240 (`0xf0`) would saturate. `dot` widens each pair sum to 32 bits at
//! once; `dot_narrow` leaves it at 16 as long as the fields that met stay below 129 in sum.

use core::arch::x86_64::*;

use super::{
    Body, Isa, Vector,
    ymm::{Set, Ymm},
};

/// AVX2 with F16C and FMA.
#[derive(Clone, Copy)]
pub(super) struct Avx2;

impl Set for Avx2 {
    const ISA: Isa = Isa::Avx2;
    const MAX_FIELD: u32 = 129;
    const MAX_NARROW: u32 = 129;
    const COLUMNS: usize = 4;

    fn detect() -> bool {
        is_x86_feature_detected!("avx2") && is_x86_feature_detected!("f16c") && is_x86_feature_detected!("fma")
    }

    unsafe fn enter<B: Body>(v: Ymm<Self>, body: B) {
        #[target_feature(enable = "avx2,f16c,fma")]
        fn with_features<B: Body>(v: Ymm<Avx2>, body: B) {
            body.run(v);
        }
        // SAFETY: the caller's obligation.
        unsafe { with_features(v, body) }
    }

    #[inline(always)]
    fn begin(v: Ymm<Self>, start: i32) -> (__m256i, __m256i) {
        (v.fill(start), v.zero())
    }

    #[inline(always)]
    unsafe fn dot(acc: __m256i, w: __m256i, x: __m256i) -> __m256i {
        // SAFETY: the caller's obligation.
        unsafe { Self::widen(acc, _mm256_maddubs_epi16(w, x)) }
    }

    #[inline(always)]
    unsafe fn dot_narrow(acc: __m256i, w: __m256i, x: __m256i) -> __m256i {
        // SAFETY: the caller's obligation.
        unsafe { _mm256_add_epi16(acc, _mm256_maddubs_epi16(w, x)) }
    }

    #[inline(always)]
    unsafe fn widen(acc: __m256i, sums: __m256i) -> __m256i {
        // SAFETY: the caller's obligation.
        unsafe { _mm256_add_epi32(acc, _mm256_madd_epi16(sums, _mm256_set1_epi16(1))) }
    }
}
