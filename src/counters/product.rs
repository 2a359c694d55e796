//! One kernel on one small matrix: what is simulated and stepped through, in a process of its own.
//!
//! `bench product` (hidden) makes the weights, says that it is ready, multiplies once and says what came
//! out. [`counted_product`] is the region: its name is what a simulator toggles on, its address what a
//! debugger waits for. Everything before and after it is not counted.

use std::io::{self, BufRead, Write};

use septet_kernels::{
    Activations, Blocking, BoundKernel, COMPILED_COLS, GemvJob, Granularity, Level, NonFinite, Output, PackedMatrix,
    Prefetch, QuantizeError, QuantizedMatrix, Scratch, Shape, SplitMix64, TILE_ROWS, Variant, reference,
};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::{Counted, NoCounters};
use crate::{
    digest::sha256,
    model::{self, bind},
};

/// Seed of codes, scales and operand.
const SEED: u64 = 1;

/// The hidden subcommand that runs a product.
pub const SUBCOMMAND: &str = "product";

/// One product of seeded random weights with one vector, on one thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Product {
    pub kernel: Variant,
    pub granularity: Granularity,
    pub prefetch: Prefetch,
    pub blocking: Blocking,
    pub shape: Shape,
    pub rows: usize,
    pub cols: usize,
}

/// Why there is no such product.
#[derive(Debug, Error)]
pub enum ProductError {
    /// A shape without weights, or a layout that is not offered for the format.
    #[error("a matrix of {rows} x {cols}: {cause}")]
    Matrix { rows: usize, cols: usize, cause: QuantizeError },
    /// No such kernel here.
    #[error(transparent)]
    Kernel(#[from] model::Error),
    /// Never of a seeded operand.
    #[error("the operand is not finite: {0}")]
    Operand(#[from] NonFinite),
}

/// What the process of a product says, one JSON value a line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// The CPU, real or simulated, lacks the instructions of the kernel: nothing was multiplied.
    Missing(String),
    /// The weights are made; the address of [`counted_product`] in this process.
    Ready { kernel: String, entry: u64 },
    /// The product is done; SHA-256 of its bits.
    Done { output_sha256: String },
}

impl Product {
    /// The product of `kernel` in its plainest form, with a matrix of `rows × cols`.
    pub fn of_kernel(kernel: Variant, rows: usize, cols: usize) -> Self {
        let (granularity, prefetch) = (Granularity::Group128, Prefetch::None);
        Self { kernel, granularity, prefetch, blocking: Blocking::Full, shape: Shape::Runtime, rows, cols }
    }

    /// The kernel of a cell on a matrix of `weights` weights, `cols` of them in a row; an arm of
    /// compile-time shapes has rows of the shortest compiled K, and at least a tile of them.
    ///
    /// # Errors
    /// A cell that is not one kernel of ours with one vector.
    pub fn of_cell(cell: &Counted<'_>, weights: usize, cols: usize) -> Result<Self, NoCounters> {
        let arm = &cell.arm;
        if arm.peer.is_some() {
            return Err(NoCounters::new("a kernel of another project has no product of its own", "use `perf stat`"));
        }
        let [format] = arm.formats()[..] else {
            return Err(NoCounters::new("a mixed arm has a kernel for each format", "see the uniform arms"));
        };
        if cell.workload.source.columns() > 1 {
            let reason = "products with one column are counted, not those with several";
            return Err(NoCounters::new(reason, "see a workload with one column"));
        }
        let cols = match arm.shape {
            Shape::Runtime => cols,
            Shape::CompileTime => COMPILED_COLS[0],
        };
        Ok(Self {
            kernel: arm.variant(format),
            granularity: arm.granularity,
            prefetch: arm.prefetch,
            blocking: arm.blocking,
            shape: arm.shape,
            rows: (weights / cols).max(TILE_ROWS),
            cols,
        })
    }

    /// Number of weights.
    pub fn weights(&self) -> f64 {
        (self.rows * self.cols) as f64
    }

    /// Rows and columns of its matrix.
    pub fn size(&self) -> String {
        format!("{} x {}", self.rows, self.cols)
    }

    /// The kernel, and the levels of data axes that are not the plainest.
    pub fn way(&self) -> String {
        let Self { kernel, granularity, prefetch, blocking, shape, rows, cols } = self;
        let plain = Self::of_kernel(*kernel, *rows, *cols);
        let others = [
            (granularity.name(), *granularity != plain.granularity),
            (prefetch.name(), *prefetch != plain.prefetch),
            (blocking.name(), *blocking != plain.blocking),
            (shape.name(), *shape != plain.shape),
        ];
        let named = others.into_iter().filter(|(_, named)| *named).map(|(level, _)| format!(", {level}"));
        kernel.to_string() + &named.collect::<String>()
    }

    /// The command line of its process, without the program.
    pub fn arguments(&self) -> Vec<String> {
        let Self { kernel, granularity, prefetch, blocking, shape, rows, cols } = self;
        [
            SUBCOMMAND.to_owned(),
            kernel.to_string(),
            format!("--rows={rows}"),
            format!("--cols={cols}"),
            format!("--granularity={}", granularity.name()),
            format!("--prefetch={}", prefetch.name()),
            format!("--blocking={}", blocking.name()),
            format!("--shape={}", shape.name()),
        ]
        .to_vec()
    }

    /// What its process must say of its output: by the reference, from the codes.
    ///
    /// # Errors
    /// A shape without weights.
    pub fn expected_sha256(&self) -> Result<String, ProductError> {
        Ok(output_sha256(&reference::gemv(&self.matrix()?, &self.operand())))
    }

