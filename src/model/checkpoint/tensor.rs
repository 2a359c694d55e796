//! What the tensors of a model are called, and their values as a file stores them.

use std::fmt;
use std::ops::Range;
use std::path::Path;

use septet_kernels::{NonFinite, PackedMatrix};

use super::bytes::FileSlice;
use super::encoding::Encoding;
use crate::model::config::Config;
use crate::model::error::Error;
use crate::model::linear::{Place, Role};

/// A tensor of a LLaMA-family model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tensor {
    /// (vocab, hidden)
    Embedding,
    /// (hidden), before the attention of a layer
    AttentionNorm(usize),
    /// (hidden), before the feed-forward part of a layer
    FfnNorm(usize),
    /// (rows of q, k or v), added to the product of a layer
    Bias(usize, Role),
    /// (hidden), before the head
    FinalNorm,
    /// Weights of a linear layer.
    Linear(Place),
    /// (head_dim / 2): divisors of the rotary frequencies, in files of models whose frequencies are stretched
    /// by more than one number.
    RopeFactors,
}

impl Tensor {
    /// Outermost dimension first.
    pub fn shape(self, config: &Config) -> Vec<usize> {
        match self {
            Self::Embedding => vec![config.vocab, config.hidden],
            Self::AttentionNorm(_) | Self::FfnNorm(_) | Self::FinalNorm => vec![config.hidden],
            Self::Bias(_, role) => vec![role.shape(config).0],
            Self::RopeFactors => vec![config.head_dim / 2],
            Self::Linear(place) => {
                let (rows, cols) = place.shape(config);
                vec![rows, cols]
            }
        }
    }

    /// The name in a Hugging Face checkpoint.
    pub fn hugging_face(self) -> String {
        let ([name, _], layer, kind) = self.spelled();
        layer.map_or_else(|| format!("{name}.{kind}"), |layer| format!("model.layers.{layer}.{name}.{kind}"))
    }

    /// The name in a GGUF file.
    pub fn gguf(self) -> String {
        let ([_, name], layer, kind) = self.spelled();
        layer.map_or_else(|| format!("{name}.{kind}"), |layer| format!("blk.{layer}.{name}.{kind}"))
    }

    /// What its name is made of: a word for Hugging Face and one for GGUF, the layer, weight or bias.
    fn spelled(self) -> ([&'static str; 2], Option<usize>, &'static str) {
        let linear = |role| match role {
            Role::Q => ["self_attn.q_proj", "attn_q"],
            Role::K => ["self_attn.k_proj", "attn_k"],
            Role::V => ["self_attn.v_proj", "attn_v"],
            Role::O => ["self_attn.o_proj", "attn_output"],
            Role::Gate => ["mlp.gate_proj", "ffn_gate"],
            Role::Up => ["mlp.up_proj", "ffn_up"],
            Role::Down => ["mlp.down_proj", "ffn_down"],
        };
        match self {
            Self::Embedding => (["model.embed_tokens", "token_embd"], None, "weight"),
            Self::AttentionNorm(layer) => (["input_layernorm", "attn_norm"], Some(layer), "weight"),
            Self::FfnNorm(layer) => (["post_attention_layernorm", "ffn_norm"], Some(layer), "weight"),
            Self::Bias(layer, role) => (linear(role), Some(layer), "bias"),
            Self::FinalNorm => (["model.norm", "output_norm"], None, "weight"),
            Self::Linear(Place::Layer(layer, role)) => (linear(role), Some(layer), "weight"),
            Self::Linear(Place::Head) => (["lm_head", "output"], None, "weight"),
            // Of Hugging Face's, only those that were made of a GGUF file have it.
            Self::RopeFactors => (["rope_freqs"; 2], None, "weight"),
        }
    }
}

/// In which order a file stores the rows of a matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowOrder {
    /// As they are used.
    Plain,
    /// The halves of each head of `head_dim` rows interleaved: rotation then turns neighbours, where this
    /// project turns elements that are half a head apart.
    Interleaved { head_dim: usize },
}

