//! JSON Schemas of the files of a results directory, and of the manifest of a quantized model, for readers in other languages.
//!
//! They are made of the types that read and write the files, so they say what the readers accept. Of a CSV
//! file the schema is that of a row: each property is a column, and its value what the text means; a column
//! that may be empty is one that may be null.

use schemars::{JsonSchema, Schema, schema_for};

use super::{
    CeilingRow, CounterRow, FailureRow, Manifest, PairRow, Sample, WeightsRow,
    baseline::{BASELINE_SCHEMA, Baseline},
    block::BlockRow,
    calibration::{CALIBRATION_FILE, CalibrationRow},
    manifest::MANIFEST_SCHEMA,
    row::SAMPLES_SCHEMA,
    rules::Row,
    store::MANIFEST_FILE,
};
use crate::calibration::{CALIBRATION_SCHEMA, Settings};
use crate::model::checkpoint::packed;

/// The schema of one kind of file.
pub struct FileSchema {
    /// Name of the file.
    pub file: &'static str,
    /// Version of the file, which readers compare before anything else.
    pub version: u32,
    /// What the schema is of: the file, or a row of it.
    what: &'static str,
    make: fn() -> Schema,
    /// In the order in which they are written; nothing for JSON.
    pub columns: &'static [&'static str],
}

/// Every one. `open.csv` and `partial.csv` have the rows of `samples.csv`.
pub const SCHEMAS: [FileSchema; 12] = [
    FileSchema::of_file::<Manifest>(MANIFEST_FILE, MANIFEST_SCHEMA),
    FileSchema::of_rows::<Sample>(SAMPLES_SCHEMA),
    FileSchema::of_rows::<BlockRow>(SAMPLES_SCHEMA),
    FileSchema::of_rows::<CeilingRow>(SAMPLES_SCHEMA),
    FileSchema::of_rows::<WeightsRow>(SAMPLES_SCHEMA),
    FileSchema::of_rows::<CounterRow>(SAMPLES_SCHEMA),
    FileSchema::of_rows::<FailureRow>(SAMPLES_SCHEMA),
    FileSchema::of_rows::<PairRow>(SAMPLES_SCHEMA),
    FileSchema::of_file::<Settings>(CALIBRATION_FILE, CALIBRATION_SCHEMA),
    FileSchema::of_rows::<CalibrationRow>(CALIBRATION_SCHEMA),
    FileSchema::of_file::<Baseline>("baseline.json", BASELINE_SCHEMA),
    FileSchema::of_file::<packed::Manifest>(packed::MANIFEST, packed::SCHEMA),
];

impl FileSchema {
    const fn of_file<T: JsonSchema>(file: &'static str, version: u32) -> Self {
        Self { file, version, what: "", make: || schema_for!(T), columns: &[] }
    }

    const fn of_rows<R: Row + JsonSchema>(version: u32) -> Self {
        Self { file: R::FILE, version, what: "a row of ", make: || schema_for!(R), columns: R::COLUMNS }
    }

    /// The schema as text, the same each time.
    pub fn text(&self) -> String {
        let mut schema = (self.make)();
        schema.insert("title".to_owned(), format!("{}{}, version {}", self.what, self.file, self.version).into());
        // Of strings, numbers and lists alone.
        serde_json::to_string_pretty(&schema).unwrap_or_default() + "\n"
    }

    /// Name of the published file.
    pub fn published(&self) -> String {
        format!("{}.schema.json", self.file)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_file_has_one_schema() {
        let files: BTreeSet<&str> = SCHEMAS.iter().map(|schema| schema.file).collect();
        assert_eq!(files.len(), SCHEMAS.len());
    }

    #[test]
    fn properties_are_the_columns() {
        for schema in SCHEMAS.iter().filter(|schema| !schema.columns.is_empty()) {
            let text: serde_json::Value = serde_json::from_str(&schema.text()).unwrap();
            let properties: BTreeSet<&str> =
                text["properties"].as_object().unwrap().keys().map(String::as_str).collect();
            assert_eq!(properties, schema.columns.iter().copied().collect(), "{}", schema.file);
            assert_eq!(text["additionalProperties"], false, "{}", schema.file);
        }
    }
}
