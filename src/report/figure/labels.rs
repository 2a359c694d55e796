//! Where the texts beside lines and points go.
//!
//! Slopes of memories that are nearly as fast lie close together, so that a label on one would cover the
//! next: their labels stand in a column in the corner above them all, in the order of the slopes, each with
//! a leader to its line. Where that corner is not free, and for peaks, a label interrupts its line, at
//! the place along it where the box of the text meets the fewest other things. A label of a point stands beside it
//! or, where there is no room, nowhere: the data beside the figure have all of them.

use super::font;
use super::layout::{EM, GAP};
use super::plot::{Plot, PlotLayout, Point, Reach};

/// Half the size of a mark with the distance that texts keep from it.
const CLEARANCE: f64 = 6.0;
/// Places along a line that are tried for its label.
const TRIES: usize = 48;

/// Distance of a leader from its text.
const LEADER_GAP: f64 = 4.0;
/// Distance of two labels of slopes, in em.
const ROW: f64 = 1.35;

/// Costs of a label's box for each thing that it meets: another label, a point, a line.
const MEETS_LABEL: f64 = 1e4;
const MEETS_POINT: f64 = 100.0;
const MEETS_LINE: f64 = 10.0;

/// A rectangle on the canvas.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Area {
    pub left: f64,
    pub top: f64,
    pub right: f64,
    pub bottom: f64,
}

impl Area {
    /// Of one line of text with its left end and its middle at `at`.
    fn of_text(text: &str, (left, middle): (f64, f64)) -> Self {
        let half = 0.65 * EM;
        Self { left, top: middle - half, right: left + font::width(text, EM), bottom: middle + half }
    }

    pub fn meets(&self, other: &Self) -> bool {
        self.left < other.right && other.left < self.right && self.top < other.bottom && other.top < self.bottom
    }

    pub fn holds(&self, other: &Self) -> bool {
        self.left <= other.left && other.right <= self.right && self.top <= other.top && other.bottom <= self.bottom
    }

    /// Whether a straight line passes through it: clipped to its width, the line is within its height.
    pub fn is_crossed(&self, (from, to): Segment) -> bool {
        let (left, right) = (from.0.max(self.left), to.0.min(self.right));
        if left > right {
            return false;
        }
        let height = |x: f64| from.1 + (to.1 - from.1) * (x - from.0) / (to.0 - from.0).max(f64::EPSILON);
        let (a, b) = (height(left), height(right));
        a.min(b) <= self.bottom && b.max(a) >= self.top
    }
}

/// A straight line, from left to right.
pub type Segment = ((f64, f64), (f64, f64));

/// A text with its box: its left end is the box's, and so is its middle.
#[derive(Clone, Debug, PartialEq)]
pub struct Label {
    pub text: String,
    pub area: Area,
    /// From the text to its line, if it does not stand on it.
    pub leader: Option<Segment>,
}

/// The labels of the slopes in the corner above them, each with the place of its line among the roofs;
/// nothing where they do not fit there.
pub fn stack(chart: &Plot, layout: &PlotLayout) -> Option<Vec<(usize, Label)>> {
    let mut slopes: Vec<(usize, f64)> = Vec::new();
    for (at, roof) in chart.roofs.iter().enumerate() {
        if let Reach::Slope(factor) = roof.reach {
            slopes.push((at, factor));
        }
    }
    slopes.sort_by(|(_, a), (_, b)| b.total_cmp(a));
    let (fastest, _) = *slopes.first()?;
    let left = layout.plot.left + 0.5 * GAP;
    let width = |at: usize| font::width(&chart.roofs[at].label, EM);
    let widest = slopes.iter().map(|(at, _)| width(*at)).fold(0.0, f64::max);
    let ((x, low), (end, high)) = layout.roofs[fastest];
    let share = (left + widest + GAP - x) / (end - x);
    let lowest = low + share * (high - low) - 0.65 * EM;
    let points = around(chart, layout);
    let label = |(row, (at, _)): (usize, &(usize, f64))| {
        let middle = lowest - (slopes.len() - 1 - row) as f64 * ROW * EM;
        let text = chart.roofs[*at].label.clone();
        let area = Area::of_text(&text, (left, middle));
        let ((x, low), (end, high)) = layout.roofs[*at];
        let share = (middle - low) / (high - low);
        let leader = ((area.right + LEADER_GAP, middle), (x + share * (end - x), middle));
        let free = points.iter().all(|point| !point.meets(&area) && !point.is_crossed(leader));
        let fits = layout.plot.holds(&area) && (0.0..=1.0).contains(&share) && leader.0.0 < leader.1.0;
        (free && fits).then_some((*at, Label { text, area, leader: Some(leader) }))
    };
    slopes.iter().enumerate().map(label).collect()
}

