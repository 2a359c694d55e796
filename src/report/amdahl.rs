//! What each contrast gains in the pipeline, beside what its kernels can explain.

use super::analysis::CellResult;
use super::blocks::BlockTable;
use super::metric::{KERNEL_TIME, TOKEN_TIME};
use crate::plan::{Contrast, Plan, Source};
use crate::stats::amdahl::{Amdahl, Times, amdahl};

/// One contrast with the time of its kernels and of the pipeline around them.
#[derive(Clone, Debug)]
pub struct AmdahlResult {
    pub design: String,
    pub contrast: Contrast,
    /// `None` when no block has all four times, or one of the two cells failed or is refused.
    pub check: Option<Amdahl>,
}

/// Every contrast on a workload with a pipeline, in the order of the plan; one that several designs share
/// stands once.
pub fn amdahls(plan: &Plan, cells: &[CellResult], table: &BlockTable) -> Vec<AmdahlResult> {
    let is_pipeline = |contrast: &Contrast| {
        let mut workloads = plan.workloads.iter();
        workloads.any(|w| w.name == contrast.workload && !matches!(w.source, Source::Matrix { .. }))
    };
    let of_cell = |id: &str| {
        let result = cells.iter().find(|result| result.cell.id == id && !result.is_left_out())?;
        let times = |metric: &str| table.get(&(result.cell.id.clone(), metric.to_owned())).map(|blocks| &blocks.times);
        Some(Times { token: times(TOKEN_TIME)?, kernel: times(KERNEL_TIME)? })
    };
    let mut found: Vec<AmdahlResult> = Vec::new();
    for design in &plan.designs {
        for contrast in design.contrasts.iter().filter(|contrast| is_pipeline(contrast)) {
            let same = |other: &AmdahlResult| {
                (&other.contrast.arm, &other.contrast.reference) == (&contrast.arm, &contrast.reference)
            };
            if found.iter().any(same) {
                continue;
            }
            let both = of_cell(&contrast.arm).zip(of_cell(&contrast.reference));
            let check = both.and_then(|(arm, reference)| amdahl(arm, reference, plan.protocol.confidence));
            found.push(AmdahlResult { design: design.name.clone(), contrast: contrast.clone(), check });
        }
    }
    found
}
