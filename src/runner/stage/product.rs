//! One matrix times one vector, over copies of the matrix in turn.

use std::{sync::Arc, time::Instant};

use septet_kernels::{PackedMatrix, QuantizedMatrix, SplitMix64};

use super::{Run, Stored};
use crate::{
    arm::ArmFormat,
    model::{BoundLinear, Error as ModelError, Execution, Linear, Projector},
    runner::RunError,
};

/// A matrix in copies at distinct addresses, and the vector that it multiplies.
pub struct Product {
    /// Quantizes the vector for each product, outside of the kernel's time.
    projector: Projector,
    copies: Vec<BoundLinear>,
    /// Products of this repetition so far.
    products: usize,
    /// (cols)
    x: Vec<f32>,
    /// (rows)
    out: Vec<f32>,
}

impl Product {
    /// The product of `copies`, beginning with the first, under `execution`.
    ///
    /// # Errors
    /// No kernel for the execution on this CPU.
    pub fn new(copies: &[Linear], execution: Execution, seed: u64) -> Result<Self, ModelError> {
        let bound = copies.iter().map(|copy| BoundLinear::new(copy, &execution)).collect::<Result<_, _>>()?;
        let (rows, cols) = copies.first().map_or((0, 0), |copy| (copy.rows(), copy.cols()));
        let mut random = SplitMix64::new(seed);
        Ok(Self {
            projector: Projector::new(execution, 0, copies.iter()),
            copies: bound,
            products: 0,
            x: (0..cols).map(|_| random.normal_f32()).collect(),
            out: vec![0.0; rows],
        })
    }
}

impl Run for Product {
    fn rewind(&mut self) {
        self.products = 0;
        self.projector.take_spans();
    }

    fn token(&mut self) -> Result<u64, RunError> {
        let copy = &self.copies[self.products % self.copies.len()];
        self.products += 1;
        let clock = Instant::now();
        let operand = self.projector.plain(&self.x);
        let stored = self.projector.store(copy, operand, &mut self.out);
        stored.map_err(|_| ModelError::NonFinite { what: "an activation", position: 0 })?;
        Ok(clock.elapsed().as_nanos() as u64)
    }

    fn take_kernel_ns(&mut self) -> u64 {
        self.projector.take_spans().kernel_ns
    }

    fn output(&self) -> &[f32] {
        &self.out
    }
}

/// A seeded matrix of `rows × cols`, stored as `stored`, in `copies` copies.
///
/// # Errors
/// A layout that is not offered for the format.
pub fn matrices(stored: Stored, rows: usize, cols: usize, copies: usize, seed: u64) -> Result<Vec<Linear>, RunError> {
    let ArmFormat::Uniform(format) = stored.format else { return Err(RunError::NothingToRun) };
    let quantize = || {
        let matrix = QuantizedMatrix::random(rows, cols, format, stored.granularity, seed)?;
        PackedMatrix::pack(&matrix, stored.layout)
    };
    let first = quantize().map_err(|cause| RunError::Matrix { rows, cols, cause })?;
    let mut all: Vec<PackedMatrix> = (1..copies).map(|_| first.duplicate()).collect();
    all.push(first);
    Ok(all.into_iter().map(|matrix| Linear::Quantized(Arc::new(matrix))).collect())
}
