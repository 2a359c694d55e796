//! Quantized checkpoints: written, opened, and refused when they are spoiled.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use septet::model::checkpoint::packed::Manifest;
use septet::model::{Checkpoint, Decoder, Error, Execution, LinearSet, Place, Role, Storage, builtin};
use septet::pool::ThreadPool;
use septet_kernels::{Format, Granularity, Layout};
use serde_json::Value;
use tempfile::TempDir;

fn quantized(format: Format) -> Storage {
    Storage::Quantized { format, layout: Layout::Dense, granularity: Granularity::Group128 }
}

/// Formats that differ from layer to layer.
fn storage(place: Place) -> Storage {
    match place {
        Place::Layer(_, Role::Down) => quantized(Format::W4),
        Place::Layer(..) => quantized(Format::W3p5),
        Place::Head => quantized(Format::W3),
    }
}

/// The built-in model, quantized into the folder `m` of a temporary one.
fn written() -> (TempDir, Manifest) {
    let folder = tempfile::tempdir().expect("temporary folder");
    let model = builtin::load().expect("built-in model");
    let manifest = model.write_quantized(&folder.path().join("m"), storage, |_, _| {}).expect("writes");
    (folder, manifest)
}

fn logits(model: &Checkpoint, linears: LinearSet) -> Vec<u32> {
    let execution = Execution::fast(Arc::new(ThreadPool::new(1).expect("a thread")));
    let mut decoder = Decoder::new(Arc::clone(&model.parts), vec![linears], execution, 16).expect("consistent");
    let logits = decoder.prefill(&[0, 413, 432, 259, 383]).expect("finite");
    logits.iter().map(|logit| logit.to_bits()).collect()
}

#[test]
fn a_model_that_was_written_has_the_bits_of_the_one_that_is_quantized() {
    let (folder, manifest) = written();
    let (model, again) = (builtin::load().expect("loads"), Checkpoint::open(&folder.path().join("m")).expect("opens"));
    assert_eq!(again.parts.config, model.parts.config);
    assert_eq!(again.packed_storage(Place::Head), Some(quantized(Format::W3)));
    assert_eq!(model.packed_storage(Place::Head), None);
    let set = model.stored(storage).expect("quantizes");
    let bits = 8.0 * set.stored_bytes() as f64 / set.weights() as f64;
    assert_eq!((manifest.source_sha256.as_str(), manifest.bits_per_weight), (model.sha256().as_str(), bits));
    assert!(manifest.bits_per_weight_overall > bits);
    assert_eq!(logits(&again, again.stored(storage).expect("as stored")), logits(&model, set));
    let text = "Once upon a time";
    let tokens = |model: &Checkpoint| model.tokenizer.encode_prompt(text).expect("encodes");
    assert_eq!(tokens(&again), tokens(&model));
}

#[test]
fn a_chat_template_is_kept() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let dense = folder.path().join("dense");
    fs::create_dir(&dense).expect("creates");
    let tiny = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/tiny");
    for name in ["config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"] {
        fs::copy(tiny.join(name), dense.join(name)).expect("copies");
    }
    fs::write(dense.join("chat_template.jinja"), "{{ bos_token }}").expect("writes");
    let (model, again) = (Checkpoint::open(&dense).expect("opens"), folder.path().join("quantized"));
    model.write_quantized(&again, storage, |_, _| {}).expect("writes");
    let again = Checkpoint::open(&again).expect("opens");
    assert_eq!(again.chat.templates["default"], "{{ bos_token }}");
    assert_eq!(again.chat.tokens, model.chat.tokens);
}

#[test]
fn codes_lie_at_cache_lines_in_the_order_of_the_layers() {
    let (folder, _) = written();
    let bytes = fs::read(folder.path().join("m/model.safetensors")).expect("reads");
    let (header, metadata) = safetensors::SafeTensors::read_metadata(&bytes).expect("a safetensors file");
    assert!((8 + header).is_multiple_of(64));
    let tensors = metadata.tensors();
    let mut codes: Vec<_> = tensors.iter().filter(|(_, info)| info.dtype == safetensors::Dtype::U8).collect();
    codes.sort_by_key(|(_, info)| info.data_offsets);
    assert!(codes.iter().all(|(_, info)| info.data_offsets.0.is_multiple_of(64)));
    let names: Vec<&str> = codes.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!((names.len(), names[0]), (29, "model.layers.0.self_attn.q_proj.weight"));
    assert_eq!(names[27..], ["model.layers.3.mlp.down_proj.weight", "lm_head.weight"]);
}

#[test]
fn other_formats_than_the_stored_ones_are_refused() {
    let (folder, _) = written();
    let model = Checkpoint::open(&folder.path().join("m")).expect("opens");
    for asked in [Storage::F32, quantized(Format::W4)] {
        let message = model.stored(|_| asked).expect_err("not what is stored").to_string();
        assert!(message.contains("is stored as w3p5 in dense, g128"), "{message}");
    }
    let again = folder.path().join("again");
    assert!(matches!(
        model.write_quantized(&again, |_| quantized(Format::W4), |_, _| {}),
        Err(Error::Quantized { .. })
    ));
    let error = builtin::load().expect("loads").write_quantized(&again, |_| Storage::F32, |_, _| {});
    assert!(matches!(error, Err(Error::NotQuantized { .. })));
    assert!(!again.exists(), "nothing is written of what can not be");
}

