//! From what an experiment file says to what will be measured.
//!
//! Every arm that a design needs is built from a named arm by changing levels; equal arms on one
//! workload are one cell. A contrast with an arm that cannot exist here is kept in
//! [`Plan::infeasible`] with the reason. Everything else that does not make sense is an error at
//! its place in the file.

mod factorial;

use std::{collections::BTreeSet, ops::Range};

use septet_kernels::{Isa, Level};
use toml::Spanned;

use super::{
    Cell, Combination, Contrast, CounterSource, Design, DesignKind, Infeasible, PLAN_SCHEMA, Plan, Protocol, Workload,
    thread_counts,
};
use crate::{
    arm::{Arm, AssignError, WIDEST},
    axis::AXES,
    digest,
    nearest::nearest,
    plan::{Residency, Source},
    pool::MAX_THREADS,
    spec::{
        Assignments, Blocks, DesignSpec, MatrixSpec, SPEC_SCHEMA, Spec, SpecError, StepSpec, Threads, WorkloadSpec,
    },
};

/// Fewest blocks of a run that may be cited.
pub const MIN_BLOCKS: u32 = 10;

/// Most blocks, exclusive.
const MAX_BLOCKS: u32 = 1001;

/// The number of blocks that a pilot chooses.
pub const PILOT: &str = "pilot";

/// Longest side of a matrix, exclusive; integer sums are exact up to K = 65,536.
const MAX_SIDE: usize = 65_537;

/// Most columns of a product, exclusive.
const MAX_COLUMNS: usize = 1025;

/// Fewest bytes of a matrix's copies in memory, unless the file says otherwise: kernels are held to a few percent of the read bandwidth
/// there, and what other programs leave of a shared cache is unknown.
const ROTATION: usize = 1 << 30;

/// What the command line and the machine add to the file.
#[derive(Clone, Copy)]
pub struct Options<'a> {
    /// Fewer blocks and tokens; never citable.
    pub quick: bool,
    /// Keeps the contrasts whose arms all satisfy it.
    pub keep: &'a dyn Fn(&Arm) -> bool,
    /// Cores that `threads = "all"` stands for, and that `"each"` ends with.
    pub cores: usize,
    /// Distinct copies of so many weights that make them DRAM-resident here, and take at least so many
    /// bytes.
    pub copies: &'a dyn Fn(usize, usize) -> usize,
    /// Shapes that exist, with the weights of a layer of each.
    pub presets: &'a [(&'a str, usize)],
}

/// Checks `spec` and expands it.
///
/// # Errors
/// The first thing in the file that does not make sense, at its place.
pub fn expand(spec: &Spec, options: &Options<'_>) -> Result<Plan, SpecError> {
    let file = &spec.file;
    check_header(spec)?;
    let mut workloads = Vec::new();
    for written in file.workload.get_ref() {
        for workload in expand_workload(spec, written, options)? {
            if workloads.iter().any(|(_, other): &(_, Workload)| other.name == workload.name) {
                let message = format!("a second workload named `{}`", workload.name);
                return Err(spec.error(written.name.span(), message, None));
            }
            workloads.push((written.name.get_ref().as_str(), workload));
        }
    }
    if workloads.is_empty() {
        return Err(spec.error(file.workload.span(), "an experiment needs a workload", None));
    }
    check_unique(spec, file.design.get_ref().iter().map(|d| &d.name), "design")?;
    let blocks = if options.quick { *file.protocol.quick_blocks.get_ref() } else { most_blocks(spec)? };
    let mut expansion = Expansion { spec, options, workloads: &workloads, cells: Vec::new(), infeasible: Vec::new() };
    // An arm that no design uses yet has no mistakes either.
    for levels in file.arm.values() {
        expansion.apply(Arm::BASELINE, levels)?;
    }
    let designs = file.design.get_ref().iter().map(|design| expansion.design(design)).collect::<Result<Vec<_>, _>>()?;
    let Expansion { cells, infeasible, .. } = expansion;
    if designs.iter().all(|design| design.contrasts.is_empty()) {
        let help = "name at least one design whose arms this CPU can run, or select fewer levels with -a";
        return Err(spec.error(file.design.span(), "no contrast is left to measure", Some(help.to_owned())));
    }
    Ok(Plan {
        schema: PLAN_SCHEMA,
        experiment: file.name.get_ref().clone(),
        question: file.question.clone(),
        hypothesis: file.hypothesis.clone(),
        refuted_by: file.refuted_by.clone(),
        protocol: Protocol {
            blocks,
            seed: file.protocol.seed,
            margin: *file.protocol.margin.get_ref(),
            confidence: *file.protocol.confidence.get_ref(),
            quick: options.quick,
            chosen: None,
        },
        workloads: workloads.into_iter().map(|(_, workload)| workload).collect(),
        cells,
        infeasible,
        designs,
        counters: counter_sources(spec)?,
    })
}

