//! Weights of a Hugging Face folder: every tensor that is found has the values of its shape.
#![no_main]

use std::{path::Path, sync::LazyLock};

use libfuzzer_sys::fuzz_target;
use septet::model::{
    Config, Place, Role,
    checkpoint::{
        FileBytes,
        hugging_face::Shards,
        tensor::{Tensor, Tensors as _},
    },
};

/// A model of one layer.
static CONFIG: LazyLock<Config> = LazyLock::new(|| {
    let json = include_bytes!("../corpus/config/small.json");
    Config::parse(json, Path::new("config.json")).expect("a configuration")
});

fuzz_target!(|bytes: &[u8]| {
    let file = FileBytes::owned("model.safetensors".into(), bytes.to_vec());
    match Shards::new(Path::new("m"), vec![file]) {
        Err(error) => assert!(error.to_string().starts_with("model.safetensors"), "{error}"),
        Ok(shards) => {
            let linears = Role::ALL.map(|role| Tensor::Linear(Place::Layer(0, role)));
            let others = [Tensor::Embedding, Tensor::AttentionNorm(0), Tensor::FfnNorm(0), Tensor::FinalNorm];
            for tensor in linears.into_iter().chain(others) {
                if let Ok(values) = shards.get(tensor, &CONFIG).and_then(|tensor| tensor.values()) {
                    assert_eq!(values.len(), tensor.shape(&CONFIG).iter().product::<usize>());
                }
            }
        }
    }
});
