//! AVX-512 with VNNI, without VBMI: the four-way dot product, and a dense stream spread by word
//! shifts (Cascade Lake, Cooper Lake).

use core::arch::x86_64::*;

use super::{
    Body, Isa,
    avx512bw::Avx512Bw,
    zmm::{Set, Zmm},
};

/// AVX-512 F, BW, VL and VNNI.
#[derive(Clone, Copy)]
pub(super) struct Avx512Vnni;

impl Set for Avx512Vnni {
    const ISA: Isa = Isa::Avx512Vnni;
    const MAX_FIELD: u32 = 255;
    const MAX_NARROW: u32 = u32::MAX;
    const COLUMNS: usize = 12;

    fn detect() -> bool {
        Avx512Bw::detect() && is_x86_feature_detected!("avx512vnni")
    }

    unsafe fn enter<B: Body>(v: Zmm<Self>, body: B) {
        #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
        fn with_features<B: Body>(v: Zmm<Avx512Vnni>, body: B) {
            body.run(v);
        }
        // SAFETY: the caller's obligation.
        unsafe { with_features(v, body) }
    }

    #[inline(always)]
    unsafe fn load_pairs(at: *const u8, stride: u32) -> __m512i {
        // SAFETY: the caller's obligation, which includes the features of `Avx512Bw`.
        unsafe { Avx512Bw::load_pairs(at, stride) }
    }

    #[inline(always)]
    unsafe fn dot(acc: __m512i, w: __m512i, x: __m512i) -> __m512i {
        // SAFETY: the caller's obligation.
        unsafe { _mm512_dpbusd_epi32(acc, w, x) }
    }
}
