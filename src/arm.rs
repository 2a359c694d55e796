//! An arm: one level of every factor, compiled or not. The unit that designs combine.

use std::{collections::BTreeMap, fmt};

use septet_kernels::{
    Blocking, Format, Granularity, Isa, Layout, Level, Pages, Prefetch, Shape, UnknownLevel, Unpack, Unroll, Variant,
    gemm, registry,
};
use septet_peers::Peer;
use thiserror::Error;

use crate::{axis::AXES, model::kv_cache::CacheFormat, pages};

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

/// How a prompt is read, or a matrix alone multiplied with several columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Prefill {
    /// One token at a time, as a text is continued; of a matrix alone, one column after another.
    Token,
    /// In batches of positions, or all columns of a matrix alone: weights are unpacked once into a panel for
    /// all columns.
    Batch,
}

impl Level for Prefill {
    const AXIS: &'static str = "prefill";
    const ALL: &'static [Self] = &[Self::Token, Self::Batch];

    fn name(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::Batch => "batch",
        }
    }

    fn about(self) -> &'static str {
        match self {
            Self::Token => "a prompt is read one token at a time; a matrix alone takes one column after another",
            Self::Batch => {
                "a prompt is read in batches, a matrix alone takes all columns: weights are unpacked once for all"
            }
        }
    }
}

/// What the threads of a pool do between two barriers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Regions {
    /// One projection.
    Each,
    /// q, k and v; gate, up and SwiGLU of the rows that a thread owns.
    Joined,
}

impl Level for Regions {
    const AXIS: &'static str = "regions";
    const ALL: &'static [Self] = &[Self::Each, Self::Joined];

    fn name(self) -> &'static str {
        match self {
            Self::Each => "each",
            Self::Joined => "joined",
        }
    }

    fn about(self) -> &'static str {
        match self {
            Self::Each => "each projection is a region of its own",
            Self::Joined => "q, k and v are one region of the threads; so are gate and up, with SwiGLU at the store",
        }
    }
}

/// What becomes of keys and values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum KvCache {
    /// They are kept in this format.
    Kept(CacheFormat),
    /// Nothing is kept from token to token: each reads the whole text before it again.
    Recomputed,
}

impl KvCache {
    /// The format in which attention reads them.
    pub fn format(self) -> CacheFormat {
        match self {
            Self::Kept(format) => format,
            Self::Recomputed => CacheFormat::F32,
        }
    }
}

impl Level for KvCache {
    const AXIS: &'static str = CacheFormat::AXIS;
    const ALL: &'static [Self] =
        &[Self::Kept(CacheFormat::F32), Self::Kept(CacheFormat::F16), Self::Kept(CacheFormat::Int8), Self::Recomputed];

    fn name(self) -> &'static str {
        match self {
            Self::Kept(format) => format.name(),
            Self::Recomputed => "none",
        }
    }

    fn about(self) -> &'static str {
        match self {
            Self::Kept(format) => format.about(),
            Self::Recomputed => "nothing is kept from token to token: each reads the whole text before it again",
        }
    }
}

/// Whose kernel multiplies: ours, or that of another project.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WhoseKernel(pub Option<Peer>);

impl Level for WhoseKernel {
    const AXIS: &'static str = Peer::AXIS;
    const ALL: &'static [Self] = &{
        let mut all = [Self(None); Peer::ALL.len() + 1];
        let mut i = 0;
        while i < Peer::ALL.len() {
            all[i + 1] = Self(Some(Peer::ALL[i]));
            i += 1;
        }
        all
    };

    fn name(self) -> &'static str {
        self.0.map_or("none", Peer::name)
    }

    fn about(self) -> &'static str {
        self.0.map_or("a kernel of septet", Peer::about)
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
    pub blocking: Blocking,
    pub shape: Shape,
    pub epilogue: Epilogue,
    pub activations: ActivationUse,
    pub prefill: Prefill,
    pub regions: Regions,
    pub pages: Pages,
    pub kv_cache: KvCache,
    /// A kernel of another project in place of ours: then no other factor means anything, and all are at
    /// the baseline.
    pub peer: Option<Peer>,
}

