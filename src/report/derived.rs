//! `cells.csv`, `contrasts.csv` and `effects.csv`: every derived number at full precision, for other programs.
//!
//! A number that does not exist (no block, an interval that one block does not bound) is an empty
//! field, never a zero.

use std::collections::{BTreeMap, BTreeSet};

use polars::prelude::*;

use super::analysis::{Analysis, CellResult, ContrastResult, MetricResult, Traffic};
use super::factorial::FactorialResult;
use super::metric::KERNEL_TIME;
use crate::stats::Interval;
use crate::stats::contrast::Effect;
use crate::stats::simultaneous::Joint;

/// `cells.csv`: one row for each metric of each cell; one row without numbers for a cell that was
/// never measured.
///
/// Beside the columns of the raw factors: `weight_gbps`, `roof_share`, its interval and
/// `brackets_apart` (repetitions whose roof moved by more than a tenth) stand on the rows of the
/// kernel time, from which they are computed.
///
/// # Errors
///
/// If the data frame library fails.
pub fn cells_csv(analysis: &Analysis) -> PolarsResult<Vec<u8>> {
    let rows: Vec<(&CellResult, Option<&MetricResult>)> = analysis
        .cells
        .iter()
        .flat_map(|cell| {
            let metrics: Vec<Option<&MetricResult>> = match cell.metrics.len() {
                0 => vec![None],
                _ => cell.metrics.iter().map(Some).collect(),
            };
            metrics.into_iter().map(move |metric| (cell, metric))
        })
        .collect();
    let metrics = df!(
        "cell_id" => column(&rows, |(cell, _)| cell.cell.id.as_str()),
        "metric" => column(&rows, |(_, m)| m.map(|m| m.metric.as_str())),
        "unit" => column(&rows, |(_, m)| m.map(|m| m.unit.as_str())),
        "median" => column(&rows, |(_, m)| m.map(|m| m.median)),
        "ci_low" => column(&rows, |(_, m)| m.map(|m| m.interval.low)),
        "ci_high" => column(&rows, |(_, m)| m.map(|m| m.interval.high)),
        "n_blocks" => column(&rows, |(_, m)| m.map_or(0, |m| m.n_blocks as u64)),
        "samples" => column(&rows, |(_, m)| m.map_or(0, |m| m.samples as u64)),
        "flagged" => column(&rows, |(_, m)| m.map_or(0, |m| m.flagged as u64)),
        "bits_per_weight" => column(&rows, |(cell, _)| finite(cell.bits_per_weight())),
        "weight_gbps" => column(&rows, |row| kernel_traffic(row).map(|t| t.gbps)),
        "roof_share" => column(&rows, |row| kernel_traffic(row).and_then(|t| t.roof).map(|(share, _)| share)),
        "roof_share_low" => column(&rows, |row| kernel_traffic(row).and_then(|t| t.roof).map(|(_, i)| i.low)),
        "roof_share_high" => column(&rows, |row| kernel_traffic(row).and_then(|t| t.roof).map(|(_, i)| i.high)),
        "brackets_apart" => column(&rows, |row| kernel_traffic(row).map(|t| t.brackets_apart as u64)),
        "bit_equal" => column(&rows, |(cell, _)| cell.facts.quality.bit_equal),
        "perplexity_ratio" => column(&rows, |(cell, _)| cell.facts.quality.perplexity_ratio),
        "kld" => column(&rows, |(cell, _)| cell.facts.quality.kld),
        "top1_agreement" => column(&rows, |(cell, _)| cell.facts.quality.top1_agreement),
        "status" => column(&rows, |(cell, _)| cell.status.to_string()),
    )?;
    let args = JoinArgs { maintain_order: MaintainOrderJoin::Right, ..JoinArgs::new(JoinType::Inner) };
    write(plan_frame(analysis)?.join(&metrics, ["cell_id"], ["cell_id"], args, None)?)
}

/// What the plan says of each cell: workload, arm, one column for each factor.
fn plan_frame(analysis: &Analysis) -> PolarsResult<DataFrame> {
    let cells: Vec<&CellResult> = analysis.cells.iter().collect();
    let factors: BTreeSet<&str> =
        cells.iter().flat_map(|result| result.cell.factors.keys()).map(String::as_str).collect();
    let mut columns = vec![
        Column::new("cell_id".into(), column(&cells, |result| result.cell.id.as_str())),
        Column::new("workload".into(), column(&cells, |result| result.cell.workload.as_str())),
        Column::new("arm".into(), column(&cells, |result| result.cell.arm.as_str())),
    ];
    columns.extend(factors.into_iter().map(|factor| {
        let levels = column(&cells, |result| result.cell.factors.get(factor).map(String::as_str));
        Column::new(factor.into(), levels)
    }));
    DataFrame::new(cells.len(), columns)
}

fn kernel_traffic((cell, metric): &(&CellResult, Option<&MetricResult>)) -> Option<Traffic> {
    cell.traffic.filter(|_| metric.is_some_and(|metric| metric.metric == KERNEL_TIME))
}