/// The sources of counters that the file names, each once.
fn counter_sources(spec: &Spec) -> Result<Option<Vec<CounterSource>>, SpecError> {
    let Some(counters) = &spec.file.counters else { return Ok(None) };
    let mut sources = Vec::new();
    for source in &counters.sources {
        if sources.contains(source.get_ref()) {
            return Err(spec.error(source.span(), "this source of counters is named twice", None));
        }
        sources.push(*source.get_ref());
    }
    Ok(Some(sources))
}

fn check_header(spec: &Spec) -> Result<(), SpecError> {
    let file = &spec.file;
    if *file.schema.get_ref() != SPEC_SCHEMA {
        let message = format!("schema {} is not known; this program reads {SPEC_SCHEMA}", file.schema.get_ref());
        return Err(spec.error(file.schema.span(), message, None));
    }
    let workloads = file.workload.get_ref().iter().map(|workload| &workload.name);
    let designs = file.design.get_ref().iter().map(|design| &design.name);
    for name in [&file.name].into_iter().chain(workloads).chain(designs) {
        check_name(spec, name)?;
    }
    let protocol = &file.protocol;
    most_blocks(spec)?;
    check_range(spec, &protocol.quick_blocks, 2..MAX_BLOCKS, "quick_blocks")?;
    check_range(spec, &protocol.margin, 1e-4..0.5, "margin")?;
    check_range(spec, &protocol.confidence, 0.5..0.9999, "confidence")?;
    Ok(())
}

/// The planned number of blocks, or the most that a pilot may choose.
fn most_blocks(spec: &Spec) -> Result<u32, SpecError> {
    let protocol = &spec.file.protocol;
    if let Some(most) = &protocol.max_blocks {
        check_range(spec, most, MIN_BLOCKS..MAX_BLOCKS, "max_blocks")?;
    }
    match (protocol.blocks.get_ref(), &protocol.max_blocks) {
        (Blocks::Count(blocks), _) if (MIN_BLOCKS..MAX_BLOCKS).contains(blocks) => Ok(*blocks),
        (Blocks::Word(word), Some(most)) if word == PILOT => Ok(*most.get_ref()),
        (Blocks::Word(word), None) if word == PILOT => {
            let message = "a pilot chooses the number of blocks, and nothing says how many it may choose";
            let help = format!("add `max_blocks`, at least {MIN_BLOCKS}");
            Err(spec.error(protocol.blocks.span(), message, help))
        }
        _ => {
            let found = &spec.text[protocol.blocks.span()];
            let message =
                format!("blocks is {found}; valid: at least {MIN_BLOCKS} and below {MAX_BLOCKS}, or \"pilot\"");
            Err(spec.error(protocol.blocks.span(), message, None))
        }
    }
}

/// Names become parts of paths and columns.
fn check_name(spec: &Spec, name: &Spanned<String>) -> Result<(), SpecError> {
    let text = name.get_ref();
    if !text.is_empty() && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-') {
        return Ok(());
    }
    let message = format!("`{text}` is not a name: use lower-case letters, digits and hyphens");
    Err(spec.error(name.span(), message, None))
}

/// An error about a name that is none of `valid`.
fn unknown<'a>(
    spec: &Spec,
    span: Range<usize>,
    what: &str,
    found: &str,
    valid: impl IntoIterator<Item = &'a str>,
) -> SpecError {
    let valid: Vec<&str> = valid.into_iter().collect();
    let help = nearest(found, &valid, 1).first().map(|name| format!("did you mean `{name}`?"));
    spec.error(span, format!("unknown {what} `{found}`; valid: {}", valid.join(", ")), help)
}

fn check_range<T: PartialOrd + std::fmt::Display>(
    spec: &Spec,
    value: &Spanned<T>,
    valid: Range<T>,
    key: &str,
) -> Result<(), SpecError> {
    if valid.contains(value.get_ref()) {
        return Ok(());
    }
    let message = format!("{key} is {}; valid: at least {} and below {}", value.get_ref(), valid.start, valid.end);
    Err(spec.error(value.span(), message, None))
}

