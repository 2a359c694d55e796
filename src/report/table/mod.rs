//! The tables of a report: one a file, all in one list.

mod amdahl;
mod arms;
mod beside_peers;
mod ceilings;
mod cell_columns;
mod claims;
pub mod combinations;
mod counters;
pub mod effects;
mod fastest;
mod formats;
mod ladders;
mod matrices;
pub mod notes;
mod null;
mod one_factor;
mod peers;
mod roofline;
mod scaling;
mod shapley;
mod weights;

use super::analysis::Analysis;
use super::grid::Grid;

pub use beside_peers::BesidePeers;
pub use claims::Claims;
pub use fastest::Fastest;
pub use ladders::ladder;

/// A table of the report. To add one: write its file, and one line in [`TABLES`].
pub trait Table: Sync {
    /// File name without its ending.
    fn name(&self) -> &'static str;
    /// What it shows, in one line.
    fn title(&self) -> &'static str;
    /// The table itself; without rows when the experiment has nothing to show in it.
    fn build(&self, analysis: &Analysis) -> Grid;
}

/// Every table, in the order in which a reader wants them.
pub const TABLES: &[&dyn Table] = &[
    &claims::Claims,
    &ladders::Ladders,
    &one_factor::OneFactor,
    &effects::Effects,
    &shapley::Shapley,
    &combinations::Combinations,
    &amdahl::Amdahl,
    &formats::Formats,
    &fastest::Fastest,
    &matrices::Matrices,
    &scaling::Scaling,
    &beside_peers::BesidePeers,
    &peers::Peers,
    &roofline::Roofline,
    &ceilings::MachineCeilings,
    &weights::Weights,
    &arms::Arms,
    &counters::Counters,
    &null::Null,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_well_formed() {
        let mut names: Vec<&str> = TABLES.iter().map(|table| table.name()).collect();
        assert!(names.iter().all(|name| name.chars().all(|c| c.is_ascii_lowercase() || c == '_')));
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), TABLES.len());
        assert!(TABLES.iter().all(|table| !table.title().is_empty()));
    }
}
