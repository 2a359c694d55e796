//! The tensors of a Hugging Face folder: one or several safetensors files.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use safetensors::{Dtype, SafeTensors};
use septet_kernels::PackedMatrix;
use serde::Deserialize;

use super::bytes::{FileBytes, FileSlice};
use super::encoding::Encoding;
use super::packed::{self, Manifest};
use super::tensor::{RowOrder, StoredTensor, Tensor, Tensors};
use crate::digest;
use crate::model::config::Config;
use crate::model::error::Error;
use crate::model::linear::Place;

/// Weights, where one file holds them all.
pub(super) const WEIGHTS: &str = "model.safetensors";
/// What names the files of weights, where there are several.
pub(super) const INDEX_FILE: &str = "model.safetensors.index.json";

/// Where a file keeps a tensor.
struct Entry {
    dtype: Dtype,
    /// Outermost dimension first.
    shape: Vec<usize>,
    bytes: FileSlice,
}

/// The tensors of safetensors files.
pub struct Shards {
    files: Vec<Arc<FileBytes>>,
    entries: BTreeMap<String, Entry>,
    /// The file, or the folder of several.
    location: PathBuf,
    /// Of a quantized checkpoint.
    manifest: Option<Manifest>,
}

impl Shards {
    /// Maps `model.safetensors` of `folder`, or the files that its index names.
    ///
    /// # Errors
    ///
    /// When there is neither, a file that the index names can not be read, and as [`Shards::new`].
    pub fn open(folder: &Path) -> Result<Self, Error> {
        let names = weight_files(folder)?;
        let files: Result<Vec<FileBytes>, Error> =
            names.iter().map(|name| FileBytes::map(&folder.join(name))).collect();
        Ok(Self { manifest: Manifest::find(folder)?, ..Self::new(folder, files?)? })
    }

    /// The tensors of `files`, which lie in `folder`.
    ///
    /// # Errors
    ///
    /// For a file that is no safetensors file, or is truncated, and a tensor that two files hold.
    pub fn new(folder: &Path, files: Vec<FileBytes>) -> Result<Self, Error> {
        let files: Vec<Arc<FileBytes>> = files.into_iter().map(Arc::new).collect();
        let mut entries: BTreeMap<String, Entry> = BTreeMap::new();
        for file in &files {
            let damaged = |reason: String| Error::Safetensors { file: file.file().to_owned(), reason };
            let (header, metadata) = SafeTensors::read_metadata(file).map_err(|error| damaged(error.to_string()))?;
            // Tensors lie behind the header and its length, which is eight bytes.
            let data = 8 + header;
            for (name, info) in metadata.tensors() {
                let (start, end) = info.data_offsets;
                let Some(bytes) = FileSlice::new(file, data + start..data + end) else {
                    return Err(damaged(format!("tensor `{name}` lies beyond the end")));
                };
                let entry = Entry { dtype: info.dtype, shape: info.shape.clone(), bytes };
                if let Some(other) = entries.insert(name.clone(), entry) {
                    let (file, other) = (file.file().to_owned(), other.bytes.file().to_owned());
                    return Err(Error::Twice { file, tensor: name, other });
                }
            }
        }
        let location = match files.as_slice() {
            [file] => file.file().to_owned(),
            _ => folder.to_owned(),
        };
        Ok(Self { files, entries, location, manifest: None })
    }
}

/// The files of `folder` that hold weights: those that its index names, or `model.safetensors` without one.
///
/// # Errors
///
/// For an index that can not be read, or names a file of another folder.
pub(super) fn weight_files(folder: &Path) -> Result<BTreeSet<String>, Error> {
    #[derive(Deserialize)]
    struct Index {
        weight_map: BTreeMap<String, String>,
    }

    let index = folder.join(INDEX_FILE);
    if !index.exists() {
        return Ok(BTreeSet::from([WEIGHTS.to_owned()]));
    }
    let json = FileBytes::read(&index)?;
    let parsed: Result<Index, _> = serde_json::from_slice(&json);
    let Index { weight_map } = parsed.map_err(|cause| Error::Json { file: index.clone(), cause })?;
    let names: BTreeSet<String> = weight_map.into_values().collect();
    // A name with a folder in it could lead anywhere.
    match names.iter().find(|name| Path::new(name).file_name() != Some(name.as_ref())) {
        Some(name) => Err(Error::Shard { file: index, name: name.clone() }),
        None => Ok(names),
    }
}

impl Tensors for Shards {
    fn find(&self, tensor: Tensor, _: &Config) -> Result<Option<StoredTensor>, Error> {
        let name = tensor.hugging_face();
        let Some(Entry { dtype, shape, bytes }) = self.entries.get(&name) else { return Ok(None) };
        let encoding = match dtype {
            Dtype::F32 => Encoding::F32,
            Dtype::F16 => Encoding::F16,
            Dtype::BF16 => Encoding::Bf16,
            other => {
                let (file, found) = (bytes.file().to_owned(), format!("{other:?}"));
                return Err(Error::Dtype { file, tensor: name, found });
            }
        };
        StoredTensor::new(name, shape, encoding, RowOrder::Plain, bytes.clone()).map(Some)
    }

    fn packed(&self, place: Place, config: &Config) -> Result<Option<PackedMatrix>, Error> {
        let name = Tensor::Linear(place).hugging_face();
        let Some(packing) = self.manifest.as_ref().and_then(|manifest| manifest.linears.get(&name)) else {
            return Ok(None);
        };
        let Some(Entry { bytes, .. }) = self.entries.get(&name) else {
            return Err(Error::MissingTensor { file: self.location.clone(), tensor: name });
        };
        let (rows, cols) = place.shape(config);
        let folder = bytes.file().parent().unwrap_or(bytes.file());
        packed::from_bytes(bytes, packing.shape(rows, cols, folder, &name)?, &name).map(Some)
    }

    fn name(&self, tensor: Tensor) -> String {
        tensor.hugging_face()
    }

    fn location(&self) -> &Path {
        &self.location
    }

    fn sha256(&self) -> String {
        digest::sha256(self.files.iter().map(|file| &***file))
    }
}

#[cfg(test)]
mod tests {
    use safetensors::tensor::TensorView;

    use super::*;

    fn file(name: &str, tensors: &[&str]) -> FileBytes {
        let bytes = 1.0_f32.to_le_bytes();
        let views = tensors.iter().map(|tensor| (*tensor, TensorView::new(Dtype::F32, vec![1], &bytes).expect("fits")));
        FileBytes::owned(PathBuf::from(name), safetensors::serialize(views, None).expect("serializes"))
    }

    #[test]
    fn a_tensor_may_be_in_one_file_only() {
        let files = vec![file("a", &["x", "y"]), file("b", &["y"])];
        let Err(error) = Shards::new(Path::new("m"), files) else { panic!("took one of two") };
        let message = error.to_string();
        assert!(message.contains("b: tensor `y`") && message.contains("in a"), "{message}");
    }

    #[test]
    fn an_index_names_files_of_its_folder() {
        let folder = tempfile::tempdir().expect("temporary folder");
        for name in ["../other", "/etc/passwd", ".."] {
            let index = serde_json::json!({ "weight_map": { "x": name } }).to_string();
            std::fs::write(folder.path().join(INDEX_FILE), index).expect("writes");
            let Err(error) = Shards::open(folder.path()) else { panic!("followed {name}") };
            assert!(error.to_string().contains(name), "{error}");
        }
    }
}
