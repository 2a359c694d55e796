//! Draws a laid-out chart on any backend.

use plotters::coord::Shift;
use plotters::prelude::{Circle, DrawingArea, DrawingBackend, IntoDrawingArea, PathElement, Polygon, Rectangle};
use plotters::style::{Color, RGBColor, ShapeStyle};
use plotters_backend::text_anchor::HPos;

use super::Chart;
use super::chart::{IntervalChart, Mark, Row, Series, Shape};
use super::layout::{
    Band, EM, Frame, GAP, LEADING, LEGEND_INDENT, Layout, NOTE_EM, NUMBER_INDENT, PanelSpan, TITLE_EM, lane,
};
use super::lettering::Lettering;
use super::palette::{GUIDE, INK, PAPER, SOFT_INK, STRIPE, VERMILLION};
use super::plot::{self, Plot, PlotLayout, Point, Symbol, Y_STEPS};
use super::shares::{ShareChart, ShareLayout, is_light};

/// Half the size of a mark.
const MARK: f64 = 3.6;
const FINE: f64 = 0.5;
const THIN: f64 = 0.8;
const THICK: f64 = 1.6;
/// Radius of the dot in marks that have one.
const DOT: f64 = 1.2;
/// Radius of the end of a leader.
const END: f64 = 2.2;
/// Of hollow marks.
const OUTLINE: f64 = 1.4;

/// Draws the chart, `scale` pixels for each unit of the layout, on the backend that `canvas` makes of its
/// size in pixels.
///
/// # Errors
///
/// What the backend says.
pub fn draw<B: DrawingBackend>(chart: &Chart, scale: f64, canvas: impl FnOnce((u32, u32)) -> B) -> Result<(), String> {
    let canvas = |frame: &Frame| Canvas { area: canvas(frame.size(scale)).into_drawing_area(), scale };
    let canvas = match chart {
        Chart::Intervals(chart) => {
            let layout = Layout::new(chart);
            let canvas = canvas(&layout.frame);
            canvas.chart(chart, &layout)?;
            canvas
        }
        Chart::Plot(chart) => {
            let layout = PlotLayout::new(chart);
            let canvas = canvas(&layout.frame);
            canvas.plot(chart, &layout)?;
            canvas
        }
        Chart::Shares(chart) => {
            let layout = ShareLayout::new(chart);
            let canvas = canvas(&layout.frame);
            canvas.shares(chart, &layout)?;
            canvas
        }
    };
    canvas.area.present().map_err(|e| e.to_string())
}

/// A drawing area in units of the layout.
struct Canvas<B: DrawingBackend> {
    area: DrawingArea<B, Shift>,
    scale: f64,
}

impl<B: DrawingBackend> Canvas<B> {
    fn chart(&self, chart: &IntervalChart, layout: &Layout) -> Result<(), String> {
        let (names, series) = chart.legend.iter().map(|series| (series.name, *series)).unzip::<_, _, Vec<_>, Vec<_>>();
        self.frame(&layout.frame, &names, |at, middle| self.sample(series[at], middle))?;
        self.stripes(chart, layout)?;
        for panel in &layout.panels {
            self.panel(panel, layout)?;
        }
        for (row, band) in chart.rows.iter().zip(&layout.rows) {
            self.row(row, band, layout)?;
        }
        if let (Some(first), Some(last)) = (layout.panels.first(), layout.panels.last()) {
            let middle = (first.left + last.right) / 2.0;
            self.text(&chart.axis, (middle, layout.axis_top + EM * LEADING / 2.0), HPos::Center, EM, INK)?;
        }
        Ok(())
    }

    /// Title, message, legend and small print; `sample` draws the mark of a legend's entry.
    fn frame<N: AsRef<str>>(
        &self,
        frame: &Frame,
        legend: &[N],
        sample: impl Fn(usize, (f64, f64)) -> Result<(), String>,
    ) -> Result<(), String> {
        self.area.fill(&PAPER).map_err(|e| e.to_string())?;
        self.lines(&frame.title, (GAP, frame.title_top), HPos::Left, TITLE_EM, INK)?;
        self.lines(&frame.message, (GAP, frame.message_top), HPos::Left, EM, SOFT_INK)?;
        if let Some(caveat) = &frame.caveat {
            let middle = frame.title_top + TITLE_EM * LEADING / 2.0;
            self.text(caveat, (frame.width - GAP, middle), HPos::Right, EM, VERMILLION)?;
        }
        for (at, (name, (x, line))) in legend.iter().zip(&frame.legend).enumerate() {
            let y = frame.legend_top + (*line as f64 + 0.5) * EM * LEADING;
            sample(at, (x + LEGEND_INDENT / 2.0 - 3.0, y))?;
            self.text(name.as_ref(), (x + LEGEND_INDENT, y), HPos::Left, EM, INK)?;
        }
        self.lines(&frame.notes, (GAP, frame.notes_top), HPos::Left, NOTE_EM, SOFT_INK)
    }

