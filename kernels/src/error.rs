//! What can be wrong with the input of this crate.

#![expect(missing_docs, reason = "each message names its fields")]

use thiserror::Error;

use crate::{Granularity, Variant};

/// Weights that cannot be quantized.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum QuantizeError {
    /// A dimension is zero.
    #[error("a matrix of {rows} rows and {cols} columns has no weights")]
    Empty { rows: usize, cols: usize },
    /// The slice does not have `rows · cols` values.
    #[error("found {found} weights for {rows} rows of {cols} columns")]
    Length { found: usize, rows: usize, cols: usize },
    /// A weight is NaN or infinite.
    #[error("the weight at row {row}, column {col} is {value}; weights must be finite")]
    NotFinite { row: usize, col: usize, value: f32 },
    /// A scale is not a finite f16.
    #[error("a scale of {value} does not fit f16 (at most 65504)")]
    Scale { value: f32 },
    /// Codes or scales of the wrong number, as (found, expected).
    #[error("found {} codes and {} scales, expected {} and {}", codes.0, scales.0, codes.1, scales.1)]
    Parts { codes: (usize, usize), scales: (usize, usize) },
    /// The layout does not exist for the format, or not under the granularity.
    #[error("layout {layout} is not offered for {format} under {granularity}: {reason}")]
    Layout { layout: crate::Layout, format: crate::Format, granularity: crate::Granularity, reason: &'static str },
}

/// An activation that is NaN or infinite.
#[derive(Clone, Copy, Debug, PartialEq, Error)]
#[error("the activation at position {at} is {value}; activations must be finite")]
pub struct NonFinite {
    /// Index along K.
    pub at: usize,
    /// The value found.
    pub value: f32,
}

/// A matrix of a shape that a kernel is not compiled for.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "`{variant}` is not compiled for K = {cols} under {granularity}; compiled: {}; take the shape at run time",
    compiled_shapes(compiled)
)]
pub struct UncompiledShape {
    /// The kernel.
    pub variant: Variant,
    /// Columns of the matrix.
    pub cols: usize,
    /// Which weights of the matrix share a scale.
    pub granularity: Granularity,
    /// Columns that the kernel is compiled for, under `g128`; none of most kernels.
    pub compiled: Vec<usize>,
}

fn compiled_shapes(cols: &[usize]) -> String {
    match cols {
        [] => "no shape".to_owned(),
        cols => cols.iter().map(|k| format!("K = {k} under g128")).collect::<Vec<_>>().join(", "),
    }
}

/// This CPU lacks an instruction set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("{isa} needs {needs}, which this CPU does not have")]
pub struct Missing {
    /// The instruction set of the kernel.
    pub isa: crate::Isa,
    /// The features that it needs.
    pub needs: &'static str,
}
