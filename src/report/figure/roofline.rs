//! Kernels below the ceilings of the machine: speed over operations for each byte, a page for each
//! number of threads.

use std::collections::BTreeSet;

use septet_kernels::{Format, Isa, Level};

use super::palette::{BLUE, GREEN, INK, NEUTRAL, ORANGE, VERMILLION};
use super::plot::{Plot, Point, Reach, Roof, Symbol};
use super::{Chart, Figure, chart::Shape};
use crate::doctor::Quantity;
use crate::plan::{Contrast, Residency, Workload};
use crate::report::analysis::{Analysis, CellResult};
use crate::report::ceilings::{CeilingResult, OPERATIONS};
use crate::report::roofline::Standing;
use crate::report::table::notes;
use crate::report::text;
use crate::stats::summary::median;

/// A kernel this near is at its ceiling.
const NEAR: f64 = 0.9;

/// Colours of formats, shapes of instruction sets, in the order of their levels. NEON has the shape of
/// AVX2: no machine has both.
const COLORS: [plotters::style::RGBColor; 4] = [BLUE, VERMILLION, GREEN, ORANGE];
const SHAPES: [Shape; Isa::ALL.len()] =
    [Shape::Triangle, Shape::Square, Shape::DownTriangle, Shape::Diamond, Shape::Bar, Shape::Disc, Shape::Square];
/// Of kernels of other projects, whatever they store and run on.
const PEER: Symbol = Symbol { shape: Shape::Cross, color: NEUTRAL, dotted: false };

/// Matrix workloads of a run that recorded ceilings.
pub struct Roofline;

impl Figure for Roofline {
    fn charts(&self, analysis: &Analysis) -> Vec<Chart> {
        let counts = analysis.manifest.plan.thread_counts();
        counts.into_iter().map(|threads| Chart::Plot(page(analysis, threads))).collect()
    }
}

/// A kernel on all matrices whose weights lie in the same place, or where a claim would put it.
struct Mark<'a> {
    /// What kernels of different matrices must share to be one mark.
    key: (String, Residency, usize),
    cell: &'a CellResult,
    /// Its label, where it has one of its own.
    claim: Option<String>,
    /// (ops for each byte, Gop/s), for each matrix.
    places: Vec<(f64, f64)>,
    /// Shares of the binding ceiling, for each matrix.
    shares: Vec<f64>,
    /// What binds it, and what holds its weights.
    bound: String,
    memory: String,
}

impl Mark<'_> {
    fn residency(&self) -> Residency {
        self.key.1
    }

    fn columns(&self) -> usize {
        self.key.2
    }

    /// The median over its matrices.
    fn at(&self) -> (f64, f64) {
        let middle = |values: Vec<f64>| median(&values).unwrap_or(f64::NAN);
        (middle(self.places.iter().map(|at| at.0).collect()), middle(self.places.iter().map(|at| at.1).collect()))
    }

    fn share(&self) -> Option<f64> {
        median(&self.shares)
    }
}

