//! Where everything goes: computed from the widths of the texts, so that nothing is clipped.
//!
//! Lengths are in units of 1/96 inch.

use super::axis::Axis;
use super::chart::{IntervalChart, Row};
use super::font;

/// Body text, 8 pt: readable when the figure is printed at its own size.
pub const EM: f64 = 10.7;
/// The title.
pub const TITLE_EM: f64 = 13.5;
/// Small print.
pub const NOTE_EM: f64 = 9.0;
/// Distance between two lines of text, in em.
pub const LEADING: f64 = 1.4;
/// Outer margin, and the gap between columns.
pub const GAP: f64 = 12.0;

/// Two columns of a paper, 7 inch: the least width of a figure.
const LEAST_WIDTH: f64 = 672.0;
const LEAST_PLOT: f64 = 160.0;
/// Row labels are broken into lines of this width.
const LABEL_LIMIT: f64 = 230.0;
const ROW_HEIGHT: f64 = 22.0;
/// Between two lanes of marks, each with a line of text.
const LANE: f64 = 13.5;
/// Space between a number's mark and the number.
pub const NUMBER_INDENT: f64 = 10.0;

/// What stands around every chart.
pub struct Words<'a> {
    pub title: &'a str,
    pub message: &'a str,
    pub caveat: Option<&'a str>,
    /// Names in the legend.
    pub legend: Vec<&'a str>,
    /// Small print.
    pub notes: Vec<String>,
}

/// Where that goes.
#[derive(Clone, Debug, PartialEq)]
pub struct Frame {
    pub width: f64,
    pub title: Vec<String>,
    pub message: Vec<String>,
    pub caveat: Option<String>,
    pub notes: Vec<String>,
    /// Baseline regions, from the top.
    pub title_top: f64,
    pub message_top: f64,
    pub legend_top: f64,
    /// Left end of each legend entry, and its line.
    pub legend: Vec<(f64, usize)>,
    /// Where the chart begins.
    pub body_top: f64,
    /// Where the small print begins.
    pub notes_top: f64,
}

impl Frame {
    /// Of a chart of this width; the small print lies at the top until [`Frame::close`].
    pub fn new(words: Words<'_>, width: f64) -> Self {
        let inner = width - 2.0 * GAP;
        let caveat_width = words.caveat.map_or(0.0, |caveat| font::width(caveat, EM) + GAP);
        let title = font::wrap(words.title, TITLE_EM, inner - caveat_width);
        let message = font::wrap(words.message, EM, inner);
        let legend = legend_places(&words.legend, inner);
        let title_top = GAP;
        let message_top = title_top + title.len() as f64 * TITLE_EM * LEADING;
        let legend_top = message_top + message.len() as f64 * EM * LEADING + 0.5 * GAP;
        let legend_lines = legend.last().map_or(0, |(_, line)| line + 1) as f64;
        Self {
            width,
            title,
            message,
            caveat: words.caveat.map(str::to_owned),
            notes: words.notes.iter().flat_map(|note| font::wrap(note, NOTE_EM, inner)).collect(),
            title_top,
            message_top,
            legend_top,
            legend,
            body_top: legend_top + legend_lines * EM * LEADING + 0.7 * GAP,
            notes_top: 0.0,
        }
    }

    /// The frame with its small print below a chart that ends at `bottom`.
    pub fn close(self, bottom: f64) -> Self {
        Self { notes_top: bottom + 0.5 * GAP, ..self }
    }

    /// Size in pixels.
    pub fn size(&self, scale: f64) -> (u32, u32) {
        let height = self.notes_top + self.notes.len() as f64 * NOTE_EM * LEADING + GAP;
        ((self.width * scale).ceil() as u32, (height * scale).ceil() as u32)
    }
}

/// Positions of all parts of one chart.
#[derive(Clone, Debug, PartialEq)]
pub struct Layout {
    pub frame: Frame,
    pub axis: Axis,
    pub rows: Vec<Band>,
    pub rows_bottom: f64,
    pub ticks_top: f64,
    pub axis_top: f64,
    pub panels: Vec<PanelSpan>,
}

/// Vertical extent of a row, with its label in lines.
#[derive(Clone, Debug, PartialEq)]
pub struct Band {
    pub top: f64,
    pub bottom: f64,
    pub label: Vec<String>,
}

/// Horizontal extent of a panel: its plot, and the column of its numbers.
#[derive(Clone, Debug, PartialEq)]
pub struct PanelSpan {
    pub left: f64,
    pub right: f64,
    /// Left end of the numbers.
    pub numbers: f64,
    pub title: Vec<String>,
}