fn check_unique<'a>(
    spec: &Spec,
    names: impl Iterator<Item = &'a Spanned<String>>,
    what: &str,
) -> Result<(), SpecError> {
    let mut seen = BTreeSet::new();
    for name in names {
        if !seen.insert(name.get_ref()) {
            return Err(spec.error(name.span(), format!("a second {what} named `{}`", name.get_ref()), None));
        }
    }
    Ok(())
}

/// What a workload in the file stands for: itself, or itself on each number of threads.
fn expand_workload(spec: &Spec, workload: &WorkloadSpec, options: &Options<'_>) -> Result<Vec<Workload>, SpecError> {
    check_range(spec, &workload.repetitions, 1..10_001, "repetitions")?;
    check_range(spec, &workload.tokens, 1..100_001, "tokens")?;
    if let Some(tokens) = &workload.quick_tokens {
        check_range(spec, tokens, 1..100_001, "quick_tokens")?;
    }
    let (source, residency, unit) = source(spec, workload, options)?;
    let tokens = match &workload.quick_tokens {
        Some(tokens) if options.quick => *tokens.get_ref(),
        _ => *workload.tokens.get_ref(),
    };
    if let Some(tokens) = &workload.prompt_tokens {
        check_range(spec, tokens, 1..100_001, "prompt_tokens")?;
    }
    let prompt_tokens = workload.prompt_tokens.as_ref().map(|tokens| *tokens.get_ref());
    let (name, title, unit) = (workload.name.get_ref().clone(), workload.title.clone(), unit.to_owned());
    let repetitions = *workload.repetitions.get_ref();
    let one = Workload { name, title, residency, unit, threads: 1, repetitions, tokens, prompt_tokens, source };
    Ok(match workload.threads.get_ref() {
        Threads::Count(threads @ 1..=MAX_THREADS) => vec![Workload { threads: *threads, ..one }],
        Threads::Word(word) if word == "all" => vec![Workload { threads: options.cores, ..one }],
        Threads::Word(word) if word == "each" => {
            let on = |threads| Workload {
                name: format!("{}-{threads}t", one.name),
                title: format!("{}, {threads} thread{}", one.title, if threads == 1 { "" } else { "s" }),
                threads,
                ..one.clone()
            };
            thread_counts(options.cores).into_iter().map(on).collect()
        }
        Threads::Count(_) | Threads::Word(_) => {
            let found = &spec.text[workload.threads.span()];
            let message = format!("threads is {found}; valid: 1 to {MAX_THREADS}, \"all\", or \"each\"");
            return Err(spec.error(workload.threads.span(), message, None));
        }
    })
}