    /// Runs the product in this process: says that it is ready, waits for a line of `input` if there is
    /// one, multiplies, and says what came out.
    ///
    /// # Errors
    /// A product that does not exist, or a stream that fails.
    pub fn serve(&self, input: Option<&mut dyn BufRead>, out: &mut dyn Write) -> Result<(), ServeError> {
        let mut ready = match self.ready() {
            Err(ProductError::Kernel(missing @ model::Error::Isa { .. })) => {
                return say(out, &Event::Missing(missing.to_string()));
            }
            ready => ready?,
        };
        let entry = counted_product as fn(&mut Ready) as usize as u64;
        say(out, &Event::Ready { kernel: ready.kernel.variant().to_string(), entry })?;
        if let Some(input) = input {
            input.read_line(&mut String::new())?;
        }
        counted_product(&mut ready);
        say(out, &Event::Done { output_sha256: output_sha256(&ready.out) })
    }

    /// Weights and operand, ready to be multiplied.
    ///
    /// # Errors
    /// A shape without weights, or a kernel that this CPU cannot run.
    pub fn ready(&self) -> Result<Ready, ProductError> {
        let Self { rows, cols, .. } = *self;
        let weights = PackedMatrix::pack(&self.matrix()?, self.kernel.layout)
            .map_err(|cause| ProductError::Matrix { rows, cols, cause })?;
        let kernel = bind(self.kernel, self.shape, &weights)?.with_blocking(self.blocking);
        let mut activations = Activations::default();
        activations.quantize(&self.operand(), weights.segment())?;
        let scratch = Scratch::with_capacity(weights.stripe_bytes());
        Ok(Ready { kernel, weights, activations, prefetch: self.prefetch, scratch, out: vec![0.0; rows] })
    }

    fn matrix(&self) -> Result<QuantizedMatrix, ProductError> {
        let Self { kernel, granularity, rows, cols, .. } = *self;
        QuantizedMatrix::random(rows, cols, kernel.format, granularity, SEED).map_err(|cause| ProductError::Matrix {
            rows,
            cols,
            cause,
        })
    }

    /// (cols)
    fn operand(&self) -> Vec<f32> {
        let mut random = SplitMix64::new(SEED);
        (0..self.cols).map(|_| random.normal_f32()).collect()
    }
}

/// Why the process of a product ended early.
#[derive(Debug, Error)]
pub enum ServeError {
    #[error(transparent)]
    Product(#[from] ProductError),
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// A product with everything made.
pub struct Ready {
    kernel: BoundKernel,
    weights: PackedMatrix,
    activations: Activations,
    prefetch: Prefetch,
    scratch: Scratch,
    /// (rows)
    out: Vec<f32>,
}

/// The region that is counted: one product of all rows. A function of its own, called from one place.
#[inline(never)]
pub fn counted_product(ready: &mut Ready) {
    let Ready { kernel, weights, activations, prefetch, scratch, out } = ready;
    let tiles = 0..weights.rows().div_ceil(TILE_ROWS);
    kernel.gemv(GemvJob { weights, activations, tiles, output: Output::Store(out), prefetch: *prefetch, scratch });
}

fn say(out: &mut dyn Write, event: &Event) -> Result<(), ServeError> {
    writeln!(out, "{}", serde_json::to_string(event).map_err(io::Error::from)?)?;
    Ok(out.flush()?)
}

fn output_sha256(output: &[f32]) -> String {
    let bytes: Vec<u8> = output.iter().flat_map(|value| value.to_bits().to_le_bytes()).collect();
    sha256([bytes.as_slice()])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(product: &Product) -> Vec<Event> {
        let mut out = Vec::new();
        product.serve(None, &mut out).unwrap();
        String::from_utf8(out).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[test]
    fn a_product_is_that_of_the_reference() {
        let kernel = "gemv/w3p5/dense/lut/u4/scalar".parse().unwrap();
        for (rows, prefetch) in [(64, Prefetch::None), (80, Prefetch::DoubleBuffer)] {
            let product = Product { prefetch, ..Product::of_kernel(kernel, rows, 256) };
            let events = events(&product);
            assert!(
                matches!(&events[0], Event::Ready { kernel, entry: 1.. } if kernel == "gemv/w3p5/dense/lut/u4/scalar")
            );
            assert_eq!(events[1], Event::Done { output_sha256: product.expected_sha256().unwrap() });
        }
    }

    #[test]
    fn a_kernel_that_the_cpu_lacks_is_said_and_not_run() {
        use septet_kernels::Isa;
        let kernel: Variant = "gemv/w3p5/dense/lut/u4/neon".parse().unwrap();
        let error = Product::of_kernel(kernel, 64, 128).serve(None, &mut Vec::new());
        if cfg!(target_arch = "x86_64") {
            assert!(error.unwrap_err().to_string().contains("not compiled for this architecture"));
        }
        let kernel: Variant = "gemv/w3p5/dense/lut/u4/avx512".parse().unwrap();
        if cfg!(target_arch = "x86_64") && !Isa::Avx512.is_available() {
            let events = events(&Product::of_kernel(kernel, 64, 128));
            assert!(matches!(&events[..], [Event::Missing(why)] if why.contains("avx512")), "{events:?}");
        }
    }

    #[test]
    fn names_say_what_is_not_plain() {
        let product = Product::of_kernel("gemv/w4/dense/lut/u1/scalar".parse().unwrap(), 64, 512);
        assert_eq!((product.way().as_str(), product.size().as_str()), ("gemv/w4/dense/lut/u1/scalar", "64 x 512"));
        let product = Product { prefetch: Prefetch::Software, shape: Shape::CompileTime, ..product };
        assert_eq!(product.way(), "gemv/w4/dense/lut/u1/scalar, software, compile_time");
    }
}
