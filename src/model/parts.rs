//! Everything of a model but its linear layers.

use septet_kernels::NonFinite;

use super::checkpoint::StoredTensor;
use super::config::Config;

/// A row-major `f32` matrix (rows, cols).
#[derive(Clone, Debug, PartialEq)]
pub struct Matrix {
    pub rows: usize,
    pub cols: usize,
    /// (rows, cols)
    pub values: Vec<f32>,
}

impl Matrix {
    /// Row `r`: (cols).
    pub fn row(&self, r: usize) -> &[f32] {
        &self.values[r * self.cols..(r + 1) * self.cols]
    }
}

/// What tokens become: (vocab, hidden).
#[derive(Clone, Debug)]
pub enum Embedding {
    Matrix(Matrix),
    /// In a file, of which a token reads one row.
    Stored(StoredTensor),
    /// Fewer rows than tokens, taken in turn: for shape models, where only the time of a row counts.
    InTurn(Matrix),
}

impl Embedding {
    /// The row of `token` (hidden).
    ///
    /// # Errors
    ///
    /// When a value in a file is not finite.
    ///
    /// # Panics
    ///
    /// When the token is not in the vocabulary.
    pub fn read(&self, token: u32, row: &mut [f32]) -> Result<(), NonFinite> {
        let token = token as usize;
        match self {
            Self::Matrix(matrix) => {
                row.copy_from_slice(matrix.row(token));
                Ok(())
            }
            Self::Stored(tensor) => tensor.read_row(token, row),
            Self::InTurn(matrix) => {
                row.copy_from_slice(matrix.row(token % matrix.rows));
                Ok(())
            }
        }
    }
}

/// Norm weights of one layer.
#[derive(Clone, Debug)]
pub struct LayerNorms {
    /// (hidden), before attention
    pub attention: Vec<f32>,
    /// (hidden), before the feed-forward layer
    pub ffn: Vec<f32>,
}

/// What is added to the products of q, k and v of one layer.
#[derive(Clone, Debug)]
pub struct Biases {
    /// (heads, head_dim)
    pub q: Vec<f32>,
    /// (kv_heads, head_dim)
    pub k: Vec<f32>,
    /// (kv_heads, head_dim)
    pub v: Vec<f32>,
}

impl Biases {
    /// Adds to the products of one position.
    pub fn add(&self, q: &mut [f32], k: &mut [f32], v: &mut [f32]) {
        for (values, bias) in [(q, &self.q), (k, &self.k), (v, &self.v)] {
            for (value, bias) in values.iter_mut().zip(bias) {
                *value += bias;
            }
        }
    }
}

/// All of a model but its linear layers: immutable, shared by every decoder that runs it.
#[derive(Clone, Debug)]
pub struct ModelParts {
    pub config: Config,
    pub embedding: Embedding,
    /// (layers)
    pub norms: Vec<LayerNorms>,
    /// (layers), or empty: most models have none.
    pub biases: Vec<Biases>,
    /// (hidden), before the head
    pub final_norm: Vec<f32>,
    /// What each pair of a head turns by from one position to the next: (head_dim / 2).
    pub frequencies: Vec<f64>,
    /// At the end of the context the decoder starts again at position 0 instead of refusing: for
    /// shape models, which have no text.
    pub wraps: bool,
}
