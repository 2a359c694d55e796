//! What a caller can get wrong, and what a peer can refuse.

use crate::Peer;

/// Why weights or a product of a peer do not exist, or did not run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The peer is not compiled in, or not for this CPU, or its library is not installed.
    #[error("peer `{peer}` cannot run: {reason}")]
    Unavailable {
        /// The peer that was asked for.
        peer: Peer,
        /// Why, and what to do.
        reason: String,
    },
    /// The peer has no kernel for a matrix of this shape.
    #[error("peer `{peer}` does not multiply a matrix of {rows} rows and {cols} columns: {reason}")]
    Shape {
        /// The peer that was asked for.
        peer: Peer,
        /// Rows as asked.
        rows: usize,
        /// Columns as asked.
        cols: usize,
        /// What is valid.
        reason: String,
    },
    /// The copies do not fit the memory.
    #[error("no memory for {copies} copies of {bytes} bytes of `{peer}`: ask for fewer copies or a smaller matrix")]
    Memory {
        /// The peer that was asked for.
        peer: Peer,
        /// Copies as asked.
        copies: usize,
        /// Bytes of each.
        bytes: usize,
    },
    /// A slice of the wrong length.
    #[error("{operand} has {found} elements; {expected} are needed: {shape}")]
    Length {
        /// `activations` or `output`.
        operand: &'static str,
        /// Elements found.
        found: usize,
        /// Elements needed.
        expected: usize,
        /// What they are.
        shape: &'static str,
    },
    /// A copy that does not exist.
    #[error("there is no copy {found}: there are {copies}, counted from 0")]
    Copy {
        /// As asked.
        found: usize,
        /// Copies that exist.
        copies: usize,
    },
    /// Threads that cannot be had.
    #[error("threads of `{peer}`: {reason}")]
    Threads {
        /// The peer that was asked for.
        peer: Peer,
        /// Why, and what is valid.
        reason: String,
    },
    /// The library reports a failure.
    #[error("`{peer}` fails: {reason}")]
    Failed {
        /// The peer that ran.
        peer: Peer,
        /// What the library says.
        reason: String,
    },
    /// A product that is not what its weights and activations give.
    #[error(
        "`{peer}` is wrong at {rows} rows, {cols} columns, {columns} vectors, {threads} threads: relative error \
         {found:.2e}, at most {tolerance:.0e} is explained by its rounding of activations"
    )]
    Wrong {
        /// The peer that ran.
        peer: Peer,
        /// Rows of the matrix.
        rows: usize,
        /// Columns of the matrix.
        cols: usize,
        /// Vectors that were multiplied.
        columns: usize,
        /// Threads that ran.
        threads: usize,
        /// Relative error in the 2-norm.
        found: f64,
        /// What is allowed.
        tolerance: f64,
    },
}
