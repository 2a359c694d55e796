//! Does the product of single speed-ups predict what they give together?
//!
//! Multiplying published factors assumes that they do not interact. Here the prediction is made
//! within each block (the sum of the singles' log ratios) and compared with the combination
//! measured in the same block, so that the discrepancy has an interval of its own.

use std::collections::BTreeMap;

use super::contrast::Effect;

/// A prediction, a measurement, and their ratio.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Prediction {
    /// Product of the singles' ratios.
    pub predicted: Effect,
    /// Ratio of the combination.
    pub measured: Effect,
    /// Measured / predicted: below one, the combination gives less than its parts promise.
    pub discrepancy: Effect,
}

/// Combines log ratios by block, over the blocks in which every single and the combination were
/// measured. `None` without such a block or without singles.
pub fn combination(
    singles: &[BTreeMap<u32, f64>],
    measured: &BTreeMap<u32, f64>,
    confidence: f64,
) -> Option<Prediction> {
    if singles.is_empty() {
        return None;
    }
    let mut predicted = Vec::new();
    let mut together = Vec::new();
    for (block, &log) in measured {
        let logs: Option<Vec<f64>> = singles.iter().map(|s| s.get(block).copied()).collect();
        if let Some(logs) = logs {
            predicted.push(logs.iter().sum());
            together.push(log);
        }
    }
    let gaps: Vec<f64> = together.iter().zip(&predicted).map(|(m, p)| m - p).collect();
    Some(Prediction {
        predicted: Effect::of_logs(&predicted, confidence)?,
        measured: Effect::of_logs(&together, confidence)?,
        discrepancy: Effect::of_logs(&gaps, confidence)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn logs(ratios: &[f64]) -> BTreeMap<u32, f64> {
        (0..).zip(ratios.iter().map(|ratio| ratio.ln())).collect()
    }

    #[test]
    fn a_product_that_holds() {
        let singles = [logs(&[2.0, 2.0, 2.0]), logs(&[1.5, 1.5, 1.5])];
        let found = combination(&singles, &logs(&[3.0, 3.0, 3.0]), 0.95).expect("three blocks");
        assert!((found.predicted.ratio - 3.0).abs() < 1e-12);
        assert!((found.discrepancy.ratio - 1.0).abs() < 1e-12);
    }

    #[test]
    fn a_combination_that_falls_short() {
        let singles = [logs(&[2.0, 2.1, 1.9]), logs(&[1.5, 1.4, 1.6])];
        let found = combination(&singles, &logs(&[2.0, 2.05, 1.95]), 0.95).expect("three blocks");
        assert!(found.discrepancy.ratio < 0.7);
        let quotient = found.measured.ratio / found.predicted.ratio;
        assert!((found.discrepancy.ratio - quotient).abs() < 1e-12);
    }

    #[test]
    fn only_complete_blocks_count() {
        let singles = [logs(&[2.0, 2.0, 2.0]), logs(&[1.5])];
        let found = combination(&singles, &logs(&[3.0, 3.0, 3.0]), 0.95).expect("one block");
        assert_eq!(found.predicted.n_blocks, 1);
        assert_eq!(combination(&[], &logs(&[3.0]), 0.95), None);
        assert_eq!(combination(&singles, &logs(&[]), 0.95), None);
    }
}
