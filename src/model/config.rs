//! What a model's files say of its dimensions, read and checked: `config.json` of a Hugging Face
//! checkpoint, or keys of another file that mean the same.

use std::path::Path;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::error::Error;
use super::rope::Rope;

/// An architecture that the decoder implements.
struct Architecture {
    /// As `config.json` calls it.
    name: &'static str,
    /// Products of q, k and v have a bias.
    qkv_bias: bool,
    /// A sliding window is meant where nothing says whether it is.
    slides: bool,
}

/// The largest size: products of two of them can not overflow.
const LARGEST: usize = 1 << 24;

const ARCHITECTURES: [Architecture; 3] = [
    Architecture { name: "LlamaForCausalLM", qkv_bias: false, slides: true },
    Architecture { name: "MistralForCausalLM", qkv_bias: false, slides: true },
    Architecture { name: "Qwen2ForCausalLM", qkv_bias: true, slides: false },
];

/// Dimensions and constants of a decoder, all checked: no dimension is zero, head_dim is even and
/// query heads are a multiple of key/value heads.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Width of the residual stream.
    pub hidden: usize,
    /// Width of the feed-forward layer.
    pub ffn: usize,
    pub layers: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads; each serves `heads / kv_heads` query heads.
    pub kv_heads: usize,
    pub head_dim: usize,
    /// Rows of the embedding and of the head.
    pub vocab: usize,
    /// Positions that the model was made for. Where a model attends to a sliding window only, it is that
    /// window: up to there, attention to all positions is the same.
    pub context: usize,
    /// Added to the mean square in RMSNorm.
    pub norm_eps: f32,
    pub rope: Rope,
    /// Products of q, k and v have a bias.
    pub qkv_bias: bool,
    /// The head uses the embedding matrix.
    pub tied_head: bool,
    /// Token that begins a text.
    pub bos: Option<u32>,
    /// Tokens that end a text.
    pub eos: Vec<u32>,
}

/// `eos_token_id` is one id or a list of them.
#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(u32),
    Many(Vec<u32>),
}

/// The keys of `config.json`, wherever they came from.
pub(super) struct Keys<'a> {
    /// For errors, as is all but the object.
    pub file: &'a Path,
    pub object: Map<String, Value>,
    /// What the file calls a key.
    pub spelling: &'a dyn Fn(&str) -> String,
}

impl Config {
    /// Query width: `heads · head_dim`.
    pub fn q_width(&self) -> usize {
        self.heads * self.head_dim
    }

    /// Key width and value width: `kv_heads · head_dim`.
    pub fn kv_width(&self) -> usize {
        self.kv_heads * self.head_dim
    }

    /// Reads the text of `file`, a `config.json`, whose path serves messages only.
    ///
    /// # Errors
    ///
    /// For an architecture or a feature that the decoder does not implement, and for dimensions that do
    /// not fit together.
    pub fn parse(json: &[u8], file: &Path) -> Result<Self, Error> {
        let object = serde_json::from_slice(json).map_err(|cause| Error::Json { file: file.to_owned(), cause })?;
        Self::of(&Keys { file, object, spelling: &str::to_owned })
    }

