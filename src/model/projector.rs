//! Running linear layers: who quantizes the operand, which kernel multiplies, what happens at the
//! store, on which threads, and for how long.

use std::sync::Arc;
use std::time::Instant;

use septet_kernels::ops::{lanes, linear, norm};

use super::linear::Linear;
use crate::pool::ThreadPool;

/// How the linear layers of a decoder run. Every choice gives the same bits.
#[derive(Clone)]
pub struct Execution {
    /// Rows are split among its workers at multiples of 64.
    pub pool: Arc<ThreadPool>,
}

/// Time spent inside linear kernels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spans {
    /// Nanoseconds from before the rows are split among workers until all are done.
    pub kernel_ns: u64,
}

/// The residual stream and the square sums of its tiles, which belong together.
#[derive(Clone, Debug)]
pub struct Residual {
    /// (hidden)
    values: Vec<f32>,
    /// (hidden / 64, rounded up): `Σ x²` of each tile of `values`
    square_sums: Vec<f32>,
}

impl Residual {
    /// A stream of `hidden` zeros.
    pub fn new(hidden: usize) -> Self {
        Self { values: vec![0.0; hidden], square_sums: vec![0.0; hidden.div_ceil(lanes::TILE)] }
    }

    /// Starts a token: the stream becomes `x` (hidden).
    pub fn set(&mut self, x: &[f32]) {
        self.values.copy_from_slice(x);
        self.sum_squares();
    }

    /// `stream += delta`, and then the square sums, each in a pass of its own.
    fn add(&mut self, delta: &[f32]) {
        for (x, delta) in self.values.iter_mut().zip(delta) {
            *x += delta;
        }
        self.sum_squares();
    }

    fn sum_squares(&mut self) {
        let tiles = self.values.chunks(lanes::TILE);
        for (sum, tile) in self.square_sums.iter_mut().zip(tiles) {
            *sum = lanes::tile_square_sum(tile);
        }
    }

    /// `1 / rms`: the tile sums folded in ascending order, as [`lanes::square_sum`] does.
    fn inv_rms(&self, eps: f32) -> f32 {
        let square_sum = self.square_sums.iter().fold(0.0, |sum, tile| sum + tile);
        norm::inv_rms(square_sum, self.values.len(), eps)
    }
}

/// A vector that one or several linear layers multiply.
#[derive(Clone, Copy, Debug)]
pub struct Operand<'a> {
    /// (cols)
    values: &'a [f32],
}

/// Runs the linear layers of one decoder.
pub struct Projector {
    execution: Execution,
    /// (hidden): what the kernel stores before a separate pass adds it to the residual stream
    delta: Vec<f32>,
    /// One for each worker.
    scratch: Vec<()>,
    spans: Spans,
}

impl Projector {
    /// A projector for a residual stream of `hidden` values.
    pub fn new(execution: Execution, hidden: usize) -> Self {
        Self {
            delta: vec![0.0; hidden],
            scratch: vec![(); execution.pool.threads()],
            spans: Spans::default(),
            execution,
        }
    }

    /// Time spent since the last call, which starts from zero again.
    pub fn take_spans(&mut self) -> Spans {
        std::mem::take(&mut self.spans)
    }

    /// A vector as it is.
    pub fn plain<'a>(&mut self, x: &'a [f32]) -> Operand<'a> {
        Operand { values: x }
    }

    /// The residual stream under RMSNorm with `weight` (hidden); `normed` (hidden) is where it is
    /// stored if it is stored.
    pub fn normed<'a>(
        &mut self,
        residual: &'a Residual,
        weight: &'a [f32],
        eps: f32,
        normed: &'a mut [f32],
    ) -> Operand<'a> {
        norm::normalize(&residual.values, weight, residual.inv_rms(eps), normed);
        Operand { values: normed }
    }

    /// `out = linear · operand`.
    pub fn store(&mut self, linear: &Linear, operand: Operand<'_>, out: &mut [f32]) {
        Self::multiply(&self.execution, &mut self.scratch, &mut self.spans, linear, operand, out);
    }

    /// `residual += linear · operand`.
    pub fn add(&mut self, linear: &Linear, operand: Operand<'_>, residual: &mut Residual) {
        Self::multiply(&self.execution, &mut self.scratch, &mut self.spans, linear, operand, &mut self.delta);
        residual.add(&self.delta);
    }

    fn multiply(
        execution: &Execution,
        scratch: &mut [()],
        spans: &mut Spans,
        linear: &Linear,
        operand: Operand<'_>,
        out: &mut [f32],
    ) {
        let start = Instant::now();
        match linear {
            Linear::F32(matrix) => {
                execution.pool.for_tiles(out, scratch, |tiles, out, ()| {
                    let first = tiles.start * lanes::TILE * matrix.cols;
                    let weights = &matrix.values[first..first + out.len() * matrix.cols];
                    linear::gemv(weights, operand.values, out);
                });
            }
        }
        spans.kernel_ns += start.elapsed().as_nanos() as u64;
    }
}
