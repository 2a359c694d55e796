//! AVX-512 with VNNI and VBMI: 64-byte vectors, a four-way dot product, and byte permutes that
//! spread a dense stream in two instructions.

use core::arch::x86_64::*;

use super::{
    Body, Isa,
    avx512vnni::Avx512Vnni,
    zmm::{Set, Zmm},
};

/// AVX-512 F, BW, VL, VBMI and VNNI.
#[derive(Clone, Copy)]
pub(super) struct Avx512;

/// Byte i of 64-bit lane q is byte i of the stride-byte unit q: `vpermb` indices.
const fn units(stride: usize) -> [u8; 64] {
    let mut bytes = [0; 64];
    let mut i = 0;
    while i < 64 {
        bytes[i] = (i / 8 * stride + if i % 8 < stride { i % 8 } else { 0 }) as u8;
        i += 1;
    }
    bytes
}

/// Bit offsets of the eight codes of a unit: `vpmultishiftqb` controls.
const fn offsets(stride: u64) -> i64 {
    let mut control = 0;
    let mut i = 0;
    while i < 8 {
        control |= (i * stride) << (8 * i);
        i += 1;
    }
    control as i64
}

static UNITS_7: [u8; 64] = units(7);
static UNITS_6: [u8; 64] = units(6);

impl Set for Avx512 {
    const ISA: Isa = Isa::Avx512;
    const MAX_FIELD: u32 = 255;
    const MAX_NARROW: u32 = u32::MAX;
    const COLUMNS: usize = 12;

    fn detect() -> bool {
        Avx512Vnni::detect() && is_x86_feature_detected!("avx512vbmi")
    }

    unsafe fn enter<B: Body>(v: Zmm<Self>, body: B) {
        #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vbmi,avx512vnni")]
        fn with_features<B: Body>(v: Zmm<Avx512>, body: B) {
            body.run(v);
        }
        // SAFETY: the caller's obligation.
        unsafe { with_features(v, body) }
    }

    #[inline(always)]
    unsafe fn load_pairs(at: *const u8, stride: u32) -> __m512i {
        // SAFETY: VBMI and 64 readable bytes are the caller's obligation; the index tables are 64
        // bytes.
        unsafe {
            let bytes = _mm512_loadu_si512(at.cast());
            let (units, offsets) = match stride {
                7 => (&UNITS_7, const { offsets(7) }),
                _ => (&UNITS_6, const { offsets(6) }),
            };
            let units = _mm512_permutexvar_epi8(_mm512_loadu_si512(units.as_ptr().cast()), bytes);
            _mm512_multishift_epi64_epi8(_mm512_set1_epi64(offsets), units)
        }
    }

    #[inline(always)]
    unsafe fn dot(acc: __m512i, w: __m512i, x: __m512i) -> __m512i {
        // SAFETY: the caller's obligation.
        unsafe { _mm512_dpbusd_epi32(acc, w, x) }
    }
}
