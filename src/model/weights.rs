//! Weights of a Hugging Face folder: one or several safetensors files in F32, F16 or BF16, upcast
//! to `f32` and checked tensor by tensor.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use half::{bf16, f16};
use safetensors::{Dtype, SafeTensors};
use septet_kernels::ops::rope::RotaryTable;
use serde::Deserialize;

use super::config::Config;
use super::error::Error;
use super::linear::{LayerLinears, Linear, LinearSet, Role};
use crate::digest;

const SINGLE_FILE: &str = "model.safetensors";
const INDEX_FILE: &str = "model.safetensors.index.json";

/// A row-major `f32` matrix (rows, cols).
#[derive(Clone, Debug, PartialEq)]
pub struct Matrix {
    pub rows: usize,
    pub cols: usize,
    /// (rows, cols)
    pub values: Vec<f32>,
}

impl Matrix {
    /// Row `r`: (cols).
    pub fn row(&self, r: usize) -> &[f32] {
        &self.values[r * self.cols..(r + 1) * self.cols]
    }
}

/// Norm weights of one layer.
#[derive(Clone, Debug)]
pub struct LayerNorms {
    /// (hidden), before attention
    pub attention: Vec<f32>,
    /// (hidden), before the feed-forward layer
    pub ffn: Vec<f32>,
}

/// All of a model but its linear layers: immutable, shared by every decoder that runs it.
#[derive(Clone, Debug)]
pub struct ModelParts {
    pub config: Config,
    /// (vocab, hidden)
    pub embedding: Arc<Matrix>,
    pub norms: Vec<LayerNorms>,
    /// (hidden), before the head
    pub final_norm: Vec<f32>,
    pub rotary: RotaryTable,
    /// At the end of the context the decoder starts again at position 0 instead of refusing: for
    /// shape models, which have no text.
    pub wraps: bool,
}

/// One safetensors file: where it lies and what it holds.
pub type Shard = (PathBuf, Cow<'static, [u8]>);

/// Reads all safetensors files of `folder`.
///
/// # Errors
///
/// When `folder` is a file, when there is neither `model.safetensors` nor an index, or when a file
/// that the index names can not be read.
pub fn read_shards(folder: &Path) -> Result<Vec<Shard>, Error> {
    #[derive(Deserialize)]
    struct Index {
        weight_map: std::collections::BTreeMap<String, PathBuf>,
    }

    check_folder(folder)?;
    let index = folder.join(INDEX_FILE);
    let names = if index.exists() {
        let json = read(&index)?;
        let Index { weight_map } = serde_json::from_slice(&json).map_err(|cause| Error::Json { file: index, cause })?;
        weight_map.into_values().collect()
    } else {
        BTreeSet::from([PathBuf::from(SINGLE_FILE)])
    };
    names
        .into_iter()
        .map(|name| {
            let file = folder.join(name);
            let bytes = read(&file)?;
            Ok((file, Cow::Owned(bytes)))
        })
        .collect()
}

/// SHA-256 of the bytes of `shards`, in their order.
pub fn sha256(shards: &[Shard]) -> String {
    digest::sha256(shards.iter().map(|(_, bytes)| bytes.as_ref()))
}

/// Refuses the path of a file, which is easily taken for the model.
pub(super) fn check_folder(folder: &Path) -> Result<(), Error> {
    if folder.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("gguf")) && !folder.is_dir() {
        return Err(Error::Gguf { file: folder.to_owned() });
    }
    if folder.is_file() {
        return Err(Error::NotAFolder { file: folder.to_owned() });
    }
    Ok(())
}

/// Reads a file, or says which one could not be read.
pub(super) fn read(file: &Path) -> Result<Vec<u8>, Error> {
    std::fs::read(file).map_err(|cause| Error::Read { file: file.to_owned(), cause })
}

/// Takes the tensors that `config` asks for out of `shards`.
///
/// # Errors
///
/// For a tensor that is missing, has another shape or dtype, or holds a value that is not finite.
pub fn load(config: Config, shards: &[Shard]) -> Result<(ModelParts, LinearSet), Error> {
    let tensors = Tensors::open(shards)?;
    let (hidden, vocab) = (config.hidden, config.vocab);
    let matrix = |name: &str, (rows, cols): (usize, usize)| -> Result<Arc<Matrix>, Error> {
        let values = tensors.take(name, &[rows, cols])?;
        Ok(Arc::new(Matrix { rows, cols, values }))
    };
    let norm = |name: &str| tensors.take(name, &[hidden]);

    let embedding = matrix("model.embed_tokens.weight", (vocab, hidden))?;
    let head = if config.tied_head { Arc::clone(&embedding) } else { matrix("lm_head.weight", (vocab, hidden))? };
    let mut norms = Vec::with_capacity(config.layers);
    let mut layers = Vec::with_capacity(config.layers);
    for layer in 0..config.layers {
        let prefix = format!("model.layers.{layer}");
        norms.push(LayerNorms {
            attention: norm(&format!("{prefix}.input_layernorm.weight"))?,
            ffn: norm(&format!("{prefix}.post_attention_layernorm.weight"))?,
        });
        layers.push(LayerLinears::try_from_fn(|role| {
            let name = format!("{prefix}.{}.weight", tensor_name(role));
            Ok::<_, Error>(Linear::F32(matrix(&name, role.shape(&config))?))
        })?);
    }
    let final_norm = norm("model.norm.weight")?;
    let linears = LinearSet { layers, head: Some(Linear::F32(head)) };
    let parts = ModelParts {
        rotary: RotaryTable::new(config.context, config.head_dim, config.rope_theta),
        config,
        embedding,
        norms,
        final_norm,
        wraps: false,
    };
    Ok((parts, linears))
}

