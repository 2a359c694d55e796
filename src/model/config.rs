//! `config.json` of a Hugging Face checkpoint, read and checked.

use std::path::Path;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::error::Error;

/// The one architecture that the decoder implements.
const ARCHITECTURE: &str = "LlamaForCausalLM";

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
    /// Positions that the model was made for.
    pub context: usize,
    /// Added to the mean square in RMSNorm.
    pub norm_eps: f32,
    /// Base of the rotary frequencies.
    pub rope_theta: f64,
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

/// A JSON object and the file it came from, for errors.
struct Keys<'a> {
    file: &'a Path,
    object: Map<String, Value>,
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

    /// Reads the text of `file`, whose path serves messages only.
    ///
    /// # Errors
    ///
    /// For anything but a `LlamaForCausalLM` without biases and without RoPE scaling, and for
    /// dimensions that do not fit together.
    pub fn parse(json: &[u8], file: &Path) -> Result<Self, Error> {
        let object = serde_json::from_slice(json).map_err(|cause| Error::Json { file: file.to_owned(), cause })?;
        let keys = Keys { file, object };
        keys.check_architecture()?;

        let hidden = keys.dimension("hidden_size")?;
        let heads = keys.dimension("num_attention_heads")?;
        let kv_heads = match keys.present("num_key_value_heads") {
            Some(_) => keys.dimension("num_key_value_heads")?,
            None => heads,
        };
        let head_dim = match keys.present("head_dim") {
            Some(_) => keys.dimension("head_dim")?,
            None => hidden / heads,
        };
        if !heads.is_multiple_of(kv_heads) {
            return Err(keys.unsupported(
                "num_key_value_heads",
                kv_heads,
                format!("a divisor of num_attention_heads = {heads}"),
            ));
        }
        if head_dim == 0 || !head_dim.is_multiple_of(2) {
            return Err(keys.unsupported("head_dim", head_dim, "an even number".to_owned()));
        }
        let vocab = keys.dimension("vocab_size")?;
        let token_id = format!("a token id below vocab_size = {vocab}");
        let config = Self {
            hidden,
            ffn: keys.dimension("intermediate_size")?,
            layers: keys.dimension("num_hidden_layers")?,
            heads,
            kv_heads,
            head_dim,
            vocab,
            context: keys.dimension("max_position_embeddings")?,
            norm_eps: keys.positive("rms_norm_eps")? as f32,
            rope_theta: keys.rope_theta()?,
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
    /// Refuses what the decoder would silently compute wrong.
    fn check_architecture(&self) -> Result<(), Error> {
        let valid = format!("[\"{ARCHITECTURE}\"]");
        let architectures: Vec<String> = self.required("architectures", &valid)?;
        if architectures != [ARCHITECTURE] {
            return Err(self.unsupported("architectures", format!("{architectures:?}"), valid));
        }
        for (key, valid) in [
            ("hidden_act", Value::from("silu")),
            ("attention_bias", Value::from(false)),
            ("mlp_bias", Value::from(false)),
        ] {
            if let Some(found) = self.present(key)
                && *found != valid
            {
                return Err(self.unsupported(key, found, valid.to_string()));
            }
        }
        for key in ["rope_scaling", "quantization_config"] {
            if let Some(found) = self.present(key) {
                return Err(self.unsupported(key, found, "null, or no such key".to_owned()));
            }
        }
        Ok(())
    }

    /// `rope_theta`, also where newer files keep it: in `rope_parameters`.
    fn rope_theta(&self) -> Result<f64, Error> {
        let Some(parameters) = self.present("rope_parameters") else {
            return match self.present("rope_theta") {
                Some(_) => self.positive("rope_theta"),
                None => Ok(10_000.0),
            };
        };
        let is_default = parameters.get("rope_type").is_none_or(|kind| kind == "default");
        match parameters.get("rope_theta").and_then(Value::as_f64) {
            Some(theta) if is_default && theta > 0.0 => Ok(theta),
            _ => Err(self.unsupported(
                "rope_parameters",
                parameters,
                "rope_type \"default\" with a positive rope_theta".to_owned(),
            )),
        }
    }

    /// The value of a key that is there and not null.
    fn present(&self, key: &str) -> Option<&Value> {
        self.object.get(key).filter(|value| !value.is_null())
    }

    /// A value that may be left out; `valid` says what it may be.
    fn optional<T: serde::de::DeserializeOwned>(&self, key: &'static str, valid: &str) -> Result<Option<T>, Error> {
        self.present(key)
            .map(|value| T::deserialize(value).map_err(|_| self.unsupported(key, value, valid.to_owned())))
            .transpose()
    }

    fn required<T: serde::de::DeserializeOwned>(&self, key: &'static str, valid: &str) -> Result<T, Error> {
        self.optional(key, valid)?.ok_or_else(|| Error::MissingKey {
            file: self.file.to_owned(),
            key,
            architecture: ARCHITECTURE,
        })
    }

    /// A size: at least 1, and small enough that products of sizes can not overflow.
    fn dimension(&self, key: &'static str) -> Result<usize, Error> {
        let valid = "an integer from 1 to 2^24";
        match self.required::<f64>(key, valid)? {
            value if (1.0..=16_777_216.0).contains(&value) && value.fract() == 0.0 => Ok(value as usize),
            value => Err(self.unsupported(key, value, valid.to_owned())),
        }
    }

    fn positive(&self, key: &'static str) -> Result<f64, Error> {
        let valid = "a positive number";
        match self.required::<f64>(key, valid)? {
            value if value > 0.0 && value.is_finite() => Ok(value),
            value => Err(self.unsupported(key, value, valid.to_owned())),
        }
    }

    fn unsupported(&self, key: &'static str, found: impl ToString, valid: String) -> Error {
        Error::Config { file: self.file.to_owned(), key, found: found.to_string(), valid }
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
    fn newer_files_keep_theta_in_rope_parameters() {
        let value = serde_json::json!({"rope_type": "default", "rope_theta": 5e5});
        let config = parse_with("rope_parameters", value).expect("valid");
        assert_eq!(config.rope_theta, 5e5);
    }

    #[test]
    fn refusals_name_the_key() {
        for (key, value) in [
            ("architectures", serde_json::json!(["MistralForCausalLM"])),
            ("hidden_size", Value::Null),
            ("hidden_size", Value::from(0)),
            ("hidden_size", Value::from("wide")),
            ("hidden_size", Value::from(1e300)),
            ("num_key_value_heads", Value::from(3)),
            ("head_dim", Value::from(31)),
            ("attention_bias", Value::from(true)),
            ("hidden_act", Value::from("gelu")),
            ("rope_scaling", serde_json::json!({"rope_type": "llama3"})),
            ("rope_parameters", serde_json::json!({"rope_type": "yarn", "rope_theta": 1e4})),
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
