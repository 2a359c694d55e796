//! What can be wrong with a model or a prompt: which file, which key, what was found, what to do.

use std::io;
use std::path::PathBuf;

use septet_kernels::{Missing, QuantizeError, UncompiledShape, Variant};
use thiserror::Error;

use super::checkpoint::encoding::Encoding;
use super::linear::{Place, Storage};

/// A model that can not be loaded, or an input that it can not process. Messages are complete: causes are
/// part of them and not chained.
#[derive(Debug, Error)]
pub enum Error {
    #[error("{}: {cause}; a model is a GGUF file, or a folder that holds config.json, tokenizer.json and *.safetensors", .file.display())]
    Read { file: PathBuf, cause: io::Error },

    #[error("{}: {place}: {reason}", .file.display())]
    Gguf { file: PathBuf, place: String, reason: String },

    #[error("{}: not valid JSON for this file: {cause}", .file.display())]
    Json { file: PathBuf, cause: serde_json::Error },

    #[error("{}: key `{key}` is {found}; supported: {valid}", .file.display())]
    Config { file: PathBuf, key: String, found: String, valid: String },

    #[error("{}: key `{key}` is missing; every model of this kind has it: the file is damaged, or of another kind", .file.display())]
    MissingKey { file: PathBuf, key: String },

    #[error("{}: not a complete safetensors file ({reason}); it may be truncated: download it again", .file.display())]
    Safetensors { file: PathBuf, reason: String },

    #[error("{}: it names the shard {name:?}; valid: a file of the same folder", .file.display())]
    Shard { file: PathBuf, name: String },

    #[error("{}: tensor `{tensor}` is also in {}; a tensor belongs in one file: remove the file of another model or of an older download", .file.display(), .other.display())]
    Twice { file: PathBuf, tensor: String, other: PathBuf },

    #[error("{}: tensor `{tensor}` is missing; the configuration asks for it: the weights may belong to another model or lack a shard", .file.display())]
    MissingTensor { file: PathBuf, tensor: String },

    #[error("{}: tensor `{tensor}` has shape {found:?}, but the configuration implies {expected:?}", .file.display())]
    Shape { file: PathBuf, tensor: String, found: Vec<usize>, expected: Vec<usize> },

    #[error("{}: tensor `{tensor}` has shape {found:?}; valid: one or two dimensions, none of them zero", .file.display())]
    Dimensions { file: PathBuf, tensor: String, found: Vec<usize> },

    #[error("{}: tensor `{tensor}` of shape {shape:?} has {found} bytes, which are no whole rows in {encoding}: the file is damaged", .file.display())]
    TensorBytes { file: PathBuf, tensor: String, shape: Vec<usize>, encoding: Encoding, found: usize },

    #[error("{}: tensor `{tensor}` has dtype {found}; supported: F32, F16, BF16: convert the checkpoint", .file.display())]
    Dtype { file: PathBuf, tensor: String, found: String },

    #[error("{}: tensor `{tensor}` holds {value} at index {index}; weights must be finite: the checkpoint is damaged", .file.display())]
    NonFiniteWeight { file: PathBuf, tensor: String, index: usize, value: f32 },

    #[error("{}: tensor `{tensor}` {reason}: the file is damaged, or belongs to another manifest: quantize the model again", .file.display())]
    Packed { file: PathBuf, tensor: String, reason: String },

    #[error("{}: tensor `{tensor}` holds {found}; valid: positive divisors of the rotary frequencies", .file.display())]
    RopeFactors { file: PathBuf, tensor: String, found: f32 },

