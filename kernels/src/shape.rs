//! Whether the number of columns of a matrix is known when its kernel is compiled.
//!
//! A kernel serves every matrix of its format and layout. Beside these instances of run-time shapes
//! some kernels have others, compiled for one K each: loop counts, the stride from row to row and what
//! is left of a loop are constants of their code. Rows stay at run time, because threads share them.

use std::fmt;

use crate::{
    gemv::Blocking,
    granularity::Granularity,
    isa::Isa,
    layout::Layout,
    level::Level,
    unpack::Unpack,
    variant::{Unroll, Variant},
};

/// Columns that kernels are compiled for: all that the linear layers of LLaMA-70B have.
pub const COMPILED_COLS: [usize; 2] = [8192, 28_672];

/// Number of segments that code of run-time shapes is compiled for.
pub(crate) const ANY: usize = 0;

/// Which instance of a kernel multiplies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Shape {
    /// The one that reads the shape from the matrix.
    #[default]
    Runtime,
    /// The one that is compiled for the columns of the matrix, one of [`COMPILED_COLS`].
    CompileTime,
}

impl Shape {
    /// Why no instance of `variant` is compiled for matrices under this granularity and blocking, if
    /// none is.
    pub fn infeasible(self, variant: Variant, granularity: Granularity, blocking: Blocking) -> Option<&'static str> {
        if self == Self::Runtime {
            return None;
        }
        if granularity != Granularity::Group128 {
            return Some("shapes are compiled with a scale for every 128 weights of a row (g128)");
        }
        if blocking != Blocking::Full {
            return Some("shapes are compiled for whole rows: a block of columns has another shape than its matrix");
        }
        Self::not_compiled(variant)
    }

    /// Why `variant` has no instances of compile-time shapes, if it has none.
    pub(crate) fn not_compiled(variant: Variant) -> Option<&'static str> {
        let Variant { layout, unpack, unroll, isa, .. } = variant;
        if isa == Isa::Scalar {
            return Some("shapes are compiled for vector instruction sets");
        }
        match (layout, unpack, unroll) {
            (Layout::Rows16, ..) | (Layout::Dense, Unpack::BitParallel, Unroll::U4) => None,
            _ => Some("shapes are compiled for rows16, and of dense for bit_parallel and u4"),
        }
    }
}

impl Level for Shape {
    const AXIS: &'static str = "shape";
    const ALL: &'static [Self] = &[Self::Runtime, Self::CompileTime];

    fn name(self) -> &'static str {
        match self {
            Self::Runtime => "runtime",
            Self::CompileTime => "compile_time",
        }
    }

    fn about(self) -> &'static str {
        match self {
            Self::Runtime => "K and strides are read from the matrix",
            Self::CompileTime => "K and strides are constants of the code, for K = 8192 and 28672",
        }
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_of_the_level_names_every_compiled_k() {
        for cols in COMPILED_COLS {
            assert!(Shape::CompileTime.about().contains(&cols.to_string()), "{cols}");
        }
    }
}