/// Where the weights of a workload come from, where they lie, and what one unit of its time is.
fn source(
    spec: &Spec,
    workload: &WorkloadSpec,
    options: &Options<'_>,
) -> Result<(Source, Residency, &'static str), SpecError> {
    let name = workload.name.get_ref();
    let WorkloadSpec { model, prompt, shape, layers, prompt_tokens, matrix, residency, rotation_mib, .. } = workload;
    let idle = |key: Option<Range<usize>>, what: &str, owner: &str| {
        let message = format!("`{what}` means nothing without a `{owner}`, and workload `{name}` has none");
        key.map_or(Ok(()), |span| Err(spec.error(span, message, None)))
    };
    if model.is_none() {
        idle(prompt.as_ref().map(Spanned::span), "prompt", "model")?;
    }
    if shape.is_none() {
        idle(layers.as_ref().map(Spanned::span), "layers", "shape")?;
        idle(prompt_tokens.as_ref().map(Spanned::span), "prompt_tokens", "shape")?;
    }
    if matrix.is_none() {
        idle(residency.as_ref().map(Spanned::span), "residency", "matrix")?;
        idle(rotation_mib.as_ref().map(Spanned::span), "rotation_mib", "matrix")?;
    }
    let seed = spec.file.protocol.seed;
    match (model, shape, matrix) {
        (Some(model), None, None) => {
            let Some(prompt) = prompt else {
                let message = format!("workload `{name}` has a model and no `prompt` for it to continue");
                return Err(spec.error(model.span(), message, None));
            };
            let prompt = prompt.get_ref().clone();
            let model = (model.get_ref() != "builtin").then(|| model.get_ref().clone());
            Ok((Source::Trained { model, prompt }, Residency::Cache, "token"))
        }
        (None, Some(shape), None) => {
            let preset = shape.get_ref().clone();
            let layers = layers.as_ref().map_or(Ok(1), |layers| {
                check_range(spec, layers, 1..1001, "layers")?;
                Ok(*layers.get_ref())
            })?;
            let Some((_, weights)) = options.presets.iter().find(|(name, _)| *name == preset) else {
                let valid = options.presets.iter().map(|(name, _)| *name);
                return Err(unknown(spec, shape.span(), "shape", &preset, valid));
            };
            let copies = (options.copies)(weights * layers, 0);
            Ok((Source::Shape { preset, layers, copies, seed }, Residency::Dram, "layer_token"))
        }
        (None, None, Some(matrix)) => {
            let MatrixSpec { rows, cols, columns } = matrix.get_ref();
            check_range(spec, rows, 1..MAX_SIDE, "rows")?;
            check_range(spec, cols, 1..MAX_SIDE, "cols")?;
            let columns = columns.as_ref().map_or(Ok(1), |columns| {
                check_range(spec, columns, 1..MAX_COLUMNS, "columns")?;
                Ok(*columns.get_ref())
            })?;
            let (rows, cols) = (*rows.get_ref(), *cols.get_ref());
            let residency = residency.as_ref().map_or(Residency::Dram, |residency| *residency.get_ref());
            let rotation = rotation_mib.as_ref().map_or(Ok(ROTATION), |mib| {
                check_range(spec, mib, 1..1_048_577, "rotation_mib")?;
                Ok(*mib.get_ref() << 20)
            })?;
            let copies = if residency == Residency::Dram { (options.copies)(rows * cols, rotation) } else { 1 };
            Ok((Source::Matrix { rows, cols, columns, copies, seed }, residency, "product"))
        }
        _ => {
            let message = format!("workload `{name}` needs a `model`, a `shape` or a `matrix`, and one alone");
            Err(spec.error(workload.name.span(), message, None))
        }
    }
}

/// Cells and infeasible points as they accumulate over designs.
struct Expansion<'a> {
    spec: &'a Spec,
    options: &'a Options<'a>,
    /// Each with the name that the file gives it.
    workloads: &'a [(&'a str, Workload)],
    cells: Vec<Cell>,
    infeasible: Vec<Infeasible>,
}

/// A contrast before it has a workload: the arm, its reference, and how to print it.
struct Pair {
    step: String,
    arm: Arm,
    reference: Arm,
    published: Option<f64>,
}

