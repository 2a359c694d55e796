//! Mixed 3-, 3.5- and 4-bit formats: one for each tensor, where its bits save most, at a budget of
//! bytes.
//!
//! [`measure`](measure::measure) quantizes one linear layer at a time and asks how far the model's
//! predictions move; the answers for the built-in model are committed as a [`SensitivityTable`];
//! [`allocate`](allocate::allocate) spends the budget on them; [`MixedFormats`] is the result.

pub mod allocate;
mod error;
pub mod measure;
mod place;
pub mod table;

use std::collections::HashMap;

use septet_kernels::{Format, Granularity, Layout, Level};

pub use error::MixedError;
pub use table::SensitivityTable;

use crate::model::{Config, Place, Role};
use allocate::{Choice, allocate, least_bytes};

/// Stored bits for each weight that mixed formats may use: the published average of 3.2 bits and an
/// `f16` scale for 128 weights. The head counts; the embedding does not, of which a token reads one
/// row.
pub const MIXED_BITS_PER_WEIGHT: f64 = 3.325;

/// Sensitivity is measured and bytes are counted for dense codes in groups of 128. Arms of another
/// granularity use the same formats.
pub const GRANULARITY: Granularity = Granularity::Group128;

/// A format for each linear layer of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MixedFormats {
    formats: HashMap<Place, Format>,
    /// With padding.
    weights: usize,
    bytes: usize,
}

impl MixedFormats {
    /// The formats for a model of this configuration at [`MIXED_BITS_PER_WEIGHT`].
    ///
    /// A model whose linear layers have the places and sizes of the built-in one is taken for it:
    /// each of its tensors has the sensitivity that was measured.
    ///
    /// No table exists for any other model. There each weight of a role has the sensitivity of an
    /// average weight of that role in the built-in model, whatever its layer, and where the budget
    /// serves some tensors of a role, they are those of the first layers. That gives shape models a
    /// plausible mixture at the same budget, to be timed; it says nothing about quality.
    ///
    /// # Errors
    /// None with the files of the repository: a sensitivity table that does not belong to the
    /// built-in model.
    pub fn for_model(config: &Config) -> Result<Self, MixedError> {
        Self::at(config, MIXED_BITS_PER_WEIGHT)
    }

    /// As [`MixedFormats::for_model`], at another budget. Zeros that pad a row to whole groups count
    /// as weights.
    ///
    /// # Errors
    /// Also when the smallest formats exceed the budget.
    pub fn at(config: &Config, bits_per_weight: f64) -> Result<Self, MixedError> {
        let table = SensitivityTable::builtin()?;
        let tensors = tensors(config);
        let sizes = table.tensors.iter().map(|tensor| (tensor.place, (tensor.rows, tensor.cols)));
        let is_measured = sizes.eq(tensors.iter().copied());
        let choice = |(i, &(place, (rows, cols))): (usize, &(Place, (usize, usize)))| {
            let of = |&format: &Format| {
                let kld = if is_measured {
                    table.tensors[i].kld.of(format)
                } else {
                    table.kld_per_weight(place, format) * (rows * cols) as f64
                };
                Choice { format, bytes: stored_bytes(rows, cols, format), kld }
            };
            Format::ALL.iter().map(of).collect()
        };
        let choices: Vec<Vec<Choice>> = tensors.iter().enumerate().map(choice).collect();
        let weights: usize = tensors.iter().map(|&(_, (rows, cols))| rows * padded(cols)).sum();
        let budget = (bits_per_weight / 8.0 * weights as f64) as usize;
        let allocation =
            allocate(&choices, budget).ok_or_else(|| MixedError::Budget { needed: least_bytes(&choices), budget })?;
        Ok(Self {
            bytes: allocation.iter().map(|choice| choice.bytes).sum(),
            formats: tensors.iter().zip(allocation).map(|(&(place, _), choice)| (place, choice.format)).collect(),
            weights,
        })
    }

    /// The format of the linear layer at `place`.
    ///
    /// # Panics
    /// If the model has no such place.
    pub fn format(&self, place: Place) -> Format {
        self.formats[&place]
    }

