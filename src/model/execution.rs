//! How linear layers run: all choices that change time and none that changes a bit.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use septet_kernels::{Isa, Level, Prefetch, UnknownLevel, Unpack, Unroll, Variant};

use crate::pool::ThreadPool;

/// The part of a kernel's name that is not given by the matrix that it multiplies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KernelChoice {
    pub unpack: Unpack,
    pub unroll: Unroll,
    pub isa: Isa,
}

impl KernelChoice {
    /// A good choice on this CPU: the widest instruction set that it has.
    pub fn widest() -> Self {
        let isa = Isa::ALL.iter().rev().copied().find(|isa| isa.is_available()).unwrap_or(Isa::Scalar);
        Self { unpack: Unpack::BitParallel, unroll: Unroll::U4, isa }
    }
}

impl From<Variant> for KernelChoice {
    fn from(Variant { unpack, unroll, isa, .. }: Variant) -> Self {
        Self { unpack, unroll, isa }
    }
}

/// What happens around the products that end in the residual stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Epilogue {
    /// The product stores `f32`; residual addition, sum of squares, normalization and quantization
    /// are passes of their own.
    Separate,
    /// Residual addition and sum of squares happen at the store, normalization inside the next
    /// quantization.
    Fused,
}

impl Level for Epilogue {
    const AXIS: &'static str = "epilogue";
    const ALL: &'static [Self] = &[Self::Separate, Self::Fused];

    fn name(self) -> &'static str {
        match self {
            Self::Separate => "separate",
            Self::Fused => "fused",
        }
    }

    fn about(self) -> &'static str {
        match self {
            Self::Separate => "residual, sum of squares, normalize and quantize are passes",
            Self::Fused => "residual and sum of squares at the store, normalize while quantizing",
        }
    }
}

impl fmt::Display for Epilogue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Epilogue {
    type Err = UnknownLevel;

    fn from_str(name: &str) -> Result<Self, UnknownLevel> {
        Self::parse(name)
    }
}

/// How often an operand that several linear layers multiply is quantized.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reuse {
    /// Anew for every projection.
    Requantize,
    /// Once: q, k and v share it, and so do gate and up.
    Cached,
}

impl Level for Reuse {
    const AXIS: &'static str = "activations";
    const ALL: &'static [Self] = &[Self::Requantize, Self::Cached];

    fn name(self) -> &'static str {
        match self {
            Self::Requantize => "requantize",
            Self::Cached => "cached",
        }
    }

    fn about(self) -> &'static str {
        match self {
            Self::Requantize => "quantized anew for every projection",
            Self::Cached => "quantized once for all projections of an operand",
        }
    }
}

impl fmt::Display for Reuse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Reuse {
    type Err = UnknownLevel;

    fn from_str(name: &str) -> Result<Self, UnknownLevel> {
        Self::parse(name)
    }
}

/// How the linear layers of a decoder run. Every choice gives the same bits.
#[derive(Clone)]
pub struct Execution {
    /// Rows are split among its workers at multiples of 64.
    pub pool: Arc<ThreadPool>,
    /// Which kernel multiplies quantized weights.
    pub kernel: KernelChoice,
    pub prefetch: Prefetch,
    pub epilogue: Epilogue,
    pub activations: Reuse,
}

impl Execution {
    /// A good choice on this CPU, on the threads of `pool`.
    pub fn fast(pool: Arc<ThreadPool>) -> Self {
        Self {
            pool,
            kernel: KernelChoice::widest(),
            prefetch: Prefetch::Software,
            epilogue: Epilogue::Fused,
            activations: Reuse::Cached,
        }
    }
}
