//! `config.json`: a configuration whose dimensions fit together, or an error that names the file.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use septet::model::Config;

fuzz_target!(|bytes: &[u8]| {
    match Config::parse(bytes, Path::new("config.json")) {
        Err(error) => assert!(error.to_string().starts_with("config.json"), "{error}"),
        Ok(config) => {
            assert!(config.heads.is_multiple_of(config.kv_heads) && config.head_dim.is_multiple_of(2));
            assert!(config.context > 0 && config.eos.iter().all(|id| (*id as usize) < config.vocab));
        }
    }
});
