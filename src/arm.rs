//! An arm: one level of every factor, compiled or not. The unit that designs combine.

use std::{collections::BTreeMap, fmt};

use septet_kernels::{Format, Granularity, Isa, Layout, Level, Prefetch, UnknownLevel, Unpack, Unroll, Variant};
use thiserror::Error;

use crate::axis::AXES;

/// Where residual, sum of squares, normalization and quantization happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Epilogue {
    /// The product stores f32; every step after it is a pass of its own.
    Separate,
    /// Residual and sum of squares at the store, the norm inside the next quantization.
    Fused,
}

impl Level for Epilogue {
    const AXIS: &'static str = "epilogue";
    const ALL: &'static [Self] = &[Self::Separate, Self::Fused];

    fn name(self) -> &'static str {
        match self {
            Self::Separate => "separate",
            Self::Fused => "fused",
        }
    }

    fn about(self) -> &'static str {
        match self {
            Self::Separate => "residual, sum of squares, norm and quantization are passes of their own",
            Self::Fused => "residual and sum of squares at the store, the norm inside the next quantization",
        }
    }
}

/// How often an operand is quantized.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ActivationUse {
    /// Anew for each projection that reads it.
    Requantize,
    /// Once; q, k and v share it, and so do gate and up.
    Cached,
}

impl Level for ActivationUse {
    const AXIS: &'static str = "activations";
    const ALL: &'static [Self] = &[Self::Requantize, Self::Cached];

    fn name(self) -> &'static str {
        match self {
            Self::Requantize => "requantize",
            Self::Cached => "cached",
        }
    }

    fn about(self) -> &'static str {
        match self {
            Self::Requantize => "an operand is quantized anew for each projection",
            Self::Cached => "an operand is quantized once and shared",
        }
    }
}

/// The format of an arm: one for all tensors, or one for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ArmFormat {
    /// Every linear layer in this format.
    Uniform(Format),
    /// A format for each tensor, from the sensitivity table of the model.
    Mixed,
}

impl Level for ArmFormat {
    const AXIS: &'static str = "format";
    const ALL: &'static [Self] =
        &[Self::Uniform(Format::W4), Self::Uniform(Format::W3p5), Self::Uniform(Format::W3), Self::Mixed];

    fn name(self) -> &'static str {
        match self {
            Self::Uniform(format) => format.name(),
            Self::Mixed => "mixed",
        }
    }

    fn about(self) -> &'static str {
        match self {
            Self::Uniform(format) => format.about(),
            Self::Mixed => {
                "w4, w3p5 or w3 for each tensor: the least divergence by models/tiny/sensitivity.json at 3.325 bits a weight"
            }
        }
    }
}

impl ArmFormat {
    /// The formats whose kernels an arm of this format uses.
    pub fn formats(self) -> Vec<Format> {
        match self {
            Self::Uniform(format) => vec![format],
            Self::Mixed => Format::ALL.to_vec(),
        }
    }
}

/// One level of every factor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Arm {
    pub format: ArmFormat,
    pub granularity: Granularity,
    pub layout: Layout,
    pub unpack: Unpack,
    pub unroll: Unroll,
    pub isa: Isa,
    pub prefetch: Prefetch,
    pub epilogue: Epilogue,
    pub activations: ActivationUse,
}

/// The `isa` level that stands for the widest instruction set of this CPU.
pub const WIDEST: &str = "widest";

/// An assignment that names no axis or no level of it.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum AssignError {
    /// No axis has this name.
    #[error("unknown axis `{found}`; valid: {}", AXES.iter().map(|axis| axis.name).collect::<Vec<_>>().join(", "))]
    Axis { found: String },
    /// The axis has no such level.
    #[error(transparent)]
    Level(#[from] UnknownLevel),
}

impl Arm {
    /// Everything at the published baseline: one byte a pair, a branch for each weight, one at a time.
    pub const BASELINE: Self = Self {
        format: ArmFormat::Uniform(Format::W3p5),
        granularity: Granularity::Group128,
        layout: Layout::BytePerPair,
        unpack: Unpack::Branch,
        unroll: Unroll::U1,
        isa: Isa::Scalar,
        prefetch: Prefetch::None,
        epilogue: Epilogue::Separate,
        activations: ActivationUse::Requantize,
    };

    /// This arm with one axis at another level; `isa = widest` stands for this CPU's widest.
    ///
    /// # Errors
    /// No such axis or level.
    pub fn with(mut self, axis: &str, level: &str) -> Result<Self, AssignError> {
        match axis {
            ArmFormat::AXIS => self.format = ArmFormat::parse(level)?,
            Granularity::AXIS => self.granularity = Granularity::parse(level)?,
            Layout::AXIS => self.layout = Layout::parse(level)?,
            Unpack::AXIS => self.unpack = Unpack::parse(level)?,
            Unroll::AXIS => self.unroll = Unroll::parse(level)?,
            Isa::AXIS if level == WIDEST => self.isa = Isa::best(),
            Isa::AXIS => self.isa = Isa::parse(level)?,
            Prefetch::AXIS => self.prefetch = Prefetch::parse(level)?,
            Epilogue::AXIS => self.epilogue = Epilogue::parse(level)?,
            ActivationUse::AXIS => self.activations = ActivationUse::parse(level)?,
            _ => return Err(AssignError::Axis { found: axis.to_owned() }),
        }
        Ok(self)
    }

