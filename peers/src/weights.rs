//! A peer's matrix, in several copies.

use std::{fmt, sync::Arc};

use crate::{
    Error, Peer,
    library::{Request, Stored},
};

/// Most rows of a matrix that differ. Row `r` is row `r % DISTINCT_ROWS` of the source.
///
/// Some formats search codebooks for minutes to quantize a matrix of the size of a large model's
/// layer. Its bytes still lie at distinct addresses in each copy, and no kernel of a peer takes
/// another path for other values, so repeated rows do not change what is timed.
pub const DISTINCT_ROWS: usize = 256;

/// A matrix in the format of a peer, in equal copies at distinct addresses.
pub struct Weights {
    request: Request,
    stored: Arc<dyn Stored>,
}

impl Weights {
    /// A `rows` × `cols` matrix in `copies` copies. `source(row, out)` fills a row of `cols`
    /// weights; it is called for the first [`DISTINCT_ROWS`] rows, and these repeat.
    ///
    /// # Errors
    /// A peer that cannot run here, a shape that it has no kernel for, or too little memory.
    pub fn new(
        peer: Peer,
        rows: usize,
        cols: usize,
        copies: usize,
        source: &dyn Fn(usize, &mut [f32]),
    ) -> Result<Self, Error> {
        let unavailable = |reason| Error::Unavailable { peer, reason };
        peer.available().map_err(unavailable)?;
        let shape = |reason: String| Error::Shape { peer, rows, cols, reason };
        if rows == 0 || cols == 0 || copies == 0 {
            return Err(shape("give at least one row, one column and one copy".to_owned()));
        }
        let multiple = peer.column_multiple();
        if !cols.is_multiple_of(multiple) {
            return Err(shape(format!("give a multiple of {multiple} columns")));
        }
        // C interfaces count in 32 bits.
        let most = i32::MAX as usize;
        if rows > most || cols > most || rows.checked_mul(cols).and_then(|n| n.checked_mul(4 * copies)).is_none() {
            return Err(shape(format!("more than {most} rows or columns, or more weights than an address can count")));
        }
        let request = Request { peer, rows, cols, copies };
        let stored = peer.library().backend().map_err(unavailable)?.store(&request, source)?;
        Ok(Self { request, stored })
    }

    /// Whose they are.
    pub fn peer(&self) -> Peer {
        self.request.peer
    }

    /// Rows of the matrix: results of a product for each column.
    pub fn rows(&self) -> usize {
        self.request.rows
    }

    /// Columns of the matrix: activations that a product takes for each of its columns.
    pub fn cols(&self) -> usize {
        self.request.cols
    }

    /// Copies at distinct addresses.
    pub fn copies(&self) -> usize {
        self.request.copies
    }

    /// Bytes of one copy, scales included: what one product has to read.
    pub fn stored_bytes(&self) -> usize {
        self.stored.bytes()
    }

    /// The numbers that the stored weights of row `row` stand for.
    ///
    /// # Panics
    /// When there is no such row, or `out` has another length than [`Weights::cols`].
    pub fn row(&self, row: usize, out: &mut [f32]) {
        let Request { rows, cols, .. } = self.request;
        assert!(row < rows && out.len() == cols, "row {row} of {rows}, {} columns", out.len());
        self.stored.row(row % DISTINCT_ROWS, out);
    }

    pub(crate) fn stored(&self) -> Arc<dyn Stored> {
        Arc::clone(&self.stored)
    }
}

impl fmt::Debug for Weights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Request { peer, rows, cols, copies } = self.request;
        write!(f, "Weights({peer}, {rows} × {cols}, {copies} copies)")
    }
}
