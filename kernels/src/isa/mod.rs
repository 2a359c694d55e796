//! Instruction sets. All intrinsics, all `unsafe` and all `target_feature` of the crate are here.
//!
//! [`Vector`] is a deliberately small set of operations; each method is named in the docs after
//! the instructions it stands for. Holding a value of a vector type proves that the CPU has the
//! instructions: `detect` is the only way to one. Exactly one function of each instruction set,
//! [`Vector::enter`], carries `#[target_feature]`; everything below it is `#[inline(always)]`.

use std::{fmt, sync::LazyLock};

use crate::{level::Level, roof::ReadWay};

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "x86_64")]
mod avx512bw;
#[cfg(target_arch = "x86_64")]
mod avx512vnni;
#[cfg(target_arch = "x86_64")]
mod avxvnni;
#[cfg(all(target_arch = "aarch64", target_endian = "little"))]
mod neon;
mod panel;
pub(crate) mod peak;
pub(crate) mod portable;
mod prefetch;
mod read;
pub(crate) mod rows;
pub(crate) mod scalar;
pub(crate) mod stripes;
pub(crate) mod tile;
#[cfg(target_arch = "x86_64")]
mod ymm;
#[cfg(target_arch = "x86_64")]
mod zmm;

pub(crate) use prefetch::{prefetch, prefetch_second_here};

/// An instruction set as a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Isa {
    /// One weight at a time, no intrinsics.
    Scalar,
    /// 32 bytes: AVX2 with `vpmaddubsw`.
    Avx2,
    /// 32 bytes: AVX2 with the `vpdpbusd` of AVX-VNNI.
    AvxVnni,
    /// 64 bytes: AVX-512 without VNNI and VBMI.
    Avx512Bw,
    /// 64 bytes: AVX-512 with VNNI, without VBMI.
    Avx512Vnni,
    /// 64 bytes: AVX-512 with VNNI and VBMI.
    Avx512,
    /// 32 bytes in two registers: NEON with the `sdot` of Armv8.2.
    Neon,
}

/// The vector instruction sets of the build target, each visited once. Registries, detection and
/// dispatch follow this list: a new set is a line in it.
pub(crate) fn visit_all(visit: &mut impl Visit) {
    #[cfg(target_arch = "x86_64")]
    {
        visit.visit::<ymm::Ymm<avx2::Avx2>>();
        visit.visit::<ymm::Ymm<avxvnni::AvxVnni>>();
        visit.visit::<zmm::Zmm<avx512bw::Avx512Bw>>();
        visit.visit::<zmm::Zmm<avx512vnni::Avx512Vnni>>();
        visit.visit::<zmm::Zmm<avx512::Avx512>>();
    }
    #[cfg(all(target_arch = "aarch64", target_endian = "little"))]
    visit.visit::<neon::Neon>();
    #[cfg(not(any(target_arch = "x86_64", all(target_arch = "aarch64", target_endian = "little"))))]
    let _ = visit;
}

/// The instruction sets of the build target, the scalar one first.
#[cfg(test)]
pub(crate) fn compiled() -> Vec<Isa> {
    struct List(Vec<Isa>);
    impl Visit for List {
        fn visit<V: Vector>(&mut self) {
            self.0.push(V::ISA);
        }
    }
    let mut list = List(vec![Isa::Scalar]);
    visit_all(&mut list);
    list.0
}

/// What is done with an instruction set.
pub(crate) trait Visit {
    /// Does it with that of `V`.
    fn visit<V: Vector>(&mut self);
}

/// What listings say of an instruction set.
struct Facts {
    name: &'static str,
    about: &'static str,
    needs: &'static str,
    vector_bytes: usize,
    dot: &'static str,
}

