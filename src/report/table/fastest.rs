//! The fastest arm of each format and instruction set on one matrix alone, beside what binds it.

use septet_kernels::{Format, Isa, Level};

use super::{Table, notes};
use crate::plan::{Source, Workload};
use crate::report::analysis::{Analysis, CellResult};
use crate::report::grid::{Entry, Grid};
use crate::report::metric::KERNEL_TIME;
use crate::report::text;

/// One row for each matrix workload and instruction set, one column for each format.
pub struct Fastest;

impl Table for Fastest {
    fn name(&self) -> &'static str {
        "fastest"
    }

    fn title(&self) -> &'static str {
        "Share of the binding ceiling, and weights a nanosecond, of the fastest arm"
    }

    fn build(&self, analysis: &Analysis) -> Grid {
        let formats: Vec<String> = Format::ALL.iter().map(|format| format!("{format} >")).collect();
        let headings: Vec<&str> = ["Matrix", "ISA"].into_iter().chain(formats.iter().map(String::as_str)).collect();
        let mut grid = Grid::new(self.title(), &headings);
        let workloads = &analysis.manifest.plan.workloads;
        for workload in workloads.iter().filter(|workload| matches!(workload.source, Source::Matrix { .. })) {
            for &isa in Isa::ALL.iter().rev() {
                let fastest: Vec<_> = Format::ALL.iter().map(|&f| fastest(analysis, workload, f, isa)).collect();
                if fastest.iter().any(Option::is_some) {
                    let entries = fastest.into_iter().map(|result| entry(analysis, workload, result));
                    grid.push([workload.title.as_str().into(), isa.name().into()].into_iter().chain(entries));
                }
            }
        }
        let method = "Of the arms of a format and instruction set the one with the smallest median kernel time, in bold \
                      in the table `matrices`. Share, with its interval over blocks, of the bandwidth of the memory or \
                      cache that holds the weights (stored bytes: codes, scales, padding), or of the int8 peak where \
                      that is named; both measured around each repetition with the same threads. A weight that is \
                      multiplied with several columns counts once for each.";
        grid.notes = [method.to_owned()].into_iter().chain(notes::common(analysis)).collect();
        grid
    }
}

/// The cell with the smallest kernel time of a format and instruction set on a matrix.
pub(super) fn fastest<'a>(
    analysis: &'a Analysis,
    workload: &Workload,
    format: Format,
    isa: Isa,
) -> Option<&'a CellResult> {
    let is = |result: &CellResult, axis: &str, level: &str| result.cell.level(axis) == Some(level);
    let candidates = analysis.cells.iter().filter(|result| {
        result.cell.workload == workload.name
            && result.cell.null_of.is_none()
            && is(result, Format::AXIS, format.name())
            && is(result, Isa::AXIS, isa.name())
    });
    let time = |result: &CellResult| result.metric(KERNEL_TIME).map_or(f64::INFINITY, |time| time.median);
    candidates.min_by(|a, b| time(a).total_cmp(&time(b)))
}

fn entry(analysis: &Analysis, workload: &Workload, result: Option<&CellResult>) -> Entry {
    let Some(result) = result else { return text::NONE.into() };
    let weights = (result.facts.weights_per_unit * workload.source.columns() as u64) as f64;
    let speed = text::or_none(result.metric(KERNEL_TIME), |time| text::significant(weights / time.median));
    let standing = analysis.standings.iter().find(|standing| standing.cell_id == result.cell.id);
    let bound = standing.and_then(|standing| standing.bound.as_ref());
    let of_peak = bound.filter(|bound| bound.is_peak).map_or_else(String::new, |bound| format!(" of {}", bound.name));
    // Runs from before ceilings were recorded have the roof alone.
    match bound.map(|bound| bound.share).or(result.traffic.and_then(|traffic| traffic.roof)) {
        _ if result.is_left_out() => Entry::strong_if(true, result.status.to_string()),
        Some((share, interval)) => {
            format!("{share:.2} [{:.2}, {:.2}]{of_peak}, {speed}/ns", interval.low, interval.high).into()
        }
        None => format!("{speed}/ns").into(),
    }
}
