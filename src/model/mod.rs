//! A LLaMA-family decoder whose linear layers run through a chosen kernel.
//!
//! A model is three things that are chosen apart:
//!
//! - [`ModelParts`]: configuration, embedding, norms and rotary tables, immutable and shared;
//! - a [`LinearSet`]: the linear layers, each in its own format, immutable and shared;
//! - an [`Execution`]: how linear layers are run.
//!
//! A [`Decoder`] joins the three and owns what changes: buffers, cache and position. So one process
//! runs many arms over one copy of the weights. Every arm of one linear set computes the same bits,
//! with any number of threads.

pub mod attention;
pub mod builtin;
pub mod config;
pub mod decoder;
pub mod error;
pub mod execution;
pub mod kv_cache;
pub mod linear;
pub mod perplexity;
pub mod prefill;
pub mod projector;
pub mod residual;
pub mod sampler;
pub mod shape;
pub mod tokenizer;
pub mod weights;

use std::path::Path;
use std::sync::Arc;

pub use config::Config;
pub use decoder::Decoder;
pub use error::Error;
pub use execution::{Execution, KernelChoice};
pub use linear::{Linear, LinearSet, Place, Role, Storage};
pub use projector::{BoundLinear, Projector, bind};
pub use sampler::Sampler;
pub use tokenizer::Tokenizer;
pub use weights::{Matrix, ModelParts};

/// A trained model as it was stored: `f32` linear layers and a tokenizer.
pub struct Checkpoint {
    pub parts: Arc<ModelParts>,
    /// The linear layers in `f32`: the baseline, and what formats are quantized from.
    pub linears: LinearSet,
    pub tokenizer: Tokenizer,
}

impl Checkpoint {
    /// Loads a Hugging Face folder: `config.json`, `tokenizer.json` and `model.safetensors`, or
    /// several safetensors files with their index.
    ///
    /// # Errors
    ///
    /// For files that are missing, malformed, unsupported or that do not belong together; each
    /// names the file and the key or tensor.
    pub fn load(folder: &Path) -> Result<Self, Error> {
        weights::check_folder(folder)?;
        let config = weights::read(&folder.join("config.json"))?;
        let tokenizer = weights::read(&folder.join("tokenizer.json"))?;
        let shards = weights::read_shards(folder)?;
        Self::from_files(folder, &config, &tokenizer, &shards)
    }

    /// Builds a model from the contents of its files; `folder` serves messages only.
    ///
    /// # Errors
    ///
    /// As [`Checkpoint::load`].
    pub fn from_files(
        folder: &Path,
        config: &[u8],
        tokenizer: &[u8],
        shards: &[weights::Shard],
    ) -> Result<Self, Error> {
        let config = Config::parse(config, &folder.join("config.json"))?;
        let tokenizer = Tokenizer::parse(tokenizer, &folder.join("tokenizer.json"), &config)?;
        let (parts, linears) = weights::load(config, shards)?;
        Ok(Self { parts: Arc::new(parts), linears, tokenizer })
    }
}
