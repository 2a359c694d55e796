//! The detection curve: how often a slow-down of each size is found, with each number of blocks.

use super::{
    Calibration,
    rates::{ArmRates, Stratum, share, sizes},
    tables,
};
use crate::calibration::{AGAIN, CalibrationArm, Phase};
use crate::report::figure::{
    Chart, IntervalChart, Mark, PanelCell, Row, Scale, Series, Shape,
    palette::{BLUE, GREEN, VERMILLION},
};
use crate::report::text;
use crate::stats::verdict::Verdict;

/// Windows of half the size, of the size, and of twice the size.
static SERIES: [Series; 3] = [
    Series { name: "half a window", color: BLUE, shape: Shape::Triangle, lane: -1.0 },
    Series { name: "a window", color: VERMILLION, shape: Shape::Disc, lane: 0.0 },
    Series { name: "two windows", color: GREEN, shape: Shape::Square, lane: 1.0 },
];

/// The series of these sizes; the smallest has none where it is too small to have a spread.
fn series(sizes: &[usize]) -> &'static [Series] {
    &SERIES[SERIES.len() - sizes.len()..]
}

/// One chart for each number of threads, with the phases side by side.
pub fn charts(calibration: &Calibration) -> Vec<Chart> {
    let chart = |threads: &usize| Chart::Intervals(chart(calibration, *threads));
    calibration.settings.threads.iter().map(chart).filter(|chart| !chart.is_empty()).collect()
}

fn chart(calibration: &Calibration, threads: usize) -> IntervalChart {
    let settings = &calibration.settings;
    let strata: Vec<&Stratum> = calibration.strata.iter().filter(|stratum| stratum.threads == threads).collect();
    let on = if threads == 1 { "1 thread".to_owned() } else { format!("{threads} threads") };
    let known = settings.compared().iter().filter(|arm| arm.slowdown.is_some());
    let row = |arm: &CalibrationArm| Row::Item {
        label: match arm.slowdown {
            Some(slowdown) if slowdown > 0.0 => format!("{} slower", text::percent(slowdown)),
            _ => "the same (any difference)".to_owned(),
        },
        cells: strata.iter().map(|stratum| cell(calibration, stratum, &arm.name)).collect(),
    };
    let sizes = sizes(settings);
    let named = |stratum: &&Stratum| format!("{}, {} blocks", stratum.phase.name(), stratum.blocks);
    let named_sizes = series(&sizes).iter().zip(&sizes).map(|(series, size)| format!("{}: {size} blocks", series.name));
    let mut notes = vec![format!(
        "Blocks of a window are consecutive and of one phase ({}). Line: 80%.",
        named_sizes.collect::<Vec<_>>().join(", "),
    )];
    notes.extend(tables::common(calibration));
    IntervalChart {
        name: format!("detection-{threads}t"),
        title: format!("Which slow-downs are found, on {on}"),
        message: message(calibration, &strata),
        caveat: None,
        axis: format!("windows with a verdict of {} (of the same arm, with any difference)", Verdict::Regression),
        scale: Scale::Shares,
        panels: strata.iter().map(named).collect(),
        rows: known.map(row).collect(),
        legend: series(&sizes).to_vec(),
        notes,
    }
}

/// The smallest slow-down that is found in each phase.
fn message(calibration: &Calibration, strata: &[&Stratum]) -> String {
    let window = calibration.settings.window as usize;
    let found = |phase: Phase| {
        let stratum = strata.iter().find(|stratum| stratum.phase == phase)?;
        Some(match stratum.smallest_found(window) {
            Some(slowdown) => format!(
                "{}: {} and more is found in 80% of the windows of {window} blocks.",
                phase.name(),
                text::percent(slowdown)
            ),
            None => format!("{}: no injected slow-down is found in 80% of the windows.", phase.name()),
        })
    };
    Phase::ALL.into_iter().filter_map(found).collect::<Vec<_>>().join(" ")
}

fn cell(calibration: &Calibration, stratum: &Stratum, name: &str) -> PanelCell {
    let arm = stratum.arms.iter().find(|arm| arm.name == name);
    let marks = |arm: &ArmRates| -> Vec<Mark> {
        let places = sizes(&calibration.settings);
        let mark = |(rates, series): (&super::rates::WindowRates, &Series)| {
            let found = if arm.name == AGAIN { rates.differences() } else { rates.regressions };
            let (value, interval) = share(found, rates.windows, calibration.settings.confidence)?;
            let text = format!("{:.0}% [{:.0}, {:.0}]", 100.0 * value, 100.0 * interval.low, 100.0 * interval.high);
            Some(Mark { series: *series, value, interval: Some(interval), text })
        };
        arm.windows.iter().zip(series(&places)).filter_map(mark).collect()
    };
    let marks = arm.map(marks).unwrap_or_default();
    let missing = if marks.is_empty() { "no whole window".to_owned() } else { String::new() };
    PanelCell { marks, missing }
}
