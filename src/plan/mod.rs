//! What will be measured, checked and expanded: the unique cells, and the contrasts between them.
//!
//! A [`Plan`] is made from a spec before anything runs, is written into the manifest, and is all
//! that the statistics need to know about the experiment besides its samples. A *cell* is one arm
//! on one workload; designs only select contrasts between cells, so one measurement serves several
//! tables.

pub mod expand;
mod factorial;
#[cfg(test)]
pub mod small;
mod threads;

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use septet_kernels::{COMPILED_COLS, Isa, Level, Shape};
use serde::{Deserialize, Serialize};

pub use factorial::{Factor, Factorial, MAX_FACTORS};
pub use threads::thread_counts;

use crate::{
    arm::{ActivationUse, Arm, ArmFormat, Epilogue, KvCache, Prefill, Regions, WhoseKernel},
    model::{Role, shape::PRESETS},
};

/// Version of the plan as written into `manifest.json`.
pub const PLAN_SCHEMA: u32 = 1;

/// An experiment, expanded to unique cells.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    pub schema: u32,
    /// Name of the experiment: the folder under `results/`.
    pub experiment: String,
    pub question: String,
    pub hypothesis: String,
    pub refuted_by: String,
    pub protocol: Protocol,
    pub workloads: Vec<Workload>,
    pub cells: Vec<Cell>,
    pub infeasible: Vec<Infeasible>,
    pub designs: Vec<Design>,
    /// Where counters come from, if the experiment says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counters: Option<Vec<CounterSource>>,
}

impl Plan {
    /// Axes that no cell names, with their levels: the plan is older than they are, and what it
    /// measured was at the published baseline.
    pub fn unnamed_factors(&self) -> BTreeMap<String, String> {
        let mut factors = Arm::BASELINE.factors();
        factors.retain(|axis, _| !self.cells.iter().any(|cell| cell.factors.contains_key(axis)));
        factors
    }

    /// Numbers of threads of its workloads, ascending, each once.
    pub fn thread_counts(&self) -> Vec<usize> {
        let counts: BTreeSet<usize> = self.workloads.iter().map(|workload| workload.threads).collect();
        counts.into_iter().collect()
    }

    /// Whether nothing runs but products of matrices alone.
    pub fn is_of_matrices(&self) -> bool {
        self.workloads.iter().all(|workload| matches!(workload.source, Source::Matrix { .. }))
    }

    /// Instruction sets of its cells.
    pub fn isas(&self) -> BTreeSet<&str> {
        self.cells.iter().filter_map(|cell| cell.factors.get(Isa::AXIS)).map(String::as_str).collect()
    }
}

/// Where counters of cells come from, in a pass of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CounterSource {
    /// What the compiled inner loops contain.
    Disassembly,
    /// What the PMU counts on the workload itself.
    Hardware,
    /// What valgrind simulates of one product.
    Callgrind,
    /// What one product executes, an instruction at a time.
    SingleStep,
}

impl CounterSource {
    /// Every source, in the order of `counters.csv`.
    pub const ALL: [Self; 4] = [Self::Disassembly, Self::Hardware, Self::Callgrind, Self::SingleStep];

    /// The value of the column `source`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Disassembly => "disassembly",
            Self::Hardware => "perf_event",
            Self::Callgrind => "callgrind",
            Self::SingleStep => "single_step",
        }
    }
}

/// How samples are taken; frozen before the first one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Protocol {
    /// Number of blocks; a block is one fresh process in which every cell runs.
    pub blocks: u32,
    /// Seed of the order of cells within each block.
    pub seed: u64,
    /// Effects inside `1 ± margin` are of no practical interest (0.01 = 1 %).
    pub margin: f64,
    /// Coverage of the printed intervals (0.95).
    pub confidence: f64,
    /// A shortened run: good for a look, never for a citation.
    pub quick: bool,
    /// Why there are so many blocks, where a pilot chose them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chosen: Option<String>,
}

/// Where the weights of a workload live while it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Residency {
    /// The weights stay in a cache between tokens.
    Cache,
    /// Distinct copies of the weights exceed the last-level cache at least four times.
    Dram,
}

