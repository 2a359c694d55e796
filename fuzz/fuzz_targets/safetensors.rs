//! Weights of a Hugging Face folder, and a layer of packed codes: what is found has the values of its shape.
#![no_main]

use std::{
    path::Path,
    sync::{Arc, LazyLock},
};

use libfuzzer_sys::fuzz_target;
use septet::model::{
    Config, Place, Role,
    checkpoint::{
        FileBytes,
        bytes::FileSlice,
        hugging_face::Shards,
        packed,
        tensor::{Tensor, Tensors as _},
    },
};
use septet_kernels::{Format, Granularity, Layout, PackedShape};

/// A model of one layer.
static CONFIG: LazyLock<Config> = LazyLock::new(|| {
    let json = include_bytes!("../corpus/config/small.json");
    Config::parse(json, Path::new("config.json")).expect("a configuration")
});

fuzz_target!(|bytes: &[u8]| {
    if let [rows, cols, rest @ ..] = bytes {
        let file = Arc::new(FileBytes::owned("model.safetensors".into(), rest.to_vec()));
        let shape = PackedShape {
            format: Format::W3p5,
            layout: Layout::Rows16,
            granularity: Granularity::Group128,
            rows: (*rows).into(),
            cols: (*cols).into(),
        };
        let slice = FileSlice::new(&file, 0..file.len()).expect("all of it");
        if let Ok(matrix) = packed::from_bytes(&slice, shape, "t") {
            assert_eq!(packed::to_bytes(&matrix).len(), rest.len());
        }
    }
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
