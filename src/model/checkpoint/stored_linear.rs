//! A linear layer in a file, and how it gets into the storage that it is multiplied from.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rayon::prelude::*;
use septet_kernels::ops::lanes::TILE;
use septet_kernels::{Format, Granularity, PackedMatrix, PackedShape, QuantizedMatrix};

use super::tensor::StoredTensor;
use crate::model::error::Error;
use crate::model::linear::{Linear, Place, Storage, Unpacked};
use crate::model::parts::Matrix;

/// A linear layer in a file.
#[derive(Clone)]
pub enum StoredLinear {
    Values(StoredTensor),
    /// In a quantized checkpoint.
    Packed(Arc<PackedMatrix>),
}

impl StoredLinear {
    /// How its codes are stored; nothing of values.
    pub fn packed_storage(&self) -> Option<Storage> {
        match self {
            Self::Values(_) => None,
            Self::Packed(matrix) => {
                let PackedShape { format, layout, granularity, .. } = matrix.shape();
                Some(Storage::Quantized { format, layout, granularity })
            }
        }
    }

    /// The layer, which is at `place`, kept as `storage` says, and how long it took to put its codes into their
    /// layout.
    ///
    /// # Errors
    ///
    /// For a weight that is not finite, weights that can not be quantized, and codes that are stored otherwise.
    pub fn kept(&self, place: Place, storage: Storage) -> Result<(Linear, Duration), Error> {
        if let Some(found) = self.packed_storage().filter(|found| *found != storage) {
            return Err(Error::Quantized { place, found, asked: storage });
        }
        let unpacked = match (self, storage) {
            (Self::Packed(matrix), _) => Unpacked::Ready(Linear::Quantized(Arc::clone(matrix))),
            (Self::Values(tensor), Storage::F32) => {
                let (rows, cols) = (tensor.rows(), tensor.cols());
                Unpacked::Ready(Linear::F32(Arc::new(Matrix { rows, cols, values: tensor.values()? })))
            }
            (Self::Values(tensor), Storage::Quantized { format, layout, granularity }) => {
                Unpacked::Codes(quantized(tensor, place, format, granularity)?, layout)
            }
        };
        let clock = Instant::now();
        let linear = unpacked.packed().map_err(|cause| Error::Quantize { place, cause })?;
        Ok((linear, clock.elapsed()))
    }
}

/// The codes of a tensor, quantized by as many threads as there are, a tile of rows at a time.
fn quantized(
    tensor: &StoredTensor,
    place: Place,
    format: Format,
    granularity: Granularity,
) -> Result<QuantizedMatrix, Error> {
    let quantize = |cause| Error::Quantize { place, cause };
    let tile = |first: usize| -> Result<QuantizedMatrix, Error> {
        let rows = first..(first + TILE).min(tensor.rows());
        let mut values = vec![0.0; rows.len() * tensor.cols()];
        tensor.read(rows.clone(), &mut values)?;
        QuantizedMatrix::quantize(&values, rows.len(), tensor.cols(), format, granularity).map_err(quantize)
    };
    let tiles = (0..tensor.rows()).into_par_iter().step_by(TILE).map(tile).collect::<Result<Vec<_>, Error>>()?;
    QuantizedMatrix::stacked(tiles).map_err(quantize)
}
