//! The peers, by name.

use std::fmt;

use septet_kernels::Level;

use crate::library::Library;

/// A kernel of another project, with the format of its weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Peer {
    /// ggml, Q4_0 with rows interleaved.
    GgmlQ4_0Repacked,
    /// ggml, Q4_0 as in a file.
    GgmlQ4_0,
    /// ggml, Q4_K with rows interleaved.
    GgmlQ4KRepacked,
    /// ggml, Q4_K as in a file.
    GgmlQ4K,
    /// ggml, IQ4_NL with rows interleaved.
    GgmlIq4NlRepacked,
    /// ggml, IQ4_NL as in a file.
    GgmlIq4Nl,
    /// ggml, IQ4_XS.
    GgmlIq4Xs,
    /// ggml, Q3_K.
    GgmlQ3K,
    /// ggml, IQ3_S.
    GgmlIq3S,
    /// ggml, IQ3_XXS.
    GgmlIq3Xxs,
    /// ggml, TQ2_0.
    GgmlTq2_0,
    /// ggml, Q8_0.
    GgmlQ8_0,
    /// ggml, IEEE half precision.
    GgmlF16,
    /// The crate `gemm`, f32.
    GemmF32,
    /// OpenBLAS, f32.
    OpenblasF32,
}

/// What a peer rounds activations to before it multiplies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activations {
    /// 8-bit integers with a scale for each 32 or 256 of them.
    Int8,
    /// IEEE half precision.
    F16,
    /// Nothing.
    F32,
}

impl Activations {
    /// Largest error of a product that this rounding explains: the 2-norm of the difference from
    /// the exact product over the 2-norm of that, for activations without outliers.
    ///
    /// An 8-bit code is wrong by up to half a step, a 254th of the largest magnitude of its block;
    /// for normal activations in blocks of 256 that is 0.7 % in the mean. Half precision is wrong
    /// by up to 2⁻¹¹ of a value. Sums in f32 are wrong by 10⁻⁶ or so.
    pub const fn tolerance(self) -> f64 {
        match self {
            Self::Int8 => 0.02,
            Self::F16 => 0.001,
            Self::F32 => 1e-5,
        }
    }
}

impl fmt::Display for Activations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Int8 => "int8",
            Self::F16 => "f16",
            Self::F32 => "f32",
        })
    }
}

/// A number format of ggml.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Q4_0,
    Q4K,
    Iq4Nl,
    Iq4Xs,
    Q3K,
    Iq3S,
    Iq3Xxs,
    Tq2_0,
    Q8_0,
    F16,
}

/// What stores and multiplies a peer's weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Engine {
    /// ggml, with rows as in a file, or in the layout that it prefers on this CPU.
    Ggml(Format, Rows),
    /// `gemm`, f32.
    Gemm,
    /// OpenBLAS, f32.
    Openblas,
}

/// How ggml keeps rows in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rows {
    /// One after the other, as in a file.
    Plain,
    /// In another layout, to which llama.cpp converts weights when it loads them.
    Repacked,
}

impl Peer {
    /// Bits of a weight as stored, scales included.
    pub const fn bits_per_weight(self) -> f64 {
        match self.engine() {
            Engine::Ggml(Format::Q4_0 | Format::Q4K | Format::Iq4Nl, _) => 4.5,
            Engine::Ggml(Format::Iq4Xs, _) => 4.25,
            Engine::Ggml(Format::Q3K | Format::Iq3S, _) => 3.4375,
            Engine::Ggml(Format::Iq3Xxs, _) => 3.0625,
            Engine::Ggml(Format::Tq2_0, _) => 2.0625,
            Engine::Ggml(Format::Q8_0, _) => 8.5,
            Engine::Ggml(Format::F16, _) => 16.0,
            Engine::Gemm | Engine::Openblas => 32.0,
        }
    }

    /// What it rounds activations to. It does so in every product, and that is a part of its time.
    pub const fn activations(self) -> Activations {
        match self.engine() {
            Engine::Ggml(Format::F16, _) => Activations::F16,
            Engine::Ggml(..) => Activations::Int8,
            Engine::Gemm | Engine::Openblas => Activations::F32,
        }
    }

    /// The number that the columns of a matrix must be a multiple of.
    pub const fn column_multiple(self) -> usize {
        match self.engine() {
            Engine::Ggml(Format::Q4_0 | Format::Iq4Nl | Format::Q8_0, _) => 32,
            Engine::Ggml(Format::F16, _) | Engine::Gemm | Engine::Openblas => 1,
            Engine::Ggml(..) => 256,
        }
    }

    /// Whether it can run here.
    ///
    /// # Errors
    /// Why not, and what to do: it is not compiled in, or not for this CPU, or its library is not
    /// installed.
    pub fn available(self) -> Result<(), String> {
        self.library().backend()?.available(self)
    }

    pub(crate) fn library(self) -> Library {
        match self.engine() {
            Engine::Ggml(..) => Library::Ggml,
            Engine::Gemm => Library::Gemm,
            Engine::Openblas => Library::Openblas,
        }
    }

