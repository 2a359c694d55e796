//! Models of real layer shapes with seeded weights, for speed alone.
//!
//! A shape model runs the layer code of a trained one: norms, attention over a small cache that
//! wraps around, SwiGLU. It has neither a head nor an embedding: every token enters as the same
//! seeded vector. With a prompt, each of its tokens enters as a seeded vector of its own, and the
//! cache holds the prompt and what follows. Linear layers exist in several copies at distinct
//! addresses and each token reads the next one, so that weights come from memory as they do in a
//! model of all layers. A [`complete`] one has all layers once, the head, and a cache for a text.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use rayon::prelude::*;
use septet_kernels::{QuantizeError, QuantizedMatrix, SplitMix64};

use super::config::Config;
use super::error::Error;
use super::linear::{LayerLinears, Linear, LinearSet, Place, Role, Storage, Unpacked};
use super::parts::{Embedding, LayerNorms, Matrix, ModelParts};
use super::rope::{Rope, Scaling};

/// Positions before the cache of a shape model without a prompt wraps: enough for attention to be real, too few for
/// it to matter beside the linear layers.
const CONTEXT: usize = 64;

/// Embeddings of a complete shape, which its tokens take in turn.
const ROWS: usize = 64;

/// The layer shape of a published model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Preset {
    pub name: &'static str,
    /// One line for listings.
    pub about: &'static str,
    pub hidden: usize,
    pub ffn: usize,
    pub heads: usize,
    pub kv_heads: usize,
    pub head_dim: usize,
    /// Layers of the whole model.
    pub layers: usize,
    /// Tokens of its vocabulary; of a slice, as many as it has rows of the head.
    pub vocab: usize,
}

/// Every preset.
pub const PRESETS: &[Preset] = &[
    Preset {
        name: "llama2-7b",
        about: "LLaMA-2-7B (arXiv:2307.09288)",
        hidden: 4096,
        ffn: 11_008,
        heads: 32,
        kv_heads: 32,
        head_dim: 128,
        layers: 32,
        vocab: 32_000,
    },
    Preset {
        name: "llama3-8b",
        about: "LLaMA-3-8B (arXiv:2407.21783)",
        hidden: 4096,
        ffn: 14_336,
        heads: 32,
        kv_heads: 8,
        head_dim: 128,
        layers: 32,
        vocab: 128_256,
    },
    Preset {
        name: "llama70b",
        about: "LLaMA-3-70B (arXiv:2407.21783)",
        hidden: 8192,
        ffn: 28_672,
        heads: 64,
        kv_heads: 8,
        head_dim: 128,
        layers: 80,
        vocab: 128_256,
    },
    Preset {
        name: "llama70b-tp8",
        about: "one of eight tensor-parallel slices of LLaMA-3-70B",
        hidden: 8192,
        ffn: 3584,
        heads: 8,
        kv_heads: 1,
        head_dim: 128,
        layers: 80,
        vocab: 16_032,
    },
];

impl Preset {
    /// Weights of the linear layers of one layer.
    pub fn weights(&self) -> usize {
        let config = self.config(1);
        Role::ALL.iter().map(|role| role.shape(&config)).map(|(rows, cols)| rows * cols).sum()
    }

    /// The configuration of a shape model of `layers` layers: no head, and one token.
    pub fn config(&self, layers: usize) -> Config {
        Config {
            hidden: self.hidden,
            ffn: self.ffn,
            layers,
            heads: self.heads,
            kv_heads: self.kv_heads,
            head_dim: self.head_dim,
            vocab: 1,
            context: CONTEXT,
            norm_eps: 1e-5,
            rope: Rope { theta: 10_000.0, scaling: Scaling::None },
            qkv_bias: false,
            tied_head: false,
            bos: None,
            eos: Vec::new(),
        }
    }

    /// The configuration of `layers` layers with a head, for texts of `positions` positions.
    pub fn complete_config(&self, layers: usize, positions: usize) -> Config {
        Config { vocab: self.vocab, context: positions, ..self.config(layers) }
    }
}

impl fmt::Display for Preset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl FromStr for Preset {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        let found = PRESETS.iter().find(|preset| preset.name == name);
        found.copied().ok_or_else(|| Error::Preset {
            found: name.to_owned(),
            valid: PRESETS.iter().map(|p| p.name).collect::<Vec<_>>().join(", "),
        })
    }
}

/// A model of `preset` shape: parts and copies of its linear layers, ready for a decoder.
#[derive(Clone, Debug)]
pub struct ShapeModel {
    pub parts: Arc<ModelParts>,
    /// Equal sets at distinct addresses.
    pub sets: Vec<LinearSet>,
    /// How long it took to put the codes of one set into their layouts.
    pub packing: Duration,
}

