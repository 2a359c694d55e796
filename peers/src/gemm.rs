//! The crate `gemm`. All its `unsafe` is one call.
//!
//! It multiplies on a pool of threads of this product's own. With one column it takes its vector
//! product, which runs on one thread however many there are.
#![allow(unsafe_code)]

use std::sync::Arc;

use gemm::Parallelism;
use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::{
    Error, Peer, Threads, affinity,
    dense::Matrix,
    library::{Backend, Multiply, Request, RowSource, Stored},
};

/// This library.
pub struct Gemm;

impl Backend for Gemm {
    fn available(&self, _: Peer) -> Result<(), String> {
        Ok(())
    }

    fn store(&self, request: &Request, source: RowSource<'_>) -> Result<Arc<dyn Stored>, Error> {
        Ok(Arc::new(Matrix::new(request, source, product)?))
    }

    fn facts(&self) -> Vec<(String, String)> {
        #[cfg(target_arch = "x86_64")]
        let found = [
            (is_x86_feature_detected!("avx512f"), "AVX-512F"),
            (is_x86_feature_detected!("fma"), "AVX2 and FMA"),
            (true, "scalar"),
        ];
        #[cfg(not(target_arch = "x86_64"))]
        let found = [(true, "chosen by the library")];
        let kernel = found.iter().find(|(has, _)| *has).map_or("", |(_, name)| name);
        vec![
            ("gemm version".to_owned(), env!("SEPTET_PEERS_GEMM_VERSION").to_owned()),
            ("gemm kernel".to_owned(), format!("{kernel}, chosen at run time")),
            ("gemm threads".to_owned(), "a pool for each product; one thread for one column".to_owned()),
        ]
    }
}

/// The product of `matrix` with `columns` vectors.
fn product(matrix: Arc<Matrix>, columns: usize, threads: &Threads) -> Result<Box<dyn Multiply>, Error> {
    let pool = if threads.count() > 1 && columns > 1 { Some(pool(threads)?) } else { None };
    Ok(Box::new(Product { matrix, columns, pool }))
}

/// A pool with a worker for each thread; the caller sleeps while they work.
fn pool(threads: &Threads) -> Result<ThreadPool, Error> {
    let cpus = threads.cpus().to_vec();
    let bind = move |worker: usize| {
        if let Some(&cpu) = cpus.get(worker) {
            affinity::bind(cpu);
        }
    };
    let builder = ThreadPoolBuilder::new().num_threads(threads.count()).start_handler(bind);
    builder.build().map_err(|error| Error::Threads { peer: Peer::GemmF32, reason: error.to_string() })
}

struct Product {
    matrix: Arc<Matrix>,
    columns: usize,
    pool: Option<ThreadPool>,
}

impl Multiply for Product {
    fn multiply(&mut self, copy: usize, x: &[f32], out: &mut [f32]) -> Result<(), Error> {
        let (weights, rows, cols) = (self.matrix.copy(copy), self.matrix.rows(), self.matrix.cols());
        match &self.pool {
            Some(pool) => {
                let parallelism = Parallelism::Rayon(pool.current_num_threads());
                pool.install(|| multiply(weights, [rows, cols, self.columns], x, out, parallelism));
            }
            None => multiply(weights, [rows, cols, self.columns], x, out, Parallelism::None),
        }
        Ok(())
    }

    /// Its idle workers look for work for some microseconds and then sleep.
    fn rest(&mut self) {}
}

/// `out[column][row] = Σ weights[row][k] · x[column][k]`.
fn multiply(weights: &[f32], [rows, cols, columns]: [usize; 3], x: &[f32], out: &mut [f32], parallelism: Parallelism) {
    assert!(weights.len() == rows * cols && x.len() == columns * cols && out.len() == columns * rows);
    let (row, vector, result) = (cols as isize, cols as isize, rows as isize);
    // The result is a rows × columns matrix in column-major order.
    // SAFETY: the assertion holds the three slices to their shapes, and the strides stay inside:
    // element (i, j) of the result is at i + j·rows, of the weights (i, k) at i·cols + k, of the
    // vectors (k, j) at k + j·cols. `out` is borrowed mutably, so it overlaps with neither.
    unsafe {
        gemm::gemm(
            rows,
            columns,
            cols,
            out.as_mut_ptr(),
            result,
            1,
            false,
            weights.as_ptr(),
            1,
            row,
            x.as_ptr(),
            vector,
            1,
            0.0,
            1.0,
            false,
            false,
            false,
            parallelism,
        );
    }
}
