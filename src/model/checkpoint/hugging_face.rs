//! A Hugging Face folder: what its files say of texts, and its tensors, in one or several safetensors files.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use safetensors::{Dtype, SafeTensors};
use septet_kernels::PackedMatrix;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::bytes::{FileBytes, FileSlice};
use super::encoding::Encoding;
use super::packed::{self, Manifest};
use super::tensor::{RowOrder, StoredTensor, Tensor, Tensors};
use crate::digest;
use crate::model::chat::{self, Chat};
use crate::model::config::Config;
use crate::model::error::Error;
use crate::model::linear::Place;

/// Weights, where one file holds them all.
pub(super) const WEIGHTS: &str = "model.safetensors";
const INDEX_FILE: &str = "model.safetensors.index.json";

/// What `tokenizer_config.json` says of texts.
#[derive(Default, Deserialize)]
pub(super) struct Settings {
    add_bos_token: Option<bool>,
    tokenizer_class: Option<String>,
    chat_template: Option<Value>,
    #[serde(flatten)]
    others: Map<String, Value>,
}

/// `chat_template` is one template, or several with names.
#[derive(Deserialize)]
#[serde(untagged)]
enum Templates {
    One(String),
    Named(Vec<Template>),
}

#[derive(Deserialize)]
struct Template {
    name: String,
    template: String,
}

impl Settings {
    /// Reads `file`; a folder need not have it.
    ///
    /// # Errors
    ///
    /// For a file that is no JSON object, or has values of another kind.
    pub fn read(file: Option<&FileBytes>) -> Result<Self, Error> {
        let Some(file) = file else { return Ok(Self::default()) };
        serde_json::from_slice(file).map_err(|cause| Error::Json { file: file.file().to_owned(), cause })
    }

    /// The token that begins a text: that of `config`, unless none is put there. Without an answer it is the class of
    /// the tokenizer that says so, as in Hugging Face's: those of GPT-2 and Qwen 2 put none.
    pub fn bos(&self, config: &Config) -> Option<u32> {
        let begins = |class: &String| !["GPT2", "Qwen2"].iter().any(|none| class.starts_with(none));
        let begins = self.add_bos_token.unwrap_or(self.tokenizer_class.as_ref().is_none_or(begins));
        config.bos.filter(|_| begins)
    }

    /// The text of the token that ends a text. Of a model for chats it ends an answer, which the token that
    /// `config.json` names may not.
    pub fn eos(&self) -> Option<&str> {
        self.others.get("eos_token").and_then(token)
    }

    /// The chat templates of these settings, which were read from `file`, or the one in the file `template`, which
    /// newer models have instead. `folder` serves messages only.
    ///
    /// # Errors
    ///
    /// For templates that are no text, or not UTF-8.
    pub fn chat(&self, file: Option<&FileBytes>, template: Option<&FileBytes>, folder: &Path) -> Result<Chat, Error> {
        let tokens = self.others.iter().filter(|(name, _)| name.ends_with("_token"));
        let tokens = tokens.filter_map(|(name, value)| Some((name.clone(), token(value)?.to_owned())));
        let mut chat = Chat { file: folder.to_owned(), templates: BTreeMap::new(), tokens: tokens.collect() };
        if let Some(template) = template {
            let file = template.file().to_owned();
            let text = str::from_utf8(template).map_err(|error| {
                let (file, reason) = (file.clone(), format!("is not UTF-8: {error}: replace the file, or delete it"));
                Error::ChatTemplate { file, reason }
            })?;
            chat.templates.insert(chat::DEFAULT.to_owned(), text.to_owned());
            chat.file = file;
        } else if let (Some(file), Some(value)) = (file, &self.chat_template) {
            let templates = Templates::deserialize(value).map_err(|_| Error::Config {
                file: file.file().to_owned(),
                key: "chat_template".to_owned(),
                found: "something else".to_owned(),
                valid: "a text, or a list of objects with a `name` and a `template`".to_owned(),
            })?;
            chat.templates = match templates {
                Templates::One(template) => BTreeMap::from([(chat::DEFAULT.to_owned(), template)]),
                Templates::Named(named) => named.into_iter().map(|one| (one.name, one.template)).collect(),
            };
            chat.file = file.file().to_owned();
        }
        Ok(chat)
    }
}

/// The text of a special token, which is described by its text, or by an object that holds it.
fn token(value: &Value) -> Option<&str> {
    value.as_str().or_else(|| value.get("content")?.as_str())
}

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
        #[derive(Deserialize)]
        struct Index {
            weight_map: BTreeMap<String, String>,
        }

        let index = folder.join(INDEX_FILE);
        let names = if index.exists() {
            let json = FileBytes::read(&index)?;
            let parsed: Result<Index, _> = serde_json::from_slice(&json);
            let Index { weight_map } = parsed.map_err(|cause| Error::Json { file: index.clone(), cause })?;
            let names: BTreeSet<String> = weight_map.into_values().collect();
            // A name with a folder in it could lead anywhere.
            if let Some(name) = names.iter().find(|name| Path::new(name).file_name() != Some(name.as_ref())) {
                return Err(Error::Shard { file: index, name: name.clone() });
            }
            names
        } else {
            BTreeSet::from([WEIGHTS.to_owned()])
        };
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
    fn a_template_is_in_a_file_or_in_the_settings() {
        let json = |name: &str, bytes: &str| FileBytes::owned(PathBuf::from(name), bytes.as_bytes().to_vec());
        let chat = |settings: &str, template: Option<&FileBytes>| {
            let file = json("tokenizer_config.json", settings);
            Settings::read(Some(&file))?.chat(Some(&file), template, Path::new("m"))
        };
        let tokens = r#""bos_token": "<s>", "eos_token": {"content": "</s>", "lstrip": false}, "pad_token": null"#;
        let settings = format!(r#"{{"chat_template": "settings", "add_bos_token": true, {tokens}}}"#);

        let from_settings = chat(&settings, None).expect("valid");
        assert_eq!(from_settings.templates, BTreeMap::from([("default".to_owned(), "settings".to_owned())]));
        assert_eq!(from_settings.file, Path::new("tokenizer_config.json"));
        let expected = [("bos_token", "<s>"), ("eos_token", "</s>")].map(|(name, text)| (name.into(), text.into()));
        assert_eq!(from_settings.tokens, BTreeMap::from(expected));

        let template = json("chat_template.jinja", "file");
        let from_file = chat(&settings, Some(&template)).expect("valid");
        assert_eq!((&*from_file.templates["default"], from_file.tokens.len()), ("file", 2));
        assert_eq!(from_file.file, Path::new("chat_template.jinja"));

        let named = r#"{"chat_template": [{"name": "rag", "template": "r"}, {"name": "default", "template": "d"}]}"#;
        assert_eq!(chat(named, None).expect("valid").templates["default"], "d");
        assert!(chat(r#"{"chat_template": null}"#, None).expect("valid").templates.is_empty());

        let Err(error) = chat(r#"{"chat_template": 5}"#, None) else { panic!("took a number") };
        assert!(error.to_string().contains("tokenizer_config.json: key `chat_template`"), "{error}");
        let binary = FileBytes::owned(PathBuf::from("chat_template.jinja"), vec![0xff]);
        let Err(error) = chat("{}", Some(&binary)) else { panic!("took bytes") };
        assert!(error.to_string().contains("chat_template.jinja: the chat template is not UTF-8"), "{error}");
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