    /// A mark on a piece of its interval; what is published has none.
    fn sample(&self, series: Series, (x, y): (f64, f64)) -> Result<(), String> {
        if series.shape != Shape::HollowDiamond {
            self.line((x - 8.0, y), (x + 8.0, y), series.color, THICK)?;
        }
        self.mark(series.shape, series.color, (x, y))
    }

    /// Every second row is shaded, from label to number, to lead the eye.
    fn stripes(&self, chart: &IntervalChart, layout: &Layout) -> Result<(), String> {
        let mut shaded = false;
        for (row, band) in chart.rows.iter().zip(&layout.rows) {
            shaded = matches!(row, Row::Item { .. }) && !shaded;
            if shaded {
                self.rectangle((GAP / 2.0, band.top), (layout.frame.width - GAP / 2.0, band.bottom), STRIPE)?;
            }
        }
        Ok(())
    }

    /// Title, grid, axis and the strong line of one panel.
    fn panel(&self, panel: &PanelSpan, layout: &Layout) -> Result<(), String> {
        self.lines(&panel.title, (panel.left, layout.frame.body_top), HPos::Left, EM, INK)?;
        let top = layout.rows.first().map_or(layout.rows_bottom, |band| band.top);
        for (tick, label) in layout.axis.ticks(panel.right - panel.left, EM) {
            let x = panel.x(layout, tick);
            self.line((x, top), (x, layout.rows_bottom), GUIDE, THIN)?;
            self.text(&label, (x, layout.ticks_top + EM * LEADING / 2.0), HPos::Center, EM, SOFT_INK)?;
        }
        let guide = panel.x(layout, layout.axis.guide());
        self.line((guide, top), (guide, layout.rows_bottom), INK, 1.2)?;
        self.line((panel.left, layout.rows_bottom), (panel.right, layout.rows_bottom), SOFT_INK, THIN)
    }

    fn row(&self, row: &Row, band: &Band, layout: &Layout) -> Result<(), String> {
        let top = (band.top + band.bottom - band.label.len() as f64 * EM * LEADING) / 2.0;
        match row {
            Row::Heading(_) => {
                // Over the grid, which would cross the text.
                self.rectangle((GAP / 2.0, band.top), (layout.frame.width - GAP / 2.0, band.bottom), PAPER)?;
                self.lines(&band.label, (GAP, top + 0.2 * GAP), HPos::Left, EM, SOFT_INK)
            }
            Row::Item { cells, .. } => {
                let right = layout.panels.first().map_or(0.0, |panel| panel.left) - GAP;
                self.lines(&band.label, (right, top), HPos::Right, EM, INK)?;
                for (panel, cell) in layout.panels.iter().zip(cells) {
                    for mark in &cell.marks {
                        self.interval(mark, panel, band, layout)?;
                        let y = lane(band, mark.series.lane);
                        self.mark(mark.series.shape, mark.series.color, (panel.numbers, y))?;
                        self.text(&mark.text, (panel.numbers + NUMBER_INDENT, y), HPos::Left, EM, INK)?;
                    }
                    let missing = (panel.numbers + NUMBER_INDENT, lane(band, 0.0));
                    self.text(&cell.missing, missing, HPos::Left, EM, SOFT_INK)?;
                }
                Ok(())
            }
        }
    }

    /// A mark over its interval, whose caps are drawn where they lie on the axis and the mark does not
    /// hide them; an unbounded interval runs through the whole panel. An arrow for a mark beyond the axis.
    fn interval(&self, mark: &Mark, panel: &PanelSpan, band: &Band, layout: &Layout) -> Result<(), String> {
        let y = lane(band, mark.series.lane);
        if let Some(interval) = mark.interval {
            let (low, high) = (panel.x(layout, interval.low), panel.x(layout, interval.high));
            self.line((low, y), (high, y), mark.series.color, THICK)?;
            let middle = panel.x(layout, mark.value);
            for end in [interval.low, interval.high].into_iter().filter(|end| layout.axis.holds(*end)) {
                let x = panel.x(layout, end);
                if (x - middle).abs() > 1.3 * MARK {
                    self.line((x, y - MARK), (x, y + MARK), mark.series.color, THICK)?;
                }
            }
        }
        let x = panel.x(layout, mark.value);
        if layout.axis.holds(mark.value) {
            self.mark(mark.series.shape, mark.series.color, (x, y))
        } else {
            let back = x - 2.0 * MARK * mark.value.ln().signum();
            self.polygon(vec![(x, y), (back, y - MARK), (back, y + MARK)], mark.series.color)
        }
    }

