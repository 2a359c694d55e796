//! Factorial designs: every combination of some factors, each on or off.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Most factors of one design: 32 cells on each workload.
pub const MAX_FACTORS: usize = 5;

/// All combinations of some factors on one workload.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Factorial {
    pub workload: String,
    pub factors: Vec<Factor>,
    /// Cell ids in standard order: in cell *c* factor *i* is on where bit *i* of *c* is set. Empty where
    /// one of the cells cannot exist; `Plan::infeasible` says which and why.
    pub cells: Vec<String>,
}

/// One factor with two levels: off as in the arm that the design begins with, and on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Factor {
    /// What tables call it.
    pub label: String,
    /// The published speed-up of switching it on, if there is one.
    pub published: Option<f64>,
}

impl Factorial {
    /// Cells of a complete design.
    pub fn size(&self) -> usize {
        1 << self.factors.len()
    }

    /// Whether all cells exist.
    pub fn is_complete(&self) -> bool {
        self.cells.len() == self.size()
    }

    /// The factors of which a bit is set: `LUT + prefetch`.
    pub fn label(&self, set: usize, between: &str) -> String {
        let on = self.factors.iter().enumerate().filter(|(at, _)| (set >> at) & 1 == 1);
        on.map(|(_, factor)| factor.label.as_str()).collect::<Vec<_>>().join(between)
    }

    /// The published speed-up of one factor, given as a set; none of several.
    pub fn published(&self, set: usize) -> Option<f64> {
        let factor = set.is_power_of_two().then(|| self.factors.get(set.trailing_zeros() as usize));
        factor.flatten().and_then(|factor| factor.published)
    }

    /// Whether it has a plausible number of factors, and all or none of its cells on its workload;
    /// `cells` names the workload of each cell.
    ///
    /// # Errors
    /// What is wrong.
    pub fn check(&self, cells: &BTreeMap<&str, &str>) -> Result<(), String> {
        let count = self.factors.len();
        if !(2..=MAX_FACTORS).contains(&count) {
            return Err(format!("{count} factors on `{}`, expected 2 to {MAX_FACTORS}", self.workload));
        }
        if !self.cells.is_empty() && !self.is_complete() {
            let (found, size) = (self.cells.len(), self.size());
            return Err(format!("{found} cells of a factorial on `{}`, expected {size} or none", self.workload));
        }
        if let Some(id) = self.cells.iter().find(|id| cells.get(id.as_str()) != Some(&self.workload.as_str())) {
            return Err(format!("`{id}` is not a cell of workload `{}`", self.workload));
        }
        let not_positive = |factor: &&Factor| factor.published.is_some_and(|ratio| !(ratio.is_finite() && ratio > 0.0));
        match self.factors.iter().find(not_positive) {
            Some(factor) => Err(format!("`published` of `{}` is not a positive, finite ratio", factor.label)),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_design_has_all_of_its_cells_or_none() {
        let factor = |label: &str| Factor { label: label.to_owned(), published: Some(1.4) };
        let ids = ["a", "b", "c", "d"];
        let known: BTreeMap<&str, &str> = ids.iter().map(|id| (*id, "tiny")).collect();
        let good = Factorial {
            workload: "tiny".to_owned(),
            factors: vec![factor("LUT"), factor("unroll")],
            cells: ids.map(str::to_owned).to_vec(),
        };
        assert_eq!(good.check(&known), Ok(()));
        assert_eq!(Factorial { cells: Vec::new(), ..good.clone() }.check(&known), Ok(()));
        let error = |factorial: Factorial| factorial.check(&known).expect_err("wrong");
        let fewer = Factorial { cells: good.cells[..3].to_vec(), ..good.clone() };
        assert_eq!(error(fewer), "3 cells of a factorial on `tiny`, expected 4 or none");
        let elsewhere = Factorial { workload: "slice70b".to_owned(), ..good.clone() };
        assert_eq!(error(elsewhere), "`a` is not a cell of workload `slice70b`");
        let none = Factorial { factors: Vec::new(), cells: vec!["a".to_owned()], ..good.clone() };
        assert_eq!(error(none), "0 factors on `tiny`, expected 2 to 5");
        let factors = vec![factor("LUT"), Factor { label: "unroll".to_owned(), published: Some(f64::NAN) }];
        assert_eq!(error(Factorial { factors, ..good }), "`published` of `unroll` is not a positive, finite ratio");
    }
}
