//! Running linear layers: who quantizes the operand, which kernel multiplies, what happens at the
//! store, on which threads, and for how long.

use std::array;
use std::ops::Range;
use std::sync::Arc;

use septet_kernels::ops::{lanes, linear, norm, silu};
use septet_kernels::{
    ActivationBatch, Activations, BoundKernel, GemmJob, GemvJob, NonFinite, Output, PackedMatrix, Prefetch, Scratch,
    Shape, Variant, registry,
};

use super::error::Error;
use super::execution::Execution;
use super::linear::Linear;
use super::parts::Matrix;
use super::prefill::BatchedLinear;
use super::profile::{Laps, Operation};
use super::residual::Residual;
use crate::arm::{ActivationUse, Epilogue, Regions};
use crate::pool::ThreadPool;

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
    /// When no such kernel exists, this CPU can not run it, or it is not compiled for the matrix's shape.
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
        let kernel = bind(variant, execution.shape, matrix)?;
        Ok(Self::Quantized(kernel.with_blocking(execution.blocking), Arc::clone(matrix)))
    }
}

/// The kernel of `variant`, with code for any shape or code that is compiled for that of `matrix`.
///
/// # Errors
///
/// When no such kernel exists, this CPU can not run it, or it is not compiled for the matrix's shape.
pub fn bind(variant: Variant, shape: Shape, matrix: &PackedMatrix) -> Result<BoundKernel, Error> {
    let Some(kernel) = registry::find(variant) else {
        let reason = variant.infeasible().unwrap_or("not compiled for this architecture");
        return Err(Error::NoKernel { variant, reason });
    };
    let kernel = kernel.bind().map_err(|missing| Error::Isa { variant, missing })?;
    match shape {
        Shape::Runtime => Ok(kernel),
        Shape::CompileTime => kernel.with_shape_of(matrix).map_err(Error::Uncompiled),
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
    laps: Laps,
}

/// The operand that was normalized last, in `f32`.
struct Normalized {
    /// (hidden)
    values: Vec<f32>,
    /// Which operand it is.
    number: Option<u64>,
}

/// Most products of a region: q, k and v.
const JOINED: usize = 3;

/// The operands that were quantized last, one for each product of a region: they may have other
/// segments, and each has its own where nothing is kept.
struct Quantized {
    slots: [Slot; JOINED],
}

/// An operand that was quantized.
struct Slot {
    activations: Activations,
    /// Which operand it is, and in segments of how many values.
    holds: Option<(u64, usize)>,
}

/// A linear layer and the operand that it is multiplied with.
enum Product<'a> {
    F32(&'a Matrix, &'a [f32]),
    Quantized(&'a BoundKernel, &'a PackedMatrix, &'a Activations),
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
            quantized: Quantized {
                slots: array::from_fn(|_| Slot { activations: Activations::with_capacity(cols), holds: None }),
            },
            delta: vec![0.0; hidden],
            scratch: (0..execution.pool.threads()).map(|_| Scratch::with_capacity(stripe_bytes)).collect(),
            operands: 0,
            laps: Laps::new(),
            execution,
        }
    }

    /// The clock of the decoder that this projector belongs to.
    pub(super) fn laps(&mut self) -> &mut Laps {
        &mut self.laps
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
        self.region(operand, [(linear, out)], |_| {})
    }

    /// `out = linear · operand` for each of `products`, in one region or in one each.
    ///
    /// # Errors
    ///
    /// As [`Projector::store`].
    pub fn store_all<const N: usize>(
        &mut self,
        operand: Operand<'_>,
        products: [(&BoundLinear, &mut [f32]); N],
    ) -> Result<(), NonFinite> {
        match self.execution.regions {
            Regions::Each => products.into_iter().try_for_each(|(linear, out)| self.store(linear, operand, out)),
            Regions::Joined => self.region(operand, products, |_| {}),
        }
    }

    /// `gate = silu(Gate · operand) · (Up · operand)`; `gate` and `up` are (ffn), and `up` is left as any
    /// values. In one region, a worker gates the tiles that it owns as soon as it has stored them.
    ///
    /// # Errors
    ///
    /// As [`Projector::store`].
    pub fn store_gated(
        &mut self,
        operand: Operand<'_>,
        gate: (&BoundLinear, &mut [f32]),
        up: (&BoundLinear, &mut [f32]),
    ) -> Result<(), NonFinite> {
        match self.execution.regions {
            Regions::Each => {
                self.store(gate.0, operand, gate.1)?;
                self.store(up.0, operand, up.1)?;
                silu::swiglu(gate.1, up.1);
                self.laps.end(Operation::Gate);
                Ok(())
            }
            Regions::Joined => self.region(operand, [gate, up], |[gate, up]| silu::swiglu(gate, up)),
        }
    }

    /// `out = linear · operand` for each of `products` in one region; then each worker calls `finish`
    /// with the rows that it owns of each.
    fn region<const N: usize>(
        &mut self,
        operand: Operand<'_>,
        products: [(&BoundLinear, &mut [f32]); N],
        finish: impl Fn([&mut [f32]; N]) + Sync,
    ) -> Result<(), NonFinite> {
        const { assert!(N <= JOINED) };
        let Self { execution, normalized, quantized, scratch, laps, .. } = self;
        let linears = products.each_ref().map(|(linear, _)| *linear);
        let mut slots = [0; N];
        for (at, linear) in linears.iter().enumerate() {
            match linear {
                BoundLinear::F32(_) => normalized.fill(operand, laps),
                BoundLinear::Quantized(_, weights) => {
                    slots[at] = quantized.fill(at, operand, weights.segment(), execution, normalized, laps)?;
                }
            }
        }
        let products_of = array::from_fn::<_, N, _>(|at| match linears[at] {
            BoundLinear::F32(matrix) => Product::F32(matrix, normalized.values(operand)),
            BoundLinear::Quantized(kernel, weights) => {
                Product::Quantized(kernel, weights, &quantized.slots[slots[at]].activations)
            }
        });
        let outputs = products.map(|(_, out)| (out, lanes::TILE));
        laps.end(Operation::Quantize);
        execution.pool.for_parts(outputs, scratch, |mut parts, scratch| {
            for (product, part) in products_of.iter().zip(&mut parts) {
                // A worker may own tiles of one output and none of another.
                if !part.units.is_empty() {
                    product.store(part.units.clone(), part.values, execution.prefetch, scratch);
                }
            }
            finish(parts.map(|part| part.values));
        });
        laps.end(Operation::Linear);
        Ok(())
    }

    /// `out = linear · columns`, `(tiles, columns, 64)`.
    pub(super) fn store_columns(&mut self, linear: &BatchedLinear, columns: &ActivationBatch, out: &mut [f32]) {
        let Self { execution, scratch, laps, .. } = self;
        let BatchedLinear { kernel, weights } = linear;
        let count = columns.columns();
        laps.end(Operation::Quantize);
        execution.pool.for_parts([(out, lanes::TILE * count)], scratch, |[part], _| {
            let units = part.units.start * count..part.units.end * count;
            kernel.gemm(GemmJob { weights, batch: columns, units, out: part.values });
        });
        laps.end(Operation::Linear);
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
            let Self { execution, normalized, quantized, scratch, laps, .. } = self;
            let slot = quantized.fill(0, operand, weights.segment(), execution, normalized, laps)?;
            let activations = &quantized.slots[slot].activations;
            let prefetch = execution.prefetch;
            let Residual { values, square_sums } = residual;
            laps.end(Operation::Quantize);
            execution.pool.for_tiles_with(values, square_sums, scratch, |tiles, stream, square_sums, scratch| {
                let output = Output::AddResidual { stream, square_sums };
                kernel.gemv(GemvJob { weights, activations, tiles, output, prefetch, scratch });
            });
            laps.end(Operation::Linear);
            return Ok(());
        }
        let mut delta = std::mem::take(&mut self.delta);
        let stored = self.store(linear, operand, &mut delta);
        residual.add(&delta);
        self.laps.end(Operation::Residual);
        self.delta = delta;
        stored
    }
}