impl Expansion<'_> {
    fn design(&mut self, design: &DesignSpec) -> Result<Design, SpecError> {
        let from = self.named_arm(&design.from)?;
        let steps = design.step.as_deref().unwrap_or_default();
        if (design.kind == DesignKind::Null) != steps.is_empty() {
            let message = if steps.is_empty() { "a design needs steps" } else { "a null check has no steps" };
            return Err(self.spec.error(design.name.span(), message, None));
        }
        let workloads = self.workloads_of(design)?;
        let pairs = match design.kind {
            DesignKind::Factorial => self.all_on(design, from, steps)?,
            kind => self.pairs(kind, from, steps)?,
        };
        let singles = match &design.combination {
            Some(_) if matches!(design.kind, DesignKind::Cumulative | DesignKind::Factorial) => {
                self.singles(from, steps)?
            }
            Some(_) => {
                let message = "only a cumulative or a factorial design has a combination to predict";
                return Err(self.spec.error(design.name.span(), message, None));
            }
            None => Vec::new(),
        };
        let name = design.name.get_ref();
        let mut contrasts = Vec::new();
        let mut combinations = Vec::new();
        let mut factorials = Vec::new();
        for workload in workloads {
            if design.kind == DesignKind::Factorial {
                let factorial = self.factorial(name, workload, from, steps)?;
                let complete = factorial.is_complete();
                factorials.push(factorial);
                if !complete {
                    continue;
                }
            }
            for pair in &pairs {
                contrasts.extend(self.contrast(name, workload, design.kind, pair));
            }
            if let Some(combination) = &design.combination {
                let last = pairs.last().map_or(from, |pair| pair.arm);
                let published = self.published(combination.published.as_ref())?;
                let measured = Pair { step: "combination".to_owned(), arm: last, reference: from, published };
                let singles: Option<Vec<_>> =
                    singles.iter().map(|single| self.contrast(name, workload, design.kind, single)).collect();
                let measured = self.contrast(name, workload, design.kind, &measured);
                if let (Some(singles), Some(measured)) = (singles, measured) {
                    combinations.push(Combination { workload: workload.name.clone(), singles, measured });
                }
            }
        }
        let (name, title) = (name.clone(), design.title.clone());
        Ok(Design { name, title, kind: design.kind, contrasts, combinations, factorials })
    }

    /// The arms that each step of a design compares.
    fn pairs(&self, kind: DesignKind, from: Arm, steps: &[StepSpec]) -> Result<Vec<Pair>, SpecError> {
        if kind == DesignKind::Null {
            return Ok(vec![Pair { step: "null".to_owned(), arm: from, reference: from, published: None }]);
        }
        let mut before = from;
        let mut pairs = Vec::new();
        for step in steps {
            let base = if kind == DesignKind::Cumulative { before } else { from };
            let changed = self.apply(base, step.set.get_ref())?;
            // Where an instruction set is as wide as the CPU goes, it may be the one before.
            if changed == base && !step.set.get_ref().keys().any(|axis| axis.get_ref() == Isa::AXIS) {
                let message = "this step changes nothing: the arm already has these levels";
                return Err(self.spec.error(step.set.span(), message, None));
            }
            if pairs.iter().any(|pair: &Pair| pair.step == label(step)) {
                let message = format!("a second step `{}` in this design", label(step));
                return Err(self.spec.error(step.set.span(), message, "give each its own `label`".to_owned()));
            }
            let published = self.published(step.published.as_ref())?;
            let (arm, reference) = if kind == DesignKind::LeaveOneOut { (base, changed) } else { (changed, base) };
            pairs.push(Pair { step: label(step), arm, reference, published });
            before = changed;
        }
        Ok(pairs)
    }

    /// Each step of a ladder alone: from its own reference level (where the ladder stood on its
    /// axes) to its new one, all else at the first arm or at the step's `context`.
    fn singles(&self, from: Arm, steps: &[StepSpec]) -> Result<Vec<Pair>, SpecError> {
        let mut before = from;
        let mut singles = Vec::new();
        for step in steps {
            let mut reference = from;
            for axis in step.set.get_ref().keys() {
                let level = &before.factors()[axis.get_ref()];
                reference = self.assign(reference, axis, level, axis.span())?;
            }
            if let Some(context) = &step.context {
                reference = self.apply(reference, context)?;
            }
            let arm = self.apply(reference, step.set.get_ref())?;
            let step_label = format!("{} alone", label(step));
            singles.push(Pair {
                step: step_label,
                arm,
                reference,
                published: self.published(step.published.as_ref())?,
            });
            before = self.apply(before, step.set.get_ref())?;
        }
        Ok(singles)
    }

    /// The contrast of a pair on a workload, with its cells; nothing, and a note, if it cannot be.
    fn contrast(&mut self, design: &str, workload: &Workload, kind: DesignKind, pair: &Pair) -> Option<Contrast> {
        let unchanged = kind != DesignKind::Null && pair.arm == pair.reference;
        let impossible =
            unchanged.then(changes_nothing).or_else(|| self.why_not(workload, &[pair.arm, pair.reference]));
        if let Some(reason) = impossible {
            self.leave_out(design, &pair.step, workload, reason);
            return None;
        }
        let reference = self.cell(workload, pair.reference, None);
        let null_of = (kind == DesignKind::Null).then(|| reference.clone());
        let arm = self.cell(workload, pair.arm, null_of);
        Some(Contrast {
            step: pair.step.clone(),
            workload: workload.name.clone(),
            arm,
            reference,
            published: pair.published,
        })
    }

    /// Why one of `arms` is not measured on a workload, if so.
    fn why_not(&self, workload: &Workload, arms: &[Arm]) -> Option<String> {
        let impossible = arms.iter().find_map(Arm::infeasible);
        let kept = arms.iter().all(self.options.keep);
        impossible
            .or_else(|| arms.iter().find_map(|arm| workload.infeasible(arm)))
            .or_else(|| (!kept).then(|| "left out by the selection on the command line".to_owned()))
    }

    /// Notes once what a design asked for and does not get.
    fn leave_out(&mut self, design: &str, step: &str, workload: &Workload, reason: String) {
        let (design, step) = (design.to_owned(), step.to_owned());
        let note = Infeasible { design, step, workload: workload.name.clone(), reason };
        if !self.infeasible.contains(&note) {
            self.infeasible.push(note);
        }
    }

    /// The id of the cell of an arm on a workload, added if it is new.
    fn cell(&mut self, workload: &Workload, arm: Arm, null_of: Option<String>) -> String {
        let id = cell_id(workload, &arm, null_of.is_some());
        if !self.cells.iter().any(|cell| cell.id == id) {
            self.cells.push(Cell {
                id: id.clone(),
                workload: workload.name.clone(),
                arm: arm.to_string(),
                factors: arm.factors(),
                kernel: arm.kernel_names(),
                null_of,
            });
        }
        id
    }
}