    /// What the keys say.
    ///
    /// # Errors
    ///
    /// As [`Config::parse`].
    pub(super) fn of(keys: &Keys) -> Result<Self, Error> {
        let architecture = keys.architecture()?;
        keys.check_features()?;

        let hidden = keys.dimension("hidden_size")?;
        let heads = keys.dimension("num_attention_heads")?;
        let kv_heads = keys.dimension_or("num_key_value_heads", heads)?;
        let head_dim = keys.dimension_or("head_dim", hidden / heads)?;
        if !heads.is_multiple_of(kv_heads) {
            let valid = format!("a divisor of {} = {heads}", (keys.spelling)("num_attention_heads"));
            return Err(keys.unsupported("num_key_value_heads", kv_heads, valid));
        }
        if head_dim == 0 || !head_dim.is_multiple_of(2) {
            return Err(keys.unsupported("head_dim", head_dim, "an even number".to_owned()));
        }
        if heads * head_dim > LARGEST {
            let valid = format!("at most {LARGEST} divided by the number of heads, {heads}");
            return Err(keys.unsupported("head_dim", head_dim, valid));
        }
        let vocab = keys.dimension("vocab_size")?;
        let token_id = format!("a token id below {} = {vocab}", (keys.spelling)("vocab_size"));
        let positions = keys.dimension("max_position_embeddings")?;
        let slides = keys.optional("use_sliding_window", "true or false")?.unwrap_or(architecture.slides);
        let window = if slides { keys.dimension_or("sliding_window", positions)? } else { positions };
        let config = Self {
            hidden,
            ffn: keys.dimension("intermediate_size")?,
            layers: keys.dimension("num_hidden_layers")?,
            heads,
            kv_heads,
            head_dim,
            vocab,
            context: positions.min(window),
            norm_eps: keys.positive("rms_norm_eps")? as f32,
            rope: Rope::of(keys)?,
            qkv_bias: architecture.qkv_bias,
            tied_head: keys.optional("tie_word_embeddings", "true or false")?.unwrap_or(false),
            bos: keys.optional("bos_token_id", &token_id)?,
            eos: match keys.optional("eos_token_id", &format!("{token_id}, or a list of such ids"))? {
                None => Vec::new(),
                Some(OneOrMany::One(id)) => vec![id],
                Some(OneOrMany::Many(ids)) => ids,
            },
        };
        for (key, ids) in [("bos_token_id", config.bos.as_slice()), ("eos_token_id", &config.eos)] {
            if let Some(id) = ids.iter().find(|&&id| id as usize >= vocab) {
                return Err(keys.unsupported(key, id, token_id));
            }
        }
        Ok(config)
    }
}

