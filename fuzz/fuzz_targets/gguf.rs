//! GGUF files: whatever is in them is a model, or an error that names the file.
#![no_main]

use libfuzzer_sys::fuzz_target;
use septet::model::checkpoint::{FileBytes, gguf};

fuzz_target!(|bytes: &[u8]| {
    match gguf::open(FileBytes::owned("model.gguf".into(), bytes.to_vec())) {
        Err(error) => assert!(error.to_string().starts_with("model.gguf"), "{error}"),
        Ok(model) => {
            let _ = model.linears();
            let _ = model.tokenizer.encode_prompt("a b");
        }
    }
});