    fn mark(&self, shape: Shape, color: RGBColor, (x, y): (f64, f64)) -> Result<(), String> {
        let square = |r: f64| vec![(x - r, y - r), (x + r, y - r), (x + r, y + r), (x - r, y + r)];
        let diamond = |r: f64| vec![(x, y - r), (x + r, y), (x, y + r), (x - r, y)];
        let (r, t) = (1.3 * MARK, 0.55 * MARK);
        match shape {
            Shape::Disc => self.disc((x, y), MARK, ShapeStyle::from(&color).filled()),
            Shape::HollowDisc => {
                self.disc((x, y), MARK, ShapeStyle::from(&PAPER).filled())?;
                self.disc((x, y), MARK, self.stroke(color, OUTLINE))
            }
            Shape::Square => self.polygon(square(MARK * 0.85), color),
            Shape::Triangle => {
                let r = MARK * 1.15;
                self.polygon(vec![(x, y - r), (x + r, y + 0.8 * r), (x - r, y + 0.8 * r)], color)
            }
            Shape::DownTriangle => {
                let r = MARK * 1.15;
                self.polygon(vec![(x, y + r), (x + r, y - 0.8 * r), (x - r, y - 0.8 * r)], color)
            }
            Shape::Bar => self.polygon(vec![(x - r, y - t), (x + r, y - t), (x + r, y + t), (x - r, y + t)], color),
            Shape::Diamond => self.polygon(diamond(MARK * 1.25), color),
            Shape::Cross => {
                let r = MARK * 0.8;
                self.line((x - r, y - r), (x + r, y + r), color, THICK)?;
                self.line((x - r, y + r), (x + r, y - r), color, THICK)
            }
            Shape::HollowSquare => self.hollow(square(MARK), color),
            Shape::HollowDiamond => self.hollow(diamond(MARK * 1.35), color),
        }
    }

    fn disc(&self, at: (f64, f64), radius: f64, style: ShapeStyle) -> Result<(), String> {
        self.area.draw(&Circle::new(self.pixel(at), self.length(radius), style)).map_err(|e| e.to_string())
    }

    fn plot(&self, chart: &Plot, layout: &PlotLayout) -> Result<(), String> {
        let PlotLayout { plot, x, y, .. } = layout;
        let (names, symbols) = chart.legend.iter().cloned().unzip::<_, _, Vec<_>, Vec<_>>();
        self.frame(&layout.frame, &names, |at, middle| self.symbol(symbols[at], middle))?;
        self.text(&chart.y_axis, (plot.left, layout.frame.body_top + EM * LEADING / 2.0), HPos::Left, EM, INK)?;
        let tick_middle = plot.bottom + 0.5 * GAP + EM * LEADING / 2.0;
        for tick in x.ticks(2.0, &[1.0]) {
            let at = x.position(tick);
            self.line((at, plot.top), (at, plot.bottom), GUIDE, FINE)?;
            self.text(&plot::label(tick), (at, tick_middle), HPos::Center, EM, SOFT_INK)?;
        }
        for tick in y.ticks(10.0, &Y_STEPS) {
            let at = y.position(tick);
            self.line((plot.left, at), (plot.right, at), GUIDE, FINE)?;
            self.text(&plot::label(tick), (plot.left - 0.6 * GAP, at), HPos::Right, EM, SOFT_INK)?;
        }
        self.line((plot.left, plot.bottom), (plot.right, plot.bottom), SOFT_INK, THIN)?;
        let middle = (plot.left + plot.right) / 2.0;
        self.text(&chart.x_axis, (middle, tick_middle + EM * LEADING), HPos::Center, EM, INK)?;
        for (from, to) in &layout.roofs {
            self.line(*from, *to, SOFT_INK, THICK)?;
        }
        for (from, to) in layout.labels.iter().filter_map(|label| label.leader) {
            self.line(from, to, SOFT_INK, FINE)?;
            self.disc(to, END, ShapeStyle::from(&SOFT_INK).filled())?;
        }
        for label in &layout.labels {
            let area = label.area;
            let middle = (area.top + area.bottom) / 2.0;
            self.rectangle((area.left - 2.0, area.top), (area.right + 2.0, area.bottom), PAPER)?;
            self.text(&label.text, (area.left, middle), HPos::Left, EM, INK)?;
        }
        chart.points.iter().try_for_each(|point| self.point(point, layout))
    }

