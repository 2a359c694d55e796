//! The checkpoint of a random model on disk, in the form of Hugging Face's.

use std::collections::BTreeMap;
use std::path::Path;

use safetensors::tensor::{Dtype, TensorView};
use septet_kernels::SplitMix64;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{Architecture, Spec};

/// A checkpoint, deleted when it is dropped.
pub struct Folder(TempDir);

impl Folder {
    /// Writes the files of `spec`.
    ///
    /// # Panics
    ///
    /// When the temporary folder can not be written.
    pub fn of(spec: &Spec) -> Self {
        let folder = tempfile::tempdir().expect("temporary folder");
        let write = |name: &str, bytes: &[u8]| std::fs::write(folder.path().join(name), bytes).expect("writes");
        write("config.json", spec.config().to_string().as_bytes());
        write("tokenizer.json", tokenizer(spec.vocab).to_string().as_bytes());
        write("model.safetensors", &weights(spec));
        Self(folder)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.0.path()
    }
}

/// A tokenizer whose tokens are their own numbers. No text is encoded here: septet wants the file.
fn tokenizer(vocab: usize) -> Value {
    let vocab: serde_json::Map<String, Value> = (0..vocab).map(|id| (id.to_string(), Value::from(id))).collect();
    json!({
        "version": "1.0",
        "added_tokens": [],
        "model": { "type": "WordLevel", "vocab": vocab, "unk_token": "0" },
    })
}

/// Tensors by name, in the order in which they were drawn.
struct Draw {
    random: SplitMix64,
    /// Shape and values in little-endian bytes.
    tensors: BTreeMap<String, (Vec<usize>, Vec<u8>)>,
}

impl Draw {
    fn tensor(&mut self, name: String, shape: &[usize], mean: f32, deviation: f32) {
        let values = (0..shape.iter().product()).map(|_| mean + deviation * self.random.normal_f32());
        let bytes = values.flat_map(f32::to_le_bytes).collect();
        self.tensors.insert(name, (shape.to_vec(), bytes));
    }

    /// A matrix that keeps the size of what it multiplies.
    fn matrix(&mut self, name: String, rows: usize, cols: usize) {
        self.tensor(name, &[rows, cols], 0.0, 1.0 / (cols as f32).sqrt());
    }

    /// The weights of a norm: each of its own, so that none can stand for another.
    fn norm(&mut self, name: String, hidden: usize) {
        self.tensor(name, &[hidden], 1.0, 0.2);
    }
}

/// `model.safetensors`. Specs that differ only in what is no weight have the same ones.
fn weights(spec: &Spec) -> Vec<u8> {
    let Spec { hidden, ffn, vocab, head_dim, .. } = *spec;
    let (q_width, kv_width) = (spec.heads() * head_dim, spec.kv_heads * head_dim);
    let mut draw = Draw { random: SplitMix64::new(spec.seed), tensors: BTreeMap::new() };
    draw.matrix("model.embed_tokens.weight".to_owned(), vocab, hidden);
    for layer in 0..spec.layers {
        let name = |tensor: &str| format!("model.layers.{layer}.{tensor}");
        draw.norm(name("input_layernorm.weight"), hidden);
        for (role, rows) in [("q", q_width), ("k", kv_width), ("v", kv_width)] {
            draw.matrix(name(&format!("self_attn.{role}_proj.weight")), rows, hidden);
            if spec.architecture == Architecture::Qwen2 {
                draw.tensor(name(&format!("self_attn.{role}_proj.bias")), &[rows], 0.0, spec.bias);
            }
        }
        draw.matrix(name("self_attn.o_proj.weight"), hidden, q_width);
        draw.norm(name("post_attention_layernorm.weight"), hidden);
        draw.matrix(name("mlp.gate_proj.weight"), ffn, hidden);
        draw.matrix(name("mlp.up_proj.weight"), ffn, hidden);
        draw.matrix(name("mlp.down_proj.weight"), hidden, ffn);
    }
    draw.norm("model.norm.weight".to_owned(), hidden);
    if !spec.tied_head {
        draw.matrix("lm_head.weight".to_owned(), vocab, hidden);
    }
    let views = draw.tensors.iter().map(|(name, (shape, bytes))| {
        (name, TensorView::new(Dtype::F32, shape.clone(), bytes).expect("as many bytes as its shape says"))
    });
    safetensors::serialize(views, None).expect("serializes")
}