    #[error(
        "{place} is stored as {found}, and {asked} was asked for; ask for what is stored, or take the model that it was quantized from"
    )]
    Quantized { place: Place, found: Storage, asked: Storage },

    #[error("{place} is to be written in f32; a quantized checkpoint has a format for every layer")]
    NotQuantized { place: Place },

    #[error("{}: {cause}", .file.display())]
    Write { file: PathBuf, cause: io::Error },

    #[error(
        "{found:?} names no model on Hugging Face; valid: hf:OWNER/NAME or hf:OWNER/NAME/FILE.gguf, each with @REVISION \
         behind it or without, of letters, digits, `-`, `_` and `.`; a file of that name is ./hf:…"
    )]
    HubName { found: String },

    #[error(
        "{model}: this program was built without the feature `hub`, which fetches models: build it with \
         `cargo build --release --features hub`, or run `{command}` and take `{result}` as the model"
    )]
    HubFeature { model: String, command: String, result: String },

    #[error(
        "{model}: the repository has no file {file:?}; weights in it: {found:?}; a model is config.json, tokenizer.json and \
         *.safetensors, or one GGUF file, which is hf:OWNER/NAME/FILE.gguf"
    )]
    HubFile { model: String, file: String, found: Vec<String> },

    #[error("{model}: {file}: {reason}")]
    Hub { model: String, file: String, reason: String },

    #[error("a set of linear layers has {found} layers, the model has {expected}: they belong to different models")]
    Layers { found: usize, expected: usize },

    #[error("{place} has (rows, columns) {found:?}, the model has {expected:?}: they belong to different models")]
    LinearShape { place: Place, found: (usize, usize), expected: (usize, usize) },

    #[error("{place} can not be quantized: {cause}")]
    Quantize { place: Place, cause: QuantizeError },

    #[error("there is no kernel `{variant}`: {reason}; `bench list` shows the kernels that exist")]
    NoKernel { variant: Variant, reason: &'static str },

    #[error("kernel `{variant}` can not run here: {missing}; choose another isa")]
    Isa { variant: Variant, missing: Missing },

    #[error("{0}")]
    Uncompiled(UncompiledShape),

    #[error("{}: {reason}", .file.display())]
    Tokenizer { file: PathBuf, reason: String },

    #[error("{}: the tokenizer has token id {largest}, but the model has a vocabulary of {vocab}: the files belong to different models", .file.display())]
    Vocabulary { file: PathBuf, largest: u32, vocab: usize },

    #[error(
        "the prompt is {tokens} tokens long and the context of the model is {context}: shorten it to fewer than {context} tokens"
    )]
    PromptTooLong { tokens: usize, context: usize },

    #[error("the prompt has no tokens, and this model has no token that begins a text: give a prompt")]
    EmptyPrompt,

    #[error("position {position} is beyond the context of {context} tokens: reset the decoder")]
    ContextFull { position: usize, context: usize },

    #[error("token id {token} is not in the vocabulary of {vocab}")]
    Token { token: u32, vocab: usize },

    #[error("{what} at position {position} of the text is not finite: the weights overflow f32 arithmetic")]
    NonFinite { what: &'static str, position: usize },

    #[error("{option} is {found}; valid: {valid}")]
    Sampling { option: &'static str, found: f32, valid: &'static str },

    #[error("a stop string is empty, and every text contains that; give `--stop` some text, or leave it out")]
    EmptyStop,

    #[error(
        "{}: the model has no chat template, which would be the file chat_template.jinja, `chat_template` in tokenizer_config.json, \
         or the key `tokenizer.chat_template` of a GGUF file: leave `--chat` out to continue the prompt as a text, or take a model \
         that was made for chats", .model.display()
    )]
    NoChatTemplate { model: PathBuf },

    #[error("{}: the chat template {reason}", .file.display())]
    ChatTemplate { file: PathBuf, reason: String },

    #[error("unknown shape `{found}`; valid: {valid}")]
    Preset { found: String, valid: String },

    #[error("{what} is {found}; it must be at least 1")]
    Zero { what: &'static str, found: usize },

    #[error("can not start {threads} threads: {cause}; ask for fewer")]
    Threads { threads: usize, cause: io::Error },
}
