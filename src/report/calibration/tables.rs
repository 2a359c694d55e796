//! What a calibration says, as tables.

use super::{
    Calibration,
    rates::{ArmRates, FOUND, Stratum, WindowRates, share, sizes},
};
use crate::{
    calibration::{AGAIN, Phase},
    report::{grid::Grid, text},
};

/// How often identical arms are told apart.
pub fn false_alarms(calibration: &Calibration) -> Grid {
    let headings = [
        "Phase",
        "Threads >",
        "Windows >",
        "Interval excludes 1 >",
        "False alarms >",
        "of them faster, slower >",
        "Equivalent >",
        "Faster in >",
        "Sign test, p >",
    ];
    let settings = &calibration.settings;
    let mut grid = Grid::new("Identical arms: how often a difference is seen that is not there", &headings);
    for stratum in &calibration.strata {
        let rates = stratum.again().and_then(|arm| arm.of(settings.window as usize)).copied().unwrap_or_default();
        grid.push([
            stratum.phase.name().into(),
            stratum.threads.to_string().into(),
            rates.windows.to_string().into(),
            percentage(rates.significant, &rates, settings.confidence).into(),
            percentage(rates.differences(), &rates, settings.confidence).into(),
            format!("{}, {}", rates.improvements, rates.regressions).into(),
            percentage(rates.equivalent, &rates, settings.confidence).into(),
            format!("{} of {}", rates.faster, rates.windows).into(),
            text::or_none((rates.windows > 0).then(|| rates.sign_p()), text::p_value).into(),
        ]);
    }
    grid.notes = vec![format!(
        "Two processes run the same code. A window is {} consecutive blocks; it raises a false alarm if the \
         verdict is improvement or regression. An interval of {} should exclude 1 in {} of the windows.",
        settings.window,
        text::percent(settings.confidence),
        text::percent(1.0 - settings.confidence),
    )];
    grid.notes.extend(common(calibration));
    grid
}

/// Which slow-downs are found, with how many blocks.
pub fn detection(calibration: &Calibration) -> Grid {
    let settings = &calibration.settings;
    let sizes = sizes(settings);
    let mut headings: Vec<String> = ["Phase", "Threads >", "Arm", "Injected >", "Measured >"].map(str::to_owned).into();
    headings.extend(sizes.iter().map(|size| format!("Found with {size} blocks >")));
    let headings: Vec<&str> = headings.iter().map(String::as_str).collect();
    let mut grid = Grid::new("Injected slow-downs: how often they are found", &headings);
    for stratum in &calibration.strata {
        for arm in &stratum.arms {
            let found = arm.windows.iter().map(|rates| percentage(rates.regressions, rates, settings.confidence));
            let cells = [
                stratum.phase.name().to_owned(),
                stratum.threads.to_string(),
                arm.name.clone(),
                injected(arm),
                text::or_none(arm.effect, |effect| text::effect(&effect.inverted())),
            ];
            grid.push(cells.into_iter().chain(found).map(Into::into));
        }
    }
    grid.notes = vec![
        format!(
            "Found: the verdict is regression. Measured: time of the arm / time of the reference, of each block the \
             median over neighbouring turns, then over all blocks of the phase the geometric mean without the \
             farthest fifth at each end [{} interval]. A slow-down of the margin or less is found by chance alone; `{AGAIN}` has none, and of \
             `prefetch_32k` (prefetches 32 KiB ahead in place of 8) none is known.",
            text::percent(settings.confidence)
        ),
        "A slow-down is a spin behind each product, outside of the kernel and inside of the timed region, of a part \
         of the product's time in the process that is slowed."
            .to_owned(),
    ];
    grid.notes.extend(common(calibration));
    grid
}

/// What the evidence says of the load.
pub fn evidence(calibration: &Calibration) -> Grid {
    let headings = ["Phase", "Threads >", "Blocks >", "Rows >", "Flagged >"];
    let mut grid = Grid::new("Evidence: how often a row is flagged", &headings);
    for stratum in &calibration.strata {
        let (flagged, all) = stratum.flagged;
        let share = (all > 0).then(|| 100.0 * flagged as f64 / all as f64);
        grid.push([
            stratum.phase.name().into(),
            stratum.threads.to_string().into(),
            stratum.blocks.to_string().into(),
            all.to_string().into(),
            text::or_none(share, |share| format!("{share:.2}%")).into(),
        ]);
    }
    grid.notes = vec![
        "A row is one arm in one block; it is flagged where what happened to a side from its first turn to its last, \
         without the switches of taking turns, is more than one repetition of a run may have. In the phase of \
         interference another process loads the last CPU in bursts of 0.1 to 10 ms, with rests of such lengths between \
         them; one thread runs on the first CPU and feels it as a neighbour, all threads share theirs with it."
            .to_owned(),
    ];
    grid.notes.extend(common(calibration));
    grid
}