/// The boxes of the points with their bars.
fn around(chart: &Plot, layout: &PlotLayout) -> Vec<Area> {
    let around = |point: &Point| {
        let (x, low, high) = (layout.x.position(point.x), layout.y.position(point.low), layout.y.position(point.high));
        let middle = layout.y.position(point.y);
        let (top, bottom) = (high.min(middle) - CLEARANCE, low.max(middle) + CLEARANCE);
        Area { left: x - CLEARANCE, top, right: x + CLEARANCE, bottom }
    };
    chart.points.iter().map(around).collect()
}

/// The labels of the lines, of which `placed` have theirs, then those of the points for which there is
/// room.
pub fn labels(chart: &Plot, layout: &PlotLayout, placed: Vec<(usize, Label)>) -> Vec<Label> {
    let points = around(chart, layout);
    let leaders = placed.iter().filter_map(|(_, label)| label.leader);
    let lines: Vec<Segment> = layout.roofs.iter().copied().chain(leaders).collect();
    let mut of_roofs: Vec<(usize, Label)> = placed;
    let cost = |area: &Area, labels: &mut dyn Iterator<Item = &Label>, own: Option<usize>| {
        if !layout.plot.holds(area) {
            return f64::INFINITY;
        }
        let met = labels.filter(|label| label.area.meets(area)).count() as f64;
        let marks = points.iter().filter(|point| point.meets(area)).count();
        let crossed = lines.iter().enumerate().filter(|(at, line)| Some(*at) != own && area.is_crossed(**line)).count();
        MEETS_LABEL * met + MEETS_POINT * marks as f64 + MEETS_LINE * crossed as f64
    };
    for (at, (roof, line)) in chart.roofs.iter().zip(&layout.roofs).enumerate() {
        if of_roofs.iter().any(|(placed, _)| *placed == at) {
            continue;
        }
        let width = font::width(&roof.label, EM);
        let tries = (0..=TRIES).map(|step| {
            let share = step as f64 / TRIES as f64;
            // Peaks prefer their right end, slopes a place a third up.
            let wanted: f64 = if matches!(roof.reach, Reach::Flat(_)) { 1.0 } else { 0.3 };
            let middle = line.0.0 + share * (line.1.0 - line.0.0);
            let height = line.0.1 + share * (line.1.1 - line.0.1);
            let area = Area::of_text(&roof.label, (middle - width / 2.0, height));
            let met = &mut of_roofs.iter().map(|(_, label)| label);
            (cost(&area, met, Some(at)) + (share - wanted).abs(), area)
        });
        let best = tries.min_by(|(a, _), (b, _)| a.total_cmp(b));
        if let Some((cost, area)) = best
            && cost.is_finite()
        {
            of_roofs.push((at, Label { text: roof.label.clone(), area, leader: None }));
        }
    }
    of_roofs.sort_by_key(|(at, _)| *at);
    let mut labels: Vec<Label> = of_roofs.into_iter().map(|(_, label)| label).collect();
    for (point, area) in chart.points.iter().zip(&points).filter(|(point, _)| !point.text.is_empty()) {
        let width = font::width(&point.text, EM);
        let Area { left, top, right, bottom } = *area;
        let middle = layout.y.position(point.y);
        let (right, before, centred) = (right + 2.0, left - 2.0 - width, layout.x.position(point.x) - width / 2.0);
        let beside = [middle, top, bottom].map(|row| [(right, row), (before, row)]).concat();
        let (above, below) = (top - 0.8 * EM, bottom + 0.8 * EM);
        let tries = beside.into_iter().chain([(centred, above), (centred, below)]);
        let mut areas = tries.map(|at| Area::of_text(&point.text, at));
        let free = areas.find(|area| cost(area, &mut labels.iter(), None) == 0.0);
        labels.extend(free.map(|area| Label { text: point.text.clone(), area, leader: None }));
    }
    labels
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_box_is_crossed_by_lines_through_it_alone() {
        let area = Area { left: 10.0, top: 10.0, right: 20.0, bottom: 14.0 };
        assert!(area.is_crossed(((0.0, 22.0), (30.0, 2.0))) && area.is_crossed(((0.0, 12.0), (30.0, 12.0))));
        assert!(!area.is_crossed(((0.0, 9.0), (30.0, 9.0))) && !area.is_crossed(((21.0, 12.0), (30.0, 12.0))));
        assert!(!area.is_crossed(((0.0, 40.0), (30.0, 20.0))));
    }
}
