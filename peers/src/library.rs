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

/// Every library that is compiled in.
pub const COMPILED: &[(Library, &dyn Backend)] = &[
    #[cfg(feature = "ggml")]
    (Library::Ggml, &crate::ggml::Ggml),
    #[cfg(feature = "gemm")]
    (Library::Gemm, &crate::gemm::Gemm),
    #[cfg(feature = "openblas")]
    (Library::Openblas, &crate::openblas::Openblas),
];

/// A library that is compiled in.
pub trait Backend: Sync {
    /// Whether `peer` of this library can run.
    ///
    /// # Errors
    /// Why not, and what to do.
    fn available(&self, peer: Peer) -> Result<(), String>;
    /// The weights of a peer of this library.
    ///
    /// # Errors
    /// A shape for which there is no kernel, or no memory.
    fn store(&self, request: &Request, source: RowSource<'_>) -> Result<Arc<dyn Stored>, Error>;
    /// What the library says of itself, by name.
    fn facts(&self) -> Vec<(String, String)>;
}

/// A matrix to be stored: what [`crate::Weights::new`] was asked for, checked against the format.
#[derive(Clone, Copy, Debug)]
pub struct Request {
    pub peer: Peer,
    pub rows: usize,
    pub cols: usize,
    pub copies: usize,
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
    /// The library, if it is compiled in.
    ///
    /// # Errors
    /// What to do to have it.
    pub fn backend(self) -> Result<&'static dyn Backend, String> {
        let compiled = COMPILED.iter().find(|(library, _)| *library == self).map(|(_, backend)| *backend);
        compiled.ok_or_else(|| {
            let feature = match self {
                Self::Ggml => "ggml",
                Self::Gemm => "gemm",
                Self::Openblas => "openblas",
            };
            format!("this program was compiled without {feature}; build it with `--features peers`")
        })
    }
}
