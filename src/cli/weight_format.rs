//! The formats of linear layers that a command line can ask for.

use std::fmt;
use std::str::FromStr;

use septet_kernels::{Format, Granularity, Layout, Level, UnknownLevel};
use thiserror::Error;

use crate::mixed::{MIXED_BITS_PER_WEIGHT, MixedError, MixedFormats};
use crate::model::{self, Checkpoint, Config, Execution, LinearSet, Place, Storage};

/// Weights of the linear layers: as they are, or quantized in groups of 128.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WeightFormat {
    F32,
    Quantized(Format),
    /// A format for each tensor, by measured sensitivity.
    Mixed,
}

impl WeightFormat {
    /// Every format that quantizes all layers alike.
    pub const UNIFORM: [Self; 3] =
        [Self::Quantized(Format::W4), Self::Quantized(Format::W3p5), Self::Quantized(Format::W3)];

    /// Fewest stored bits of a weight.
    pub fn least_bits(self) -> f64 {
        match self {
            Self::F32 => 32.0,
            Self::Quantized(format) => f64::from(format.fields().pair_bits()) / 2.0,
            Self::Mixed => MIXED_BITS_PER_WEIGHT,
        }
    }

    /// How each layer of a model of `config` is kept in this format; codes lie in `layout`.
    ///
    /// # Errors
    ///
    /// Without sensitivities to mix formats by.
    pub fn storage(self, config: &Config, layout: Layout) -> Result<impl Fn(Place) -> Storage, MixedError> {
        let mixed = match self {
            Self::Mixed => Some(MixedFormats::for_model(config)?),
            Self::F32 | Self::Quantized(_) => None,
        };
        Ok(move |place| {
            let format = match (self, &mixed) {
                (Self::Quantized(format), _) => format,
                (_, Some(mixed)) => mixed.format(place),
                (_, None) => return Storage::F32,
            };
            Storage::Quantized { format, layout, granularity: Granularity::Group128 }
        })
    }
}

impl Default for WeightFormat {
    /// The format that the program is named after.
    fn default() -> Self {
        Self::Quantized(Format::W3p5)
    }
}

/// Whether the files of `model` hold quantized layers.
pub fn is_packed(model: &Checkpoint) -> bool {
    model.packed_storage(Place::Head).is_some()
}

/// The linear layers of `model` in the format `asked`, and its name. Without one they are as a quantized model has
/// them, or else in `w3p5`.
///
/// # Errors
///
/// For another format than that of a quantized model, weights that can not be quantized, and as
/// [`WeightFormat::storage`].
pub fn linears(model: &Checkpoint, asked: Option<WeightFormat>) -> Result<(LinearSet, String), WeightFormatError> {
    let packed = |place| model.packed_storage(place);
    match (packed(Place::Head), asked) {
        (Some(_), None) => {
            let set = model.stored(|place| packed(place).unwrap_or(Storage::F32))?;
            let bits = 8.0 * set.stored_bytes() as f64 / set.weights() as f64;
            Ok((set, format!("{bits:.3}-bit")))
        }
        (head, asked) => {
            let format = asked.unwrap_or_default();
            let layout = match head {
                Some(Storage::Quantized { layout, .. }) => layout,
                _ => Execution::fast_layout(),
            };
            Ok((model.stored(format.storage(&model.parts.config, layout)?)?, format.to_string()))
        }
    }
}

/// Why there are no linear layers in a format.
#[derive(Debug, Error)]
pub enum WeightFormatError {
    /// The model is wrong, or is quantized to another format: bad input.
    #[error(transparent)]
    Model(#[from] model::Error),
    /// There are no sensitivities to mix formats by.
    #[error(transparent)]
    Mixed(#[from] MixedError),
}

impl fmt::Display for WeightFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::F32 => f.write_str("f32"),
            Self::Quantized(format) => format.fmt(f),
            Self::Mixed => f.write_str("mixed"),
        }
    }
}

impl FromStr for WeightFormat {
    type Err = UnknownLevel;

    fn from_str(name: &str) -> Result<Self, UnknownLevel> {
        match name {
            "f32" => Ok(Self::F32),
            "mixed" => Ok(Self::Mixed),
            _ => Format::parse(name).map(Self::Quantized).map_err(|mut unknown| {
                unknown.valid.insert(0, "f32");
                unknown.valid.push("mixed");
                unknown
            }),
        }
    }
}
