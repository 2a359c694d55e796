//! The fastest arm of each format against the fastest kernel of another project that stores about as few
//! bits.

use septet_kernels::{Format, Level};

use super::{Table, notes};
use crate::plan::{Source, Workload};
use crate::report::analysis::{Analysis, CellResult};
use crate::report::grid::{Entry, Grid};
use crate::report::metric::TOKEN_TIME;
use crate::report::rivals::BITS;
use crate::report::text;

const HEADINGS: [&str; 4] = ["Matrix", "Columns >", "Threads >", "Fastest peer"];

/// One row for each matrix that a kernel of another project ran on, one column for each format.
pub struct BesidePeers;

impl Table for BesidePeers {
    fn name(&self) -> &'static str {
        "beside_peers"
    }

    fn title(&self) -> &'static str {
        "Each format against the fastest kernel of another project with as few bits"
    }

    fn build(&self, analysis: &Analysis) -> Grid {
        let formats: Vec<String> = Format::ALL.iter().map(|format| format!("{format} >")).collect();
        let headings: Vec<&str> = HEADINGS.into_iter().chain(formats.iter().map(String::as_str)).collect();
        let mut grid = Grid::new(self.title(), &headings);
        for workload in &analysis.manifest.plan.workloads {
            let Source::Matrix { rows, cols, columns, .. } = workload.source else { continue };
            let of_workload = |id: &str| analysis.cell(id).is_some_and(|result| result.cell.workload == workload.name);
            let Some(rival) = analysis.rivals.iter().find(|against| of_workload(&against.cell_id)) else { continue };
            let setting: [Entry; 4] = [
                format!("{rows} × {cols}").into(),
                columns.to_string().into(),
                workload.threads.to_string().into(),
                rival.rival.as_str().into(),
            ];
            grid.push(setting.into_iter().chain(Format::ALL.iter().map(|&format| ratio(analysis, workload, format))));
        }
        let method = format!(
            "Time of the peer over time of the kernel, inside each block, of a whole product with the quantization of its \
             activations: geometric mean over blocks [{} Student t interval]; above 1 the kernel is faster. Of each \
             format the arm, and of the peers that store {} to {} bits a weight the one, with the smallest median time.",
            text::percent(analysis.manifest.plan.protocol.confidence),
            BITS.start(),
            BITS.end()
        );
        grid.notes = [method].into_iter().chain(notes::common(analysis)).collect();
        grid
    }
}

/// The ratio of the fastest arm of a format.
fn ratio(analysis: &Analysis, workload: &Workload, format: Format) -> Entry {
    let candidates = analysis.cells.iter().filter(|result| {
        let cell = &result.cell;
        let is_ours = !cell.is_peer() && cell.null_of.is_none() && !result.is_left_out();
        is_ours && cell.workload == workload.name && cell.level(Format::AXIS) == Some(format.name())
    });
    let time = |result: &CellResult| result.metric(TOKEN_TIME).map_or(f64::INFINITY, |time| time.median);
    let fastest = candidates.min_by(|a, b| time(a).total_cmp(&time(b)));
    let against = fastest.and_then(|result| analysis.rivals.iter().find(|against| against.cell_id == result.cell.id));
    text::or_none(against.and_then(|against| against.effect), |effect| text::effect(&effect)).into()
}
