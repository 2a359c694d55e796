//! A product that is run many times, and the threads that run it.

use std::{fmt, sync::Arc};

use crate::{Error, Weights, library::Multiply};

/// Most threads of a product: what ggml can have, and more than any of the peers makes use of.
pub const MAX_THREADS: usize = 512;

/// The threads of a product.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Threads {
    count: usize,
    cpus: Vec<usize>,
}

impl Threads {
    /// `count` threads that may run wherever the thread that makes the product may run.
    pub fn free(count: usize) -> Self {
        Self { count, cpus: Vec::new() }
    }

    /// A thread for each of `cpus`, bound to it, where the system and the library can (Linux). The
    /// first is the CPU of the thread that calls [`Product::run`], which is left as it is: whoever
    /// owns that thread binds it.
    pub fn bound(cpus: &[usize]) -> Self {
        Self { count: cpus.len(), cpus: cpus.to_vec() }
    }

    /// How many there are, the caller included.
    pub fn count(&self) -> usize {
        self.count
    }

    /// The CPU of each thread; empty if they are free.
    pub fn cpus(&self) -> &[usize] {
        &self.cpus
    }
}

/// The product of [`Weights`] with some columns, ready to be run.
///
/// Everything that a run needs is made here: it allocates nothing in this crate, and in ggml
/// neither. The crate `gemm` and OpenBLAS manage buffers of their own.
pub struct Product {
    weights: Arc<Weights>,
    columns: usize,
    multiply: Box<dyn Multiply>,
}

impl Product {
    /// The product of any copy of `weights` with `columns` vectors, by `threads`.
    ///
    /// # Errors
    /// No threads or no columns, or more than the peer can have.
    pub fn new(weights: &Arc<Weights>, columns: usize, threads: &Threads) -> Result<Self, Error> {
        let peer = weights.peer();
        let count = threads.count();
        if !(1..=MAX_THREADS).contains(&count) {
            return Err(Error::Threads { peer, reason: format!("{count}; give at least 1 and at most {MAX_THREADS}") });
        }
        if columns == 0
            || columns > i32::MAX as usize
            || columns.checked_mul(weights.rows().max(weights.cols())).is_none()
        {
            let (rows, cols) = (weights.rows(), weights.cols());
            let reason = format!("a product with {columns} vectors; give at least 1 and at most {}", i32::MAX);
            return Err(Error::Shape { peer, rows, cols, reason });
        }
        let multiply = weights.stored().product(columns, threads)?;
        Ok(Self { weights: Arc::clone(weights), columns, multiply })
    }

    /// Its weights.
    pub fn weights(&self) -> &Weights {
        &self.weights
    }

    /// Vectors that it multiplies the matrix with.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// `out[column][row] = Σ weights[row][k] · x[column][k]`, with the weights of copy `copy`.
    ///
    /// `x` is (columns, cols) and `out` (columns, rows), row-major. Threads wake up for the first
    /// run after [`Product::rest`] and stay ready for the next one, as the library is made to be
    /// used: warm up before timing.
    ///
    /// # Errors
    /// A copy that does not exist, an operand of the wrong length, or a failure of the library.
    pub fn run(&mut self, copy: usize, x: &[f32], out: &mut [f32]) -> Result<(), Error> {
        let (rows, cols, copies) = (self.weights.rows(), self.weights.cols(), self.weights.copies());
        if copy >= copies {
            return Err(Error::Copy { found: copy, copies });
        }
        let length = |operand, found, expected, shape| match found == expected {
            true => Ok(()),
            false => Err(Error::Length { operand, found, expected, shape }),
        };
        length("activations", x.len(), self.columns * cols, "vectors × columns of the matrix")?;
        length("output", out.len(), self.columns * rows, "vectors × rows of the matrix")?;
        self.multiply.multiply(copy, x, out)
    }

    /// Returns when the threads of the product sleep, so that they do not disturb what is timed
    /// next. Call it after the runs that belong together; it is not a part of their time.
    pub fn rest(&mut self) {
        self.multiply.rest();
    }
}

impl fmt::Debug for Product {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Product({:?}, {} vectors)", self.weights, self.columns)
    }
}