impl Keys<'_> {
    /// The architecture, which must be one that the decoder implements.
    fn architecture(&self) -> Result<&'static Architecture, Error> {
        let valid = ARCHITECTURES.map(|known| format!("[\"{}\"]", known.name)).join(", ");
        let names: Vec<String> = self.required("architectures", &valid)?;
        let known = ARCHITECTURES.iter().find(|known| names == [known.name]);
        known.ok_or_else(|| self.unsupported("architectures", format!("{names:?}"), valid))
    }

    /// Refuses what the decoder would silently compute wrong.
    fn check_features(&self) -> Result<(), Error> {
        for (key, valid) in [
            ("hidden_act", Value::from("silu")),
            ("attention_bias", Value::from(false)),
            ("mlp_bias", Value::from(false)),
            ("partial_rotary_factor", Value::from(1.0)),
        ] {
            if let Some(found) = self.present(key)
                && *found != valid
            {
                return Err(self.unsupported(key, found, valid.to_string()));
            }
        }
        match self.present("quantization_config") {
            Some(found) => Err(self.unsupported("quantization_config", found, "null, or no such key".to_owned())),
            None => Ok(()),
        }
    }

    /// The value of a key that is there and not null.
    pub(super) fn present(&self, key: &str) -> Option<&Value> {
        self.object.get(key).filter(|value| !value.is_null())
    }

    /// A value that may be left out; `valid` says what it may be.
    fn optional<T: serde::de::DeserializeOwned>(&self, key: &str, valid: &str) -> Result<Option<T>, Error> {
        self.present(key)
            .map(|value| T::deserialize(value).map_err(|_| self.unsupported(key, value, valid.to_owned())))
            .transpose()
    }

    fn required<T: serde::de::DeserializeOwned>(&self, key: &str, valid: &str) -> Result<T, Error> {
        let missing = || Error::MissingKey { file: self.file.to_owned(), key: (self.spelling)(key) };
        self.optional(key, valid)?.ok_or_else(missing)
    }

    /// A size: at least 1, and at most [`LARGEST`].
    fn dimension(&self, key: &str) -> Result<usize, Error> {
        let valid = "an integer from 1 to 2^24";
        match self.required::<f64>(key, valid)? {
            value if (1.0..=LARGEST as f64).contains(&value) && value.fract() == 0.0 => Ok(value as usize),
            value => Err(self.unsupported(key, value, valid.to_owned())),
        }
    }

    /// A size that may be left out.
    fn dimension_or(&self, key: &str, default: usize) -> Result<usize, Error> {
        self.present(key).map_or(Ok(default), |_| self.dimension(key))
    }

    pub(super) fn positive(&self, key: &str) -> Result<f64, Error> {
        let valid = "a positive number";
        match self.required::<f64>(key, valid)? {
            value if value > 0.0 && value.is_finite() => Ok(value),
            value => Err(self.unsupported(key, value, valid.to_owned())),
        }
    }

    pub(super) fn unsupported(&self, key: &str, found: impl ToString, valid: String) -> Error {
        let (file, key) = (self.file.to_owned(), (self.spelling)(key));
        Error::Config { file, key, found: found.to_string(), valid }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_with(key: &str, value: Value) -> Result<Config, Error> {
        let mut json: Value =
            serde_json::from_slice(include_bytes!("../../models/tiny/config.json")).expect("valid JSON");
        json[key] = value;
        Config::parse(json.to_string().as_bytes(), Path::new("config.json"))
    }

    #[test]
    fn reads_the_built_in_model() {
        let config = parse_with("use_cache", Value::from(true)).expect("valid");
        assert_eq!((config.hidden, config.ffn, config.layers), (256, 640, 4));
        assert_eq!((config.q_width(), config.kv_width()), (256, 128));
        assert_eq!((config.bos, config.eos), (Some(0), vec![0]));
    }

    #[test]
    fn eos_may_be_a_list_and_optional_keys_have_defaults() {
        let config = parse_with("eos_token_id", serde_json::json!([1, 2])).expect("valid");
        assert_eq!(config.eos, [1, 2]);
        let config = parse_with("num_key_value_heads", Value::Null).expect("valid");
        assert_eq!(config.kv_heads, 8);
    }

    #[test]
    fn architectures_of_the_same_shape_are_read() {
        let config = parse_with("architectures", serde_json::json!(["MistralForCausalLM"])).expect("valid");
        assert!(!config.qkv_bias);
        let config = parse_with("architectures", serde_json::json!(["Qwen2ForCausalLM"])).expect("valid");
        assert!(config.qkv_bias);
    }

    #[test]
    fn a_sliding_window_is_the_context_where_it_slides() {
        assert_eq!(parse_with("sliding_window", Value::from(128)).expect("valid").context, 128);
        assert_eq!(parse_with("sliding_window", Value::from(4096)).expect("valid").context, 512);
        let mut json: Value =
            serde_json::from_slice(include_bytes!("../../models/tiny/config.json")).expect("valid JSON");
        (json["sliding_window"], json["use_sliding_window"]) = (Value::from(128), Value::from(false));
        let config = Config::parse(json.to_string().as_bytes(), Path::new("config.json")).expect("valid");
        assert_eq!(config.context, 512);
    }

    #[test]
    fn refusals_name_the_key() {
        for (key, value) in [
            ("architectures", serde_json::json!(["MixtralForCausalLM"])),
            ("hidden_size", Value::Null),
            ("hidden_size", Value::from(0)),
            ("hidden_size", Value::from("wide")),
            ("hidden_size", Value::from(1e300)),
            ("num_key_value_heads", Value::from(3)),
            ("head_dim", Value::from(31)),
            ("head_dim", Value::from(1 << 22)),
            ("attention_bias", Value::from(true)),
            ("hidden_act", Value::from("gelu")),
            ("sliding_window", Value::from("wide")),
            ("partial_rotary_factor", Value::from(0.5)),
            ("rms_norm_eps", Value::from(-1.0)),
            ("bos_token_id", Value::from(2048)),
            ("eos_token_id", Value::from("</s>")),
            ("eos_token_id", Value::from(-1)),
            ("eos_token_id", serde_json::json!([0, 2048])),
        ] {
            let message = parse_with(key, value.clone()).expect_err(&format!("{key} = {value}")).to_string();
            assert!(message.contains(&format!("`{key}`")), "{message}");
        }
    }

    #[test]
    fn a_bad_token_id_says_what_is_valid() {
        let error = parse_with("eos_token_id", Value::from("</s>")).expect_err("a word");
        assert_eq!(
            error.to_string(),
            "config.json: key `eos_token_id` is \"</s>\"; supported: a token id below vocab_size = 2048, or a list of \
             such ids"
        );
    }
}