fn page(analysis: &Analysis, threads: usize) -> Plot {
    let (peers, kernels): (Vec<Mark<'_>>, Vec<Mark<'_>>) =
        kernels(analysis, threads).into_iter().partition(|mark| mark.cell.cell.is_peer());
    let claims = claims(analysis, threads);
    let confidence = analysis.manifest.plan.protocol.confidence;
    let roofs: Vec<Roof> = analysis
        .ceilings
        .results
        .iter()
        .filter(|result| result.threads == threads)
        .filter_map(|result| roof(result, confidence))
        .collect();
    let best = best(&kernels);
    let named: Vec<&Mark<'_>> = best.iter().copied().chain(nearest(&peers)).collect();
    let fastest = fastest(&peers);
    // Peers lie below ours.
    let points = peers
        .iter()
        .chain(&kernels)
        .map(|mark| {
            let is_in = |marks: &[&Mark<'_>]| marks.iter().any(|of| std::ptr::eq(*of, mark));
            let text = match mark {
                _ if is_in(&named) => name_with_share(mark),
                _ if is_in(&fastest) => mark.cell.cell.arm.clone(),
                _ => String::new(),
            };
            point(mark, text)
        })
        .chain(claims.iter().map(|mark| point(mark, mark.claim.clone().unwrap_or_default())))
        .collect();
    let near = kernels.iter().filter(|mark| mark.share().is_some_and(|share| share >= NEAR)).count();
    let (count, margin) = (kernels.len(), text::percent(1.0 - NEAR));
    let title = format!("{}: {near} of {count} kernels within {margin} of a ceiling", on(threads));
    Plot {
        name: format!("roofline-{threads}t"),
        title,
        message: message(&best, nearest(&peers), &claims, &roofs),
        caveat: notes::caveat(&analysis.manifest.plan.protocol),
        x_axis: "operations for each stored byte of the weights (log scale)".to_owned(),
        y_axis: "Gop/s (log scale; a multiply-add is two operations)".to_owned(),
        roofs,
        points,
        legend: legend(&kernels, !peers.is_empty(), &claims),
        notes: small_print(analysis),
    }
}

fn on(threads: usize) -> String {
    if threads == 1 { "1 thread".to_owned() } else { format!("{threads} threads") }
}

/// Workload and result of a cell on so many threads that may be shown.
fn cell_of<'a>(analysis: &'a Analysis, standing: &Standing) -> Option<(&'a Workload, &'a CellResult)> {
    let cell = analysis.cell(&standing.cell_id).filter(|cell| !cell.is_left_out())?;
    Some((analysis.manifest.plan.workloads.iter().find(|workload| workload.name == cell.cell.workload)?, cell))
}

/// Every kernel arm, once for each place of its weights.
fn kernels(analysis: &Analysis, threads: usize) -> Vec<Mark<'_>> {
    let mut marks: Vec<Mark<'_>> = Vec::new();
    for standing in analysis.standings.iter().filter(|standing| standing.threads == threads) {
        let Some((workload, cell)) = cell_of(analysis, standing) else { continue };
        let key = (cell.cell.arm.clone(), workload.residency, standing.columns);
        add(&mut marks, key, cell, None, standing, standing.speed.0);
    }
    marks
}

/// Every published speed-up, where it would put its arm: above the measured speed of its reference.
fn claims(analysis: &Analysis, threads: usize) -> Vec<Mark<'_>> {
    let mut marks: Vec<Mark<'_>> = Vec::new();
    let mut seen: Vec<(&str, &str)> = Vec::new();
    let designs = analysis.manifest.plan.designs.iter();
    let contrasts = designs.flat_map(|design| {
        design.contrasts.iter().chain(design.combinations.iter().map(|combination| &combination.measured))
    });
    let standing = |id: &str| analysis.standings.iter().find(|s| s.cell_id == id && s.threads == threads);
    for Contrast { step, arm, reference, published, .. } in contrasts {
        let (Some(factor), Some(of_arm), Some(of_reference)) = (published, standing(arm), standing(reference)) else {
            continue;
        };
        let Some((workload, cell)) = cell_of(analysis, of_arm) else { continue };
        let Some((_, reference_cell)) = cell_of(analysis, of_reference) else { continue };
        if seen.contains(&(arm, reference)) {
            continue;
        }
        seen.push((arm, reference));
        let label = format!("{step} ×{}", text::published(*factor));
        let key = format!("{label}: {} over {}", cell.cell.arm, reference_cell.cell.arm);
        let key = (key, workload.residency, of_arm.columns);
        add(&mut marks, key, cell, Some(label), of_arm, of_reference.speed.0 * factor);
    }
    marks
}

/// Adds a matrix to the mark with this key.
fn add<'a>(
    marks: &mut Vec<Mark<'a>>,
    key: (String, Residency, usize),
    cell: &'a CellResult,
    claim: Option<String>,
    standing: &Standing,
    speed: f64,
) {
    let at = marks.iter().position(|mark| mark.key == key).unwrap_or_else(|| {
        let bound = standing.bound.as_ref().map(|bound| bound.name.clone()).unwrap_or_default();
        let memory = standing.memory.clone();
        marks.push(Mark { key, cell, claim, places: Vec::new(), shares: Vec::new(), bound, memory });
        marks.len() - 1
    });
    marks[at].places.push((standing.intensity, speed));
    marks[at].shares.extend(standing.bound.as_ref().map(|bound| bound.share.0));
}

