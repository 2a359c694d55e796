//! A trained model in its files: a Hugging Face folder, or one GGUF file.
//!
//! Files are mapped into memory and read when a value is asked for. Opening a model reads its
//! configuration and tokenizer and checks that every tensor is there in the right shape; a linear layer
//! is decoded when it is put into its storage, a few rows at a time, so that no `f32` copy of a quantized
//! layer exists as a whole.

pub mod bytes;
pub mod encoding;
pub mod gguf;
pub mod hub;
pub mod hugging_face;
pub mod packed;
mod stored_linear;
pub mod tensor;
mod tokenizer_config;
mod write;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

pub use bytes::FileBytes;
use stored_linear::StoredLinear;
pub use tensor::StoredTensor;
use tensor::{Tensor, Tensors};
use tokenizer_config::TokenizerConfig;

use super::builtin;
use super::chat::Chat;
use super::config::Config;
use super::error::Error;
use super::linear::{LayerLinears, LinearSet, Place, Role, Storage};
use super::parts::{Biases, Embedding, LayerNorms, ModelParts};
use super::tokenizer::Tokenizer;

/// A trained model as it was stored.
pub struct Checkpoint {
    pub parts: Arc<ModelParts>,
    pub tokenizer: Tokenizer,
    pub chat: Chat,
    /// The linear layers, layer by layer, still in their files.
    linears: LinearSet<StoredLinear>,
    tensors: Box<dyn Tensors>,
    texts: Texts,
}

/// The files of a Hugging Face folder that are no weights, or what they would hold.
struct Texts {
    /// `config.json`
    config: Vec<u8>,
    /// `tokenizer.json`
    tokenizer: Vec<u8>,
    /// `tokenizer_config.json`
    tokenizer_config: Option<Vec<u8>>,
    /// `chat_template.jinja`
    template: Option<Vec<u8>>,
}

impl Checkpoint {
    /// Opens a GGUF file, or a Hugging Face folder: `config.json`, `tokenizer.json` and
    /// `model.safetensors`, or several safetensors files with their index. Where they are there,
    /// `tokenizer_config.json` and `chat_template.jinja` are read, too.
    ///
    /// # Errors
    ///
    /// For files that are missing, malformed, unsupported or that do not belong together; each
    /// names the file and the key or tensor.
    pub fn open(path: &Path) -> Result<Self, Error> {
        if path.is_file() {
            return gguf::open(FileBytes::map(path)?);
        }
        let file = |name: &str| FileBytes::read(&path.join(name));
        let optional = |name: &str| path.join(name).exists().then(|| file(name)).transpose();
        let (tokenizer_config, template) = (optional("tokenizer_config.json")?, optional("chat_template.jinja")?);
        let (config, tokenizer) = (file("config.json")?, file("tokenizer.json")?);
        let shards = hugging_face::Shards::open(path)?;
        Self::from_files(&config, &tokenizer, tokenizer_config.as_ref(), template.as_ref(), shards)
    }

    /// The model of this path, or of this name on Hugging Face (`hf:OWNER/NAME`); without one the built-in model.
    ///
    /// # Errors
    ///
    /// As [`Checkpoint::open`], and for a name that is malformed or can not be fetched.
    pub fn of(model: Option<impl AsRef<Path>>) -> Result<Self, Error> {
        model.map_or_else(builtin::load, |model| Self::open(&hub::path(model.as_ref())?))
    }

    /// The model of a Hugging Face folder: `config.json`, `tokenizer.json`, where there are such
    /// `tokenizer_config.json` and `chat_template.jinja`, and the weights.
    ///
    /// # Errors
    ///
    /// As [`Checkpoint::open`].
    pub fn from_files(
        config: &FileBytes,
        tokenizer: &FileBytes,
        tokenizer_config: Option<&FileBytes>,
        template: Option<&FileBytes>,
        shards: hugging_face::Shards,
    ) -> Result<Self, Error> {
        let texts = Texts {
            config: config.to_vec(),
            tokenizer: tokenizer.to_vec(),
            tokenizer_config: tokenizer_config.map(|config| config.to_vec()),
            template: template.map(|template| template.to_vec()),
        };
        let folder = config.file().parent().unwrap_or(Path::new(""));
        let mut config = Config::parse(config, config.file())?;
        let said = TokenizerConfig::read(tokenizer_config)?;
        let chat = said.chat(tokenizer_config, template, folder)?;
        let tokenizer = Tokenizer::parse(tokenizer, tokenizer.file(), config.vocab, said.bos(&config))?;
        let eos = said.eos().and_then(|text| tokenizer.id(text));
        config.eos.extend(eos.filter(|id| !config.eos.contains(id)));
        Self::new(config, tokenizer, chat, texts, Box::new(shards))
    }