impl<'a> Expansion<'a> {
    fn workloads_of(&self, design: &DesignSpec) -> Result<Vec<&'a Workload>, SpecError> {
        let Some(names) = &design.workloads else {
            return Ok(self.workloads.iter().map(|(_, workload)| workload).collect());
        };
        if names.is_empty() {
            let message = "this design has an empty list of workloads";
            let help = "leave `workloads` out to run it on all of them";
            return Err(self.spec.error(design.name.span(), message, help.to_owned()));
        }
        let mut found = Vec::new();
        for name in names {
            let before = found.len();
            let named = self.workloads.iter().filter(|(written, _)| written == name.get_ref());
            found.extend(named.map(|(_, workload)| workload));
            if found.len() == before {
                let valid = self.spec.file.workload.get_ref().iter().map(|workload| workload.name.get_ref().as_str());
                return Err(unknown(self.spec, name.span(), "workload", name.get_ref(), valid));
            }
        }
        Ok(found)
    }

    fn named_arm(&self, name: &Spanned<String>) -> Result<Arm, SpecError> {
        let arms = &self.spec.file.arm;
        let Some(levels) = arms.get(name.get_ref()) else {
            return Err(unknown(self.spec, name.span(), "arm", name.get_ref(), arms.keys().map(String::as_str)));
        };
        let arm = self.apply(Arm::BASELINE, levels)?;
        match arm.infeasible() {
            // A missing instruction set is a fact about this machine, not a mistake in the file.
            Some(reason) if arm.isa.is_available() => {
                let message = format!("arm `{}` cannot exist: {reason}", name.get_ref());
                Err(self.spec.error(name.span(), message, None))
            }
            _ => Ok(arm),
        }
    }

    fn apply(&self, arm: Arm, levels: &Assignments) -> Result<Arm, SpecError> {
        levels.iter().try_fold(arm, |arm, (axis, level)| self.assign(arm, axis, level.get_ref(), level.span()))
    }

    fn assign(&self, arm: Arm, axis: &Spanned<String>, level: &str, at: Range<usize>) -> Result<Arm, SpecError> {
        arm.with(axis.get_ref(), level).map_err(|error| match error {
            AssignError::Axis { found } => {
                unknown(self.spec, axis.span(), "axis", &found, AXES.iter().map(|axis| axis.name))
            }
            AssignError::Level(error) => {
                let widest = (error.axis == Isa::AXIS).then_some(WIDEST);
                unknown(self.spec, at, error.axis, &error.found, error.valid.into_iter().chain(widest))
            }
        })
    }

    fn published(&self, ratio: Option<&Spanned<f64>>) -> Result<Option<f64>, SpecError> {
        ratio.map_or(Ok(()), |ratio| check_range(self.spec, ratio, 0.01..1000.0, "published"))?;
        Ok(ratio.map(|ratio| *ratio.get_ref()))
    }
}

/// Why a step to where the arm already is cannot be measured.
fn changes_nothing() -> String {
    format!("changes nothing on this CPU, whose widest instruction set is {}", Isa::best())
}

/// What tables call a step.
fn label(step: &StepSpec) -> String {
    step.label.clone().unwrap_or_else(|| {
        let levels: Vec<String> =
            step.set.get_ref().iter().map(|(axis, level)| format!("{}={}", axis.get_ref(), level.get_ref())).collect();
        levels.join(", ")
    })
}

/// Twelve hexadecimal digits that name a cell by its content.
fn cell_id(workload: &Workload, arm: &Arm, null: bool) -> String {
    let content = format!("{}|{:?}|{}|{arm}|{null}", workload.name, workload.source, workload.threads);
    digest::sha256([content.as_bytes()])[..12].to_owned()
}