    fn shares(&self, chart: &ShareChart, layout: &ShareLayout) -> Result<(), String> {
        let (names, colors) = chart.legend().into_iter().unzip::<_, _, Vec<_>, Vec<_>>();
        self.frame(&layout.frame, &names, |at, (x, y)| {
            self.rectangle((x - 7.0, y - 5.0), (x + 7.0, y + 5.0), colors[at])
        })?;
        for bar in &layout.bars {
            let (right, lines) = &bar.label;
            let middle = (bar.top + bar.bottom) / 2.0;
            let top = middle - lines.len() as f64 * EM * LEADING / 2.0;
            self.lines(lines, (*right, top), HPos::Right, EM, INK)?;
            for part in &bar.parts {
                self.rectangle((part.left, bar.top), (part.right, bar.bottom), part.color)?;
                let ink = if is_light(part.color) { INK } else { PAPER };
                let text = part.text.as_deref().unwrap_or_default();
                self.text(text, ((part.left + part.right) / 2.0, middle), HPos::Center, EM, ink)?;
            }
        }
        Ok(())
    }

    /// A mark over the bar of its range.
    fn point(&self, point: &Point, layout: &PlotLayout) -> Result<(), String> {
        let at = layout.x.position(point.x);
        let [low, high] = [point.low, point.high].map(|end| layout.y.position(end));
        if low - high > 1.0 {
            self.line((at, low), (at, high), point.symbol.color, THIN)?;
        }
        let at = (at, layout.y.position(point.y));
        // A margin keeps apart what lies over one another.
        self.disc(at, 1.12 * MARK, ShapeStyle::from(&PAPER).filled())?;
        self.symbol(point.symbol, at)
    }

    fn symbol(&self, symbol: Symbol, at: (f64, f64)) -> Result<(), String> {
        self.mark(symbol.shape, symbol.color, at)?;
        if symbol.dotted {
            self.disc(at, DOT, ShapeStyle::from(&PAPER).filled())?;
        }
        Ok(())
    }

    fn hollow(&self, mut corners: Vec<(f64, f64)>, color: RGBColor) -> Result<(), String> {
        self.polygon(corners.clone(), PAPER)?;
        corners.extend(corners.first().copied());
        let path: Vec<(i32, i32)> = corners.into_iter().map(|point| self.pixel(point)).collect();
        self.area.draw(&PathElement::new(path, self.stroke(color, OUTLINE))).map_err(|e| e.to_string())
    }

    fn polygon(&self, corners: Vec<(f64, f64)>, color: RGBColor) -> Result<(), String> {
        let path: Vec<(i32, i32)> = corners.into_iter().map(|point| self.pixel(point)).collect();
        self.area.draw(&Polygon::new(path, color.filled())).map_err(|e| e.to_string())
    }

    fn rectangle(&self, from: (f64, f64), to: (f64, f64), color: RGBColor) -> Result<(), String> {
        let corners = [self.pixel(from), self.pixel(to)];
        self.area.draw(&Rectangle::new(corners, color.filled())).map_err(|e| e.to_string())
    }

    fn line(&self, from: (f64, f64), to: (f64, f64), color: RGBColor, width: f64) -> Result<(), String> {
        let path = vec![self.pixel(from), self.pixel(to)];
        self.area.draw(&PathElement::new(path, self.stroke(color, width))).map_err(|e| e.to_string())
    }

    /// Lines of text from the top down.
    fn lines(
        &self,
        lines: &[String],
        (x, top): (f64, f64),
        side: HPos,
        em: f64,
        color: RGBColor,
    ) -> Result<(), String> {
        lines.iter().enumerate().try_for_each(|(index, line)| {
            let middle = top + (index as f64 + 0.5) * em * LEADING;
            self.text(line, (x, middle), side, em, color)
        })
    }

    /// One line of text, vertically centred at `at`.
    fn text(&self, text: &str, at: (f64, f64), side: HPos, em: f64, color: RGBColor) -> Result<(), String> {
        if text.is_empty() {
            return Ok(());
        }
        let RGBColor(red, green, blue) = color;
        let at = self.pixel(at);
        let lettering = Lettering { text, at, side, em: em * self.scale, color: (red, green, blue) };
        self.area.draw(&lettering).map_err(|e| e.to_string())
    }

    fn stroke(&self, color: RGBColor, width: f64) -> ShapeStyle {
        color.stroke_width((width * self.scale).round().max(1.0) as u32)
    }

    fn length(&self, value: f64) -> i32 {
        (value * self.scale).round() as i32
    }

    fn pixel(&self, (x, y): (f64, f64)) -> (i32, i32) {
        (self.length(x), self.length(y))
    }
}

impl PanelSpan {
    /// Horizontal position of a value.
    fn x(&self, layout: &Layout, value: f64) -> f64 {
        self.left + layout.axis.position(value) * (self.right - self.left)
    }
}