impl Product<'_> {
    /// Stores the rows of `tiles`.
    fn store(&self, tiles: Range<usize>, out: &mut [f32], prefetch: Prefetch, scratch: &mut Scratch) {
        match *self {
            Product::F32(matrix, x) => {
                let first = tiles.start * lanes::TILE * matrix.cols;
                linear::gemv(&matrix.values[first..first + out.len() * matrix.cols], x, out);
            }
            Product::Quantized(kernel, weights, activations) => {
                let output = Output::Store(out);
                kernel.gemv(GemvJob { weights, activations, tiles, output, prefetch, scratch });
            }
        }
    }
}

impl Normalized {
    /// Normalizes `operand`, if it asks for it and is not here.
    fn fill(&mut self, operand: Operand<'_>, laps: &mut Laps) {
        if let Source::Normed { x, weight, inv_rms } = operand.source
            && self.number != Some(operand.number)
        {
            norm::normalize(x, weight, inv_rms, &mut self.values);
            self.number = Some(operand.number);
            laps.end(Operation::Norm);
        }
    }

    /// The values of `operand` (cols), which [`Normalized::fill`] has seen.
    fn values<'a>(&'a self, operand: Operand<'a>) -> &'a [f32] {
        match operand.source {
            Source::Plain(x) => x,
            Source::Normed { .. } => &self.values,
        }
    }
}

impl Quantized {
    /// The slot that holds `operand` in segments of `segment` values for the product number `at` of a
    /// region. It is quantized now, into the slot of the product, unless it may be kept and is here: in
    /// that slot, or in one of an earlier product.
    fn fill(
        &mut self,
        at: usize,
        operand: Operand<'_>,
        segment: usize,
        execution: &Execution,
        normalized: &mut Normalized,
        laps: &mut Laps,
    ) -> Result<usize, NonFinite> {
        let wanted = Some((operand.number, segment));
        let kept = self.slots[..=at].iter().position(|slot| slot.holds == wanted);
        if let (ActivationUse::Cached, Some(kept)) = (execution.activations, kept) {
            return Ok(kept);
        }
        let slot = &mut self.slots[at];
        slot.holds = None;
        match (operand.source, execution.epilogue) {
            (Source::Normed { x, weight, inv_rms }, Epilogue::Fused) => {
                slot.activations.quantize_normed(x, weight, inv_rms, segment)?;
            }
            _ => {
                normalized.fill(operand, laps);
                slot.activations.quantize(normalized.values(operand), segment)?;
            }
        }
        slot.holds = wanted;
        Ok(at)
    }
}
