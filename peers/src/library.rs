//! The libraries behind the peers, each behind a feature, and what each has to offer.

use std::sync::Arc;

use crate::{Error, Peer, Threads};

/// Fills row `row` of a matrix.
pub type RowSource<'a> = &'a dyn Fn(usize, &mut [f32]);

/// A library that peers come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Library {
    Ggml,
    Gemm,
    Openblas,
}

/// A matrix to be stored: what [`crate::Weights::new`] was asked for, checked against the format.
#[cfg_attr(not(any(feature = "ggml", feature = "gemm", feature = "openblas")), allow(dead_code))]
pub struct Request<'a> {
    pub peer: Peer,
    pub rows: usize,
    pub cols: usize,
    pub copies: usize,
    pub source: RowSource<'a>,
}

/// The weights of a library, in all copies.
pub trait Stored: Send + Sync {
    /// Bytes of one copy.
    fn bytes(&self) -> usize;
    /// The numbers that the weights of row `row` stand for; `out` has one element a column.
    fn row(&self, row: usize, out: &mut [f32]);
    /// The product with `columns` vectors.
    ///
    /// # Errors
    /// Threads that cannot be had.
    fn product(self: Arc<Self>, columns: usize, threads: &Threads) -> Result<Box<dyn Multiply>, Error>;
}

/// A product of a library. Copies and lengths were checked by the caller.
pub trait Multiply: Send {
    /// `out[column][row] = Σ weights[row][k] · x[column][k]`.
    ///
    /// # Errors
    /// A failure that the library reports.
    fn multiply(&mut self, copy: usize, x: &[f32], out: &mut [f32]) -> Result<(), Error>;
    /// Returns when the library's threads sleep.
    fn rest(&mut self);
}

impl Library {
    /// Whether `peer` of this library can run.
    #[allow(clippy::unnecessary_wraps, unused_variables, reason = "depends on the features")]
    pub fn available(self, peer: Peer) -> Result<(), String> {
        match self {
            #[cfg(feature = "ggml")]
            Self::Ggml => crate::ggml::available(peer),
            #[cfg(feature = "gemm")]
            Self::Gemm => Ok(()),
            #[cfg(feature = "openblas")]
            Self::Openblas => crate::openblas::available(),
            #[allow(unreachable_patterns, reason = "depends on the features")]
            absent => Err(absent.absence()),
        }
    }

    /// The weights of a peer of this library.
    ///
    /// # Errors
    /// A shape for which there is no kernel, or no memory.
    #[allow(unused_variables, reason = "depends on the features")]
    pub fn store(self, request: &Request<'_>) -> Result<Arc<dyn Stored>, Error> {
        match self {
            #[cfg(feature = "ggml")]
            Self::Ggml => crate::ggml::store(request),
            #[cfg(feature = "gemm")]
            Self::Gemm => crate::gemm::store(request),
            #[cfg(feature = "openblas")]
            Self::Openblas => crate::openblas::store(request),
            #[allow(unreachable_patterns, reason = "depends on the features")]
            absent => Err(Error::Unavailable { peer: request.peer, reason: absent.absence() }),
        }
    }

    /// Why a library without its feature cannot run.
    fn absence(self) -> String {
        let feature = match self {
            Self::Ggml => "ggml",
            Self::Gemm => "gemm",
            Self::Openblas => "openblas",
        };
        format!("this program was compiled without {feature}; build it with `--features peers`")
    }
}