/// A layer whose last tile can not be quantized: what was begun is gone, and the same folder can be asked for again.
#[test]
fn an_attempt_that_fails_leaves_nothing_behind() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let source = folder.path().join("source");
    fs::create_dir(&source).expect("creates");
    let tiny = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/tiny");
    for name in ["config.json", "tokenizer.json", "model.safetensors"] {
        fs::copy(tiny.join(name), source.join(name)).expect("copies");
    }
    let mut bytes = fs::read(source.join("model.safetensors")).expect("reads");
    let (header, metadata) = safetensors::SafeTensors::read_metadata(&bytes).expect("a safetensors file");
    let place = metadata.info("model.layers.3.mlp.down_proj.weight").expect("in the model").data_offsets;
    bytes[8 + header + place.1 - 2..][..2].copy_from_slice(&half::f16::NAN.to_le_bytes());
    fs::write(source.join("model.safetensors"), bytes).expect("writes");

    let copy = folder.path().join("copy");
    let write = |model: &Checkpoint| model.write_quantized(&copy, storage, |_, _| {});
    let error = write(&Checkpoint::open(&source).expect("values are read later")).expect_err("a NaN").to_string();
    assert!(error.contains("model.layers.3.mlp.down_proj.weight"), "{error}");
    assert_eq!(fs::read_dir(folder.path()).expect("reads").count(), 1, "only the source is left");

    // What a program left that was killed is written anew; what somebody else put there is not touched.
    let partial = folder.path().join("copy.partial");
    fs::create_dir(&partial).expect("creates");
    fs::write(partial.join("notes"), "mine").expect("writes");
    let model = builtin::load().expect("built-in model");
    assert!(write(&model).expect_err("holds notes").to_string().contains("copy.partial"));
    assert!(partial.join("notes").exists());
    fs::rename(partial.join("notes"), partial.join("septet.json")).expect("renames");
    write(&model).expect("writes");
    assert!(!partial.exists() && Checkpoint::open(&copy).is_ok());
}

#[test]
fn nothing_is_overwritten() {
    let (folder, _) = written();
    let model = builtin::load().expect("built-in model");
    let before = fs::read(folder.path().join("m/septet.json")).expect("reads");
    let error = model.write_quantized(&folder.path().join("m"), storage, |_, _| {}).expect_err("holds files");
    assert!(error.to_string().contains("empty folder"), "{error}");
    assert_eq!(fs::read(folder.path().join("m/septet.json")).expect("reads"), before);
}

/// The message with which a written model is refused after `spoil` was at its folder.
fn refusal(spoil: impl Fn(&Path)) -> String {
    let (folder, _) = written();
    spoil(&folder.path().join("m"));
    let model = Checkpoint::open(&folder.path().join("m"));
    model.err().expect("a spoiled model was opened").to_string()
}

fn edit_manifest(folder: &Path, edit: impl Fn(&mut Value)) {
    let file = folder.join("septet.json");
    let mut json: Value = serde_json::from_slice(&fs::read(&file).expect("reads")).expect("JSON");
    edit(&mut json);
    fs::write(&file, json.to_string()).expect("writes");
}

#[test]
fn spoiled_files_are_refused() {
    const UP: &str = "model.layers.2.mlp.up_proj.weight";
    let weights = |folder: &Path| folder.join("model.safetensors");
    let message = refusal(|folder| {
        let bytes = fs::read(weights(folder)).expect("reads");
        fs::write(weights(folder), &bytes[..bytes.len() - 1]).expect("writes");
    });
    assert!(message.contains("model.safetensors"), "{message}");
    let message = refusal(|folder| fs::rename(weights(folder), folder.join("other")).expect("renames"));
    assert!(message.contains("model.safetensors"), "{message}");
    let message = refusal(|folder| edit_manifest(folder, |json| json["linears"][UP]["format"] = Value::from("w4")));
    assert!(message.contains(UP) && message.contains("in w4"), "{message}");
    let message = refusal(|folder| edit_manifest(folder, |json| json["linears"][UP]["format"] = Value::from("w5")));
    assert!(message.contains(UP) && message.contains("w3p5"), "{message}");
    let message = refusal(|folder| edit_manifest(folder, |json| json["schema"] = Value::from(2)));
    assert!(message.contains("`schema` is 2"), "{message}");
    let message = refusal(|folder| edit_manifest(folder, |json| json["more"] = Value::from(2)));
    assert!(message.contains("septet.json") && message.contains("more"), "{message}");
    let message = refusal(|folder| fs::remove_file(folder.join("septet.json")).expect("removes"));
    assert!(message.contains("U8"), "{message}");
}
