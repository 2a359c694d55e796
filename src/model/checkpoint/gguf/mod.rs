//! One GGUF file: configuration, tokenizer and weights together.

mod config;
mod file;
mod reader;
mod tokenizer;
#[cfg(test)]
mod writer;

use std::collections::BTreeMap;
use std::path::Path;

pub use file::Gguf;

use serde_json::json;

use super::bytes::FileBytes;
use super::tensor::{RowOrder, StoredTensor, Tensor, Tensors};
use super::{Checkpoint, Texts};
use crate::digest;
use crate::model::chat::{self, Chat};
use crate::model::config::Config;
use crate::model::error::Error;
use crate::model::linear::{Place, Role};
use crate::model::tokenizer::Tokenizer;

/// Names of special tokens in chat templates, and the keys of their ids.
const SPECIAL_TOKENS: [(&str, &str); 4] = [
    ("bos_token", "tokenizer.ggml.bos_token_id"),
    ("eos_token", "tokenizer.ggml.eos_token_id"),
    ("unk_token", "tokenizer.ggml.unknown_token_id"),
    ("pad_token", "tokenizer.ggml.padding_token_id"),
];

/// Opens the model in `bytes`.
///
/// # Errors
///
/// For a file that is damaged, of another architecture, or without a tensor that its keys ask for.
pub fn open(bytes: FileBytes) -> Result<Checkpoint, Error> {
    let file = Gguf::parse(bytes)?;
    let (config, config_json) = config::config(&file)?;
    let json = tokenizer::tokenizer_json(&file)?.to_string().into_bytes();
    let begins = match file.boolean("tokenizer.ggml.add_bos_token")? {
        Some(begins) => begins,
        None => tokenizer::begins_texts(&file)?,
    };
    let bos = config.bos.filter(|_| begins);
    let tokenizer = Tokenizer::parse(&json, file.file(), config.vocab, bos)?;
    let chat = chat(&file, &tokenizer)?;
    let mut tokenizer_config = json!({ "add_bos_token": begins, "chat_template": chat.templates.get(chat::DEFAULT) });
    for (name, text) in &chat.tokens {
        tokenizer_config[name] = text.as_str().into();
    }
    let texts = Texts {
        config: config_json.to_string().into_bytes(),
        tokenizer: json,
        tokenizer_config: Some(tokenizer_config.to_string().into_bytes()),
        template: None,
    };
    // Neighbours of a head are rotated together in files of this architecture, halves in those of others.
    let interleaved = file.text("general.architecture")? == Some("llama");
    Checkpoint::new(config, tokenizer, chat, texts, Box::new(Weights { file, interleaved }))
}

/// The chat template of the file, and the texts of special tokens.
fn chat(file: &Gguf, tokenizer: &Tokenizer) -> Result<Chat, Error> {
    let template = file.text("tokenizer.chat_template")?;
    let templates = template.map(|text| (chat::DEFAULT.to_owned(), text.to_owned())).into_iter().collect();
    let mut tokens = BTreeMap::new();
    for (name, key) in SPECIAL_TOKENS {
        let id = file.integer(key)?.and_then(|id| u32::try_from(id).ok());
        tokens.extend(id.and_then(|id| tokenizer.text(id)).map(|text| (name.to_owned(), text)));
    }
    Ok(Chat { file: file.file().to_owned(), templates, tokens })
}

/// The tensors of the file.
struct Weights {
    file: Gguf,
    /// Rows of q and k are stored interleaved.
    interleaved: bool,
}

impl Tensors for Weights {
    fn find(&self, tensor: Tensor, config: &Config) -> Result<Option<StoredTensor>, Error> {
        let order = match tensor {
            Tensor::Linear(Place::Layer(_, Role::Q | Role::K)) if self.interleaved => {
                RowOrder::Interleaved { head_dim: config.head_dim }
            }
            _ => RowOrder::Plain,
        };
        self.file.tensor(&tensor.gguf(), order)
    }

