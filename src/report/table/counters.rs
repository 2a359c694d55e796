//! Every counter by arm, with marks that say how a value came about and notes that say why there is none.

use std::collections::BTreeMap;

use super::{Table, notes};
use crate::record::{CounterRow, CounterStatus};
use crate::report::analysis::Analysis;
use crate::report::counters::{RATIOS, Scale};
use crate::report::grid::{Entry, Grid};
use crate::report::text;

/// Behind values that a simulator gave, and behind those that were counted part of the time.
const SIMULATED: &str = "†";
const MULTIPLEXED: &str = "‡";

/// Arms by counters, those of `counters.csv` and what follows from them. The null check has none of its own.
pub struct Counters;

impl Table for Counters {
    fn name(&self) -> &'static str {
        "counters"
    }

    fn title(&self) -> &'static str {
        "Counters, from a pass of their own"
    }

    fn build(&self, analysis: &Analysis) -> Grid {
        let rows: Vec<&CounterRow> = analysis.counters.iter().collect();
        let (shown, hidden): (Vec<&str>, Vec<&str>) =
            names(&rows).into_iter().partition(|name| of(&rows, name).any(|row| row.value.is_some()));
        let cells = analysis.manifest.plan.workloads.iter().flat_map(|workload| {
            let cells = analysis.cells.iter().map(|result| &result.cell);
            cells.filter(|cell| cell.workload == workload.name && cell.null_of.is_none())
        });
        let counted = cells.filter_map(|cell| {
            let own: Vec<&CounterRow> = rows.iter().copied().filter(|row| row.cell_id == cell.id).collect();
            (!own.is_empty()).then_some((cell, own))
        });
        let counted: Vec<_> = counted.collect();
        let ratios: Vec<_> =
            RATIOS.iter().filter(|ratio| counted.iter().any(|(_, own)| ratio.of(own).is_some())).collect();

        let headings: Vec<String> = ["Workload".to_owned(), "Arm".to_owned()]
            .into_iter()
            .chain(shown.iter().map(|name| format!("{} >", heading(&rows, name))))
            .chain(ratios.iter().map(|ratio| format!("{} >", ratio.name)))
            .collect();
        let mut grid = Grid::new(self.title(), &headings.iter().map(String::as_str).collect::<Vec<_>>());
        let mut reasons = Reasons::default();
        for (cell, own) in counted {
            let counters = shown.iter().map(|name| match of(&own, name).next() {
                Some(CounterRow { value: Some(value), status, .. }) => entry(number(*value), *status),
                Some(row) => format!("n/a [{}]", reasons.number(&row.reason)).into(),
                None => format!("n/a [{}]", reasons.number("not asked of this arm")).into(),
            });
            let counters: Vec<Entry> = counters.collect();
            let derived = ratios.iter().map(|ratio| match ratio.of(&own) {
                Some((value, status)) if ratio.scale == Scale::Percent => entry(format!("{}%", number(value)), status),
                Some((value, status)) => entry(number(value), status),
                None => text::NONE.into(),
            });
            let names = [cell.workload.as_str().into(), cell.arm.as_str().into()];
            grid.push(names.into_iter().chain(counters).chain(derived));
        }
        if !grid.rows.is_empty() {
            grid.notes = marks(&rows);
            grid.notes.extend(reasons.notes());
            grid.notes.extend(without_values(&rows, &hidden));
            if !ratios.is_empty() {
                let undefined = "MPKI: misses per thousand instructions. A dash: one of the two counters has no value, \
                                 or the second is zero.";
                grid.notes.push(undefined.to_owned());
            }
        }
        grid.notes.extend(notes::common(analysis));
        grid
    }
}

/// Counters in the order in which they were recorded, each once.
fn names<'a>(rows: &[&'a CounterRow]) -> Vec<&'a str> {
    let mut names: Vec<&str> = Vec::new();
    for row in rows {
        if !names.contains(&row.counter.as_str()) {
            names.push(&row.counter);
        }
    }
    names
}

/// The rows of a counter.
fn of<'a>(rows: &[&'a CounterRow], name: &str) -> impl Iterator<Item = &'a CounterRow> {
    rows.iter().copied().filter(move |row| row.counter == name)
}

/// A counter in words, with its unit where it is the same for all and not said already.
fn heading(rows: &[&CounterRow], name: &str) -> String {
    let words = name.replace('_', " ");
    let mut units = of(rows, name).map(|row| row.unit.as_str());
    match units.next() {
        Some(unit) if unit.starts_with("1/") && units.all(|other| other == unit) => {
            format!("{words} / {}", unit[2..].replace('_', "-"))
        }
        Some(unit) if unit.starts_with("1/") => format!("{words} / unit"),
        _ => words,
    }
}

/// Three significant digits; a count of nothing is exact.
fn number(value: f64) -> String {
    if value == 0.0 { "0".to_owned() } else { text::significant(value) }
}

/// A value with the mark of its status.
fn entry(value: String, status: CounterStatus) -> Entry {
    let mark = match status {
        CounterStatus::Measured | CounterStatus::Unavailable => "",
        CounterStatus::Simulated => SIMULATED,
        CounterStatus::Multiplexed => MULTIPLEXED,
    };
    format!("{value}{mark}").into()
}

/// What the marks mean, where they occur, and the settings of each source.
fn marks(rows: &[&CounterRow]) -> Vec<String> {
    let mut notes = Vec::new();
    if rows.iter().any(|row| row.status == CounterStatus::Simulated) {
        notes.push(format!("{SIMULATED} simulated: no processor took part."));
    }
    if rows.iter().any(|row| row.status == CounterStatus::Multiplexed) {
        notes.push(format!(
            "{MULTIPLEXED} counted part of the time and scaled, since groups of events took turns; counters.csv says \
             how much of it."
        ));
    }
    // What stands before the semicolon is the same for all arms; behind it is the kernel that ran.
    let with_settings = rows.iter().filter(|row| row.value.is_some() && row.status != CounterStatus::Multiplexed);
    let settings = with_settings.filter_map(|row| Some((row.source.as_str(), row.reason.split_once("; ")?.0)));
    for (source, settings) in settings {
        let note = format!("{source}: one product on one thread, {settings}; counters.csv names the kernel that ran.");
        if !notes.contains(&note) {
            notes.push(note);
        }
    }
    notes
}

/// Counters without any value, by their reasons.
fn without_values(rows: &[&CounterRow], hidden: &[&str]) -> Vec<String> {
    let mut by_reason: BTreeMap<Vec<&str>, Vec<&str>> = BTreeMap::new();
    for name in hidden {
        let mut reasons: Vec<&str> = of(rows, name).map(|row| row.reason.as_str()).collect();
        reasons.sort_unstable();
        reasons.dedup();
        by_reason.entry(reasons).or_default().push(name);
    }
    let note = |(reasons, names): (Vec<&str>, Vec<&str>)| {
        format!("No value of {}: {}.", names.join(", "), reasons.join(". Or: "))
    };
    by_reason.into_iter().map(note).collect()
}

/// Reasons with numbers, in the order in which the table comes to them.
#[derive(Default)]
struct Reasons(Vec<String>);

impl Reasons {
    fn number(&mut self, reason: &str) -> usize {
        match self.0.iter().position(|known| known == reason) {
            Some(at) => at + 1,
            None => {
                self.0.push(reason.to_owned());
                self.0.len()
            }
        }
    }

    fn notes(&self) -> impl Iterator<Item = String> {
        self.0.iter().enumerate().map(|(at, reason)| format!("[{}] {reason}.", at + 1))
    }
}