/// `contrasts.csv`: one row for each contrast of each design in each metric. `mde` is the smallest
/// true ratio, minus one, that this many blocks with this spread find with power 0.8.
///
/// # Errors
///
/// If the data frame library fails.
pub fn contrasts_csv(analysis: &Analysis) -> PolarsResult<Vec<u8>> {
    let arms: BTreeMap<&str, &str> =
        analysis.cells.iter().map(|result| (result.cell.id.as_str(), result.cell.arm.as_str())).collect();
    let rows: Vec<&ContrastResult> = analysis.contrasts.iter().collect();
    let margin = analysis.manifest.plan.protocol.margin;
    write(df!(
        "design" => column(&rows, |r| r.design.as_str()),
        "step" => column(&rows, |r| r.contrast.step.as_str()),
        "workload" => column(&rows, |r| r.contrast.workload.as_str()),
        "metric" => column(&rows, |r| r.metric.as_str()),
        "arm" => column(&rows, |r| arms.get(r.contrast.arm.as_str()).copied()),
        "reference" => column(&rows, |r| arms.get(r.contrast.reference.as_str()).copied()),
        "n_blocks" => column(&rows, |r| r.outcome.numbers().map_or(0, |j| j.effect.n_blocks as u64)),
        "ratio" => column(&rows, |r| r.outcome.numbers().map(|j| j.effect.ratio)),
        "ci_low" => column(&rows, |r| bounded(r, |j| j.low)),
        "ci_high" => column(&rows, |r| bounded(r, |j| j.high)),
        "p" => column(&rows, |r| r.outcome.numbers().map(|j| j.effect.p)),
        "p_adjusted" => column(&rows, |r| r.outcome.numbers().map(|j| j.p_adjusted)),
        "verdict" => column(&rows, |r| r.outcome.word()),
        "margin" => column(&rows, |_| margin),
        "mde" => column(&rows, |r| r.outcome.numbers().and_then(|j| finite(j.effect.detectable))),
        "published_ratio" => column(&rows, |r| r.contrast.published),
    )?)
}

/// One row of `effects.csv`.
struct EffectRow<'a> {
    result: &'a FactorialResult,
    kind: &'static str,
    factors: String,
    effect: Effect,
    /// Of the total, which is no part of a family, its own p.
    p_adjusted: f64,
    published: Option<f64>,
}

/// `effects.csv`: factorial designs in each metric. One row for each main effect, each interaction
/// (factors joined by ` × `), the contribution of each factor, and the total; none where a design is
/// incomplete. Intervals hold together within the first two kinds and within the third.
///
/// # Errors
///
/// If the data frame library fails.
pub fn effects_csv(analysis: &Analysis) -> PolarsResult<Vec<u8>> {
    let rows: Vec<EffectRow<'_>> = analysis.factorials.iter().flat_map(effect_rows).collect();
    let end = |row: &EffectRow<'_>, end: fn(Interval) -> f64| {
        Some(row.effect.interval).filter(|interval| interval.is_bounded()).map(end)
    };
    write(df!(
        "design" => column(&rows, |r| r.result.design.as_str()),
        "workload" => column(&rows, |r| r.result.factorial.workload.as_str()),
        "metric" => column(&rows, |r| r.result.metric.as_str()),
        "kind" => column(&rows, |r| r.kind),
        "factors" => column(&rows, |r| r.factors.clone()),
        "n_blocks" => column(&rows, |r| r.effect.n_blocks as u64),
        "ratio" => column(&rows, |r| r.effect.ratio),
        "ci_low" => column(&rows, |r| end(r, |interval| interval.low)),
        "ci_high" => column(&rows, |r| end(r, |interval| interval.high)),
        "p" => column(&rows, |r| r.effect.p),
        "p_adjusted" => column(&rows, |r| r.p_adjusted),
        "mde" => column(&rows, |r| finite(r.effect.detectable)),
        "published_ratio" => column(&rows, |r| r.published),
    )?)
}

fn effect_rows(result: &FactorialResult) -> Vec<EffectRow<'_>> {
    let Some(effects) = result.effects() else { return Vec::new() };
    let row = |kind, set: usize, joint: Joint| EffectRow {
        result,
        kind,
        factors: result.factorial.label(set, " × "),
        effect: joint.effect,
        p_adjusted: joint.p_adjusted,
        published: result.factorial.published(set),
    };
    let terms = effects
        .terms
        .iter()
        .map(|(term, joint)| row(if term.is_power_of_two() { "main effect" } else { "interaction" }, *term, *joint));
    let contributions = (0..).zip(&effects.contributions).map(|(at, joint)| row("contribution", 1 << at, *joint));
    let total = Joint { effect: effects.total, p_adjusted: effects.total.p };
    terms.chain(contributions).chain([row("total", result.factorial.size() - 1, total)]).collect()
}

fn bounded(result: &ContrastResult, end: impl Fn(Interval) -> f64) -> Option<f64> {
    result.outcome.numbers().map(|judged| judged.effect.interval).filter(|i| i.is_bounded()).map(end)
}

fn finite(value: f64) -> Option<f64> {
    value.is_finite().then_some(value)
}

fn column<R, V>(rows: &[R], value: impl Fn(&R) -> V) -> Vec<V> {
    rows.iter().map(value).collect()
}

fn write(mut frame: DataFrame) -> PolarsResult<Vec<u8>> {
    let mut bytes = Vec::new();
    CsvWriter::new(&mut bytes).finish(&mut frame)?;
    Ok(bytes)
}