fn roof(result: &CeilingResult, confidence: f64) -> Option<Roof> {
    let (value, _) = result.level(confidence)?;
    let (reach, what) = match result.quantity {
        Quantity::ReadBandwidth => (Reach::Slope(value), format!("{} GB/s", text::significant(value))),
        Quantity::Int8Dot => {
            let peak = OPERATIONS * value;
            (Reach::Flat(peak), format!("int8 peak {} Gop/s", text::significant(peak)))
        }
        _ => return None,
    };
    let label = format!("{} {what}", result.place);
    Some(Roof { name: result.place.clone(), label, reach })
}

fn level<L: Level>(cell: &CellResult) -> Option<usize> {
    let name = cell.cell.factors.get(L::AXIS)?;
    L::ALL.iter().position(|level| level.name() == name)
}

fn symbol(mark: &Mark<'_>) -> Symbol {
    if mark.claim.is_none() && mark.cell.cell.is_peer() {
        return PEER;
    }
    let shape = level::<Isa>(mark.cell).map_or(Shape::HollowSquare, |isa| SHAPES[isa]);
    let color = level::<Format>(mark.cell).map_or(NEUTRAL, |format| COLORS[format % COLORS.len()]);
    match mark.claim {
        Some(_) => Symbol { shape: Shape::HollowDiamond, color, dotted: false },
        None => Symbol { shape, color, dotted: mark.residency() == Residency::Cache },
    }
}

fn point(mark: &Mark<'_>, text: String) -> Point {
    let (x, y) = mark.at();
    let speeds = || mark.places.iter().map(|(_, speed)| *speed);
    Point {
        series: match &mark.claim {
            Some(_) => "published",
            None if mark.cell.cell.is_peer() => "peer",
            None => "measured",
        },
        name: mark.key.0.clone(),
        place: place(mark.residency()).to_owned(),
        matrices: mark.places.len(),
        x,
        y,
        low: speeds().fold(f64::INFINITY, f64::min),
        high: speeds().fold(0.0, f64::max),
        share: mark.share().filter(|_| mark.claim.is_none()),
        bound: if mark.claim.is_none() { mark.bound.clone() } else { String::new() },
        symbol: symbol(mark),
        text,
    }
}

fn place(residency: Residency) -> &'static str {
    match residency {
        Residency::Dram => "DRAM",
        Residency::Cache => "cache",
    }
}

/// Of the kernels with weights in each place, the one with the largest share of its ceiling.
fn best<'a, 'b>(kernels: &'b [Mark<'a>]) -> Vec<&'b Mark<'a>> {
    let of = |residency| nearest(kernels.iter().filter(move |mark| mark.residency() == residency));
    [Residency::Dram, Residency::Cache].into_iter().filter_map(of).collect()
}

/// The mark with the largest share of its ceiling.
fn nearest<'a: 'b, 'b>(marks: impl IntoIterator<Item = &'b Mark<'a>>) -> Option<&'b Mark<'a>> {
    let shares = marks.into_iter().filter_map(|mark| Some((mark, mark.share()?)));
    shares.max_by(|(_, a), (_, b)| a.total_cmp(b)).map(|(mark, _)| mark)
}

/// The fastest for each number of columns.
fn fastest<'a, 'b>(marks: &'b [Mark<'a>]) -> Vec<&'b Mark<'a>> {
    let columns: BTreeSet<usize> = marks.iter().map(|mark| mark.columns()).collect();
    let of = |columns| marks.iter().filter(move |mark| mark.columns() == columns);
    columns.into_iter().filter_map(|columns| of(columns).max_by(|a, b| a.at().1.total_cmp(&b.at().1))).collect()
}

