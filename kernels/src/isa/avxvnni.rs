//! AVX-VNNI: AVX2 with the four-way dot product of AVX-512, for CPUs without registers of 64 bytes.

use core::arch::x86_64::*;

use super::{
    Body, Isa,
    ymm::{Set, Ymm},
};

/// AVX2 with F16C, FMA and AVX-VNNI.
#[derive(Clone, Copy)]
pub(super) struct AvxVnni;

impl Set for AvxVnni {
    const ISA: Isa = Isa::AvxVnni;
    const MAX_FIELD: u32 = 255;
    const MAX_NARROW: u32 = u32::MAX;
    // Two vectors by six columns are twelve sums; with the operands, 15 of 16 registers.
    const COLUMNS: usize = 6;

    fn detect() -> bool {
        is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("f16c")
            && is_x86_feature_detected!("fma")
            && is_x86_feature_detected!("avxvnni")
    }

    unsafe fn enter<B: Body>(v: Ymm<Self>, body: B) {
        #[target_feature(enable = "avx2,f16c,fma,avxvnni")]
        fn with_features<B: Body>(v: Ymm<AvxVnni>, body: B) {
            body.run(v);
        }
        // SAFETY: the caller's obligation.
        unsafe { with_features(v, body) }
    }

    #[inline(always)]
    unsafe fn dot(acc: __m256i, w: __m256i, x: __m256i) -> __m256i {
        // SAFETY: the caller's obligation.
        unsafe { _mm256_dpbusd_avx_epi32(acc, w, x) }
    }
}
