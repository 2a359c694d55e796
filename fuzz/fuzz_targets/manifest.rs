//! Manifests: what is accepted can be analysed.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use septet::{record::parse_manifest, report::analysis::Analysis};

fuzz_target!(|bytes: &[u8]| {
    match parse_manifest(Path::new("manifest.json"), bytes) {
        Err(error) => assert!(error.to_string().starts_with("manifest.json")),
        Ok(manifest) => drop(Analysis::new(manifest, &[], Vec::new(), &[], &[], &[])),
    }
});