    pub(crate) const fn engine(self) -> Engine {
        match self {
            Self::GgmlQ4_0Repacked => Engine::Ggml(Format::Q4_0, Rows::Repacked),
            Self::GgmlQ4_0 => Engine::Ggml(Format::Q4_0, Rows::Plain),
            Self::GgmlQ4KRepacked => Engine::Ggml(Format::Q4K, Rows::Repacked),
            Self::GgmlQ4K => Engine::Ggml(Format::Q4K, Rows::Plain),
            Self::GgmlIq4NlRepacked => Engine::Ggml(Format::Iq4Nl, Rows::Repacked),
            Self::GgmlIq4Nl => Engine::Ggml(Format::Iq4Nl, Rows::Plain),
            Self::GgmlIq4Xs => Engine::Ggml(Format::Iq4Xs, Rows::Plain),
            Self::GgmlQ3K => Engine::Ggml(Format::Q3K, Rows::Plain),
            Self::GgmlIq3S => Engine::Ggml(Format::Iq3S, Rows::Plain),
            Self::GgmlIq3Xxs => Engine::Ggml(Format::Iq3Xxs, Rows::Plain),
            Self::GgmlTq2_0 => Engine::Ggml(Format::Tq2_0, Rows::Plain),
            Self::GgmlQ8_0 => Engine::Ggml(Format::Q8_0, Rows::Plain),
            Self::GgmlF16 => Engine::Ggml(Format::F16, Rows::Plain),
            Self::GemmF32 => Engine::Gemm,
            Self::OpenblasF32 => Engine::Openblas,
        }
    }
}

impl Level for Peer {
    const AXIS: &'static str = "peer";
    const ALL: &'static [Self] = &[
        Self::GgmlQ4_0Repacked,
        Self::GgmlQ4_0,
        Self::GgmlQ4KRepacked,
        Self::GgmlQ4K,
        Self::GgmlIq4NlRepacked,
        Self::GgmlIq4Nl,
        Self::GgmlIq4Xs,
        Self::GgmlQ3K,
        Self::GgmlIq3S,
        Self::GgmlIq3Xxs,
        Self::GgmlTq2_0,
        Self::GgmlQ8_0,
        Self::GgmlF16,
        Self::GemmF32,
        Self::OpenblasF32,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::GgmlQ4_0Repacked => "ggml_q4_0_repacked",
            Self::GgmlQ4_0 => "ggml_q4_0",
            Self::GgmlQ4KRepacked => "ggml_q4_k_repacked",
            Self::GgmlQ4K => "ggml_q4_k",
            Self::GgmlIq4NlRepacked => "ggml_iq4_nl_repacked",
            Self::GgmlIq4Nl => "ggml_iq4_nl",
            Self::GgmlIq4Xs => "ggml_iq4_xs",
            Self::GgmlQ3K => "ggml_q3_k",
            Self::GgmlIq3S => "ggml_iq3_s",
            Self::GgmlIq3Xxs => "ggml_iq3_xxs",
            Self::GgmlTq2_0 => "ggml_tq2_0",
            Self::GgmlQ8_0 => "ggml_q8_0",
            Self::GgmlF16 => "ggml_f16",
            Self::GemmF32 => "gemm_f32",
            Self::OpenblasF32 => "openblas_f32",
        }
    }

    fn about(self) -> &'static str {
        match self {
            Self::GgmlQ4_0Repacked => "ggml, 4 bits in blocks of 32, rows interleaved as llama.cpp does when it loads",
            Self::GgmlQ4_0 => "ggml, 4 bits in blocks of 32, rows as in the file",
            Self::GgmlQ4KRepacked => "ggml, 4 bits in super-blocks of 256, rows interleaved as llama.cpp does",
            Self::GgmlQ4K => "ggml, 4 bits in super-blocks of 256, rows as in the file",
            Self::GgmlIq4NlRepacked => "ggml, 4-bit codebook in blocks of 32, rows interleaved as llama.cpp does",
            Self::GgmlIq4Nl => "ggml, 4-bit codebook in blocks of 32, rows as in the file",
            Self::GgmlIq4Xs => "ggml, 4-bit codebook in super-blocks of 256",
            Self::GgmlQ3K => "ggml, 3 bits in super-blocks of 256",
            Self::GgmlIq3S => "ggml, 3 bits, codebook of four weights, 256 in a super-block",
            Self::GgmlIq3Xxs => "ggml, 3 bits, smaller codebook of four weights, 256 in a super-block",
            Self::GgmlTq2_0 => "ggml, ternary weights in 2 bits, 256 with one scale",
            Self::GgmlQ8_0 => "ggml, 8 bits in blocks of 32",
            Self::GgmlF16 => "ggml, half precision",
            Self::GemmF32 => "the crate gemm, single precision",
            Self::OpenblasF32 => "OpenBLAS, single precision: sgemv for one column, sgemm for more",
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_parse_back() {
        for &peer in Peer::ALL {
            assert_eq!(Peer::parse(&peer.to_string()), Ok(peer));
        }
        let message = Peer::parse("ggml_q5_0").expect_err("not a peer").to_string();
        assert!(message.contains("unknown peer `ggml_q5_0`") && message.contains("ggml_q4_0_repacked"), "{message}");
    }

    #[test]
    fn a_peer_that_cannot_run_says_why_and_what_to_do() {
        for &peer in Peer::ALL {
            if let Err(reason) = peer.available() {
                assert!(reason.contains("build") || reason.contains("install"), "{peer}: {reason}");
            }
        }
    }
}