/// One model, driven in one way.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Workload {
    /// Short name, a column value: `tiny`, `slice70b`.
    pub name: String,
    /// One line for tables: "trained 3.3 M LLaMA, cache-resident".
    pub title: String,
    pub residency: Residency,
    /// What one unit of `token_time` is: `token`, `layer_token` or `product`.
    pub unit: String,
    pub threads: usize,
    /// Most timed repetitions of a cell in each block; slow cells have fewer, fixed before the first
    /// block.
    pub repetitions: u32,
    /// Tokens of each repetition; of a matrix, products.
    pub tokens: u32,
    /// Tokens of the prompt that a shape reads before them; a trained model reads a text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt_tokens: Option<u32>,
    /// Parameters that the runner needs to build the workload.
    pub source: Source,
}

impl Workload {
    /// What is measured in each repetition. Latencies belong to models that decode text.
    pub fn metrics(&self) -> &'static [&'static str] {
        match self.source {
            Source::Trained { .. } => {
                &["token_time", "kernel_time", "token_latency_p50", "token_latency_p95", "prefill_time"]
            }
            Source::Shape { .. } if self.prompt_tokens.is_some() => &["token_time", "kernel_time", "prefill_time"],
            Source::Shape { .. } | Source::Matrix { .. } => &["token_time", "kernel_time"],
        }
    }

    /// Units (tokens, layer-tokens or products) of one token.
    pub fn units_of_a_token(&self) -> usize {
        match self.source {
            Source::Shape { layers, .. } => layers,
            Source::Trained { .. } | Source::Matrix { .. } => 1,
        }
    }

    /// Why `arm` means nothing on this workload, if it does not.
    pub fn infeasible(&self, arm: &Arm) -> Option<String> {
        self.without_meaning(arm).map(str::to_owned).or_else(|| self.not_compiled(arm))
    }

    /// Why not, whatever its shapes are.
    fn without_meaning(&self, arm: &Arm) -> Option<&'static str> {
        match self.source {
            Source::Matrix { .. } if arm.peer.is_some() => return None,
            Source::Matrix { .. } => {}
            Source::Shape { .. } | Source::Trained { .. } if arm.peer.is_some() => {
                return Some("kernels of other projects run on a matrix alone");
            }
            Source::Shape { .. } if arm.prefill == Prefill::Batch && self.prompt_tokens.is_none() => {
                return Some("a shape without `prompt_tokens` has no prompt to read");
            }
            Source::Shape { .. } if arm.kv_cache == KvCache::Recomputed && self.prompt_tokens.is_none() => {
                return Some("a shape without `prompt_tokens` has no text to read again");
            }
            Source::Shape { .. } | Source::Trained { .. } => return None,
        }
        if arm.prefill == Prefill::Batch && self.source.columns() == 1 {
            Some("a matrix alone with one column has no batch")
        } else if arm.regions == Regions::Joined {
            Some("a matrix alone is one region of the threads")
        } else if arm.format == ArmFormat::Mixed {
            Some("mixed chooses among the tensors of a model; a matrix alone has one format")
        } else if arm.epilogue == Epilogue::Fused {
            Some("a matrix alone has no residual stream to add to")
        } else if arm.activations == ActivationUse::Cached {
            Some("a matrix alone shares its operand with no other")
        } else if arm.kv_cache != Arm::BASELINE.kv_cache {
            Some("a matrix alone has no keys and values")
        } else {
            None
        }
    }

    /// Which of its matrices the kernels of `arm` are not compiled for, if they need to be.
    fn not_compiled(&self, arm: &Arm) -> Option<String> {
        if arm.shape == Shape::Runtime {
            return None;
        }
        let Some(cols) = self.source.cols() else {
            return Some("the shapes of a trained model are known when its files are read".to_owned());
        };
        let other = cols.into_iter().find(|cols| !COMPILED_COLS.contains(cols))?;
        let compiled = COMPILED_COLS.map(|cols| cols.to_string()).join(", ");
        Some(format!("a matrix has K = {other}; shapes are compiled for K = {compiled}"))
    }

    /// The unit of its metrics: `ns/token`, `ns/layer_token` or `ns/product`.
    pub fn time_unit(&self) -> String {
        format!("ns/{}", self.unit)
    }
}

/// Where the weights of a workload come from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase", tag = "kind", deny_unknown_fields)]
pub enum Source {
    /// A trained checkpoint: a folder, or the built-in model when absent.
    Trained { model: Option<String>, prompt: String },
    /// A preset shape with seeded weights and this many distinct copies of each layer.
    Shape { preset: String, layers: usize, copies: usize, seed: u64 },
    /// One matrix of seeded weights in this many distinct copies, times this many columns at once.
    Matrix {
        rows: usize,
        cols: usize,
        #[serde(default = "one_column")]
        columns: usize,
        copies: usize,
        seed: u64,
    },
}