impl RowOrder {
    /// Where a file stores row `row`.
    fn stored(self, row: usize) -> usize {
        match self {
            Self::Plain => row,
            Self::Interleaved { head_dim } => {
                let (head, within) = (row / head_dim, row % head_dim);
                let (half, pair) = (within / (head_dim / 2), within % (head_dim / 2));
                head * head_dim + 2 * pair + half
            }
        }
    }
}

/// A vector (one row) or a matrix in a file; reading it costs nothing before its values are asked for.
#[derive(Clone)]
pub struct StoredTensor {
    /// As the file calls it.
    name: String,
    rows: usize,
    cols: usize,
    encoding: Encoding,
    order: RowOrder,
    bytes: FileSlice,
}

impl StoredTensor {
    /// A tensor of one or two dimensions, outermost first.
    ///
    /// # Errors
    ///
    /// For another number of dimensions, a dimension of zero, rows that are no whole blocks, and too few or too many bytes.
    pub fn new(
        name: String,
        shape: &[usize],
        encoding: Encoding,
        order: RowOrder,
        bytes: FileSlice,
    ) -> Result<Self, Error> {
        let (rows, cols) = match *shape {
            [cols] => (1, cols),
            [rows, cols] => (rows, cols),
            _ => (0, 0),
        };
        if rows == 0 || cols == 0 {
            return Err(Error::Dimensions { file: bytes.file().to_owned(), tensor: name, found: shape.to_vec() });
        }
        let expected = encoding.bytes(cols).and_then(|row| row.checked_mul(rows));
        if expected != Some(bytes.len()) {
            let (file, found) = (bytes.file().to_owned(), bytes.len());
            return Err(Error::TensorBytes { file, tensor: name, shape: shape.to_vec(), encoding, found });
        }
        Ok(Self { name, rows, cols, encoding, order, bytes })
    }

    /// Number of rows: 1 of a vector.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Values of a row.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// How its values are stored.
    pub fn encoding(&self) -> Encoding {
        self.encoding
    }

    /// The bytes of `rows`, in the order of the file.
    ///
    /// # Panics
    ///
    /// When a row is not there.
    pub fn row_bytes(&self, rows: Range<usize>) -> &[u8] {
        let stride = self.bytes.len() / self.rows;
        &self.bytes[rows.start * stride..rows.end * stride]
    }

    /// The file that holds it.
    pub fn file(&self) -> &Path {
        self.bytes.file()
    }

    /// Writes the values of `rows` to `values` (rows, cols). F16 and BF16 values are exact.
    ///
    /// # Errors
    ///
    /// For a value that is not finite.
    ///
    /// # Panics
    ///
    /// When a row is not there, or `values` has another length.
    pub fn read(&self, rows: Range<usize>, values: &mut [f32]) -> Result<(), Error> {
        assert_eq!(values.len(), rows.len() * self.cols, "a place for each value");
        rows.zip(values.chunks_exact_mut(self.cols)).try_for_each(|(row, values)| {
            self.read_row(row, values).map_err(|NonFinite { at, value }| {
                let (file, tensor) = (self.file().to_owned(), self.name.clone());
                Error::NonFiniteWeight { file, tensor, index: row * self.cols + at, value }
            })
        })
    }

    /// Writes the values of row `row` to `values` (cols), without an allocation.
    ///
    /// # Errors
    ///
    /// For a value that is not finite.
    ///
    /// # Panics
    ///
    /// As [`StoredTensor::read`].
    pub fn read_row(&self, row: usize, values: &mut [f32]) -> Result<(), NonFinite> {
        // Construction has checked that a row is whole blocks.
        let stride = self.bytes.len() / self.rows;
        let bytes = &self.bytes[self.order.stored(row) * stride..][..stride];
        self.encoding.decode(bytes, values);
        // A search that may end early is not vectorized.
        let finite = values.iter().fold(true, |finite, value| finite & value.is_finite());
        let first = || values.iter().position(|value| !value.is_finite());
        match if finite { None } else { first() } {
            None => Ok(()),
            Some(at) => Err(NonFinite { at, value: values[at] }),
        }
    }

