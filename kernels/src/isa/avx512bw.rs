//! AVX-512 without VNNI and VBMI: 64-byte vectors with the byte product of AVX2 (Skylake-X).
//!
//! The bounds of [`avx2`](super::avx2) hold here too. A dense stream is spread in six steps: a
//! quarter of the codes goes to each 16-byte lane, even and odd codes to 16-bit windows of their
//! own, and shifts that differ between windows bring even ones down and odd ones up.

use core::arch::x86_64::*;

use super::{
    Body, Isa, Vector,
    zmm::{Set, Zmm},
};

/// AVX-512 F, BW and VL.
#[derive(Clone, Copy)]
pub(super) struct Avx512Bw;

/// Codes of a 16-byte lane.
const LANE: usize = 16;

/// The tables that spread codes of one stride. Lane l begins at byte 2 · stride · l of the stream, in
/// the middle of a doubleword if that is odd times two: `windows` make up for it.
struct Spread {
    /// `vpermd`: the four doublewords that hold the codes of each lane.
    doublewords: [u32; 16],
    /// `vpshufb`, even and odd codes: the two bytes that hold each. The second is foreign, and any
    /// will do, where a code ends with the lane.
    windows: [[u8; 64]; 2],
    /// `vpsrlvw`, even codes: from their place in the window to bit 0.
    down: [u16; 32],
    /// `vpsllvw`, odd codes: from their place in the window to bit 8.
    up: [u16; 32],
}

const fn spread(stride: usize) -> Spread {
    let mut spread = Spread { doublewords: [0; 16], windows: [[0; 64]; 2], down: [0; 32], up: [0; 32] };
    let mut window = 0;
    while window < 32 {
        let (lane, pair) = (window / (LANE / 2), window % (LANE / 2));
        let start = lane * LANE / 8 * stride;
        if pair < 4 {
            spread.doublewords[lane * 4 + pair] = (start / 4 + pair) as u32;
        }
        let mut odd = 0;
        while odd < 2 {
            let bit = (2 * pair + odd) * stride;
            let byte = start % 4 + bit / 8;
            spread.windows[odd][2 * window] = byte as u8;
            spread.windows[odd][2 * window + 1] = ((byte + 1) % LANE) as u8;
            if odd == 0 {
                spread.down[window] = (bit % 8) as u16;
            } else {
                spread.up[window] = (8 - bit % 8) as u16;
            }
            odd += 1;
        }
        window += 1;
    }
    spread
}

static SPREAD_7: Spread = spread(7);
static SPREAD_6: Spread = spread(6);

impl Set for Avx512Bw {
    const ISA: Isa = Isa::Avx512Bw;
    const MAX_FIELD: u32 = 129;
    const MAX_NARROW: u32 = 129;
    // Both sums of two vectors by six columns are 24 of 32 registers.
    const COLUMNS: usize = 6;

    fn detect() -> bool {
        is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512vl")
    }

    unsafe fn enter<B: Body>(v: Zmm<Self>, body: B) {
        #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
        fn with_features<B: Body>(v: Zmm<Avx512Bw>, body: B) {
            body.run(v);
        }
        // SAFETY: the caller's obligation.
        unsafe { with_features(v, body) }
    }

    #[inline(always)]
    unsafe fn load_pairs(at: *const u8, stride: u32) -> __m512i {
        // Truth table of high ? odd : even with high = 0xf0, odd = 0xcc, even = 0xaa.
        const SELECT: i32 = (0xf0 & 0xcc) | (!0xf0 & 0xaa);
        let spread = if stride == 7 { &SPREAD_7 } else { &SPREAD_6 };
        // SAFETY: the features and 64 readable bytes are the caller's obligation; the tables are 64
        // bytes each.
        unsafe {
            let doublewords = _mm512_loadu_si512(spread.doublewords.as_ptr().cast());
            let lanes = _mm512_permutexvar_epi32(doublewords, _mm512_loadu_si512(at.cast()));
            let even = _mm512_shuffle_epi8(lanes, _mm512_loadu_si512(spread.windows[0].as_ptr().cast()));
            let odd = _mm512_shuffle_epi8(lanes, _mm512_loadu_si512(spread.windows[1].as_ptr().cast()));
            let even = _mm512_srlv_epi16(even, _mm512_loadu_si512(spread.down.as_ptr().cast()));
            let odd = _mm512_sllv_epi16(odd, _mm512_loadu_si512(spread.up.as_ptr().cast()));
            _mm512_ternarylogic_epi32::<SELECT>(_mm512_set1_epi16(0xff00u16 as i16), odd, even)
        }
    }

    #[inline(always)]
    fn begin(v: Zmm<Self>, start: i32) -> (__m512i, __m512i) {
        (v.fill(start), v.zero())
    }

    #[inline(always)]
    unsafe fn dot(acc: __m512i, w: __m512i, x: __m512i) -> __m512i {
        // SAFETY: the caller's obligation.
        unsafe { Self::widen(acc, _mm512_maddubs_epi16(w, x)) }
    }

    #[inline(always)]
    unsafe fn dot_narrow(acc: __m512i, w: __m512i, x: __m512i) -> __m512i {
        // SAFETY: the caller's obligation.
        unsafe { _mm512_add_epi16(acc, _mm512_maddubs_epi16(w, x)) }
    }

    #[inline(always)]
    unsafe fn widen(acc: __m512i, sums: __m512i) -> __m512i {
        // SAFETY: the caller's obligation.
        unsafe { _mm512_add_epi32(acc, _mm512_madd_epi16(sums, _mm512_set1_epi16(1))) }
    }
}
