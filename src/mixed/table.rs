//! The sensitivity table: how far a model moves when a single linear layer is quantized.
//!
//! `models/tiny/sensitivity.json` is the table of the built-in model, written by `bench
//! sensitivity` and compiled in. It carries the hashes of the weights and of the text that it was
//! measured on. A measurement gives the same bytes on every machine, with any number of threads.

use std::path::Path;

use septet_kernels::{Format, Level};
use serde::{Deserialize, Serialize};

use super::{GRANULARITY, MixedError, place};
use crate::model::{Place, builtin};

/// Version of the file.
pub const SCHEMA: u32 = 1;

/// What the divergences are measured against: no linear layer quantized.
const REFERENCE: &str = "f32";

/// The table of the built-in model.
const BUILTIN: &str = include_str!("../../models/tiny/sensitivity.json");

/// A measured model: one entry for each of its linear layers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SensitivityTable {
    pub schema: u32,
    /// Of the bytes of the safetensors files, in the order of their names.
    pub model_sha256: String,
    /// Of the text, before it was cut to `predictions`.
    pub text_sha256: String,
    /// Next-token predictions that each divergence is the mean of: the first ones of the text.
    pub predictions: usize,
    /// Which weights shared a scale.
    pub granularity: String,
    /// What divergences are measured against.
    pub reference: String,
    /// Mean negative log likelihood of the reference over the same predictions, in nats.
    pub reference_nats: f64,
    /// In the order of the forward pass.
    pub tensors: Vec<Tensor>,
}

/// One linear layer.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tensor {
    #[serde(with = "place")]
    pub place: Place,
    pub rows: usize,
    pub cols: usize,
    pub kld: Divergences,
}

/// Mean Kullback-Leibler divergence from the reference, in nats, when only this layer is quantized
/// to the format.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Divergences {
    pub w4: f64,
    pub w3p5: f64,
    pub w3: f64,
}

impl Divergences {
    /// The divergence of `format`.
    pub fn of(&self, format: Format) -> f64 {
        match format {
            Format::W4 => self.w4,
            Format::W3p5 => self.w3p5,
            Format::W3 => self.w3,
        }
    }
}

impl SensitivityTable {
    /// A table of what was measured over `predictions` predictions.
    pub fn new(
        model_sha256: String,
        text_sha256: String,
        predictions: usize,
        reference_nats: f64,
        tensors: Vec<Tensor>,
    ) -> Self {
        Self {
            schema: SCHEMA,
            model_sha256,
            text_sha256,
            predictions,
            granularity: GRANULARITY.name().to_owned(),
            reference: REFERENCE.to_owned(),
            reference_nats,
            tensors,
        }
    }

    /// The table of the built-in model.
    ///
    /// # Errors
    /// None with the files of the repository; if they were changed, as [`SensitivityTable::parse`],
    /// and when the table was measured on other weights than those that are built in.
    pub fn builtin() -> Result<Self, MixedError> {
        let file = Path::new("models/tiny/sensitivity.json");
        Self::parse(BUILTIN, file)?.of_model(&builtin::sha256(), file)
    }

    /// Reads the text of `file`, whose path serves messages only.
    ///
    /// # Errors
    /// For another schema, granularity or reference, a layer that is there twice, and a divergence
    /// that cannot be one.
    pub fn parse(json: &str, file: &Path) -> Result<Self, MixedError> {
        let table: Self = serde_json::from_str(json)
            .map_err(|error| MixedError::Json { file: file.to_owned(), reason: error.to_string() })?;
        let expected = [
            ("schema", table.schema.to_string(), SCHEMA.to_string()),
            ("granularity", table.granularity.clone(), GRANULARITY.name().to_owned()),
            ("reference", table.reference.clone(), REFERENCE.to_owned()),
        ];
        for (key, found, expected) in expected {
            if found != expected {
                return Err(MixedError::Unsupported { file: file.to_owned(), key, found, expected });
            }
        }
        for (i, tensor) in table.tensors.iter().enumerate() {
            let wrong = |what| MixedError::Tensor { file: file.to_owned(), place: place::name(tensor.place), what };
            if table.tensors[..i].iter().any(|other| other.place == tensor.place) {
                return Err(wrong("is there twice"));
            }
            if !Format::ALL.iter().all(|&format| (0.0..f64::INFINITY).contains(&tensor.kld.of(format))) {
                return Err(wrong("has a divergence that is negative or not finite"));
            }
        }
        Ok(table)
    }

