//! Matrices of f32, as `gemm` and OpenBLAS read them.

use std::sync::Arc;

use crate::{
    Error, Threads,
    library::{Multiply, Request, RowSource, Stored},
    weights::DISTINCT_ROWS,
};

/// Makes the product of a matrix with some columns on some threads.
type Multiplier = fn(Arc<Matrix>, usize, &Threads) -> Result<Box<dyn Multiply>, Error>;

/// A row-major matrix in copies that each begin at a cache line.
pub struct Matrix {
    rows: usize,
    cols: usize,
    copies: Vec<Lines>,
    multiplier: Multiplier,
}

/// f32 from the beginning of a cache line on.
struct Lines {
    memory: Vec<f32>,
    /// Elements before the first cache line.
    start: usize,
}

const LINE_BYTES: usize = 64;

impl Matrix {
    /// The matrix that was asked for, multiplied by `multiplier`.
    ///
    /// # Errors
    /// Too little memory.
    pub fn new(request: &Request, source: RowSource<'_>, multiplier: Multiplier) -> Result<Self, Error> {
        let &Request { peer, rows, cols, copies } = request;
        let no_memory = |_| Error::Memory { peer, copies, bytes: rows * cols * size_of::<f32>() };
        let mut distinct = vec![0.0; rows.min(DISTINCT_ROWS) * cols];
        for (row, out) in distinct.chunks_exact_mut(cols).enumerate() {
            source(row, out);
        }
        let mut all = Vec::new();
        for _ in 0..copies {
            let mut memory: Vec<f32> = Vec::new();
            let spare = LINE_BYTES / size_of::<f32>() - 1;
            memory.try_reserve_exact(rows * cols + spare).map_err(no_memory)?;
            // In elements; no more than `spare`, since an f32 is aligned to its size.
            let start = memory.as_ptr().align_offset(LINE_BYTES);
            memory.resize(start, 0.0);
            for row in 0..rows {
                let row = row % DISTINCT_ROWS * cols;
                memory.extend_from_slice(&distinct[row..row + cols]);
            }
            all.push(Lines { memory, start });
        }
        Ok(Self { rows, cols, copies: all, multiplier })
    }

    pub fn rows(&self) -> usize {
        self.rows
    }

    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Copy `copy`: (rows, cols), row-major.
    pub fn copy(&self, copy: usize) -> &[f32] {
        let Lines { memory, start } = &self.copies[copy];
        &memory[*start..]
    }
}

impl Stored for Matrix {
    fn bytes(&self) -> usize {
        self.rows * self.cols * size_of::<f32>()
    }

    fn row(&self, row: usize, out: &mut [f32]) {
        out.copy_from_slice(&self.copy(0)[row * self.cols..][..self.cols]);
    }

    fn product(self: Arc<Self>, columns: usize, threads: &Threads) -> Result<Box<dyn Multiply>, Error> {
        (self.multiplier)(self, columns, threads)
    }
}
