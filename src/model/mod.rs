//! A LLaMA-family decoder whose linear layers run through a chosen kernel.
//!
//! A model is three things that are chosen apart:
//!
//! - [`ModelParts`]: configuration, embedding, norms and rotary frequencies, immutable and shared;
//! - a [`LinearSet`]: the linear layers, each in its own format, immutable and shared;
//! - an [`Execution`]: how linear layers are run.
//!
//! A [`Decoder`] joins the three and owns what changes: buffers, cache and position. So one process
//! runs many arms over one copy of the weights. Every arm of one linear set computes the same bits,
//! with any number of threads.

pub mod attention;
pub mod builtin;
pub mod chat;
pub mod checkpoint;
pub mod config;
pub mod decoder;
pub mod error;
pub mod execution;
pub mod kv_cache;
pub mod linear;
pub mod parts;
pub mod perplexity;
pub mod prefill;
pub mod profile;
pub mod projector;
pub mod residual;
pub mod rope;
pub mod sampler;
pub mod shape;
pub mod stop;
pub mod tokenizer;

pub use chat::Chat;
pub use checkpoint::Checkpoint;
pub use config::Config;
pub use decoder::Decoder;
pub use error::Error;
pub use execution::{Execution, KernelChoice};
pub use linear::{Linear, LinearSet, Place, Role, Storage};
pub use parts::{Embedding, Matrix, ModelParts};
pub use projector::{BoundLinear, Projector, bind};
pub use sampler::{Sampler, Sampling};
pub use stop::StopStrings;
pub use tokenizer::Tokenizer;