    /// The table itself, if it was measured on the model with this hash.
    ///
    /// # Errors
    /// If not; `file` serves the message only.
    pub fn of_model(self, sha256: &str, file: &Path) -> Result<Self, MixedError> {
        if self.model_sha256 == sha256 {
            return Ok(self);
        }
        Err(MixedError::Model { file: file.to_owned(), found: self.model_sha256, expected: sha256.to_owned() })
    }

    /// The text of the file.
    pub fn to_json(&self) -> String {
        // Fails only for maps whose keys are not strings; there are no maps.
        serde_json::to_string_pretty(self).expect("structures of numbers and strings") + "\n"
    }

    /// Divergence for each weight in `format`, averaged over the layers with the role of `place`; zero
    /// if the table has none.
    pub fn kld_per_weight(&self, place: Place, format: Format) -> f64 {
        let role = |place| match place {
            Place::Layer(_, role) => Some(role),
            Place::Head => None,
        };
        let (mut kld, mut weights) = (0.0, 0);
        for tensor in self.tensors.iter().filter(|tensor| role(tensor.place) == role(place)) {
            kld += tensor.kld.of(format);
            weights += tensor.rows * tensor.cols;
        }
        if weights == 0 { 0.0 } else { kld / weights as f64 }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::{
        digest::sha256,
        model::{Role, perplexity::TEXT},
    };

    fn parse_with(pointer: &str, value: Value) -> Result<SensitivityTable, MixedError> {
        let mut table: Value = serde_json::from_str(BUILTIN).expect("JSON");
        *table.pointer_mut(pointer).expect("a key of the table") = value;
        SensitivityTable::parse(&table.to_string(), Path::new("table.json"))
    }

    #[test]
    fn the_committed_table_belongs_to_the_built_in_model_and_text() {
        let table = SensitivityTable::builtin().expect("of this model");
        assert_eq!(table.text_sha256, sha256([TEXT.as_bytes()]));
        assert_eq!(table.to_json(), BUILTIN);
    }

    #[test]
    fn a_weight_of_a_role_is_the_average_of_its_layers() {
        let tensor = |layer, rows, w4| Tensor {
            place: Place::Layer(layer, Role::Q),
            rows,
            cols: 2,
            kld: Divergences { w4, w3p5: 0.0, w3: 0.0 },
        };
        let table =
            SensitivityTable::new(String::new(), String::new(), 1, 1.0, vec![tensor(0, 1, 0.5), tensor(1, 3, 1.5)]);
        assert_eq!(table.kld_per_weight(Place::Layer(7, Role::Q), Format::W4), 2.0 / 8.0);
        assert_eq!(table.kld_per_weight(Place::Head, Format::W4), 0.0);
    }

    #[test]
    fn refusals_name_the_file_and_what_is_wrong() {
        for (pointer, value, part) in [
            ("/schema", json!(2), "`schema` is 2"),
            ("/granularity", json!("g64"), "`granularity` is g64"),
            ("/reference", json!("w4"), "`reference` is w4"),
            ("/tensors/0/place", json!("layers.0.x"), "`layers.0.x`"),
            ("/tensors/1/place", json!("layers.0.q"), "layers.0.q is there twice"),
            ("/tensors/2/kld/w3", json!(-1.0), "layers.0.v has a divergence"),
            ("/tensors/0/kld", json!({"w4": 0.0}), "missing field"),
            ("/tensors/0", json!({"name": "q"}), "unknown field"),
        ] {
            let message = parse_with(pointer, value).expect_err(pointer).to_string();
            assert!(message.contains("table.json") && message.contains(part), "{message}");
        }
        let table = parse_with("/model_sha256", json!("of another")).expect("well-formed");
        let message = table.of_model("of this", Path::new("table.json")).expect_err("another model").to_string();
        assert!(message.contains("of another") && message.contains("of this"), "{message}");
    }
}
