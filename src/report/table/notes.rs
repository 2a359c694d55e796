//! What has to stand below every table: how many blocks, which interval, which correction, which
//! machine, and whether the run may be cited at all.

use crate::plan::expand::MIN_BLOCKS;
use crate::plan::{Contrast, Protocol};
use crate::report::analysis::Analysis;
use crate::report::text;

/// Marks everything made from a shortened run.
pub const NOT_CITABLE: &str = "NOT CITABLE (quick run)";

/// Facts of the environment that name the machine, in this order.
const MACHINE: [&str; 4] = ["cpu", "caches", "memory", "governor"];

/// Notes of a table of contrasts with corrected verdicts.
pub fn contrasts(analysis: &Analysis) -> Vec<String> {
    let correction = format!(
        "p and verdicts: two-sided, Holm-adjusted within each design, workload and metric; margin {}.",
        text::percent(analysis.manifest.plan.protocol.margin),
    );
    let whole = analysis.whole().note.map(str::to_owned);
    let calibrated = analysis.calibration.clone();
    [method(analysis), correction].into_iter().chain(whole).chain(calibrated).chain(common(analysis)).collect()
}

/// Notes of a table of factorial designs.
pub fn factorial(analysis: &Analysis) -> Vec<String> {
    let protocol = &analysis.manifest.plan.protocol;
    let method = format!(
        "{} blocks planned, each a fresh process; those with all cells of a design count. Every combination of the \
         factors, each on or off, is a cell. Effects are taken inside each block from the logarithms of the times of \
         all cells and printed as factors, above 1 faster: geometric mean over blocks [simultaneous {} Student t \
         interval]. Margin {}.",
        protocol.blocks,
        text::percent(protocol.confidence),
        text::percent(protocol.margin),
    );
    let whole = analysis.whole().note.map(str::to_owned);
    [method].into_iter().chain(whole).chain(common(analysis)).collect()
}

/// How ratios and their intervals come about.
pub fn method(analysis: &Analysis) -> String {
    let protocol = &analysis.manifest.plan.protocol;
    format!(
        "{} of {} planned, each a fresh process. Ratio = time of the reference / time of the arm, above 1 the \
         arm is faster: geometric mean over blocks [{} Student t interval of the in-block log ratios].",
        blocks(analysis),
        protocol.blocks,
        text::percent(protocol.confidence),
    )
}

/// Notes of a table of cells.
pub fn cells(analysis: &Analysis) -> Vec<String> {
    let method = "Medians over blocks of the medians of each block; their order-statistics intervals are in cells.csv. \
                  GB/s: stored weight bytes (scales and padding included) / kernel time. Roof: share of the read \
                  bandwidth measured around each repetition (moved: brackets that differ by more than 10%).";
    [method.to_owned()].into_iter().chain(common(analysis)).collect()
}

/// Notes of every table.
pub fn common(analysis: &Analysis) -> Vec<String> {
    let caveat = caveat(&analysis.manifest.plan.protocol);
    caveat.into_iter().chain(blocks_chosen(analysis)).chain(provenance(analysis)).collect()
}

/// How the number of blocks came about, and which of them were run again, where there is something to say.
fn blocks_chosen(analysis: &Analysis) -> Vec<String> {
    let chosen = analysis.manifest.plan.protocol.chosen.as_ref();
    let chosen = chosen.map(|reason| format!("Number of blocks: {reason}."));
    let requeued = (analysis.requeued > 0).then(|| {
        format!(
            "Blocks run again because more than half of their repetitions were preempted or had time stolen: {} \
             (partial.csv).",
            analysis.requeued
        )
    });
    chosen.into_iter().chain(requeued).collect()
}

/// Machine and run.
pub fn provenance(analysis: &Analysis) -> Vec<String> {
    let environment = &analysis.manifest.environment;
    let machine: Vec<String> =
        MACHINE.iter().filter_map(|key| Some(format!("{key} {}", environment.get(*key)?))).collect();
    let run = format!("Run {} of {}.", analysis.manifest.run_id, analysis.manifest.plan.experiment);
    let machine = (!machine.is_empty()).then(|| format!("Machine: {}.", machine.join("; ")));
    machine.into_iter().chain([run]).collect()
}

/// Small print of a figure: one line on the method, one on the machine.
pub fn figure(analysis: &Analysis) -> Vec<String> {
    let protocol = &analysis.manifest.plan.protocol;
    let method = format!(
        "Geometric mean over {} [{} Student t interval of in-block log ratios]; three decimals below 2, two below \
         10, one from 10 on.",
        blocks(analysis),
        text::percent(protocol.confidence),
    );
    let whole = analysis.whole().note.map(str::to_owned);
    [method].into_iter().chain(whole).chain(provenance(analysis)).collect()
}

/// How many blocks the contrasts of the run rest on.
fn blocks(analysis: &Analysis) -> String {
    let counted = analysis.contrasts.iter().filter_map(|result| result.outcome.citable());
    let blocks: Vec<usize> = counted.map(|judged| judged.effect.n_blocks).collect();
    match (blocks.iter().min(), blocks.iter().max()) {
        (Some(low), Some(high)) if low == high => format!("{low} blocks"),
        (Some(low), Some(high)) => format!("{low} to {high} blocks"),
        _ => "no complete block".to_owned(),
    }
}

/// Why the run may not be cited, if so.
pub fn caveat(protocol: &Protocol) -> Option<String> {
    if protocol.quick {
        Some(NOT_CITABLE.to_owned())
    } else if protocol.blocks < MIN_BLOCKS {
        Some(format!("NOT CITABLE ({} blocks planned, the minimum is {MIN_BLOCKS})", protocol.blocks))
    } else {
        None
    }
}

/// Why a contrast is left out of a headline table: what became of its cells.
pub fn reasons(analysis: &Analysis, contrast: &Contrast) -> Vec<String> {
    [&contrast.arm, &contrast.reference]
        .into_iter()
        .filter_map(|id| analysis.cell(id))
        .filter(|result| result.is_left_out())
        .map(|result| format!("Left out: {} on {}: {}.", result.cell.arm, result.cell.workload, result.status))
        .collect()
}

/// Adds notes once each, in order.
pub fn extend_unique(notes: &mut Vec<String>, more: Vec<String>) {
    for note in more {
        if !notes.contains(&note) {
            notes.push(note);
        }
    }
}