impl ShapeModel {
    /// `layers` layers of `preset` in `copies` copies, with weights drawn from `seed`.
    ///
    /// # Errors
    ///
    /// When `layers` or `copies` is zero, or the layout of `storage` is not offered for its format.
    pub fn new(
        preset: &Preset,
        layers: usize,
        copies: usize,
        seed: u64,
        storage: impl Fn(Place) -> Storage,
    ) -> Result<Self, Error> {
        for (what, found) in [("the number of layers", layers), ("the number of copies", copies)] {
            if found == 0 {
                return Err(Error::Zero { what, found });
            }
        }
        let parts = parts(preset, layers, seed, 0, 0);
        let mut unpacked = LinearSet { layers: Vec::with_capacity(layers), head: None };
        for layer in 0..layers {
            unpacked.layers.push(LayerLinears::try_from_fn(|role| {
                let place = Place::Layer(layer, role);
                let shape = role.shape(&parts.config);
                random_linear(shape, storage(place), seed_of(seed, place, layers))
                    .map_err(|cause| Error::Quantize { place, cause })
            })?);
        }
        let (set, packing) = unpacked.packed()?;
        // Gigabytes of fresh pages: every core takes its share of the faults.
        let mut sets: Vec<LinearSet> = (1..copies).into_par_iter().map(|_| set.duplicate()).collect();
        sets.push(set);
        Ok(Self { parts: Arc::new(parts), sets, packing })
    }
}

/// A complete model of `preset` shape, or its first `layers` layers with the head behind them, for `positions`
/// positions; weights are drawn from `seed`.
///
/// # Errors
///
/// When `layers` is zero, or the layout of `storage` is not offered for its format.
pub fn complete(
    preset: &Preset,
    layers: usize,
    positions: usize,
    seed: u64,
    storage: impl Fn(Place) -> Storage + Sync,
) -> Result<(ModelParts, LinearSet), Error> {
    if layers == 0 {
        return Err(Error::Zero { what: "the number of layers", found: 0 });
    }
    let config = preset.complete_config(layers, positions);
    let linear = |place: Place| {
        let packed = random_linear(place.shape(&config), storage(place), seed_of(seed, place, layers));
        packed.and_then(|unpacked| unpacked.packed()).map_err(|cause| Error::Quantize { place, cause })
    };
    let layer = |layer| LayerLinears::try_from_fn(|role| linear(Place::Layer(layer, role)));
    // Gigabytes: every core takes its share, and no more codes are without a layout than there are cores.
    let set = LinearSet {
        layers: (0..layers).into_par_iter().map(layer).collect::<Result<_, Error>>()?,
        head: Some(linear(Place::Head)?),
    };
    let rows = normal(ROWS * preset.hidden, 1.0, seed);
    let parts = ModelParts {
        embedding: Embedding::InTurn(Matrix { rows: ROWS, cols: preset.hidden, values: rows }),
        config,
        wraps: false,
        ..parts(preset, layers, seed, 0, 0)
    };
    Ok((parts, set))
}

/// Everything but the linear layers, for a prompt of `prompt` tokens (0: none) and `tokens` behind it.
/// The "embedding" has a row for each token of the prompt; the tokens behind it all are the first.
pub fn parts(preset: &Preset, layers: usize, seed: u64, prompt: usize, tokens: usize) -> ModelParts {
    let vocab = prompt.max(1);
    // A text that is read again leaves room for a token behind it.
    let context = if prompt == 0 { CONTEXT } else { prompt + tokens + 1 };
    let config = Config { vocab, context, ..preset.config(layers) };
    let ones = vec![1.0; preset.hidden];
    let norms = LayerNorms { attention: ones.clone(), ffn: ones.clone() };
    ModelParts {
        embedding: Embedding::Matrix(Matrix {
            rows: vocab,
            cols: preset.hidden,
            values: normal(vocab * preset.hidden, 1.0, seed),
        }),
        norms: vec![norms; layers],
        biases: Vec::new(),
        final_norm: ones,
        frequencies: config.rope.frequencies(preset.head_dim),
        wraps: prompt == 0,
        config,
    }
}

/// Each matrix has a seed of its own: the seed itself is the embedding's.
fn seed_of(seed: u64, place: Place, layers: usize) -> u64 {
    let number = match place {
        Place::Layer(layer, role) => layer * Role::ALL.len() + role as usize,
        Place::Head => layers * Role::ALL.len(),
    };
    SplitMix64::new(seed ^ (1 + number as u64) << 32).next()
}

/// Weights of about `1/√cols`, so that activations keep their size from layer to layer.
fn random_linear((rows, cols): (usize, usize), storage: Storage, seed: u64) -> Result<Unpacked, QuantizeError> {
    match storage {
        Storage::F32 => {
            let values = normal(rows * cols, 1.0 / (cols as f32).sqrt(), seed);
            Ok(Unpacked::Ready(Linear::F32(Arc::new(Matrix { rows, cols, values }))))
        }
        Storage::Quantized { format, layout, granularity } => {
            Ok(Unpacked::Codes(QuantizedMatrix::random(rows, cols, format, granularity, seed)?, layout))
        }
    }
}

/// `n` normal values of this standard deviation.
fn normal(n: usize, deviation: f32, seed: u64) -> Vec<f32> {
    let mut random = SplitMix64::new(seed);
    (0..n).map(|_| deviation * random.normal_f32()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn presets_have_distinct_names_that_parse_back() {
        for preset in PRESETS {
            assert_eq!(preset.to_string().parse::<Preset>().expect("known"), *preset);
            assert!(preset.heads.is_multiple_of(preset.kv_heads));
        }
        let message = "gpt".parse::<Preset>().expect_err("unknown").to_string();
        assert!(message.contains("llama70b-tp8"), "{message}");
    }
}
