//! The figures of a report: one a file, all in one list.
//!
//! A figure only says what is shown, as a [`Chart`]; one engine lays it out and draws it to SVG and
//! PNG, and writes its data as CSV.

mod axis;
mod base64;
mod chart;
mod combination;
mod draw;
mod factorial;
mod font;
mod forest;
mod labels;
mod ladder;
mod layout;
mod lettering;
pub mod palette;
mod plot;
mod roofline;
mod shares;

use std::path::Path;

use plotters::prelude::{BitMapBackend, SVGBackend};

use super::analysis::Analysis;
use super::error::ReportError;
use super::grid::Grid;
use crate::plan::{Contrast, Design, Workload};
pub use axis::Scale;
pub use chart::{IntervalChart, Mark, PanelCell, Row, Series, Shape};
pub use plot::Plot;
pub use shares::{Share, ShareBar, ShareChart};

/// A kind of figure. To add one: write its file, and one line in [`FIGURES`].
pub trait Figure: Sync {
    /// The charts that an experiment has of this kind; those without a single mark are left out.
    fn charts(&self, analysis: &Analysis) -> Vec<Chart>;
}

/// What a figure shows.
#[derive(Clone, Debug, PartialEq)]
pub enum Chart {
    /// Ratios with intervals, by row and panel.
    Intervals(IntervalChart),
    /// Points below lines.
    Plot(Plot),
    /// Parts of wholes.
    Shares(ShareChart),
}

impl Chart {
    /// File name without its ending.
    pub fn name(&self) -> &str {
        match self {
            Self::Intervals(chart) => &chart.name,
            Self::Plot(chart) => &chart.name,
            Self::Shares(chart) => &chart.name,
        }
    }

    /// Whether there is nothing to draw.
    pub fn is_empty(&self) -> bool {
        match self {
            Self::Intervals(chart) => chart.is_empty(),
            Self::Plot(chart) => chart.is_empty(),
            Self::Shares(chart) => chart.bars.is_empty(),
        }
    }

    /// Everything that is drawn, at full precision.
    pub fn data(&self) -> Grid {
        match self {
            Self::Intervals(chart) => chart.data(),
            Self::Plot(chart) => chart.data(),
            Self::Shares(chart) => chart.data(),
        }
    }
}

/// Every figure, in the order in which they are written.
pub const FIGURES: &[&dyn Figure] =
    &[&ladder::Ladder, &forest::Forest, &factorial::Factorial, &combination::Combination, &roofline::Roofline];

/// Factor from one at which the axis of single steps ends: one step of ×68 would hide the intervals of
/// all others behind their marks.
const STEP_LIMIT: f64 = 2.5;

/// Pixels of a PNG for each unit of the layout (1/96 inch): sharp in print at column width.
const PNG_SCALE: f64 = 2.0;

/// The chart as a self-contained SVG.
///
/// # Errors
///
/// If the drawing library refuses.
pub fn svg(chart: &Chart, path: &Path) -> Result<String, ReportError> {
    let mut text = String::new();
    let drawn = draw::draw(chart, 1.0, |size| SVGBackend::with_string(&mut text, size));
    drawn.map_err(|message| error(path, message))?;
    Ok(font::embed(&text))
}

/// Writes the chart as a PNG to `path`.
///
/// # Errors
///
/// If the drawing library refuses or the file cannot be written.
pub fn png(chart: &Chart, path: &Path) -> Result<(), ReportError> {
    let drawn = draw::draw(chart, PNG_SCALE, |size| BitMapBackend::new(path, size));
    drawn.map_err(|message| error(path, message))
}

/// Panels that stand side by side: two fill the width of a page with their numbers.
const PANELS_OF_A_PAGE: usize = 2;

/// The charts that `chart` makes of some workloads each: a page of its own, with a number where there are
/// more workloads than a page is wide.
fn pages(analysis: &Analysis, chart: impl Fn(&[Workload]) -> IntervalChart) -> Vec<Chart> {
    let workloads = &analysis.manifest.plan.workloads;
    let count = workloads.len().div_ceil(PANELS_OF_A_PAGE);
    let page = |(number, workloads): (usize, &[Workload])| {
        let chart = chart(workloads);
        let (name, title) = (format!("{}-{number}", chart.name), format!("{} ({number} of {count})", chart.title));
        Chart::Intervals(if count > 1 { IntervalChart { name, title, ..chart } } else { chart })
    };
    (1..).zip(workloads.chunks(PANELS_OF_A_PAGE)).map(page).collect()
}

/// Name and description of a workload.
fn panel_title(workload: &Workload) -> String {
    format!("{}: {}", workload.name, workload.title)
}

/// The steps of a design, each once, in its order.
fn steps(design: &Design) -> Vec<&str> {
    let mut steps: Vec<&str> = Vec::new();
    for contrast in &design.contrasts {
        if !steps.contains(&contrast.step.as_str()) {
            steps.push(&contrast.step);
        }
    }
    steps
}

/// The contrast of a step on a workload.
fn find<'a>(design: &'a Design, step: &str, workload: &Workload) -> Option<&'a Contrast> {
    design.contrasts.iter().find(|contrast| contrast.step == step && contrast.workload == workload.name)
}

fn error(path: &Path, message: String) -> ReportError {
    ReportError::Draw { path: path.to_owned(), message }
}
