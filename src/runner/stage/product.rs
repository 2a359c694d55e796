//! One matrix times one vector, over copies of the matrix in turn.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};

use rayon::prelude::*;
use septet_kernels::{Granularity, PackedMatrix, Pages, QuantizedMatrix, SplitMix64};

use super::{
    Run,
    stored::{Stored, Stowed},
};
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
) -> Result<Vec<Stowed<Linear>>, RunError> {
    let trouble = |cause| RunError::Matrix { rows, cols, cause };
    let codes: BTreeSet<(ArmFormat, Granularity)> = forms.iter().map(|form| (form.format, form.granularity)).collect();
    let random = |key @ (format, granularity)| {
        let ArmFormat::Uniform(format) = format else { return Err(RunError::NothingToRun) };
        Ok((key, QuantizedMatrix::random(rows, cols, format, granularity, seed).map_err(trouble)?))
    };
    let codes = codes.into_par_iter().map(random).collect::<Result<BTreeMap<_, _>, RunError>>()?;
    // One after another: nothing else runs while a form is packed.
    let packed = forms.iter().map(|form| {
        let clock = Instant::now();
        let matrix = PackedMatrix::pack(&codes[&(form.format, form.granularity)], form.layout).map_err(trouble)?;
        Ok((*form, matrix, clock.elapsed()))
    });
    let packed = packed.collect::<Result<Vec<_>, RunError>>()?;
    drop(codes);
    // Gigabytes of fresh pages: every core takes its share of the faults.
    let copied = |(stored, first, packing): (Stored, PackedMatrix, Duration)| {
        let mut all: Vec<PackedMatrix> = (1..copies).map(|_| first.duplicate_in(stored.pages)).collect();
        all.push(if stored.pages == Pages::System { first } else { first.duplicate_in(stored.pages) });
        let copies = all.into_iter().map(|matrix| Linear::Quantized(Arc::new(matrix))).collect();
        Stowed { stored, copies, packing }
    };
    Ok(packed.into_par_iter().map(copied).collect())
}
