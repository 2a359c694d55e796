//! The keys of a GGUF file that mean what those of `config.json` mean.

use serde_json::{Map, Value};

use super::Gguf;
use super::reader::quoted;
use crate::model::checkpoint::tensor::Tensor;
use crate::model::config::{Config, Keys};
use crate::model::error::Error;
use crate::model::linear::Place;

/// What a key of `config.json` is called in the part of a file that belongs to its architecture.
const NAMES: [(&str, &str); 11] = [
    ("hidden_size", "embedding_length"),
    ("intermediate_size", "feed_forward_length"),
    ("num_hidden_layers", "block_count"),
    ("num_attention_heads", "attention.head_count"),
    ("num_key_value_heads", "attention.head_count_kv"),
    ("head_dim", "attention.key_length"),
    ("max_position_embeddings", "context_length"),
    ("sliding_window", "attention.sliding_window"),
    ("rms_norm_eps", "attention.layer_norm_rms_epsilon"),
    ("rope_theta", "rope.freq_base"),
    ("rope_scaling", "rope.scaling.type"),
];

/// Architectures of such files, and what `config.json` calls them.
const ARCHITECTURES: [(&str, &str); 2] = [("llama", "LlamaForCausalLM"), ("qwen2", "Qwen2ForCausalLM")];

/// The configuration of the model in `file`, and the `config.json` that says the same.
///
/// # Errors
///
/// For an architecture or a feature that the decoder does not implement, and keys that are missing, of another
/// type, or do not fit together.
pub fn config(file: &Gguf) -> Result<(Config, Value), Error> {
    let architecture = file.required("general.architecture", file.text("general.architecture")?)?;
    let Some((_, known)) = ARCHITECTURES.iter().find(|(name, _)| *name == architecture) else {
        let valid = ARCHITECTURES.map(|(name, _)| name).join(", ");
        return Err(file.refuse("general.architecture", quoted(architecture, '"'), &valid));
    };
    let key = |name: &str| format!("{architecture}.{name}");
    let mut object = Map::new();
    object.insert("architectures".to_owned(), Value::from(vec![*known]));
    for (name, suffix) in NAMES {
        let key = key(suffix);
        let value = match name {
            "rope_scaling" => scaling(file, architecture)?,
            // JSON has no number that is not finite.
            "rms_norm_eps" | "rope_theta" => match file.float(&key)? {
                Some(found) if !found.is_finite() => {
                    return Err(file.refuse(&key, found.to_string(), "a positive number"));
                }
                found => found.map(Value::from),
            },
            _ => file.integer(&key)?.map(Value::from),
        };
        object.extend(value.map(|value| (name.to_owned(), value)));
    }
    let vocab = match file.integer(&key("vocab_size"))? {
        Some(vocab) => Some(vocab),
        None => file.texts("tokenizer.ggml.tokens")?.map(|tokens| tokens.len() as u64),
    };
    object.extend(vocab.map(|vocab| ("vocab_size".to_owned(), Value::from(vocab))));
    object.extend(file.integer("tokenizer.ggml.bos_token_id")?.map(|id| ("bos_token_id".to_owned(), Value::from(id))));
    let mut ends = Vec::new();
    for key in ["tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id"] {
        ends.extend(file.integer(key)?);
    }
    object.insert("eos_token_id".to_owned(), Value::from(ends));
    let head = Tensor::Linear(Place::Head).gguf();
    let tied = !file.tensors().any(|tensor| tensor == head);
    object.insert("tie_word_embeddings".to_owned(), Value::from(tied));

    let spelling = |name: &str| match name {
        "architectures" => "general.architecture".to_owned(),
        "bos_token_id" | "eos_token_id" => format!("tokenizer.ggml.{name}"),
        _ => {
            let suffix = NAMES.iter().find(|(known, _)| *known == name).map_or(name, |(_, suffix)| suffix);
            key(suffix)
        }
    };
    let keys = Keys { file: file.file(), object, spelling: &spelling };
    let config = Config::of(&keys)?;
    // What the decoder would silently compute wrong.
    let bias = |name: &&str| {
        let known = ["attn_q.bias", "attn_k.bias", "attn_v.bias"].iter().any(|known| name.ends_with(known));
        name.ends_with(".bias") && !(config.qkv_bias && known)
    };
    if let Some(tensor) = file.tensors().find(bias) {
        let reason = format!("is a bias that models of architecture {architecture} do not have here; not supported");
        return Err(Error::Gguf {
            file: file.file().to_owned(),
            place: format!("tensor {}", quoted(tensor, '`')),
            reason,
        });
    }
    let scale_linear = key("rope.scale_linear");
    if let Some(found) = file.float(&scale_linear)?
        && found != 1.0
    {
        return Err(file.refuse(&scale_linear, found.to_string(), "1, or no such key"));
    }
    let head_dim = config.head_dim as u64;
    for (name, valid) in [("expert_count", 0), ("attention.value_length", head_dim), ("rope.dimension_count", head_dim)]
    {
        if let Some(found) = file.integer(&key(name))?
            && found != valid
        {
            return Err(file.refuse(&key(name), found.to_string(), &format!("{valid}, or no such key")));
        }
    }
    Ok((config, Value::from(keys.object)))
}

/// `rope_scaling` as `config.json` has it.
fn scaling(file: &Gguf, architecture: &str) -> Result<Option<Value>, Error> {
    let kind = file.text(&format!("{architecture}.rope.scaling.type"))?;
    let Some(kind) = kind.filter(|kind| *kind != "none") else { return Ok(None) };
    let factor = file.float(&format!("{architecture}.rope.scaling.factor"))?;
    Ok(Some(serde_json::json!({ "rope_type": kind, "factor": factor })))
}