    /// Stored bits for each weight, padding counted as weights.
    pub fn bits_per_weight(&self) -> f64 {
        8.0 * self.bytes as f64 / self.weights as f64
    }
}

/// The linear layers of a model, as (place, (rows, cols)) in the order of the forward pass. A shape
/// model, whose vocabulary is one token, has no head.
pub(crate) fn tensors(config: &Config) -> Vec<(Place, (usize, usize))> {
    let layers = (0..config.layers).flat_map(|layer| Role::ALL.map(|role| Place::Layer(layer, role)));
    let head = (config.vocab > 1).then_some(Place::Head);
    layers.chain(head).map(|place| (place, place.shape(config))).collect()
}

/// `cols` and the zeros that fill up the last group.
fn padded(cols: usize) -> usize {
    cols.next_multiple_of(GRANULARITY.segment())
}

/// Bytes of the codes and scales of a matrix.
fn stored_bytes(rows: usize, cols: usize, format: Format) -> usize {
    let segments = cols.div_ceil(GRANULARITY.segment());
    let pairs = rows * padded(cols) / 2;
    pairs * Layout::Dense.pair_bits(format) as usize / 8 + 2 * GRANULARITY.scale_count(rows, segments)
}

#[cfg(test)]
mod tests {
    use septet_kernels::{PackedMatrix, QuantizedMatrix};

    use super::*;
    use crate::model::{
        Storage, builtin,
        shape::{PRESETS, Preset},
    };

    fn dense(formats: &MixedFormats, place: Place) -> Storage {
        Storage::Quantized { format: formats.format(place), layout: Layout::Dense, granularity: GRANULARITY }
    }

    #[test]
    fn bytes_are_those_of_packed_matrices() {
        for &format in Format::ALL {
            for (rows, cols) in [(1, 128), (65, 172), (3, 640), (2, 1)] {
                let matrix = QuantizedMatrix::random(rows, cols, format, GRANULARITY, 1).expect("valid");
                let packed = PackedMatrix::pack(&matrix, Layout::Dense).expect("offered");
                assert_eq!(stored_bytes(rows, cols, format), packed.stored_bytes());
            }
        }
    }

    #[test]
    fn the_built_in_model_uses_its_own_table_within_the_budget() {
        let model = builtin::load().expect("built-in model");
        let config = &model.parts.config;
        let table = SensitivityTable::builtin().expect("of this model");
        let places: Vec<Place> = table.tensors.iter().map(|tensor| tensor.place).collect();
        assert_eq!(places, tensors(config).iter().map(|&(place, _)| place).collect::<Vec<_>>());

        let formats = MixedFormats::for_model(config).expect("fits");
        assert_eq!(MixedFormats::for_model(config).expect("fits"), formats);
        let set = model.stored(|place| dense(&formats, place)).expect("quantizes");
        assert_eq!(set.stored_bytes(), formats.bytes);
        assert!(formats.bits_per_weight() <= MIXED_BITS_PER_WEIGHT && formats.bits_per_weight() > 3.3);
    }

    #[test]
    fn shapes_use_the_same_budget() {
        let tiny = &builtin::load().expect("built-in model").parts.config;
        for &Preset { name, hidden, ffn, heads, kv_heads, head_dim, .. } in PRESETS {
            for layers in [1, 3] {
                let config = Config { hidden, ffn, layers, heads, kv_heads, head_dim, vocab: 1, ..tiny.clone() };
                let formats = MixedFormats::for_model(&config).expect("fits");
                let bits = formats.bits_per_weight();
                assert!((3.25..=MIXED_BITS_PER_WEIGHT).contains(&bits), "{name}, {layers} layers: {bits}");
            }
        }
    }

    #[test]
    fn extreme_budgets_are_uniform_and_smaller_ones_errors() {
        let config = &builtin::load().expect("built-in model").parts.config;
        for (bits, format) in [(3.125, Format::W3), (4.125, Format::W4), (32.0, Format::W4)] {
            let formats = MixedFormats::at(config, bits).expect("fits");
            assert!(tensors(config).iter().all(|&(place, _)| formats.format(place) == format), "{bits}");
        }
        let error = MixedFormats::at(config, 3.1).expect_err("too small").to_string();
        assert!(error.contains("bytes"), "{error}");
    }
}
