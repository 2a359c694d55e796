//! What a small model is, and random ones.

use septet_kernels::SplitMix64;
use serde_json::{Value, json};

/// Positions of every model.
const POSITIONS: usize = 64;

/// Positions that a model sees which attends to a sliding window: no text is longer, so that it sees all of them.
const WINDOW: usize = 56;

/// Which model of Hugging Face's a checkpoint is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Architecture {
    Llama,
    Mistral,
    Qwen2,
}

impl Architecture {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Llama, Self::Mistral, Self::Qwen2];

    /// As `config.json` calls it.
    fn hugging_face(self) -> &'static str {
        match self {
            Self::Llama => "LlamaForCausalLM",
            Self::Mistral => "MistralForCausalLM",
            Self::Qwen2 => "Qwen2ForCausalLM",
        }
    }
}

/// How the rotary frequencies are stretched.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Scaling {
    None,
    Linear { factor: f64 },
    Llama3 { factor: f64, low: f64, high: f64, original: usize },
}

/// A small model: its configuration, and the seed of its weights. Messages of failures print it, since it is all that
/// they depend on.
#[derive(Clone, Copy, Debug)]
pub struct Spec {
    pub architecture: Architecture,
    /// Of the weights, and of the texts.
    pub seed: u64,
    pub layers: usize,
    /// Width of the residual stream.
    pub hidden: usize,
    /// Width of the feed-forward layer.
    pub ffn: usize,
    pub vocab: usize,
    /// Key and value heads.
    pub kv_heads: usize,
    /// Query heads of each of them.
    pub group: usize,
    pub head_dim: usize,
    pub norm_eps: f64,
    pub theta: f64,
    pub scaling: Scaling,
    /// The head uses the embedding matrix.
    pub tied_head: bool,
    /// Standard deviation of the biases of q, k and v, which Qwen 2 has.
    pub bias: f32,
}

impl Spec {
    /// A random model with the heads that its residual stream is divided into, and without stretched
    /// frequencies.
    pub fn random(architecture: Architecture, seed: u64) -> Self {
        let random = &mut SplitMix64::new(seed);
        let spec = Self {
            architecture,
            seed,
            layers: one_of(random, [1, 2, 3]),
            hidden: 0,
            ffn: one_of(random, [64, 101, 172, 192]),
            vocab: one_of(random, [97, 128, 211]),
            kv_heads: one_of(random, [1, 2, 3]),
            group: one_of(random, [1, 2, 4, 8]),
            head_dim: one_of(random, [6, 8, 16, 26]),
            norm_eps: one_of(random, [1e-6, 1e-5, 1e-3]),
            theta: one_of(random, [1e4, 5e5, 1e6]),
            scaling: Scaling::None,
            tied_head: one_of(random, [false, true]),
            bias: 0.5,
        };
        spec.divided()
    }

    /// The same model with a residual stream as wide as all of its query heads.
    pub fn divided(self) -> Self {
        Self { hidden: self.heads() * self.head_dim, ..self }
    }

    /// Query heads.
    pub fn heads(&self) -> usize {
        self.kv_heads * self.group
    }

    /// Its `config.json`. As in published files, the width of a head stands there if it does not follow from
    /// the other widths.
    pub fn config(&self) -> Value {
        let mut config = json!({
            "architectures": [self.architecture.hugging_face()],
            "hidden_size": self.hidden,
            "intermediate_size": self.ffn,
            "vocab_size": self.vocab,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads(),
            "num_key_value_heads": self.kv_heads,
            "hidden_act": "silu",
            "max_position_embeddings": POSITIONS,
            "rms_norm_eps": self.norm_eps,
            "rope_theta": self.theta,
            "rope_scaling": self.scaling.config(),
            "tie_word_embeddings": self.tied_head,
        });
        if self.hidden != self.heads() * self.head_dim {
            config["head_dim"] = Value::from(self.head_dim);
        }
        if self.architecture != Architecture::Llama {
            config["sliding_window"] = Value::from(WINDOW);
        }
        if self.architecture == Architecture::Qwen2 {
            config["use_sliding_window"] = Value::from(false);
            config["max_window_layers"] = Value::from(self.layers);
        }
        config
    }
}

impl Scaling {
    /// The value of `rope_scaling`.
    fn config(self) -> Value {
        match self {
            Self::None => Value::Null,
            Self::Linear { factor } => json!({ "rope_type": "linear", "factor": factor }),
            Self::Llama3 { factor, low, high, original } => json!({
                "rope_type": "llama3",
                "factor": factor,
                "low_freq_factor": low,
                "high_freq_factor": high,
                "original_max_position_embeddings": original,
            }),
        }
    }
}

fn one_of<T: Copy, const N: usize>(random: &mut SplitMix64, choices: [T; N]) -> T {
    choices[(random.next() % N as u64) as usize]
}
