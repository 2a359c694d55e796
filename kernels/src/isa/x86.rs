//! What AVX2 and AVX-512 share.

use core::arch::x86_64::{
    __m256i, _mm_add_epi32, _mm_cvtsi128_si32, _mm_shuffle_epi32, _mm_storeu_si128, _mm256_castsi256_si128,
    _mm256_extracti128_si256, _mm256_hadd_epi32,
};

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
