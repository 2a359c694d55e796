//! Sample files: every line is a row or an error at its place; rows are written as they were read, and analysed.
#![no_main]

use std::{path::Path, sync::LazyLock};

use libfuzzer_sys::fuzz_target;
use septet::{
    record::{Manifest, Sample, parse_manifest, parse_rows, rules::Row as _},
    report::analysis::Analysis,
};

/// A run of a few cells.
static MANIFEST: LazyLock<Manifest> = LazyLock::new(|| {
    let bytes = include_bytes!("../corpus/manifest/small.json");
    parse_manifest(Path::new("small.json"), bytes).expect("a manifest")
});

fuzz_target!(|bytes: &[u8]| {
    let path = Path::new("samples.csv");
    match parse_rows::<Sample>(path, bytes, &MANIFEST) {
        Err(error) => assert!(error.to_string().starts_with("samples.csv")),
        Ok((rows, _)) => {
            let mut writer = csv::WriterBuilder::new().has_headers(false).from_writer(Vec::new());
            writer.write_record(Sample::COLUMNS).expect("memory");
            rows.iter().for_each(|row| writer.serialize(row).expect("memory"));
            let written = writer.into_inner().expect("memory");
            let (again, torn) = parse_rows::<Sample>(path, &written, &MANIFEST).expect("rows that were read");
            assert!(again == rows && torn.is_none());
            Analysis::new(MANIFEST.clone(), &rows, Vec::new(), &[], &[], &[]).expect("an analysis");
        }
    }
});