    /// All values: (rows, cols).
    ///
    /// # Errors
    ///
    /// As [`StoredTensor::read`].
    pub fn values(&self) -> Result<Vec<f32>, Error> {
        let mut values = vec![0.0; self.rows * self.cols];
        self.read(0..self.rows, &mut values)?;
        Ok(values)
    }
}

/// Without the values, which may be gigabytes.
impl fmt::Debug for StoredTensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, rows, cols, encoding, order, .. } = self;
        write!(f, "{name} ({rows}, {cols}) in {encoding}, {order:?}")
    }
}

/// The tensors of a model's files.
pub trait Tensors: Send + Sync {
    /// The tensor, whatever its shape; nothing if the files do not hold it.
    ///
    /// # Errors
    ///
    /// For one whose type is not read, or that contradicts itself.
    fn find(&self, tensor: Tensor, config: &Config) -> Result<Option<StoredTensor>, Error>;

    /// The layer at `place`, of files whose layers are packed codes.
    ///
    /// # Errors
    ///
    /// For one that is missing or damaged.
    fn packed(&self, _place: Place, _config: &Config) -> Result<Option<PackedMatrix>, Error> {
        Ok(None)
    }

    /// The name of a tensor in these files.
    fn name(&self, tensor: Tensor) -> String;

    /// What to name when a tensor is missing: the file, or the folder of several.
    fn location(&self) -> &Path;

    /// SHA-256 of the files that hold weights.
    fn sha256(&self) -> String;

    /// The tensor, of the shape that `config` implies.
    ///
    /// # Errors
    ///
    /// When it is missing or has another shape, and as [`Tensors::find`].
    fn get(&self, tensor: Tensor, config: &Config) -> Result<StoredTensor, Error> {
        let Some(stored) = self.find(tensor, config)? else {
            return Err(Error::MissingTensor { file: self.location().to_owned(), tensor: self.name(tensor) });
        };
        let expected = tensor.shape(config);
        let found =
            if expected.len() == 1 && stored.rows == 1 { vec![stored.cols] } else { vec![stored.rows, stored.cols] };
        if found == expected {
            Ok(stored)
        } else {
            Err(Error::Shape { file: stored.file().to_owned(), tensor: stored.name, found, expected })
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::sync::Arc;

    use super::super::bytes::FileBytes;
    use super::*;

    fn stored(values: &[f32], shape: &[usize], order: RowOrder) -> Result<StoredTensor, Error> {
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        let file = Arc::new(FileBytes::owned(PathBuf::from("m"), bytes));
        let slice = FileSlice::new(&file, 0..file.len()).expect("within");
        StoredTensor::new("t".to_owned(), shape, Encoding::F32, order, slice)
    }

    #[test]
    fn interleaved_heads_come_back_in_halves() {
        // Two heads of four rows; the file has them as 0 2 1 3 and 4 6 5 7.
        let file = [0.0, 2.0, 1.0, 3.0, 4.0, 6.0, 5.0, 7.0];
        let tensor = stored(&file, &[8, 1], RowOrder::Interleaved { head_dim: 4 }).expect("consistent");
        assert_eq!(tensor.values().expect("finite"), [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]);
        let mut two = [0.0; 2];
        tensor.read(5..7, &mut two).expect("finite");
        assert_eq!(two, [5.0, 6.0]);
    }

    #[test]
    fn bytes_and_dimensions_must_fit() {
        assert!(matches!(stored(&[1.0; 6], &[2, 2], RowOrder::Plain), Err(Error::TensorBytes { .. })));
        assert!(matches!(stored(&[1.0; 8], &[2, 2, 2], RowOrder::Plain), Err(Error::Dimensions { .. })));
        assert!(matches!(stored(&[], &[usize::MAX, 2], RowOrder::Plain), Err(Error::TensorBytes { .. })));
        assert!(stored(&[1.0; 4], &[4], RowOrder::Plain).is_ok());
    }

    #[test]
    fn what_is_not_finite_is_named() {
        let tensor = stored(&[1.0, 2.0, 3.0, f32::NAN], &[2, 2], RowOrder::Plain).expect("consistent");
        let message = tensor.values().expect_err("a NaN").to_string();
        assert!(message.contains("`t` holds NaN at index 3"), "{message}");
    }
}