    fn name(&self, tensor: Tensor) -> String {
        tensor.gguf()
    }

    fn location(&self) -> &Path {
        self.file.file()
    }

    fn sha256(&self) -> String {
        digest::sha256([self.file.bytes()])
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::sync::Arc;

    use safetensors::{Dtype, SafeTensors};
    use septet_kernels::{Format, Granularity, Layout};
    use serde_json::Value;

    use super::super::encoding::Encoding;
    use super::writer::{ARRAY, BOOL, F32, I32, TENSOR_F32, TEXT, U32, array, described, file, pair, text};
    use super::*;
    use crate::model::{Decoder, Execution, LinearSet, Storage, builtin};
    use crate::pool::ThreadPool;

    /// The type number of F16.
    const TENSOR_F16: u32 = 1;

    /// The built-in model, to be written as a GGUF file.
    struct Files {
        values: Vec<(&'static str, Vec<u8>)>,
        tensors: Vec<Entry>,
    }

    struct Entry {
        name: String,
        /// Innermost first.
        dimensions: Vec<u64>,
        kind: u32,
        bytes: Vec<u8>,
    }

    impl Files {
        fn built_in() -> Self {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/tiny");
            let read = |name| std::fs::read(folder.join(name)).expect("in the repository");
            let tokenizer: Value = serde_json::from_slice(&read("tokenizer.json")).expect("JSON");
            let model = &tokenizer["model"];
            let mut tokens: Vec<(u64, &str)> = model["vocab"]
                .as_object()
                .expect("a map")
                .iter()
                .map(|(token, id)| (id.as_u64().expect("an id"), token.as_str()))
                .collect();
            tokens.sort_unstable();
            let tokens: Vec<Vec<u8>> = tokens.iter().map(|(_, token)| text(token)).collect();
            let kinds: Vec<Vec<u8>> =
                (0..tokens.len()).map(|id| if id == 0 { 3_i32 } else { 1 }.to_le_bytes().to_vec()).collect();
            let merge = |pair: &Value| {
                text(format!("{} {}", pair[0].as_str().expect("a token"), pair[1].as_str().expect("a token")))
            };
            let merges: Vec<Vec<u8>> = model["merges"].as_array().expect("a list").iter().map(merge).collect();
            let values = vec![
                ("general.architecture", text("llama")),
                ("llama.context_length", 512_u32.to_le_bytes().to_vec()),
                ("llama.embedding_length", 256_u32.to_le_bytes().to_vec()),
                ("llama.block_count", 4_u32.to_le_bytes().to_vec()),
                ("llama.feed_forward_length", 640_u32.to_le_bytes().to_vec()),
                ("llama.attention.head_count", 8_u32.to_le_bytes().to_vec()),
                ("llama.attention.head_count_kv", 4_u32.to_le_bytes().to_vec()),
                ("llama.attention.layer_norm_rms_epsilon", 1e-5_f32.to_le_bytes().to_vec()),
                ("tokenizer.ggml.model", text("gpt2")),
                ("tokenizer.ggml.pre", text("gpt-2")),
                ("tokenizer.ggml.tokens", array(TEXT, &tokens)),
                ("tokenizer.ggml.token_type", array(I32, &kinds)),
                ("tokenizer.ggml.merges", array(TEXT, &merges)),
                ("tokenizer.ggml.bos_token_id", 0_u32.to_le_bytes().to_vec()),
                ("tokenizer.ggml.eos_token_id", 0_u32.to_le_bytes().to_vec()),
                ("tokenizer.ggml.add_bos_token", vec![1]),
            ];

            let config = builtin::load().expect("built-in model").parts.config.clone();
            let weights = read("model.safetensors");
            let weights = SafeTensors::deserialize(&weights).expect("valid");
            let roles = Role::ALL.map(|role| move |layer| Tensor::Linear(Place::Layer(layer, role)));
            let layer = |layer: usize| {
                let norms = [Tensor::AttentionNorm(layer), Tensor::FfnNorm(layer)];
                norms.into_iter().chain(roles.map(|role| role(layer)))
            };
            let names = [Tensor::Embedding, Tensor::FinalNorm].into_iter().chain((0..config.layers).flat_map(layer));
            let stored = |tensor: Tensor| {
                let view = weights.tensor(&tensor.hugging_face()).expect("in the model");
                let kind = match view.dtype() {
                    Dtype::F32 => TENSOR_F32,
                    Dtype::F16 => TENSOR_F16,
                    other => panic!("the built-in model has no {other:?}"),
                };
                let rows: Vec<&[u8]> = view.data().chunks_exact(view.data().len() / view.shape()[0]).collect();
                let rows = match tensor {
                    // Pairs of elements that are rotated together become neighbours.
                    Tensor::Linear(Place::Layer(_, Role::Q | Role::K)) => rows
                        .chunks_exact(config.head_dim)
                        .flat_map(|head| {
                            let (first, second) = head.split_at(config.head_dim / 2);
                            first.iter().zip(second).flat_map(|(first, second)| [*first, *second])
                        })
                        .collect(),
                    _ => rows,
                };
                let dimensions = view.shape().iter().rev().map(|&size| size as u64).collect();
                Entry { name: tensor.gguf(), dimensions, kind, bytes: rows.concat() }
            };
            Self { values, tensors: names.map(stored).collect() }
        }

        fn value(&mut self, key: &str) -> &mut Vec<u8> {
            &mut self.values.iter_mut().find(|(known, _)| *known == key).expect("in the file").1
        }

        fn bytes(&self) -> Vec<u8> {
            let kind = |key: &str| match key {
                "general.architecture" | "tokenizer.ggml.model" | "tokenizer.ggml.pre" | "tokenizer.chat_template" => {
                    TEXT
                }
                "tokenizer.ggml.tokens" | "tokenizer.ggml.token_type" | "tokenizer.ggml.merges" => ARRAY,
                "tokenizer.ggml.add_bos_token" => BOOL,
                "llama.attention.layer_norm_rms_epsilon" => F32,
                _ => U32,
            };
            let values: Vec<Vec<u8>> = self.values.iter().map(|(key, value)| pair(key, kind(key), value)).collect();
            let (mut data, mut descriptions) = (Vec::new(), Vec::new());
            for Entry { name, dimensions, kind, bytes } in &self.tensors {
                descriptions.push(described(name, dimensions, *kind, data.len() as u64));
                data.extend(bytes);
                data.resize(data.len().next_multiple_of(32), 0);
            }
            file(&values, &descriptions, &data)
        }

        fn open(&self) -> Result<Checkpoint, Error> {
            open(FileBytes::owned(PathBuf::from("tiny.gguf"), self.bytes()))
        }

        fn refusal(&self) -> String {
            let Err(error) = self.open() else { panic!("a spoiled model was accepted") };
            error.to_string()
        }
    }

    fn logits(model: &Checkpoint, prompt: &[u32]) -> Vec<f32> {
        logits_of(model, model.linears().expect("finite"), prompt)
    }

    fn logits_of(model: &Checkpoint, linears: LinearSet, prompt: &[u32]) -> Vec<f32> {
        let execution = Execution::fast(Arc::new(ThreadPool::new(1).expect("a thread")));
        let parts = Arc::clone(&model.parts);
        let mut decoder = Decoder::new(parts, vec![linears], execution, 64).expect("consistent");
        decoder.prefill(prompt).expect("finite").to_vec()
    }

    #[test]
    fn a_model_is_the_same_in_a_gguf_file_and_in_a_folder() {
        let (file, folder) = (Files::built_in().open().expect("opens"), builtin::load().expect("loads"));
        assert_eq!(file.parts.config, folder.parts.config);
        for prompt in ["Once upon a time", "Lily said, \"naïve 😀 café\".\nThe end — 日本.", " two  spaces\t", ""]
        {
            let tokens = folder.tokenizer.encode_prompt(prompt).expect("encodes");
            assert_eq!(file.tokenizer.encode_prompt(prompt).expect("encodes"), tokens, "{prompt}");
            assert_eq!(file.tokenizer.decode(&tokens).expect("decodes"), prompt);
            assert_eq!(logits(&file, &tokens), logits(&folder, &tokens));
        }
    }

    #[test]
    fn a_chat_template_is_a_key() {
        let mut files = Files::built_in();
        assert!(files.open().expect("opens").chat.templates.is_empty());
        files.values.push(("tokenizer.chat_template", text("{{ bos_token }}{{ messages[0].content }}{{ eos_token }}")));
        let chat = files.open().expect("opens").chat;
        let prompt = chat.prompt(None, "One day", chrono::DateTime::UNIX_EPOCH).expect("renders");
        assert_eq!(prompt, "<|endoftext|>One day<|endoftext|>");
        *files.value("tokenizer.chat_template") = text([0xff]);
        assert!(files.refusal().contains("tokenizer.chat_template"), "{}", files.refusal());
    }

    #[test]
    fn a_quantized_copy_keeps_all_but_the_weights() {
        let mut files = Files::built_in();
        files.values.push(("tokenizer.chat_template", text("{{ messages[0].content }}{{ eos_token }}")));
        let stretch: Vec<u8> = (1..=16).flat_map(|divisor: u8| f32::from(divisor).to_le_bytes()).collect();
        let (name, dimensions) = (Tensor::RopeFactors.gguf(), vec![16]);
        files.tensors.push(Entry { name, dimensions, kind: TENSOR_F32, bytes: stretch });
        let model = files.open().expect("opens");
        let storage =
            |_| Storage::Quantized { format: Format::W4, layout: Layout::Dense, granularity: Granularity::Group128 };
        let folder = tempfile::tempdir().expect("temporary folder");
        let copy = folder.path().join("copy");
        model.write_quantized(&copy, storage, |_, _| {}).expect("writes");
        let copy = Checkpoint::open(&copy).expect("opens");
        assert_eq!(copy.parts.config, model.parts.config);
        assert_eq!(copy.parts.frequencies, model.parts.frequencies);
        assert_eq!((&copy.chat.templates, &copy.chat.tokens), (&model.chat.templates, &model.chat.tokens));
        let tokens = model.tokenizer.encode_prompt("Once upon a time").expect("encodes");
        assert_eq!(copy.tokenizer.encode_prompt("Once upon a time").expect("encodes"), tokens);
        let logits = |model: &Checkpoint| logits_of(model, model.stored(storage).expect("in w4"), &tokens);
        assert_eq!(logits(&copy), logits(&model));
    }

    #[test]
    fn frequencies_may_be_stretched_by_a_tensor() {
        let mut files = Files::built_in();
        let stretch: Vec<u8> = (1..=16).flat_map(|divisor: u8| f32::from(divisor).to_le_bytes()).collect();
        let entry = Entry { name: Tensor::RopeFactors.gguf(), dimensions: vec![16], kind: TENSOR_F32, bytes: stretch };
        files.tensors.push(entry);
        let (stretched, plain) = (files.open().expect("opens").parts, builtin::load().expect("loads").parts);
        for (pair, (stretched, plain)) in stretched.frequencies.iter().zip(&plain.frequencies).enumerate() {
            assert_eq!(*stretched, plain / (pair + 1) as f64);
        }
        files.tensors.last_mut().expect("there").dimensions = vec![15];
        assert!(files.refusal().contains("tensor `rope_freqs.weight` has shape [15]"), "{}", files.refusal());
    }

    #[test]
    fn blocks_are_decoded_on_the_way() {
        let mut files = Files::built_in();
        let name = Tensor::Linear(Place::Layer(1, Role::Up)).gguf();
        let tensor = files.tensors.iter_mut().find(|tensor| tensor.name == name).expect("there");
        // Every value of a block of Q8_0 is its scale, 0.5, times its code.
        let block = [&half::f16::from_f32(0.5).to_le_bytes()[..], &[2; 32]].concat();
        (tensor.kind, tensor.bytes) = (8, block.repeat(640 * 256 / Encoding::Q8_0.block()));
        let set = files.open().expect("opens").linears().expect("finite");
        let crate::model::Linear::F32(matrix) = &set.layers[1][Role::Up] else { panic!("f32 was asked for") };
        assert!(matrix.values.iter().all(|value| *value == 1.0));
    }

    #[test]
    fn spoiled_keys_are_refused_by_name() {
        let spoiled = |key: &str, value: Vec<u8>| {
            let mut files = Files::built_in();
            *files.value(key) = value;
            let message = files.refusal();
            assert!(message.starts_with("tiny.gguf: ") && message.contains(key), "{message}");
            message
        };
        let message = spoiled("general.architecture", text("gemma"));
        assert!(message.contains("llama, qwen2"), "{message}");
        spoiled("llama.attention.head_count_kv", 3_u32.to_le_bytes().to_vec());
        spoiled("llama.embedding_length", 0_u32.to_le_bytes().to_vec());
        let message = spoiled("llama.attention.layer_norm_rms_epsilon", f32::NAN.to_le_bytes().to_vec());
        assert!(message.contains("is NaN"), "{message}");
        spoiled("tokenizer.ggml.bos_token_id", 4096_u32.to_le_bytes().to_vec());
        spoiled("tokenizer.ggml.model", text("bert"));
        let message = spoiled("tokenizer.ggml.pre", text("porcelain"));
        assert!(message.contains("llama-bpe"), "{message}");
        let message = spoiled("tokenizer.ggml.tokens", array(TEXT, &[text("a"), text("a")]));
        assert!(message.contains("\"a\" at 0 and at 1"), "{message}");
        let message = spoiled("tokenizer.ggml.merges", array(TEXT, &[text("ab")]));
        assert!(message.contains("\"ab\""), "{message}");

        let mut files = Files::built_in();
        files.values.retain(|(key, _)| *key != "llama.block_count");
        assert!(files.refusal().contains("`llama.block_count` is missing"), "{}", files.refusal());
        let mut files = Files::built_in();
        files.values.push(("llama.rope.dimension_count", 16_u32.to_le_bytes().to_vec()));
        assert!(files.refusal().contains("`llama.rope.dimension_count` is 16"), "{}", files.refusal());
    }

    #[test]
    fn biases_that_would_be_passed_over_are_refused() {
        for name in ["blk.1.attn_q.bias", "blk.1.attn_output.bias"] {
            let mut files = Files::built_in();
            let bytes = vec![0; 4 * 256];
            files.tensors.push(Entry { name: name.to_owned(), dimensions: vec![256], kind: TENSOR_F32, bytes });
            assert!(files.refusal().contains(name), "{}", files.refusal());
        }
    }

    #[test]
    fn spoiled_tensors_are_refused_by_name() {
        let name = Tensor::Linear(Place::Layer(2, Role::Down)).gguf();
        let spoiled = |change: fn(&mut Entry)| {
            let mut files = Files::built_in();
            change(files.tensors.iter_mut().find(|tensor| tensor.name == name).expect("there"));
            let message = files.refusal();
            assert!(message.contains("tiny.gguf") && message.contains(&name), "{message}");
            message
        };
        assert!(spoiled(|tensor| tensor.name += ".old").contains("missing"));
        assert!(spoiled(|tensor| tensor.dimensions = vec![256, 640]).contains("[640, 256]"));
        assert!(spoiled(|tensor| tensor.dimensions = vec![640, 16, 16]).contains("[16, 16, 640]"));
        assert!(spoiled(|tensor| tensor.kind = 21).contains("IQ3_S"));
    }
}
