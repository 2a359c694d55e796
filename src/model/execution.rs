//! How a decoder runs: all choices that change time, of which but one, the numbers of the cache, changes no bit.

use std::sync::Arc;

use septet_kernels::{Blocking, Isa, Layout, Prefetch, Shape, Unpack, Unroll, Variant};

use super::kv_cache::CacheFormat;
use super::linear::{Linear, LinearSet};
use super::prefill::BATCH;
use crate::arm::{ActivationUse, Arm, Epilogue, Prefill, Regions};
use crate::pool::ThreadPool;

/// The part of a kernel's name that is not given by the matrix that it multiplies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KernelChoice {
    pub unpack: Unpack,
    pub unroll: Unroll,
    pub isa: Isa,
}

impl From<Variant> for KernelChoice {
    fn from(Variant { unpack, unroll, isa, .. }: Variant) -> Self {
        Self { unpack, unroll, isa }
    }
}

/// How the linear layers of a decoder run. Every choice but the format of the cache gives the same bits.
#[derive(Clone)]
pub struct Execution {
    /// Rows are split among its workers at multiples of 64.
    pub pool: Arc<ThreadPool>,
    /// Which kernel multiplies quantized weights.
    pub kernel: KernelChoice,
    pub prefetch: Prefetch,
    pub blocking: Blocking,
    /// At compile time, only matrices of the compiled columns have a kernel.
    pub shape: Shape,
    pub epilogue: Epilogue,
    pub activations: ActivationUse,
    pub regions: Regions,
    /// How keys and values are kept; another format gives other bits.
    pub kv_cache: CacheFormat,
    /// Positions of a prompt that are read at once, where every layer has a kernel for many columns;
    /// 1: one token at a time.
    pub prompt_batch: usize,
}

impl Execution {
    /// As `arm` says, on the threads of `pool`.
    pub fn of(arm: &Arm, pool: Arc<ThreadPool>) -> Self {
        let Arm {
            unpack,
            unroll,
            isa,
            prefetch,
            blocking,
            shape,
            epilogue,
            activations,
            prefill,
            regions,
            kv_cache,
            ..
        } = *arm;
        let prompt_batch = match prefill {
            Prefill::Token => 1,
            Prefill::Batch => BATCH,
        };
        let kernel = KernelChoice { unpack, unroll, isa };
        Self {
            pool,
            kernel,
            prefetch,
            blocking,
            shape,
            epilogue,
            activations,
            regions,
            kv_cache: kv_cache.format(),
            prompt_batch,
        }
    }

    /// The layout that [`Execution::fast`] is fastest with, and reads prompts in batches of; without
    /// vectors, `rows16` has no kernel of its unrolling.
    pub fn fast_layout() -> Layout {
        if Isa::best() == Isa::Scalar { Layout::Dense } else { Layout::Rows16 }
    }

    /// A good choice on this CPU, on the threads of `pool`, for any layout that is [`Execution::fast_layout`].
    pub fn fast(pool: Arc<ThreadPool>) -> Self {
        Self {
            pool,
            kernel: KernelChoice { unpack: Unpack::BitParallel, unroll: Unroll::U4, isa: Isa::best() },
            prefetch: Prefetch::Software,
            blocking: Blocking::Full,
            shape: Shape::Runtime,
            epilogue: Epilogue::Fused,
            activations: ActivationUse::Cached,
            regions: Regions::Joined,
            kv_cache: CacheFormat::F32,
            prompt_batch: BATCH,
        }
    }

    /// As it is, but for kernels that read `linears`: without vectors, `rows16` is read a row at a time.
    pub fn for_layout(mut self, linears: &LinearSet) -> Self {
        let rows16 = |linear: &Linear| matches!(linear, Linear::Quantized(matrix) if matrix.layout() == Layout::Rows16);
        if self.kernel.isa == Isa::Scalar && linears.iter().any(rows16) {
            self.kernel.unroll = Unroll::U1;
        }
        self
    }
}
