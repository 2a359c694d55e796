//! Kernels of ours and of other projects on the same matrix, against the fastest of the others that
//! stores about as few bits.
//!
//! The rival of a workload is chosen by its median time on it, so it is a little faster than it would be
//! in another run: that errs against us. Time is that of a whole product, with the quantization of
//! the activations, because peers quantize inside of theirs.

use super::analysis::CellResult;
use super::blocks::BlockTable;
use super::metric::TOKEN_TIME;
use crate::plan::{Plan, Workload};
use crate::stats::contrast::{Effect, contrast};

/// Stored bits of a weight among which the rival is looked for.
pub const BITS: std::ops::RangeInclusive<f64> = 3.0..=4.6;

/// A cell on a workload that peers ran as well.
#[derive(Clone, Debug)]
pub struct AgainstRival {
    pub cell_id: String,
    /// Label of the rival on its workload.
    pub rival: String,
    /// Time of the rival / time of the cell; nothing of the rival itself, and where no block has both.
    pub effect: Option<Effect>,
}

/// Every cell of every workload with a rival, in the order of the plan.
pub fn against_rivals(plan: &Plan, cells: &[CellResult], table: &BlockTable) -> Vec<AgainstRival> {
    let times = |result: &CellResult| {
        let key = (result.cell.id.clone(), TOKEN_TIME.to_owned());
        table.get(&key).map(|blocks| blocks.times.clone()).unwrap_or_default()
    };
    let mut found = Vec::new();
    for workload in &plan.workloads {
        let Some(rival) = rival(workload, cells) else { continue };
        for result in on(workload, cells) {
            let effect = contrast(&times(result), &times(rival), plan.protocol.confidence);
            found.push(AgainstRival {
                cell_id: result.cell.id.clone(),
                rival: rival.cell.arm.clone(),
                effect: effect.filter(|_| result.cell.id != rival.cell.id),
            });
        }
    }
    found
}

/// Cells of a workload that may be cited.
fn on<'a>(workload: &Workload, cells: &'a [CellResult]) -> impl Iterator<Item = &'a CellResult> {
    let name = workload.name.clone();
    cells.iter().filter(move |result| result.cell.workload == name && !result.is_left_out())
}

/// The fastest peer within [`BITS`].
fn rival<'a>(workload: &Workload, cells: &'a [CellResult]) -> Option<&'a CellResult> {
    let time = |result: &CellResult| result.metric(TOKEN_TIME).map_or(f64::INFINITY, |time| time.median);
    on(workload, cells)
        .filter(|result| result.cell.is_peer() && BITS.contains(&result.bits_per_weight()))
        .min_by(|a, b| time(a).total_cmp(&time(b)))
}