/// The level of a factor that means nothing for an arm.
const NOT_APPLICABLE: &str = "-";

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
        blocking: Blocking::Full,
        shape: Shape::Runtime,
        epilogue: Epilogue::Separate,
        activations: ActivationUse::Requantize,
        prefill: Prefill::Token,
        regions: Regions::Each,
        pages: Pages::System,
        kv_cache: KvCache::Kept(CacheFormat::F32),
        peer: None,
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
            Blocking::AXIS => self.blocking = Blocking::parse(level)?,
            Shape::AXIS => self.shape = Shape::parse(level)?,
            Epilogue::AXIS => self.epilogue = Epilogue::parse(level)?,
            ActivationUse::AXIS => self.activations = ActivationUse::parse(level)?,
            Prefill::AXIS => self.prefill = Prefill::parse(level)?,
            Regions::AXIS => self.regions = Regions::parse(level)?,
            Pages::AXIS => self.pages = Pages::parse(level)?,
            KvCache::AXIS => self.kv_cache = KvCache::parse(level)?,
            WhoseKernel::AXIS => match WhoseKernel::parse(level)?.0 {
                None => self.peer = None,
                peer => self = Self { peer, ..Self::BASELINE },
            },
            _ => return Err(AssignError::Axis { found: axis.to_owned() }),
        }
        Ok(self)
    }

    /// The name of its level on each axis.
    fn levels(&self) -> [(&'static str, &'static str); 16] {
        let mut levels = [
            (ArmFormat::AXIS, self.format.name()),
            (Granularity::AXIS, self.granularity.name()),
            (Layout::AXIS, self.layout.name()),
            (Unpack::AXIS, self.unpack.name()),
            (Unroll::AXIS, self.unroll.name()),
            (Isa::AXIS, self.isa.name()),
            (Prefetch::AXIS, self.prefetch.name()),
            (Blocking::AXIS, self.blocking.name()),
            (Shape::AXIS, self.shape.name()),
            (Epilogue::AXIS, self.epilogue.name()),
            (ActivationUse::AXIS, self.activations.name()),
            (Prefill::AXIS, self.prefill.name()),
            (Regions::AXIS, self.regions.name()),
            (Pages::AXIS, self.pages.name()),
            (KvCache::AXIS, self.kv_cache.name()),
            (WhoseKernel::AXIS, WhoseKernel(self.peer).name()),
        ];
        if self.peer.is_some() {
            for (_, level) in levels.iter_mut().filter(|(axis, _)| *axis != WhoseKernel::AXIS) {
                *level = NOT_APPLICABLE;
            }
        }
        levels
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
        let mut meant = factors.iter().filter(|(_, level)| *level != NOT_APPLICABLE);
        meant.try_fold(Self::BASELINE, |arm, (axis, level)| arm.with(axis, level))
    }

    /// The kernel that products of `format` run on.
    pub fn variant(&self, format: Format) -> Variant {
        Variant { format, layout: self.layout, unpack: self.unpack, unroll: self.unroll, isa: self.isa }
    }

    /// The formats whose kernels of ours the arm uses.
    pub fn formats(&self) -> Vec<Format> {
        if self.peer.is_some() { Vec::new() } else { self.format.formats() }
    }

    /// The kernels that the arm reads prompts with, where they are others than those of a token.
    pub fn prompt_kernels(&self) -> Vec<gemm::Variant> {
        match self.prefill {
            Prefill::Token => Vec::new(),
            Prefill::Batch => self.formats().iter().map(|&format| gemm::Variant { format, isa: self.isa }).collect(),
        }
    }

    /// The registered names of the arm's kernels, `+`-separated.
    pub fn kernel_names(&self) -> String {
        if let Some(peer) = self.peer {
            return peer.to_string();
        }
        let kernels = self.formats().into_iter().map(|format| self.variant(format).to_string());
        let names: Vec<String> = kernels.chain(self.prompt_kernels().iter().map(ToString::to_string)).collect();
        names.join("+")
    }

    /// Why this arm cannot run here, if it cannot.
    pub fn infeasible(&self) -> Option<String> {
        if let Some(peer) = self.peer {
            let factors = *self != Self { peer: self.peer, ..Self::BASELINE };
            let factors = factors.then(|| format!("{peer} is a kernel of another project, without our factors"));
            return factors.or_else(|| peer.available().err());
        }
        let variants: Vec<Variant> = self.formats().iter().map(|&f| self.variant(f)).collect();
        let stored = |variant: &Variant| self.layout.infeasible_under(variant.format, self.granularity);
        if let Some(reason) = variants.iter().find_map(|variant| variant.infeasible().or_else(|| stored(variant))) {
            return Some(reason.to_owned());
        }
        let unshaped = |variant: &Variant| self.shape.infeasible(*variant, self.granularity, self.blocking);
        if let Some(reason) = variants.iter().find_map(unshaped) {
            return Some(reason.to_owned());
        }
        if let Some(kernel) = self.prompt_kernels().iter().find(|kernel| kernel.layout() != self.layout) {
            let (layout, batched) = (self.layout, kernel.layout());
            return Some(format!("no kernel for many columns reads {layout}: batches of a prompt need {batched}"));
        }
        if !self.isa.is_available() {
            return Some(format!("this CPU lacks {}: {}", self.isa, self.isa.needs()));
        }
        let missing = variants.iter().find(|&&variant| registry::find(variant).is_none()).map(ToString::to_string);
        let missing_batched =
            || self.prompt_kernels().iter().find(|&&kernel| gemm::find(kernel).is_none()).map(ToString::to_string);
        let missing = missing.or_else(missing_batched);
        let missing = missing.map(|kernel| format!("{kernel} is not compiled for this architecture"));
        missing.or_else(|| pages::infeasible(self.pages))
    }
}

