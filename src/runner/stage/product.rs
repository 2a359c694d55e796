//! One matrix times one vector, or several at once, over copies of the matrix in turn.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};

use rayon::prelude::*;
use septet_kernels::{
    ActivationBatch, Activations, BoundKernel, GemmJob, GemvJob, Granularity, NonFinite, Output, PackedMatrix, Pages,
    Prefetch, QuantizedMatrix, Scratch, SplitMix64, gemm, ops::lanes::TILE, reference,
};

use super::{
    Run,
    stored::{Stored, Stowed},
};
use crate::{
    aligned::LineAligned,
    arm::{Arm, ArmFormat},
    model::{Error as ModelError, bind},
    pool::ThreadPool,
    runner::RunError,
};

/// A matrix in copies at distinct addresses, and the vectors that it multiplies.
pub struct Product {
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
    out: LineAligned,
    kernel_ns: u64,
}

/// How the columns are multiplied.
enum Way {
    /// A worker's rows with the only column, or else a tile of rows, while it is in a cache, with one
    /// column after another.
    EachColumn { kernel: BoundKernel, prefetch: Prefetch, operands: Vec<Activations> },
    /// A tile is unpacked once into a panel for all columns.
    Panel { kernel: gemm::BoundKernel, operand: Activations, batch: ActivationBatch },
}

impl Product {
    /// The product of `copies`, beginning with the first, with `columns` seeded vectors.
    ///
    /// # Errors
    /// No kernel for the arm on this CPU, or no copy.
    pub fn new(
        copies: Vec<Arc<PackedMatrix>>,
        columns: usize,
        arm: &Arm,
        pool: Arc<ThreadPool>,
        seed: u64,
    ) -> Result<Self, RunError> {
        let Some(first) = copies.first() else { return Err(RunError::NothingToRun) };
        let panel = arm.prompt_kernels().into_iter().find_map(gemm::find).and_then(|kernel| kernel.bind().ok());
        let way = match panel {
            Some(kernel) => Way::Panel { kernel, operand: Activations::default(), batch: ActivationBatch::default() },
            None => Way::EachColumn {
                kernel: bind(arm.variant(first.format()), arm.shape, first)?.with_blocking(arm.blocking),
                prefetch: arm.prefetch,
                operands: vec![Activations::default(); columns],
            },
        };
        Ok(Self {
            xs: vectors(first.cols(), columns, seed),
            out: LineAligned::zeroed(first.rows().next_multiple_of(TILE) * columns),
            scratch: (0..pool.threads()).map(|_| Scratch::with_capacity(first.stripe_bytes())).collect(),
            pool,
            copies,
            products: 0,
            way,
            kernel_ns: 0,
        })
    }

