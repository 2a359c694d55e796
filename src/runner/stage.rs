//! A workload, ready to run: its weights in every stored form that its arms need.

use std::{path::Path, sync::Arc, time::Instant};

use septet_kernels::{Format, Granularity, Layout};

use super::RunError;
use crate::{
    arm::{Arm, ArmFormat},
    mixed::MixedFormats,
    model::{
        Checkpoint, Decoder, Error as ModelError, Execution, LinearSet, ModelParts, Storage, builtin,
        shape::{Preset, ShapeModel},
    },
    plan::{Source, Workload},
    pool::ThreadPool,
};

/// What distinguishes the stored weights of one arm from those of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Stored {
    pub format: ArmFormat,
    pub granularity: Granularity,
    pub layout: Layout,
}

impl From<&Arm> for Stored {
    fn from(arm: &Arm) -> Self {
        Self { format: arm.format, granularity: arm.granularity, layout: arm.layout }
    }
}

/// A workload with its weights, shared by all its arms.
pub struct Stage {
    parts: Arc<ModelParts>,
    /// Equal copies of the weights at distinct addresses, for each stored form.
    sets: Vec<(Stored, Vec<LinearSet>)>,
    pool: Arc<ThreadPool>,
    /// Tokens that a trained model continues; nothing for a shape.
    prompt: Vec<u32>,
    /// Tokens of one repetition.
    tokens: usize,
    /// What one token counts for in the workload's unit: 1, or the layers of a shape.
    units_per_token: usize,
}

/// One repetition of one arm.
#[derive(Clone, Debug, PartialEq)]
pub struct Repetition {
    /// Nanoseconds of each token.
    pub token_ns: Vec<u64>,
    /// Nanoseconds inside linear kernels, all tokens together.
    pub kernel_ns: u64,
    /// The values that the last token left: equal for all arms that compute the same.
    pub output: Vec<u32>,
}

impl Stage {
    /// Loads or makes the weights of `workload` in the forms that `arms` need; `copies` overrides
    /// the copies of a shape.
    ///
    /// # Errors
    /// A model that cannot be loaded or quantized, or a mixed arm without a sensitivity table.
    pub fn new(workload: &Workload, arms: &[Arm], copies: Option<usize>) -> Result<Self, RunError> {
        let mut wanted: Vec<Stored> = arms.iter().map(Stored::from).collect();
        wanted.sort_unstable();
        wanted.dedup();
        let pool = Arc::new(ThreadPool::new(workload.threads).map_err(RunError::Threads)?);
        let tokens = workload.tokens as usize;
        match &workload.source {
            Source::Trained { model, prompt } => {
                let checkpoint = load(model.as_deref())?;
                let prompt = checkpoint.tokenizer.encode_prompt(prompt)?;
                let context = checkpoint.parts.config.context;
                if prompt.len() + tokens > context {
                    return Err(ModelError::PromptTooLong { tokens: prompt.len() + tokens, context }.into());
                }
                let mut sets = Vec::new();
                for stored in wanted {
                    sets.push((stored, vec![trained_set(&checkpoint, stored)?]));
                }
                Ok(Self { parts: checkpoint.parts, sets, pool, prompt, tokens, units_per_token: 1 })
            }
            Source::Shape { preset, layers, copies: planned, seed } => {
                let preset: Preset = preset.parse()?;
                let copies = copies.unwrap_or(*planned);
                let shape = |format, stored: Stored| {
                    let storage = Storage::packed(format, stored.granularity, stored.layout);
                    ShapeModel::new(&preset, *layers, copies, *seed, storage)
                };
                let uniform = |format| Stored { format: ArmFormat::Uniform(format), ..wanted[0] };
                let mut parts = None;
                let mut sets: Vec<(Stored, Vec<LinearSet>)> = Vec::new();
                // Mixed sets take their layers from uniform ones, so those come first.
                let is_mixed = |stored: &&Stored| stored.format == ArmFormat::Mixed;
                let (mixed, mut plain): (Vec<Stored>, Vec<Stored>) = {
                    let mixed: Vec<Stored> = wanted.iter().filter(is_mixed).copied().collect();
                    (mixed, wanted.iter().filter(|stored| stored.format != ArmFormat::Mixed).copied().collect())
                };
                let _ = uniform;
                for stored in &mixed {
                    for format in [Format::W4, Format::W3p5, Format::W3] {
                        let needed = Stored { format: ArmFormat::Uniform(format), ..*stored };
                        if !plain.contains(&needed) {
                            plain.push(needed);
                        }
                    }
                }
                for stored in plain {
                    if let ArmFormat::Uniform(format) = stored.format {
                        let model = shape(format, stored)?;
                        parts = Some(model.parts);
                        sets.push((stored, model.sets));
                    }
                }
                for stored in mixed {
                    let formats = MixedFormats::builtin()?;
                    let find = |format| {
                        let needed = Stored { format: ArmFormat::Uniform(format), ..stored };
                        &sets.iter().find(|(have, _)| *have == needed).expect("pushed above").1
                    };
                    let copies = (0..copies).map(|copy| {
                        find(Format::W4)[copy].try_map(|place, _| {
                            let set = &find(formats.of_role(place))[copy];
                            Ok::<_, RunError>(set.at(place).clone())
                        })
                    });
                    let copies = copies.collect::<Result<Vec<_>, _>>()?;
                    sets.push((stored, copies));
                }
                let parts = parts.ok_or(RunError::NothingToRun)?;
                Ok(Self { parts, sets, pool, prompt: Vec::new(), tokens, units_per_token: *layers })
            }
        }
    }
}