    /// A model of `tensors`; checks every tensor that `config` asks for.
    fn new(
        config: Config,
        tokenizer: Tokenizer,
        chat: Chat,
        texts: Texts,
        tensors: Box<dyn Tensors>,
    ) -> Result<Self, Error> {
        let get = |tensor| tensors.get(tensor, &config);
        let vector = |tensor| get(tensor)?.values();
        let embedding = get(Tensor::Embedding)?;
        let linear = |place| -> Result<StoredLinear, Error> {
            Ok(match (tensors.packed(place, &config)?, place) {
                (Some(packed), _) => StoredLinear::Packed(Arc::new(packed)),
                (None, Place::Head) if config.tied_head => StoredLinear::Values(embedding.clone()),
                (None, place) => StoredLinear::Values(get(Tensor::Linear(place))?),
            })
        };
        let (mut norms, mut biases, mut layers) = (Vec::new(), Vec::new(), Vec::new());
        for layer in 0..config.layers {
            norms.push(LayerNorms {
                attention: vector(Tensor::AttentionNorm(layer))?,
                ffn: vector(Tensor::FfnNorm(layer))?,
            });
            if config.qkv_bias {
                let bias = |role| vector(Tensor::Bias(layer, role));
                biases.push(Biases { q: bias(Role::Q)?, k: bias(Role::K)?, v: bias(Role::V)? });
            }
            layers.push(LayerLinears::try_from_fn(|role| linear(Place::Layer(layer, role)))?);
        }
        let head = Some(linear(Place::Head)?);
        let final_norm = vector(Tensor::FinalNorm)?;
        let frequencies = frequencies(&config, tensors.as_ref())?;
        let embedding = Embedding::Stored(embedding);
        let parts = ModelParts { config, embedding, norms, biases, final_norm, frequencies, wraps: false };
        let linears = LinearSet { layers, head };
        Ok(Self { parts: Arc::new(parts), tokenizer, chat, linears, tensors, texts })
    }

    /// SHA-256 of the files that hold weights.
    pub fn sha256(&self) -> String {
        self.tensors.sha256()
    }

    /// The linear layers in `f32`: the baseline, and what formats are quantized from.
    ///
    /// # Errors
    ///
    /// For a weight that is not finite.
    pub fn linears(&self) -> Result<LinearSet, Error> {
        self.stored(|_| Storage::F32)
    }

    /// The linear layers, each kept as `storage` says; formats may be mixed.
    ///
    /// # Errors
    ///
    /// For a weight that is not finite, and a matrix that can not be quantized to its storage.
    pub fn stored(&self, storage: impl Fn(Place) -> Storage) -> Result<LinearSet, Error> {
        self.stored_and_timed(storage).map(|(set, _)| set)
    }

    /// [`Checkpoint::stored`], and how long it took to put the codes into their layouts.
    ///
    /// # Errors
    ///
    /// As [`Checkpoint::stored`].
    pub fn stored_and_timed(&self, storage: impl Fn(Place) -> Storage) -> Result<(LinearSet, Duration), Error> {
        let mut packing = Duration::ZERO;
        let set = self.linears.try_map(|place, stored| {
            let (linear, time) = stored.kept(place, storage(place))?;
            packing += time;
            Ok::<_, Error>(linear)
        })?;
        Ok((set, packing))
    }

    /// How a quantized checkpoint keeps a layer; nothing of one that is not quantized.
    pub fn packed_storage(&self, place: Place) -> Option<Storage> {
        self.stored_linear(place).packed_storage()
    }

    fn stored_linear(&self, place: Place) -> &StoredLinear {
        match place {
            Place::Layer(layer, role) => &self.linears.layers[layer][role],
            // Every checkpoint has a head: `new` asks for it.
            Place::Head => self.linears.head.as_ref().expect("a checkpoint has a head"),
        }
    }
}

/// The rotary frequencies of `config`, divided by what the files say of each pair of a head, if they do.
fn frequencies(config: &Config, tensors: &dyn Tensors) -> Result<Vec<f64>, Error> {
    let mut frequencies = config.rope.frequencies(config.head_dim);
    if tensors.find(Tensor::RopeFactors, config)?.is_some() {
        let factors = tensors.get(Tensor::RopeFactors, config)?;
        for (frequency, divisor) in frequencies.iter_mut().zip(factors.values()?) {
            if divisor <= 0.0 {
                let (file, tensor) = (factors.file().to_owned(), tensors.name(Tensor::RopeFactors));
                return Err(Error::RopeFactors { file, tensor, found: divisor });
            }
            *frequency /= f64::from(divisor);
        }
    }
    Ok(frequencies)
}