    /// Quantizes the columns and multiplies `weights` with them.
    fn multiply(&mut self, weights: &PackedMatrix) -> Result<(), NonFinite> {
        let Self { pool, xs, way, scratch, out, kernel_ns, .. } = self;
        let (columns, segment) = (xs.len(), weights.segment());
        let outputs = [(&mut **out, TILE * columns)];
        let clock = match way {
            Way::EachColumn { kernel, prefetch, operands } => {
                operands.iter_mut().zip(xs).try_for_each(|(operand, x)| operand.quantize(x, segment))?;
                let clock = Instant::now();
                pool.for_parts(outputs, scratch, |[part], scratch| {
                    let at_once = if columns == 1 { part.units.len() } else { 1 };
                    let products = part.values.chunks_exact_mut(at_once * TILE * columns);
                    for (first, out) in part.units.clone().step_by(at_once).zip(products) {
                        let rows = (weights.rows() - first * TILE).min(at_once * TILE);
                        for (activations, out) in operands.iter().zip(out.chunks_exact_mut(at_once * TILE)) {
                            let (tiles, output) = (first..first + at_once, Output::Store(&mut out[..rows]));
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

impl Run for Product {
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

/// What a product is of, however it is stored and computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    pub format: ArmFormat,
    pub granularity: Granularity,
    pub rows: usize,
    pub cols: usize,
    pub columns: usize,
    pub seed: u64,
}

impl Problem {
    /// The output that every arm must leave, by the reference from the codes themselves, on all CPUs:
    /// (tiles, columns, 64).
    ///
    /// # Errors
    /// A shape without weights, or mixed formats.
    pub fn expected(&self) -> Result<Vec<f32>, RunError> {
        let matrix = self.matrix()?;
        let columns = reference::Columns::new(&matrix, &vectors(self.cols, self.columns, self.seed));
        let mut out = vec![0.0; self.rows.next_multiple_of(TILE) * self.columns];
        out.par_chunks_exact_mut(TILE * self.columns).enumerate().for_each(|(tile, out)| {
            let rows = tile * TILE..self.rows.min((tile + 1) * TILE);
            let mut products = vec![0.0; rows.len() * self.columns];
            reference::gemm(&matrix, &columns, rows.clone(), &mut products);
            for (out, products) in out.chunks_exact_mut(TILE).zip(products.chunks_exact(rows.len())) {
                out[..rows.len()].copy_from_slice(products);
            }
        });
        Ok(out)
    }

    /// The seeded matrix.
    fn matrix(&self) -> Result<QuantizedMatrix, RunError> {
        let Self { format, granularity, rows, cols, seed, .. } = *self;
        let ArmFormat::Uniform(format) = format else { return Err(RunError::NothingToRun) };
        QuantizedMatrix::random(rows, cols, format, granularity, seed).map_err(|cause| RunError::Matrix {
            rows,
            cols,
            cause,
        })
    }
}

/// The seeded vectors that a matrix multiplies: (columns) of (cols).
fn vectors(cols: usize, columns: usize, seed: u64) -> Vec<Vec<f32>> {
    let mut random = SplitMix64::new(seed);
    (0..columns).map(|_| (0..cols).map(|_| random.normal_f32()).collect()).collect()
}

/// A seeded matrix of `rows × cols` in each of `forms`, in `copies` copies.
///
/// # Errors
/// A layout that is not offered for the format.
pub fn matrices(
    forms: &[Stored],
    rows: usize,
    cols: usize,
    copies: usize,
    seed: u64,
) -> Result<Vec<Stowed<Arc<PackedMatrix>>>, RunError> {
    let codes: BTreeSet<(ArmFormat, Granularity)> = forms.iter().map(|form| (form.format, form.granularity)).collect();
    let random = |key @ (format, granularity)| {
        Ok((key, Problem { format, granularity, rows, cols, columns: 1, seed }.matrix()?))
    };
    let codes = codes.into_par_iter().map(random).collect::<Result<BTreeMap<_, _>, RunError>>()?;
    // One after another: nothing else runs while a form is packed.
    let packed = forms.iter().map(|form| {
        let clock = Instant::now();
        let packed = PackedMatrix::pack(&codes[&(form.format, form.granularity)], form.layout);
        let matrix = packed.map_err(|cause| RunError::Matrix { rows, cols, cause })?;
        Ok((*form, matrix, clock.elapsed()))
    });
    let packed = packed.collect::<Result<Vec<_>, RunError>>()?;
    drop(codes);
    // Gigabytes of fresh pages: every core takes its share of the faults.
    let copied = |(stored, first, packing): (Stored, PackedMatrix, Duration)| {
        let mut all: Vec<PackedMatrix> = (1..copies).map(|_| first.duplicate_in(stored.pages)).collect();
        all.push(if stored.pages == Pages::System { first } else { first.duplicate_in(stored.pages) });
        Stowed { stored, copies: all.into_iter().map(Arc::new).collect(), packing }
    };
    Ok(packed.into_par_iter().map(copied).collect())
}

#[cfg(test)]
mod tests {
    use septet_kernels::{Format, Isa, Layout, Level, Shape, Unpack};

    use super::*;

    /// Bits do not tell code of a compile-time shape from the other: the kernel does.
    #[test]
    fn an_arm_of_compile_time_shapes_gets_its_code() {
        if Isa::best() == Isa::Scalar {
            return;
        }
        let matrix = QuantizedMatrix::random(64, 8192, Format::W3p5, Granularity::Group128, 1).unwrap();
        let matrix = Arc::new(PackedMatrix::pack(&matrix, Layout::Rows16).unwrap());
        let arm = Arm { layout: Layout::Rows16, unpack: Unpack::BitParallel, isa: Isa::best(), ..Arm::BASELINE };
        for &shape in Shape::ALL {
            let pool = Arc::new(ThreadPool::new(1).unwrap());
            let product = Product::new(vec![Arc::clone(&matrix)], 1, &Arm { shape, ..arm }, pool, 1).unwrap();
            let Way::EachColumn { kernel, .. } = product.way else { panic!("one column is no panel") };
            assert_eq!(kernel.shape(), shape);
        }
    }
}
