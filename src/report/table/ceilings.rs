//! What the machine could do at best in the blocks of the run.

use super::{Table, notes};
use crate::doctor::Quantity;
use crate::report::analysis::Analysis;
use crate::report::ceilings::{CeilingResult, Ceilings, FAR, OPERATIONS, Placement, level};
use crate::report::grid::Grid;
use crate::report::text;
use crate::stats::Interval;

const HEADINGS: [&str; 9] =
    ["Threads >", "Ceiling", "Where", "Median >", "Unit", "Blocks >", "Near >", "Far >", "Near / far >"];

/// Peaks, bandwidths and the distance of two CPUs, by number of threads.
pub struct MachineCeilings;

impl Table for MachineCeilings {
    fn name(&self) -> &'static str {
        "ceilings"
    }

    fn title(&self) -> &'static str {
        "What the machine could do at best"
    }

    fn build(&self, analysis: &Analysis) -> Grid {
        let mut grid = Grid::new(self.title(), &HEADINGS);
        let confidence = analysis.manifest.plan.protocol.confidence;
        let ceilings = &analysis.ceilings;
        for result in &ceilings.results {
            let (scale, unit) = unit(result.quantity);
            let scaled = |(middle, interval): (f64, Interval)| (scale * middle, interval.map(|end| scale * end));
            // Where the two CPUs are cannot matter to one thread, and the latency is what says it.
            let depends = result.threads > 1 && result.quantity != Quantity::CoreToCore;
            let placed =
                |placement| level(in_blocks(result, ceilings, placement), confidence).filter(|_| depends).map(scaled);
            let [near, far] = [Placement::Near, Placement::Far].map(placed);
            grid.push([
                result.threads.to_string().into(),
                name(result.quantity).into(),
                result.place.as_str().into(),
                text::or_none(result.level(confidence).map(scaled), text::with_interval).into(),
                unit.into(),
                result.values.len().to_string().into(),
                text::or_none(near, text::with_interval).into(),
                text::or_none(far, text::with_interval).into(),
                text::or_none(near.zip(far), |((near, _), (far, _))| text::significant(near / far)).into(),
            ]);
        }
        grid.notes = vec![
            format!(
                "Measured at the beginning of each block, before its workloads. Medians over blocks \
                 [{} order-statistics interval]. Peaks: int8 multiply-accumulates in registers, two operations each; \
                 bandwidth: 10^9 bytes a second, every thread reading its own part.",
                text::percent(confidence),
            ),
            format!(
                "Near and far: blocks in which a line takes less than {FAR} ns, or more, between the CPUs of the \
                 first two workers; near / far is a quotient of medians of different blocks."
            ),
        ];
        grid.notes.extend(blocks(ceilings));
        grid.notes.extend(notes::common(analysis));
        grid
    }
}

/// Values of the blocks with this placement.
fn in_blocks(result: &CeilingResult, ceilings: &Ceilings, placement: Placement) -> impl Iterator<Item = f64> {
    let such = move |block: &u32| ceilings.placements.get(block) == Some(&placement);
    result.values.iter().filter(move |(block, _)| such(block)).map(|(_, value)| *value)
}

/// Which blocks were near and which far, counted from 1.
fn blocks(ceilings: &Ceilings) -> Option<String> {
    let listed = |placement: Placement| {
        let such = ceilings.placements.iter().filter(|(_, found)| **found == placement);
        let numbers: Vec<String> = such.map(|(block, _)| (block + 1).to_string()).collect();
        if numbers.is_empty() { "none".to_owned() } else { numbers.join(", ") }
    };
    (!ceilings.placements.is_empty())
        .then(|| format!("Blocks near: {}. Blocks far: {}.", listed(Placement::Near), listed(Placement::Far)))
}

/// What a ceiling is called.
fn name(quantity: Quantity) -> &'static str {
    match quantity {
        Quantity::Int8Dot => "int8 peak",
        Quantity::VectorIssue => "vector issue",
        Quantity::ReadBandwidth => "read bandwidth",
        Quantity::CoreToCore => "core to core",
        other => other.name(),
    }
}

/// The factor from the recorded unit to the printed one, and this.
fn unit(quantity: Quantity) -> (f64, &'static str) {
    match quantity {
        Quantity::Int8Dot => (OPERATIONS, "Gop/s"),
        other => (1.0, other.unit()),
    }
}