impl Isa {
    const fn facts(self) -> Facts {
        match self {
            Self::Scalar => Facts {
                name: "scalar",
                about: "one weight at a time, no intrinsics",
                needs: "nothing beyond the build target",
                vector_bytes: 0,
                dot: "imul",
            },
            Self::Avx2 => Facts {
                name: "avx2",
                about: "32-byte vectors, vpmaddubsw",
                needs: "avx2, f16c and fma",
                vector_bytes: 32,
                dot: "vpmaddubsw + vpaddw, widened after eight by vpmaddwd + vpaddd,",
            },
            Self::AvxVnni => Facts {
                name: "avxvnni",
                about: "32-byte vectors, VNNI dot products",
                needs: "avx2, f16c, fma and avxvnni",
                vector_bytes: 32,
                dot: "vpdpbusd",
            },
            Self::Avx512Bw => Facts {
                name: "avx512bw",
                about: "64-byte vectors, vpmaddubsw",
                needs: "avx512f, avx512bw and avx512vl",
                vector_bytes: 64,
                dot: "vpmaddubsw + vpaddw, widened after eight by vpmaddwd + vpaddd,",
            },
            Self::Avx512Vnni => Facts {
                name: "avx512vnni",
                about: "64-byte vectors, VNNI dot products",
                needs: "avx512f, avx512bw, avx512vl and avx512vnni",
                vector_bytes: 64,
                dot: "vpdpbusd",
            },
            Self::Avx512 => Facts {
                name: "avx512",
                about: "64-byte vectors, VNNI dot products, VBMI byte permutes",
                needs: "avx512f, avx512bw, avx512vl, avx512vbmi and avx512vnni",
                vector_bytes: 64,
                dot: "vpdpbusd",
            },
            Self::Neon => Facts {
                name: "neon",
                about: "32-byte vectors in two registers of AArch64, sdot",
                needs: "aarch64 with dotprod",
                vector_bytes: 32,
                dot: "two sdot",
            },
        }
    }

    /// CPU features that the kernels of this instruction set use.
    pub const fn needs(self) -> &'static str {
        self.facts().needs
    }

    /// Bytes of a vector; none for the scalar set.
    pub const fn vector_bytes(self) -> usize {
        self.facts().vector_bytes
    }

    /// Instructions that multiply bytes and add the products.
    pub const fn dot_product(self) -> &'static str {
        self.facts().dot
    }

    /// Whether this CPU has the features.
    pub fn is_available(self) -> bool {
        struct Detect {
            isa: Isa,
            available: bool,
        }
        impl Visit for Detect {
            fn visit<V: Vector>(&mut self) {
                self.available |= V::ISA == self.isa && V::detect().is_some();
            }
        }
        let mut detect = Detect { isa: self, available: self == Self::Scalar };
        visit_all(&mut detect);
        detect.available
    }

    /// The last instruction set of [`Level::ALL`] that this CPU has, looked for once.
    pub fn best() -> Self {
        static BEST: LazyLock<Isa> =
            LazyLock::new(|| Isa::ALL.iter().copied().rev().find(|isa| isa.is_available()).unwrap_or(Isa::Scalar));
        *BEST
    }
}

impl Level for Isa {
    const AXIS: &'static str = "isa";
    const ALL: &'static [Self] =
        &[Self::Scalar, Self::Avx2, Self::AvxVnni, Self::Avx512Bw, Self::Avx512Vnni, Self::Avx512, Self::Neon];

    fn name(self) -> &'static str {
        self.facts().name
    }

    fn about(self) -> &'static str {
        self.facts().about
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Code to run inside an instruction set's `target_feature` function. `run` must be
/// `#[inline(always)]`, or its vector operations become calls.
pub trait Body {
    /// Runs with the features of `V` enabled.
    fn run<V: Vector>(self, v: V);
}