impl Layout {
    /// Lays a chart out.
    pub fn new(chart: &IntervalChart) -> Layout {
        let labels: Vec<Vec<String>> = chart.rows.iter().map(label_lines).collect();
        let label_width = chart
            .rows
            .iter()
            .zip(&labels)
            .filter(|(row, _)| matches!(row, Row::Item { .. }))
            .flat_map(|(_, lines)| lines.iter().map(|line| font::width(line, EM)))
            .fold(0.0, f64::max);
        let left = GAP + label_width + GAP;
        let number_widths: Vec<f64> = (0..chart.panels.len()).map(|panel| number_width(chart, panel)).collect();
        let fixed = left + number_widths.iter().map(|width| width + 2.0 * GAP).sum::<f64>();
        let count = chart.panels.len().max(1) as f64;
        let plot = ((LEAST_WIDTH - fixed) / count).max(LEAST_PLOT);
        let width = fixed + plot * count;

        let mut panels = Vec::new();
        let mut x = left;
        for (title, number_width) in chart.panels.iter().zip(number_widths) {
            let right = x + plot;
            let numbers = right + GAP;
            let end = numbers + number_width;
            panels.push(PanelSpan { left: x, right, numbers, title: font::wrap(title, EM, end - x) });
            x = end + GAP;
        }

        let axis = chart.shared_axis();
        let words = Words {
            title: &chart.title,
            message: &chart.message,
            caveat: chart.caveat.as_deref(),
            legend: chart.legend.iter().map(|series| series.name).collect(),
            notes: chart.small_print(axis),
        };
        let frame = Frame::new(words, width);
        let title_lines = panels.iter().map(|panel| panel.title.len()).max().unwrap_or(0) as f64;
        let rows_top = frame.body_top + title_lines * EM * LEADING + 0.4 * GAP;
        let rows = bands(chart, labels, rows_top);
        let rows_bottom = rows.last().map_or(rows_top, |band| band.bottom);
        let ticks_top = rows_bottom + 0.5 * GAP;
        let axis_top = ticks_top + EM * LEADING;
        let frame = frame.close(axis_top + EM * LEADING);
        Layout { frame, axis, rows, rows_bottom, ticks_top, axis_top, panels }
    }
}

/// Space between a legend's mark and its name.
pub const LEGEND_INDENT: f64 = 22.0;

/// Left end and line of each entry of a legend with these names.
fn legend_places(names: &[&str], inner: f64) -> Vec<(f64, usize)> {
    let mut x = GAP;
    let mut line = 0;
    let mut entries = Vec::new();
    for name in names {
        let width = LEGEND_INDENT + font::width(name, EM);
        if x > GAP && x + width > GAP + inner {
            x = GAP;
            line += 1;
        }
        entries.push((x, line));
        x += width + 1.5 * GAP;
    }
    entries
}

fn label_lines(row: &Row) -> Vec<String> {
    match row {
        Row::Heading(text) => vec![text.clone()],
        Row::Item { label, .. } => font::wrap(label, EM, LABEL_LIMIT),
    }
}

fn number_width(chart: &IntervalChart, panel: usize) -> f64 {
    let cells = chart.rows.iter().filter_map(|row| match row {
        Row::Heading(_) => None,
        Row::Item { cells, .. } => cells.get(panel),
    });
    let texts = cells.flat_map(|cell| cell.marks.iter().map(|mark| &mark.text).chain([&cell.missing]));
    texts.map(|text| NUMBER_INDENT + font::width(text, EM)).fold(0.0, f64::max)
}

fn bands(chart: &IntervalChart, labels: Vec<Vec<String>>, top: f64) -> Vec<Band> {
    let lane = chart.legend.iter().map(|series| series.lane.abs()).fold(0.0, f64::max);
    let mut y = top;
    let mut bands = Vec::new();
    for (row, label) in chart.rows.iter().zip(labels) {
        let text = label.len() as f64 * EM * LEADING;
        let height = match row {
            Row::Heading(_) => text + 0.6 * GAP,
            Row::Item { .. } => (text + 0.4 * GAP).max(ROW_HEIGHT + 2.0 * lane * LANE),
        };
        bands.push(Band { top: y, bottom: y + height, label });
        y += height;
    }
    bands
}

/// Vertical position of a lane of marks in a row.
pub fn lane(band: &Band, lane: f64) -> f64 {
    (band.top + band.bottom) / 2.0 + lane * LANE
}
