//! The logits of candle-transformers.

use std::collections::HashMap;
use std::path::Path;

use candle_core::{DType, Device, Error, Result, Tensor, safetensors};
use candle_nn::VarBuilder;
use candle_transformers::models::{llama, mistral, qwen2};
use serde_json::{Value, json};

use crate::Text;

const CPU: Device = Device::Cpu;

/// A model of candle's with its cache.
enum Model {
    Llama(llama::Llama, llama::Cache),
    Mistral(mistral::Model),
    Qwen2(qwen2::ModelForCausalLM),
}

/// The logits (vocab) after the prompt and after each further token of `text`, of the model in `folder`.
///
/// # Errors
///
/// When candle can not read the files, or does not implement what their configuration says.
pub fn logits(folder: &Path, text: &Text) -> Result<Vec<Vec<f32>>> {
    let config = std::fs::read(folder.join("config.json"))?;
    let config = serde_json::from_slice(&config).map_err(Error::wrap)?;
    let tensors = safetensors::load(folder.join("model.safetensors"), &CPU)?;
    let mut model = Model::new(config, tensors)?;
    let mut logits = vec![model.forward(&text.prompt, 0)?];
    for (position, &token) in (text.prompt.len()..).zip(&text.further) {
        logits.push(model.forward(&[token], position)?);
    }
    Ok(logits)
}

impl Model {
    fn new(config: Value, mut tensors: HashMap<String, Tensor>) -> Result<Self> {
        let weights = |tensors| VarBuilder::from_tensors(tensors, DType::F32, &CPU);
        match config["architectures"][0].as_str() {
            // candle's LLaMA takes the width of a head from the width of the model. Its Mistral has a width of
            // its own, and is else the same without stretched frequencies.
            Some("LlamaForCausalLM") if config.get("head_dim").is_none() => {
                let config: llama::LlamaConfig = serde_json::from_value(stretched(config)).map_err(Error::wrap)?;
                let config = config.into_config(false);
                let cache = llama::Cache::new(true, DType::F32, &config, &CPU)?;
                Ok(Self::Llama(llama::Llama::load(weights(tensors), &config)?, cache))
            }
            Some("LlamaForCausalLM" | "MistralForCausalLM") if config["rope_scaling"].is_null() => {
                // It does not know of tied heads, but a head may be any tensor.
                if config["tie_word_embeddings"] == true {
                    tensors.insert("lm_head.weight".to_owned(), tensors["model.embed_tokens.weight"].clone());
                }
                let config = serde_json::from_value(config).map_err(Error::wrap)?;
                Ok(Self::Mistral(mistral::Model::new(&config, weights(tensors))?))
            }
            Some("Qwen2ForCausalLM") if config["rope_scaling"].is_null() && config.get("head_dim").is_none() => {
                let config = serde_json::from_value(config).map_err(Error::wrap)?;
                Ok(Self::Qwen2(qwen2::ModelForCausalLM::new(&config, weights(tensors))?))
            }
            _ => Err(Error::msg(format!("candle has no such model: {config}"))),
        }
    }

    /// The logits (vocab) after `tokens`, the first of which is at `position`.
    fn forward(&mut self, tokens: &[u32], position: usize) -> Result<Vec<f32>> {
        let tokens = Tensor::new(tokens, &CPU)?.unsqueeze(0)?;
        let logits = match self {
            Self::Llama(model, cache) => model.forward(&tokens, position, cache),
            Self::Mistral(model) => model.forward(&tokens, position),
            Self::Qwen2(model) => model.forward(&tokens, position),
        };
        logits?.flatten_all()?.to_vec1()
    }
}

/// `config` with the same frequencies in candle's words. It knows the scaling of LLaMA 3 alone, which divides
/// the frequencies of all pairs that do not turn `low_freq_factor` times within the original context. Within a
/// context of one position no pair turns as much as once (the fastest turns by one radian), so all are divided:
/// linear scaling.
fn stretched(mut config: Value) -> Value {
    let scaling = &mut config["rope_scaling"];
    if scaling["rope_type"] == "linear" {
        *scaling = json!({
            "rope_type": "llama3",
            "factor": scaling["factor"],
            "low_freq_factor": 1.0,
            "high_freq_factor": 2.0,
            "original_max_position_embeddings": 1,
        });
    }
    config
}