/// Vector operations of one instruction set.
pub trait Vector: Copy + 'static {
    /// The instruction set as a value.
    const ISA: Isa;
    /// Bytes of a vector.
    const LANES: usize;
    /// Largest unsigned field that [`dot`](Self::dot) multiplies exactly.
    const MAX_FIELD: u32;
    /// Largest field of [`dot_narrow`](Self::dot_narrow), times its calls, before sums must be widened.
    const MAX_NARROW: u32;
    /// Columns of a register tile of GEMM, at most a block of the batch.
    const COLUMNS: usize;
    /// Bytes, signed or not.
    type Bytes: Copy;
    /// `LANES / 4` 32-bit integers.
    type Ints: Copy;
    /// Sums of products as the byte product gives them: 16 or 32 bits.
    type Narrow: Copy;
    /// `LANES / 4` f32.
    type Floats: Copy;

    /// A value, if this CPU has the instructions.
    fn detect() -> Option<Self>;
    /// Runs `body` with the instructions enabled.
    fn enter<B: Body>(self, body: B);

    /// `LANES` bytes from `at`.
    ///
    /// # Safety
    /// `LANES` bytes from `at` are readable.
    unsafe fn load(self, at: *const i8) -> Self::Bytes;
    /// `LANES` pair codes of `stride` bits (6, 7 or 8) from `at`, one in each byte, with foreign
    /// bits above the code. `vpermb` + `vpmultishiftqb`, or `vpshufb` + shifts.
    ///
    /// # Safety
    /// `LANES` bytes from `at` are readable.
    unsafe fn load_pairs(self, at: *const u8, stride: u32) -> Self::Bytes;
    /// Writes `LANES` bytes.
    ///
    /// # Safety
    /// `LANES` bytes from `at` are writable.
    unsafe fn store(self, at: *mut u8, x: Self::Bytes);
    /// Every byte `value`. `vpbroadcastb`.
    fn splat(self, value: u8) -> Self::Bytes;
    /// `table` in each 16-byte lane. `vbroadcasti128`.
    fn table(self, table: &[u8; 16]) -> Self::Bytes;
    /// The four bytes from `at`, in every 32-bit lane. `vpbroadcastd`.
    ///
    /// # Safety
    /// Four bytes from `at` are readable.
    unsafe fn load_four(self, at: *const i8) -> Self::Bytes;
    /// `vpand`.
    fn and(self, a: Self::Bytes, b: Self::Bytes) -> Self::Bytes;
    /// `vpor`.
    fn or(self, a: Self::Bytes, b: Self::Bytes) -> Self::Bytes;
    /// `vpaddb`.
    fn add(self, a: Self::Bytes, b: Self::Bytes) -> Self::Bytes;
    /// `(x ^ flip) & mask`. `vpxor` + `vpand`, or `vpternlogd`.
    fn flip_and_mask(self, x: Self::Bytes, flip: u8, mask: u8) -> Self::Bytes;
    /// Each 16-bit lane shifted right by `bits`, a constant; bits cross bytes. `vpsrlw`.
    fn shift_right(self, x: Self::Bytes, bits: u32) -> Self::Bytes;
    /// `x − amount` where `x > limit` (signed bytes), else `x`. `vpcmpgtb`.
    fn subtract_above(self, x: Self::Bytes, limit: u8, amount: u8) -> Self::Bytes;
    /// Entry `index & 15` of the lane's table; `index` at most 127. `vpshufb`.
    fn look_up(self, table: Self::Bytes, index: Self::Bytes) -> Self::Bytes;
    /// `acc` plus the products of unsigned `w` (at most `MAX_FIELD`) and signed `x` (at least
    /// −127), four by four. `vpdpbusd`, or `vpmaddubsw` + `vpmaddwd` + `vpaddd`.
    fn dot(self, acc: Self::Ints, w: Self::Bytes, x: Self::Bytes) -> Self::Ints;
    /// Zeros.
    fn zero(self) -> Self::Ints;
    /// `(a >> a_shift) + b · b_step` with a shift of 0, 3 or 4 and a step of 1 or 2.
    fn combine(self, a: Self::Ints, a_shift: u32, b: Self::Ints, b_step: i32) -> Self::Ints;
    /// Sum of the lanes.
    fn sum(self, x: Self::Ints) -> i32;
    /// Sums of the lanes of four vectors.
    fn sum4(self, x: [Self::Ints; 4]) -> [i32; 4];

    /// Zeros.
    fn zero_narrow(self) -> Self::Narrow;
    /// A sum that begins at `start`, in whichever of its parts costs nothing.
    fn begin(self, start: i32) -> (Self::Ints, Self::Narrow);
    /// `acc` plus the products of unsigned `w` and signed `x` (at least −127). `vpdpbusd`, or
    /// `vpmaddubsw` + `vpaddw`.
    fn dot_narrow(self, acc: Self::Narrow, w: Self::Bytes, x: Self::Bytes) -> Self::Narrow;
    /// `acc` plus the sums of the same 32 bits. `vpaddd`, or `vpmaddwd` + `vpaddd`.
    fn widen(self, acc: Self::Ints, sums: Self::Narrow) -> Self::Ints;
    /// `value` in every lane. `vpbroadcastd`.
    fn fill(self, value: i32) -> Self::Ints;
    /// Zeros.
    fn zero_floats(self) -> Self::Floats;
    /// `LANES / 4` f32 from `at`.
    ///
    /// # Safety
    /// `LANES` bytes from `at` are readable.
    unsafe fn load_floats(self, at: *const f32) -> Self::Floats;
    /// The f32 values of `LANES / 4` f16 from `at`. `vcvtph2ps`.
    ///
    /// # Safety
    /// `LANES / 2` bytes from `at` are readable.
    unsafe fn load_halves(self, at: *const u16) -> Self::Floats;
    /// `acc + (integers as f32) · (weight_scales · activation_scale)`, each operation rounded.
    fn accumulate(
        self,
        acc: Self::Floats,
        integers: Self::Ints,
        weight_scales: Self::Floats,
        activation_scale: f32,
    ) -> Self::Floats;
    /// Writes `LANES / 4` f32.
    ///
    /// # Safety
    /// `LANES` bytes from `at` are writable.
    unsafe fn store_floats(self, at: *mut f32, x: Self::Floats);

    /// `x`, by a way that the optimizer cannot see through. No instruction.
    fn opaque(self, x: Self::Bytes) -> Self::Bytes;
    /// Every lane `value`. `vbroadcastss`.
    fn splat_f32(self, value: f32) -> Self::Floats;
    /// `a · b + c`, rounded once. `vfmadd`.
    fn multiply_add(self, a: Self::Floats, b: Self::Floats, c: Self::Floats) -> Self::Floats;
    /// The bits of the lanes. No instruction.
    fn bits(self, x: Self::Floats) -> Self::Ints;
}

/// Reads every byte of `bytes` with the vectors of `isa`, or with plain loads without one.
pub(crate) fn read_all(isa: Isa, bytes: &[u8], way: ReadWay) {
    if !enter_vectors(isa, read::Read { bytes, way }) {
        let words = bytes.chunks_exact(8).map(|word| u64::from_le_bytes(word.try_into().unwrap_or_default()));
        core::hint::black_box(words.fold(0u64, u64::wrapping_add));
    }
}

/// Runs `body` with the vectors of `isa`. False where there are none: `body` has not run.
pub(crate) fn enter_vectors(isa: Isa, body: impl Body) -> bool {
    struct Enter<B> {
        isa: Isa,
        body: Option<B>,
    }
    impl<B: Body> Visit for Enter<B> {
        fn visit<V: Vector>(&mut self) {
            if V::ISA == self.isa
                && let Some(v) = V::detect()
                && let Some(body) = self.body.take()
            {
                v.enter(body);
            }
        }
    }
    let mut enter = Enter { isa, body: Some(body) };
    visit_all(&mut enter);
    enter.body.is_none()
}