impl fmt::Display for Arm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { format, granularity, layout, unpack, unroll, isa, prefetch, epilogue, activations, .. } = self;
        if let Some(peer) = self.peer {
            return write!(f, "{peer}");
        }
        write!(f, "{}", format.name())?;
        if *granularity != Granularity::Group128 {
            write!(f, "-{granularity}")?;
        }
        write!(f, "/{layout}/{unpack}/{unroll}/{isa}/{prefetch}/{}/{}", epilogue.name(), activations.name())?;
        // An axis that came later is named where an arm leaves its baseline: so cells keep their ids.
        if self.blocking != Self::BASELINE.blocking {
            write!(f, "/{}", self.blocking.name())?;
        }
        if self.shape != Self::BASELINE.shape {
            write!(f, "/{}", self.shape.name())?;
        }
        if self.prefill != Self::BASELINE.prefill {
            write!(f, "/{}", self.prefill.name())?;
        }
        if self.regions != Self::BASELINE.regions {
            write!(f, "/{}", self.regions.name())?;
        }
        if self.pages != Self::BASELINE.pages {
            write!(f, "/{}", self.pages.name())?;
        }
        if self.kv_cache != Self::BASELINE.kv_cache {
            write!(f, "/{}-cache", self.kv_cache.name())?;
        }
        Ok(())
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
    fn a_peer_has_no_other_factor() {
        let lut = Arm::BASELINE.with("unpack", "lut").unwrap();
        let arm = lut.with("peer", "ggml_q3_k").unwrap();
        assert_eq!(arm, Arm::BASELINE.with("peer", "ggml_q3_k").unwrap());
        assert_eq!((arm.to_string(), arm.kernel_names()), ("ggml_q3_k".to_owned(), "ggml_q3_k".to_owned()));
        let factors = arm.factors();
        assert_eq!((factors["peer"].as_str(), factors["layout"].as_str()), ("ggml_q3_k", "-"));
        assert_eq!(Arm::from_factors(&factors), Ok(arm));
        assert!(Arm::BASELINE.with("layout", "-").is_err());
        let both = arm.with("unroll", "u4").unwrap();
        assert!(both.infeasible().unwrap().contains("without our factors"));
        assert_eq!(WhoseKernel::parse("none"), Ok(WhoseKernel(None)));
    }

    #[test]
    fn impossible_arms_say_why() {
        let arm = Arm::BASELINE.with("isa", "avx2").unwrap();
        assert!(arm.infeasible().unwrap().contains("branch"));
        assert_eq!(Arm::BASELINE.infeasible(), None);
        let mixed = Arm::BASELINE.with("format", "mixed").unwrap();
        assert!(mixed.infeasible().unwrap().contains("byte"));
        let batch = Arm::BASELINE.with("prefill", "batch").unwrap();
        assert!(batch.infeasible().unwrap().contains("need rows16"));
        let batch = batch.with("layout", "rows16").unwrap().with("unpack", "bit_parallel").unwrap();
        assert_eq!(batch.infeasible(), None);
        assert_eq!(batch.kernel_names(), "gemv/w3p5/rows16/bit_parallel/u1/scalar+gemm/w3p5/rows16/scalar");
        let shaped = |levels: &[(&str, &str)]| {
            let arm = Arm::BASELINE.with("layout", "rows16").and_then(|arm| arm.with("shape", "compile_time"));
            let arm = arm.and_then(|arm| arm.with("unpack", "bit_parallel")).unwrap();
            levels
                .iter()
                .fold(arm, |arm, (axis, level)| arm.with(axis, level).unwrap())
                .infeasible()
                .unwrap_or_default()
        };
        assert!(shaped(&[]).contains("vector instruction sets"));
        assert!(shaped(&[("isa", "avx2"), ("layout", "byte_per_pair")]).contains("rows16, and of dense"));
        assert!(shaped(&[("isa", "avx2"), ("layout", "dense")]).contains("rows16, and of dense"));
        assert!(shaped(&[("isa", "avx2"), ("granularity", "g64")]).contains("g128"));
        assert!(shaped(&[("isa", "avx2"), ("blocking", "k512_r16")]).contains("whole rows"));
        if Isa::Avx2.is_available() {
            assert_eq!(shaped(&[("isa", "avx2")]), "");
            assert_eq!(shaped(&[("isa", "avx2"), ("layout", "dense"), ("unroll", "u4")]), "");
        }
    }

    /// The labels of arms that older runs and experiments have.
    #[test]
    fn labels_name_later_axes_off_their_baseline_only() {
        let arm = Arm::BASELINE.with("layout", "rows16").unwrap();
        assert_eq!(arm.to_string(), "w3p5/rows16/branch/u1/scalar/none/separate/requantize");
        let arm = arm.with("prefill", "batch").unwrap().with("regions", "joined").unwrap();
        assert_eq!(arm.to_string(), "w3p5/rows16/branch/u1/scalar/none/separate/requantize/batch/joined");
        let arm = Arm::BASELINE.with("shape", "compile_time").unwrap();
        assert_eq!(arm.to_string(), "w3p5/byte_per_pair/branch/u1/scalar/none/separate/requantize/compile_time");
        let arm = Arm::BASELINE.with("pages", "huge").unwrap();
        assert_eq!(arm.to_string(), "w3p5/byte_per_pair/branch/u1/scalar/none/separate/requantize/huge");
        let arm = Arm::BASELINE.with("kv_cache", "none").unwrap();
        assert_eq!(arm.to_string(), "w3p5/byte_per_pair/branch/u1/scalar/none/separate/requantize/none-cache");
    }
}