/// The name of a layer's linear in a Hugging Face LLaMA checkpoint.
fn tensor_name(role: Role) -> &'static str {
    match role {
        Role::Q => "self_attn.q_proj",
        Role::K => "self_attn.k_proj",
        Role::V => "self_attn.v_proj",
        Role::O => "self_attn.o_proj",
        Role::Gate => "mlp.gate_proj",
        Role::Up => "mlp.up_proj",
        Role::Down => "mlp.down_proj",
    }
}

/// The tensors of all shards.
struct Tensors<'a> {
    shards: Vec<(&'a Path, SafeTensors<'a>)>,
}

impl<'a> Tensors<'a> {
    fn open(shards: &'a [Shard]) -> Result<Self, Error> {
        let shards = shards
            .iter()
            .map(|(file, bytes)| {
                let tensors = SafeTensors::deserialize(bytes)
                    .map_err(|error| Error::Safetensors { file: file.clone(), reason: error.to_string() })?;
                Ok((file.as_path(), tensors))
            })
            .collect::<Result<_, Error>>()?;
        Ok(Self { shards })
    }

    /// The values of tensor `name`, which must have `shape` and be finite.
    fn take(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, Error> {
        let found = self.shards.iter().find_map(|(file, tensors)| Some((*file, tensors.tensor(name).ok()?)));
        let Some((file, view)) = found else {
            return Err(Error::MissingTensor { file: self.location(), tensor: name.to_owned() });
        };
        if view.shape() != shape {
            return Err(Error::Shape {
                file: file.to_owned(),
                tensor: name.to_owned(),
                found: view.shape().to_vec(),
                expected: shape.to_vec(),
            });
        }
        let values = upcast(view.dtype(), view.data()).ok_or_else(|| Error::Dtype {
            file: file.to_owned(),
            tensor: name.to_owned(),
            found: format!("{:?}", view.dtype()),
        })?;
        match values.iter().position(|value| !value.is_finite()) {
            None => Ok(values),
            Some(index) => Err(Error::NonFiniteWeight {
                file: file.to_owned(),
                tensor: name.to_owned(),
                index,
                value: values[index],
            }),
        }
    }

    /// What to name when a tensor is in no shard: the file, or the folder of several.
    fn location(&self) -> PathBuf {
        match self.shards.as_slice() {
            [(file, _)] => file.to_path_buf(),
            [(file, _), ..] => file.parent().unwrap_or(file).to_owned(),
            [] => PathBuf::from(INDEX_FILE),
        }
    }
}

/// Little-endian bytes as `f32`; every F16 and BF16 value is exact. `None` for other dtypes.
fn upcast(dtype: Dtype, bytes: &[u8]) -> Option<Vec<f32>> {
    let (pairs, _) = bytes.as_chunks::<2>();
    let (quads, _) = bytes.as_chunks::<4>();
    match dtype {
        Dtype::F32 => Some(quads.iter().map(|b| f32::from_le_bytes(*b)).collect()),
        Dtype::F16 => Some(pairs.iter().map(|b| f16::from_le_bytes(*b).to_f32()).collect()),
        Dtype::BF16 => Some(pairs.iter().map(|b| bf16::from_le_bytes(*b).to_f32()).collect()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_three_dtypes_upcast_exactly() {
        let value = -1.5_f32;
        for (dtype, bytes) in [
            (Dtype::F32, value.to_le_bytes().to_vec()),
            (Dtype::F16, f16::from_f32(value).to_le_bytes().to_vec()),
            (Dtype::BF16, bf16::from_f32(value).to_le_bytes().to_vec()),
        ] {
            assert_eq!(upcast(dtype, &bytes), Some(vec![value]), "{dtype:?}");
        }
        assert_eq!(upcast(Dtype::I8, &[1]), None);
    }

    #[test]
    fn files_are_no_model_folders() {
        assert!(matches!(read_shards(Path::new("/nowhere/model.GGUF")), Err(Error::Gguf { .. })));
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/tiny/model.safetensors");
        assert!(matches!(read_shards(&file), Err(Error::NotAFolder { .. })));
    }
}
