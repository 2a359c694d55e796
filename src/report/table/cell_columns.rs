//! What every row about an arm carries: stored bits, bandwidth, share of the roof, quality, and what
//! the compiled loop contains.

use crate::report::analysis::{Analysis, counter};
use crate::report::grid::Entry;
use crate::report::text;

/// Conditional jumps in the compiled loop of a kernel, for each weight.
const JUMPS: &str = "loop_conditional_jumps_per_weight";
/// Widest vector register in the compiled loop of a kernel.
const VECTOR_BITS: &str = "loop_vector_bits";

/// Headings of [`entries`].
pub const HEADINGS: [&str; 6] = ["Bits/weight >", "GB/s >", "Roof >", "Quality", "Jumps/weight >", "Vector bits >"];

/// What stands below a table with these columns.
pub const NOTE: &str =
    "Jumps/weight and vector bits: conditional jumps and the widest vector register in the disassembled loop.";

/// The columns of a cell.
pub fn entries(analysis: &Analysis, cell_id: &str) -> [Entry; 6] {
    let cell = analysis.cell(cell_id);
    let traffic = cell.and_then(|cell| cell.traffic);
    [
        text::or_none(cell, text::bits).into(),
        text::gbps(traffic).into(),
        text::roof(traffic).into(),
        text::or_none(cell, |cell| text::quality(&cell.facts.quality)).into(),
        text::or_none(counter(&analysis.counters, cell_id, JUMPS), text::significant).into(),
        text::or_none(counter(&analysis.counters, cell_id, VECTOR_BITS), |bits| format!("{bits}")).into(),
    ]
}