/// Everything that was counted, at full precision.
pub fn rates(calibration: &Calibration) -> Grid {
    let columns = [
        "phase",
        "threads",
        "arm",
        "slowdown",
        "n_blocks",
        "windows",
        "significant",
        "improvements",
        "regressions",
        "equivalent",
        "faster",
        "found",
        "found_low",
        "found_high",
    ];
    let mut grid = Grid::new("Rates", &columns);
    let confidence = calibration.settings.confidence;
    for (stratum, arm, rates) in rows(calibration) {
        let found = share(rates.regressions, rates.windows, confidence);
        let number = |value: Option<f64>| value.map(|value| value.to_string()).unwrap_or_default();
        grid.push(
            [
                stratum.phase.name().to_owned(),
                stratum.threads.to_string(),
                arm.name.clone(),
                number(arm.slowdown),
                rates.blocks.to_string(),
                rates.windows.to_string(),
                rates.significant.to_string(),
                rates.improvements.to_string(),
                rates.regressions.to_string(),
                rates.equivalent.to_string(),
                rates.faster.to_string(),
                number(found.map(|(share, _)| share)),
                number(found.map(|(_, interval)| interval.low)),
                number(found.map(|(_, interval)| interval.high)),
            ]
            .map(Into::into),
        );
    }
    grid
}

fn rows(calibration: &Calibration) -> impl Iterator<Item = (&Stratum, &ArmRates, &WindowRates)> {
    calibration
        .strata
        .iter()
        .flat_map(|stratum| stratum.arms.iter().map(move |arm| (stratum, arm)))
        .flat_map(|(stratum, arm)| arm.windows.iter().map(move |rates| (stratum, arm, rates)))
}

/// A sentence for the notes of other runs of this machine class; nothing before there is a whole window.
pub fn sentence(calibration: &Calibration) -> Option<String> {
    let settings = &calibration.settings;
    let window = settings.window as usize;
    let of = |stratum: &Stratum| {
        let rates = stratum.again()?.of(window)?;
        let (rate, interval) = share(rates.differences(), rates.windows, settings.confidence)?;
        let found = match stratum.smallest_found(window) {
            Some(slowdown) => {
                format!("smallest slow-down found in {} or more: {}", text::percent(FOUND), text::percent(slowdown))
            }
            None => format!("no injected slow-down found in {} or more", text::percent(FOUND)),
        };
        let on = if stratum.threads == 1 { "1 thread".to_owned() } else { format!("{} threads", stratum.threads) };
        Some(format!(
            "on {on} false alarms {:.1}% [{:.1}, {:.1}] of {} windows of {window} blocks, {found}",
            100.0 * rate,
            100.0 * interval.low,
            100.0 * interval.high,
            rates.windows,
        ))
    };
    let quiet: Vec<String> =
        calibration.strata.iter().filter(|stratum| stratum.phase == Phase::Quiet).filter_map(of).collect();
    (!quiet.is_empty()).then(|| {
        format!(
            "Calibration of gates between programs on this machine class ({}, quiet, margin {}, one round): {}.",
            settings.run_id,
            text::percent(settings.margin),
            quiet.join("; ")
        )
    })
}

/// `3.3% [1.1, 7.6]`, a share of the windows.
fn percentage(found: usize, rates: &WindowRates, confidence: f64) -> String {
    text::or_none(share(found, rates.windows, confidence), |(share, interval)| {
        format!("{:.1}% [{:.1}, {:.1}]", 100.0 * share, 100.0 * interval.low, 100.0 * interval.high)
    })
}

fn injected(arm: &ArmRates) -> String {
    text::or_none(arm.slowdown, text::percent)
}

/// Notes of every table.
pub fn common(calibration: &Calibration) -> Vec<String> {
    let settings = &calibration.settings;
    let fact = |key: &str| Some(format!("{key} {}", settings.environment.get(key)?));
    let machine: Vec<String> = super::FINGERPRINT.iter().filter_map(|key| fact(key)).collect();
    vec![
        format!(
            "{} blocks, each two fresh processes in turns; {} × {} w3p5 product, {} turns of {} products on each side. \
             Shares of disjoint windows [{} Clopper–Pearson interval]; rows share blocks and are not independent of \
             one another. Verdicts: margin {}, Holm in a family of {} whose others show nothing.",
            settings.blocks,
            settings.rows,
            settings.cols,
            settings.turns,
            settings.products,
            text::percent(settings.confidence),
            text::percent(settings.margin),
            settings.family,
        ),
        format!("Machine: {}.", machine.join("; ")),
        format!("Calibration {}.", settings.run_id),
    ]
}