/// Runs from before products had a number of columns.
fn one_column() -> usize {
    1
}

impl Source {
    /// Whether the weights are the same, whatever they are multiplied with.
    pub fn same_weights(&self, other: &Self) -> bool {
        let of_one_column = |source: &Self| match source.clone() {
            Self::Matrix { rows, cols, copies, seed, .. } => Self::Matrix { rows, cols, columns: 1, copies, seed },
            source => source,
        };
        of_one_column(self) == of_one_column(other)
    }

    /// K of its matrices, each once, ascending; nothing for a trained model, whose files say it.
    pub fn cols(&self) -> Option<BTreeSet<usize>> {
        match self {
            Self::Trained { .. } => None,
            Self::Shape { preset, .. } => {
                let config = PRESETS.iter().find(|known| known.name == preset)?.config(1);
                Some(Role::ALL.iter().map(|role| role.shape(&config).1).collect())
            }
            Self::Matrix { cols, .. } => Some(BTreeSet::from([*cols])),
        }
    }

    /// Columns that a token multiplies the weights with.
    pub fn columns(&self) -> usize {
        match self {
            Self::Trained { .. } | Self::Shape { .. } => 1,
            Self::Matrix { columns, .. } => *columns,
        }
    }
}

/// One arm on one workload.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Cell {
    /// Content hash of workload and factors: stable between runs of one spec.
    pub id: String,
    pub workload: String,
    /// Label of the arm, the same on every workload: `w3p5/dense/lut/u4/avx512/software/fused/cached`.
    pub arm: String,
    /// Level of each factor, by factor name.
    pub factors: BTreeMap<String, String>,
    /// The kernel's registered name.
    pub kernel: String,
    /// Set on the null check A′: the id of the baseline cell that it repeats.
    pub null_of: Option<String>,
}

impl Cell {
    /// Its level on `axis`, the published baseline where the plan is older than the axis; nothing if
    /// there is no such axis.
    pub fn level(&self, axis: &str) -> Option<&str> {
        self.factors.get(axis).map(String::as_str).or_else(|| Arm::BASELINE.level(axis))
    }

    /// Whether its kernel is one of another project.
    pub fn is_peer(&self) -> bool {
        self.level(WhoseKernel::AXIS) != Some(WhoseKernel(None).name())
    }
}

/// A point that a design asked for and that cannot exist, with the reason.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Infeasible {
    pub design: String,
    pub step: String,
    pub workload: String,
    pub reason: String,
}

/// How a design picks its contrasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum DesignKind {
    /// Each step against the step before it, in the printed order.
    Cumulative,
    /// Each factor alone against the common baseline.
    AddOneIn,
    /// Everything on against everything but one: what is lost without the factor.
    LeaveOneOut,
    /// Every combination of its steps, each on or off: what each is worth, and what each two are
    /// worth together.
    Factorial,
    /// The same arm repeated: must show no difference.
    Null,
}

/// A named set of contrasts: one family for the correction of multiple comparisons, per workload
/// and metric.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Design {
    pub name: String,
    pub title: String,
    pub kind: DesignKind,
    pub contrasts: Vec<Contrast>,
    /// The product of single speed-ups beside the measured combination, one per workload.
    pub combinations: Vec<Combination>,
    /// All combinations of a factorial design, one per workload; none of other kinds.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub factorials: Vec<Factorial>,
}

/// A comparison of two cells of one workload. Its ratio is the reference's time divided by the
/// arm's: above one, the arm is faster.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Contrast {
    /// What changed: `unpack=lut`.
    pub step: String,
    pub workload: String,
    /// Cell id of the arm.
    pub arm: String,
    /// Cell id of its reference.
    pub reference: String,
    /// The published speed-up for this step, if there is one.
    pub published: Option<f64>,
}

/// Does the product of single effects predict the combination?
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Combination {
    pub workload: String,
    /// Contrasts whose ratios are multiplied (each step alone against its own reference).
    pub singles: Vec<Contrast>,
    /// The combination as measured: last arm against the first reference.
    pub measured: Contrast,
}
