//! One matrix times several vectors at once, over copies of the matrix in turn.

use std::{sync::Arc, time::Instant};

use septet_kernels::{
    ActivationBatch, Activations, BoundKernel, GemmJob, GemvJob, NonFinite, Output, PackedMatrix, Prefetch, Scratch,
    SplitMix64, gemm, ops::lanes::TILE,
};

use super::Run;
use crate::{
    arm::Arm,
    model::{BoundLinear, Error as ModelError, Execution, Linear},
    pool::ThreadPool,
    runner::RunError,
};

/// A matrix in copies at distinct addresses, and the vectors that it multiplies.
pub struct Columns {
    pool: Arc<ThreadPool>,
    copies: Vec<Arc<PackedMatrix>>,
    /// Products of this repetition so far.
    products: usize,
    /// (columns) of (cols)
    xs: Vec<Vec<f32>>,
    way: Way,
    /// One for each worker.
    scratch: Vec<Scratch>,
    /// (tiles, columns, 64); rows of the last tile behind the matrix stay zero
    out: Vec<f32>,
    kernel_ns: u64,
}

/// How the columns are multiplied.
enum Way {
    /// While a tile of rows is in a cache, with one column after another.
    EachColumn { kernel: BoundKernel, prefetch: Prefetch, operands: Vec<Activations> },
    /// A tile is unpacked once into a panel for all columns.
    Panel { kernel: gemm::BoundKernel, operand: Activations, batch: ActivationBatch },
}

impl Columns {
    /// The product of `copies`, beginning with the first, with `columns` seeded vectors.
    ///
    /// # Errors
    /// No kernel for the arm on this CPU.
    pub fn new(
        copies: &[Linear],
        columns: usize,
        arm: &Arm,
        pool: Arc<ThreadPool>,
        seed: u64,
    ) -> Result<Self, RunError> {
        let mut packed = Vec::with_capacity(copies.len());
        let mut gemv = None;
        let execution = Execution::of(arm, Arc::clone(&pool));
        for copy in copies {
            if let BoundLinear::Quantized(kernel, weights) = BoundLinear::new(copy, &execution)? {
                gemv = Some(kernel);
                packed.push(weights);
            }
        }
        let (Some(kernel), Some(first)) = (gemv, packed.first()) else { return Err(RunError::NothingToRun) };
        let panel = arm.prompt_kernels().into_iter().find_map(gemm::find).and_then(|kernel| kernel.bind().ok());
        let way = match panel {
            Some(kernel) => Way::Panel { kernel, operand: Activations::default(), batch: ActivationBatch::default() },
            None => Way::EachColumn { kernel, prefetch: arm.prefetch, operands: vec![Activations::default(); columns] },
        };
        let mut random = SplitMix64::new(seed);
        let xs = (0..columns).map(|_| (0..first.cols()).map(|_| random.normal_f32()).collect()).collect();
        Ok(Self {
            out: vec![0.0; first.rows().next_multiple_of(TILE) * columns],
            scratch: (0..pool.threads()).map(|_| Scratch::with_capacity(first.stripe_bytes())).collect(),
            pool,
            copies: packed,
            products: 0,
            xs,
            way,
            kernel_ns: 0,
        })
    }

    /// Quantizes the columns and multiplies `weights` with them.
    fn multiply(&mut self, weights: &PackedMatrix) -> Result<(), NonFinite> {
        let Self { pool, xs, way, scratch, out, kernel_ns, .. } = self;
        let (columns, segment) = (xs.len(), weights.segment());
        let outputs = [(out.as_mut_slice(), TILE * columns)];
        let clock = match way {
            Way::EachColumn { kernel, prefetch, operands } => {
                operands.iter_mut().zip(xs).try_for_each(|(operand, x)| operand.quantize(x, segment))?;
                let clock = Instant::now();
                pool.for_parts(outputs, scratch, |[part], scratch| {
                    for (tile, out) in part.units.zip(part.values.chunks_exact_mut(TILE * columns)) {
                        let rows = (weights.rows() - tile * TILE).min(TILE);
                        for (activations, out) in operands.iter().zip(out.chunks_exact_mut(TILE)) {
                            let (tiles, output) = (tile..tile + 1, Output::Store(&mut out[..rows]));
                            kernel.gemv(GemvJob { weights, activations, tiles, output, prefetch: *prefetch, scratch });
                        }
                    }
                });
                clock
            }
            Way::Panel { kernel, operand, batch } => {
                batch.reset(columns, weights.cols(), segment);
                for (column, x) in xs.iter().enumerate() {
                    operand.quantize(x, segment)?;
                    batch.set(column, operand);
                }
                let clock = Instant::now();
                pool.for_parts(outputs, scratch, |[part], _| {
                    let units = part.units.start * columns..part.units.end * columns;
                    kernel.gemm(GemmJob { weights, batch, units, out: part.values });
                });
                clock
            }
        };
        *kernel_ns += clock.elapsed().as_nanos() as u64;
        Ok(())
    }
}

impl Run for Columns {
    fn rewind(&mut self) {
        self.products = 0;
        self.kernel_ns = 0;
    }

    fn token(&mut self) -> Result<u64, RunError> {
        let weights = Arc::clone(&self.copies[self.products % self.copies.len()]);
        self.products += 1;
        let clock = Instant::now();
        self.multiply(&weights).map_err(|_| ModelError::NonFinite { what: "an activation", position: 0 })?;
        Ok(clock.elapsed().as_nanos() as u64)
    }

    fn take_kernel_ns(&mut self) -> u64 {
        std::mem::take(&mut self.kernel_ns)
    }

    fn output(&self) -> &[f32] {
        &self.out
    }
}
