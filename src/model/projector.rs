//! Running linear layers: who quantizes the operand, which kernel multiplies, what happens at the
//! store, on which threads, and for how long.

use std::sync::Arc;
use std::time::Instant;

use septet_kernels::ops::{lanes, linear, norm};
use septet_kernels::{
    ActivationBatch, Activations, BoundKernel, GemmJob, GemvJob, NonFinite, Output, PackedMatrix, Scratch, Variant,
    registry,
};

use super::error::Error;
use super::execution::Execution;
use super::linear::Linear;
use super::prefill::BatchedLinear;
use super::residual::Residual;
use super::weights::Matrix;
use crate::arm::{ActivationUse, Epilogue};
use crate::pool::ThreadPool;

/// Time spent inside linear kernels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spans {
    /// Nanoseconds from before the rows are split among workers until all are done.
    pub kernel_ns: u64,
}

/// A linear layer and the kernel that runs it.
#[derive(Clone, Debug)]
pub enum BoundLinear {
    F32(Arc<Matrix>),
    Quantized(BoundKernel, Arc<PackedMatrix>),
}

impl BoundLinear {
    /// Finds the kernel for `linear` under `execution`.
    ///
    /// # Errors
    ///
    /// When no such kernel exists, or this CPU can not run it.
    pub fn new(linear: &Linear, execution: &Execution) -> Result<Self, Error> {
        let matrix = match linear {
            Linear::F32(matrix) => return Ok(Self::F32(Arc::clone(matrix))),
            Linear::Quantized(matrix) => matrix,
        };
        let choice = execution.kernel;
        let variant = Variant {
            format: matrix.format(),
            layout: matrix.layout(),
            unpack: choice.unpack,
            unroll: choice.unroll,
            isa: choice.isa,
        };
        let Some(kernel) = registry::find(variant) else {
            let reason = variant.infeasible().unwrap_or("not compiled for this architecture");
            return Err(Error::NoKernel { variant, reason });
        };
        let kernel = kernel.bind().map_err(|missing| Error::Isa { variant, missing })?;
        Ok(Self::Quantized(kernel, Arc::clone(matrix)))
    }
}

/// A vector that one or several linear layers multiply.
#[derive(Clone, Copy, Debug)]
pub struct Operand<'a> {
    /// Tells it from every other operand of the same projector.
    number: u64,
    source: Source<'a>,
}

#[derive(Clone, Copy, Debug)]
enum Source<'a> {
    /// (cols)
    Plain(&'a [f32]),
    /// The residual stream under RMSNorm: `(x · inv_rms) · weight`, all (hidden).
    Normed { x: &'a [f32], weight: &'a [f32], inv_rms: f32 },
}

/// Runs the linear layers of one decoder.
pub struct Projector {
    execution: Execution,
    normalized: Normalized,
    quantized: Quantized,
    /// (hidden): what a kernel stores before a pass of its own adds it to the residual stream
    delta: Vec<f32>,
    /// One for each worker.
    scratch: Vec<Scratch>,
    /// Operands so far.
    operands: u64,
    spans: Spans,
}

/// The operand that was normalized last, in `f32`.
struct Normalized {
    /// (hidden)
    values: Vec<f32>,
    /// Which operand it is.
    number: Option<u64>,
}

/// The operand that was quantized last.
struct Quantized {
    activations: Activations,
    /// Which operand it is, and in segments of how many values.
    holds: Option<(u64, usize)>,
}