    /// The name of its level on each axis.
    fn levels(&self) -> [(&'static str, &'static str); 9] {
        [
            (ArmFormat::AXIS, self.format.name()),
            (Granularity::AXIS, self.granularity.name()),
            (Layout::AXIS, self.layout.name()),
            (Unpack::AXIS, self.unpack.name()),
            (Unroll::AXIS, self.unroll.name()),
            (Isa::AXIS, self.isa.name()),
            (Prefetch::AXIS, self.prefetch.name()),
            (Epilogue::AXIS, self.epilogue.name()),
            (ActivationUse::AXIS, self.activations.name()),
        ]
    }

    /// Level names by axis name.
    pub fn factors(&self) -> BTreeMap<String, String> {
        self.levels().into_iter().map(|(axis, level)| (axis.to_owned(), level.to_owned())).collect()
    }

    /// The name of its level on `axis`; nothing if there is no such axis.
    pub fn level(&self, axis: &str) -> Option<&'static str> {
        self.levels().into_iter().find_map(|(name, level)| (name == axis).then_some(level))
    }

    /// The arm of these factors, as written by [`Arm::factors`]; an axis that they do not name is at
    /// the published baseline.
    ///
    /// # Errors
    /// No such axis or level.
    pub fn from_factors(factors: &BTreeMap<String, String>) -> Result<Self, AssignError> {
        factors.iter().try_fold(Self::BASELINE, |arm, (axis, level)| arm.with(axis, level))
    }

    /// The kernel that products of `format` run on.
    pub fn variant(&self, format: Format) -> Variant {
        Variant { format, layout: self.layout, unpack: self.unpack, unroll: self.unroll, isa: self.isa }
    }

    /// The formats whose kernels the arm uses.
    pub fn formats(&self) -> Vec<Format> {
        self.format.formats()
    }

    /// The registered names of the arm's kernels, `+`-separated.
    pub fn kernel_names(&self) -> String {
        self.formats().iter().map(|&f| self.variant(f).to_string()).collect::<Vec<_>>().join("+")
    }

    /// Why this arm cannot run here, if it cannot.
    pub fn infeasible(&self) -> Option<String> {
        let variants: Vec<Variant> = self.formats().iter().map(|&f| self.variant(f)).collect();
        let stored = |variant: &Variant| self.layout.infeasible_under(variant.format, self.granularity);
        if let Some(reason) = variants.iter().find_map(|variant| variant.infeasible().or_else(|| stored(variant))) {
            return Some(reason.to_owned());
        }
        if !self.isa.is_available() {
            return Some(format!("this CPU lacks {}: {}", self.isa, self.isa.needs()));
        }
        variants
            .iter()
            .find(|&&variant| septet_kernels::registry::find(variant).is_none())
            .map(|variant| format!("{variant} is not compiled for this architecture"))
    }
}

impl fmt::Display for Arm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { format, granularity, layout, unpack, unroll, isa, prefetch, epilogue, activations } = self;
        write!(f, "{}", format.name())?;
        if *granularity != Granularity::Group128 {
            write!(f, "-{granularity}")?;
        }
        write!(f, "/{layout}/{unpack}/{unroll}/{isa}/{prefetch}/{}/{}", epilogue.name(), activations.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn factors_round_trip() {
        let arm = Arm::BASELINE.with("unpack", "lut").unwrap().with("format", "mixed").unwrap();
        assert_eq!(Arm::from_factors(&arm.factors()), Ok(arm));
        assert_eq!(arm.factors().len(), AXES.len());
    }

    #[test]
    fn unknown_names_list_the_valid_ones() {
        let error = Arm::BASELINE.with("unpakc", "lut").unwrap_err().to_string();
        assert!(error.contains("`unpakc`") && error.contains("unpack"), "{error}");
        let error = Arm::BASELINE.with("unpack", "lux").unwrap_err().to_string();
        assert!(error.contains("`lux`") && error.contains("bit_parallel"), "{error}");
    }

    #[test]
    fn impossible_arms_say_why() {
        let arm = Arm::BASELINE.with("isa", "avx2").unwrap();
        assert!(arm.infeasible().unwrap().contains("branch"));
        assert_eq!(Arm::BASELINE.infeasible(), None);
        let mixed = Arm::BASELINE.with("format", "mixed").unwrap();
        assert!(mixed.infeasible().unwrap().contains("byte"));
    }
}
