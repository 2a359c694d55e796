//! What an interval chart shows: ratios or shares with intervals, by row and panel, on one axis.

use plotters::style::RGBColor;

use super::axis::{Axis, Scale};
use crate::report::grid::Grid;
use crate::report::text;
use crate::stats::Interval;
use crate::stats::contrast::Effect;

/// A chart before it is laid out.
#[derive(Clone, Debug, PartialEq)]
pub struct IntervalChart {
    /// File name without its ending.
    pub name: String,
    pub title: String,
    /// What the reader should take from it, in one line.
    pub message: String,
    /// Why the figure may not be cited, if so.
    pub caveat: Option<String>,
    /// What the axis measures.
    pub axis: String,
    pub scale: Scale,
    /// Titles of the panels, from left to right.
    pub panels: Vec<String>,
    pub rows: Vec<Row>,
    pub legend: Vec<Series>,
    /// Small print.
    pub notes: Vec<String>,
}

/// One line across all panels.
#[derive(Clone, Debug, PartialEq)]
pub enum Row {
    /// Begins a group.
    Heading(String),
    Item {
        label: String,
        /// One for each panel.
        cells: Vec<PanelCell>,
    },
}

/// What one panel shows in one row.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PanelCell {
    pub marks: Vec<Mark>,
    /// Why there is no number, in words.
    pub missing: String,
}

/// A value, with an interval if it was measured.
#[derive(Clone, Debug, PartialEq)]
pub struct Mark {
    pub series: Series,
    pub value: f64,
    pub interval: Option<Interval>,
    /// The number and its interval as printed beside the plot.
    pub text: String,
}

/// A kind of mark, as in the legend.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Series {
    pub name: &'static str,
    pub color: RGBColor,
    pub shape: Shape,
    /// Lines of text above (negative) or below the middle of the row.
    pub lane: f64,
}

/// How a mark looks. Hollow diamonds come from elsewhere and have no interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    Disc,
    Square,
    Triangle,
    DownTriangle,
    Diamond,
    /// A flat rectangle.
    Bar,
    Cross,
    HollowDisc,
    HollowSquare,
    HollowDiamond,
}

impl Series {
    /// A measured effect as a mark.
    pub fn effect(self, effect: &Effect) -> Mark {
        let text = format!("×{}", text::effect(effect));
        Mark { series: self, value: effect.ratio, interval: Some(effect.interval), text }
    }

    /// A published factor as a mark.
    pub fn published(self, factor: f64) -> Mark {
        Mark { series: self, value: factor, interval: None, text: format!("×{}", text::published(factor)) }
    }
}

impl IntervalChart {
    /// Every mark with its panel, its group and its row.
    fn marks(&self) -> Vec<(&str, &str, &str, &Mark)> {
        let mut group = "";
        let mut marks = Vec::new();
        for row in &self.rows {
            match row {
                Row::Heading(text) => group = text,
                Row::Item { label, cells } => {
                    for (panel, cell) in self.panels.iter().zip(cells) {
                        marks.extend(cell.marks.iter().map(|mark| (panel.as_str(), group, label.as_str(), mark)));
                    }
                }
            }
        }
        marks
    }

    /// Whether there is nothing to draw.
    pub fn is_empty(&self) -> bool {
        self.marks().is_empty()
    }

    /// The axis that all panels share.
    pub fn shared_axis(&self) -> Axis {
        Axis::covering(self.scale, self.values().into_iter())
    }

    /// The small print, with what arrows mean where there is one.
    pub fn small_print(&self, axis: Axis) -> Vec<String> {
        let beyond = self.marks().into_iter().any(|(_, _, _, mark)| !axis.holds(mark.value));
        let arrows = beyond.then(|| "Arrow: beyond the end of the axis; its number stands beside it.".to_owned());
        self.notes.iter().cloned().chain(arrows).collect()
    }

    /// Every number that the axis has to reach.
    fn values(&self) -> Vec<f64> {
        let reach = |mark: &Mark| {
            let ends = mark.interval.filter(|interval| interval.is_bounded());
            let ends = ends.map(|interval| [interval.low, interval.high]);
            ends.into_iter().flatten().chain([mark.value])
        };
        self.marks().into_iter().flat_map(|(_, _, _, mark)| reach(mark)).collect()
    }

    /// Everything that is drawn, at full precision.
    pub fn data(&self) -> Grid {
        let value = match self.scale {
            Scale::Ratios { .. } => "ratio",
            Scale::Shares => "share",
        };
        let mut grid = Grid::new(&self.title, &["panel", "group", "row", "series", value, "ci_low", "ci_high"]);
        let number = |value: Option<f64>| value.filter(|v| v.is_finite()).map(|v| v.to_string()).unwrap_or_default();
        for (panel, group, row, mark) in self.marks() {
            let interval = mark.interval.filter(|interval| interval.is_bounded());
            grid.push([
                panel.into(),
                group.into(),
                row.into(),
                mark.series.name.into(),
                number(Some(mark.value)).into(),
                number(interval.map(|interval| interval.low)).into(),
                number(interval.map(|interval| interval.high)).into(),
            ]);
        }
        grid
    }
}
