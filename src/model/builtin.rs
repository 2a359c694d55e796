//! The trained model that is compiled into the binary: `models/tiny`, described by its
//! `MODEL_CARD.md`. It serves tests, the default experiment and the first `bench generate`.

use std::path::Path;

use super::checkpoint::hugging_face::Shards;
use super::checkpoint::{Checkpoint, FileBytes};
use super::error::Error;
use crate::digest;

/// Name of the model in messages, specs and results.
pub const NAME: &str = "tiny";

const CONFIG: &[u8] = include_bytes!("../../models/tiny/config.json");
const TOKENIZER: &[u8] = include_bytes!("../../models/tiny/tokenizer.json");
const WEIGHTS: &[u8] = include_bytes!("../../models/tiny/model.safetensors");

/// Loads the built-in model.
///
/// # Errors
///
/// None with the files of the repository; the same as [`Checkpoint::open`] if they were changed.
pub fn load() -> Result<Checkpoint, Error> {
    let folder = Path::new("models/tiny");
    let file = |name: &str, bytes| FileBytes::constant(folder.join(name), bytes);
    let shards = Shards::new(folder, vec![file("model.safetensors", WEIGHTS)])?;
    Checkpoint::from_files(&file("config.json", CONFIG), &file("tokenizer.json", TOKENIZER), None, None, shards)
}

/// SHA-256 of the model's weights as stored.
pub fn sha256() -> String {
    digest::sha256([WEIGHTS])
}
