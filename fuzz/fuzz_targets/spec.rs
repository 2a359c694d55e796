//! Experiment files: whatever is written there is a plan or an error.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use miette::Report;
use septet::{
    model::shape::PRESETS,
    plan::expand::{Options, expand},
    spec::Spec,
};

fuzz_target!(|text: &str| {
    let presets: Vec<(&str, usize)> = PRESETS.iter().map(|preset| (preset.name, preset.weights())).collect();
    let error = match Spec::parse(Path::new("spec.toml"), text.to_owned()) {
        Err(error) => Some(error),
        Ok(spec) => {
            let options = Options { quick: false, keep: &|_| true, cores: 2, copies: &|_, _| 4, presets: &presets };
            expand(&spec, &options).err()
        }
    };
    if let Some(error) = error {
        assert!(!error.to_string().is_empty());
        // As `bench` shows it, with its place in the file.
        assert!(format!("{:?}", Report::new(error)).contains("spec.toml"));
    }
});