impl Projector {
    /// A projector for `linears`, whose products go to a residual stream of `hidden` values or
    /// elsewhere.
    pub fn new<'a>(execution: Execution, hidden: usize, linears: impl Iterator<Item = &'a Linear>) -> Self {
        let (mut cols, mut stripe_bytes) = (0, 0);
        for linear in linears {
            cols = cols.max(linear.cols());
            if let Linear::Quantized(matrix) = linear {
                stripe_bytes = stripe_bytes.max(matrix.stripe_bytes());
            }
        }
        Self {
            normalized: Normalized { values: vec![0.0; hidden], number: None },
            quantized: Quantized { activations: Activations::with_capacity(cols), holds: None },
            delta: vec![0.0; hidden],
            scratch: (0..execution.pool.threads()).map(|_| Scratch::with_capacity(stripe_bytes)).collect(),
            operands: 0,
            spans: Spans::default(),
            execution,
        }
    }

    /// Time spent since the last call, which starts from zero again.
    pub fn take_spans(&mut self) -> Spans {
        std::mem::take(&mut self.spans)
    }

    /// The threads that rows are split among.
    pub(super) fn pool(&self) -> &ThreadPool {
        &self.execution.pool
    }

    /// A vector as it is.
    pub fn plain<'a>(&mut self, x: &'a [f32]) -> Operand<'a> {
        self.operand(Source::Plain(x))
    }

    /// The residual stream under RMSNorm with `weight` (hidden).
    pub fn normed<'a>(&mut self, residual: &'a Residual, weight: &'a [f32], eps: f32) -> Operand<'a> {
        let inv_rms = residual.inv_rms(eps);
        self.operand(Source::Normed { x: &residual.values, weight, inv_rms })
    }

    fn operand<'a>(&mut self, source: Source<'a>) -> Operand<'a> {
        self.operands += 1;
        Operand { number: self.operands, source }
    }

    /// `out = linear · operand`.
    ///
    /// # Errors
    ///
    /// When the operand has to be quantized and is not finite.
    pub fn store(&mut self, linear: &BoundLinear, operand: Operand<'_>, out: &mut [f32]) -> Result<(), NonFinite> {
        let Self { execution, normalized, quantized, scratch, spans, .. } = self;
        match linear {
            BoundLinear::F32(matrix) => {
                let x = normalized.values(operand);
                spans.time(|| {
                    execution.pool.for_tiles(out, scratch, |tiles, out, _| {
                        let first = tiles.start * lanes::TILE * matrix.cols;
                        linear::gemv(&matrix.values[first..first + out.len() * matrix.cols], x, out);
                    });
                });
            }
            BoundLinear::Quantized(kernel, weights) => {
                let activations = quantized.activations(operand, weights.segment(), execution, normalized)?;
                let prefetch = execution.prefetch;
                spans.time(|| {
                    execution.pool.for_tiles(out, scratch, |tiles, out, scratch| {
                        let output = Output::Store(out);
                        kernel.gemv(GemvJob { weights, activations, tiles, output, prefetch, scratch });
                    });
                });
            }
        }
        Ok(())
    }

    /// `out = linear · columns`, `(tiles, columns, 64)`.
    pub(super) fn store_columns(&mut self, linear: &BatchedLinear, columns: &ActivationBatch, out: &mut [f32]) {
        let Self { execution, scratch, spans, .. } = self;
        let BatchedLinear { kernel, weights } = linear;
        let count = columns.columns();
        spans.time(|| {
            execution.pool.for_parts([(out, lanes::TILE * count)], scratch, |[part], _| {
                let units = part.units.start * count..part.units.end * count;
                kernel.gemm(GemmJob { weights, batch: columns, units, out: part.values });
            });
        });
    }

    /// `residual += linear · operand`, and the square sums of the result.
    ///
    /// # Errors
    ///
    /// As [`Projector::store`].
    pub fn add(
        &mut self,
        linear: &BoundLinear,
        operand: Operand<'_>,
        residual: &mut Residual,
    ) -> Result<(), NonFinite> {
        if let (BoundLinear::Quantized(kernel, weights), Epilogue::Fused) = (linear, self.execution.epilogue) {
            let Self { execution, normalized, quantized, scratch, spans, .. } = self;
            let activations = quantized.activations(operand, weights.segment(), execution, normalized)?;
            let prefetch = execution.prefetch;
            let Residual { values, square_sums } = residual;
            spans.time(|| {
                execution.pool.for_tiles_with(values, square_sums, scratch, |tiles, stream, square_sums, scratch| {
                    let output = Output::AddResidual { stream, square_sums };
                    kernel.gemv(GemvJob { weights, activations, tiles, output, prefetch, scratch });
                });
            });
            return Ok(());
        }
        let mut delta = std::mem::take(&mut self.delta);
        let stored = self.store(linear, operand, &mut delta);
        residual.add(&delta);
        self.delta = delta;
        stored
    }
}

impl Normalized {
    /// The values of `operand` (cols), normalized at most once.
    fn values<'a>(&'a mut self, operand: Operand<'a>) -> &'a [f32] {
        match operand.source {
            Source::Plain(x) => x,
            Source::Normed { x, weight, inv_rms } => {
                if self.number != Some(operand.number) {
                    norm::normalize(x, weight, inv_rms, &mut self.values);
                    self.number = Some(operand.number);
                }
                &self.values
            }
        }
    }
}

impl Quantized {
    /// `operand` in segments of `segment` values, quantized now unless it is here and may be kept.
    fn activations(
        &mut self,
        operand: Operand<'_>,
        segment: usize,
        execution: &Execution,
        normalized: &mut Normalized,
    ) -> Result<&Activations, NonFinite> {
        let wanted = Some((operand.number, segment));
        if execution.activations == ActivationUse::Requantize || self.holds != wanted {
            self.holds = None;
            match (operand.source, execution.epilogue) {
                (Source::Normed { x, weight, inv_rms }, Epilogue::Fused) => {
                    self.activations.quantize_normed(x, weight, inv_rms, segment)?;
                }
                _ => self.activations.quantize(normalized.values(operand), segment)?,
            }
            self.holds = wanted;
        }
        Ok(&self.activations)
    }
}

impl Spans {
    /// Runs a product and adds its time.
    fn time(&mut self, product: impl FnOnce()) {
        let start = Instant::now();
        product();
        self.kernel_ns += start.elapsed().as_nanos() as u64;
    }
}