/// A peer, or format and instruction set, with the share: `w3 avx2, 0.88 of DRAM`.
fn name_with_share(mark: &Mark<'_>) -> String {
    let cell = &mark.cell.cell;
    let level = |axis: &str| cell.factors.get(axis).map_or("", String::as_str);
    let name = match cell.is_peer() {
        true => cell.arm.clone(),
        false => format!("{} {}", level(Format::AXIS), level(Isa::AXIS)),
    };
    let columns = if mark.columns() > 1 { format!(" on {} columns", mark.columns()) } else { String::new() };
    let share = mark.share().unwrap_or(f64::NAN);
    format!("{name}{columns}, {share:.2} of {}", mark.bound)
}

/// The nearest kernels, and how many claims lie above what the machine can do.
fn message(best: &[&Mark<'_>], peer: Option<&Mark<'_>>, claims: &[Mark<'_>], roofs: &[Roof]) -> String {
    let from = |mark: &&Mark<'_>| match mark.residency() {
        Residency::Dram => format!("Nearest from DRAM: {}.", name_with_share(mark)),
        Residency::Cache => format!("Nearest from a cache: {}.", name_with_share(mark)),
    };
    let mut parts: Vec<String> = best.iter().map(from).collect();
    parts.extend(peer.map(|peer| format!("Nearest peer: {}.", name_with_share(peer))));
    if !claims.is_empty() {
        let above = claims.iter().filter(|claim| is_above(claim, roofs)).count();
        parts.push(format!("{above} of {} published speed-ups lie above a ceiling.", claims.len()));
    }
    parts.join(" ")
}

/// Whether a claim lies above the line of its memory or of its instruction set.
fn is_above(claim: &Mark<'_>, roofs: &[Roof]) -> bool {
    let (x, y) = claim.at();
    let isa = claim.cell.cell.factors.get(Isa::AXIS).map_or("", String::as_str);
    roofs.iter().any(|roof| (roof.name == isa || roof.name == claim.memory) && y > roof.reach.at(x))
}

/// Colours, shapes, and what filled, dotted and hollow marks are; what does not occur is left out.
fn legend(kernels: &[Mark<'_>], peers: bool, claims: &[Mark<'_>]) -> Vec<(String, Symbol)> {
    let has = |index: usize, of: fn(&CellResult) -> Option<usize>| {
        kernels.iter().chain(claims).any(|mark| of(mark.cell) == Some(index))
    };
    let formats = Format::ALL.iter().enumerate().filter(|(index, _)| has(*index, level::<Format>)).map(|(index, f)| {
        (f.name().to_owned(), Symbol { shape: Shape::Disc, color: COLORS[index % COLORS.len()], dotted: false })
    });
    let sets = Isa::ALL
        .iter()
        .enumerate()
        .filter(|(index, _)| has(*index, level::<Isa>))
        .map(|(index, isa)| (isa.name().to_owned(), Symbol { shape: SHAPES[index], color: INK, dotted: false }));
    let dotted = kernels
        .iter()
        .any(|mark| mark.residency() == Residency::Cache)
        .then(|| ("white dot: weights in a cache".to_owned(), Symbol { shape: Shape::Disc, color: INK, dotted: true }));
    let hollow = (!claims.is_empty()).then(|| {
        let name = "hollow: a published speed-up over its measured reference".to_owned();
        (name, Symbol { shape: Shape::HollowDiamond, color: INK, dotted: false })
    });
    let peer = peers.then(|| ("peer: a kernel of another project".to_owned(), PEER));
    formats.chain(sets).chain(peer).chain(dotted).chain(hollow).collect()
}

fn small_print(analysis: &Analysis) -> Vec<String> {
    let mut lines = vec![
        "A mark is one kernel with its weights in one place: the median over its matrices, a bar over their range. \
         Lines are medians of what each block measured at its beginning; shares are taken within blocks, from the \
         bandwidth around each repetition (table roofline)."
            .to_owned(),
    ];
    if analysis.cells.iter().any(|result| result.cell.is_peer()) {
        lines.push("Peers are not counted; of each number of columns the fastest is named.".to_owned());
    }
    lines.extend(notes::provenance(analysis));
    lines
}
