//! Correction for asking many questions of one run (Holm, "A Simple Sequentially Rejective
//! Multiple Test Procedure", Scandinavian Journal of Statistics 6(2), 1979).

/// Adjusted p values in the order of `p`: reject where the result is below α, and the chance of
/// even one false rejection in the family is at most α, whatever the dependence between tests.
///
/// The i-th smallest of m values becomes max over j ≤ i of min(1, (m − j + 1) · p(j)).
pub fn holm(p: &[f64]) -> Vec<f64> {
    let mut ascending: Vec<usize> = (0..p.len()).collect();
    ascending.sort_by(|&a, &b| p[a].total_cmp(&p[b]));
    let mut adjusted = vec![1.0; p.len()];
    let mut floor: f64 = 0.0;
    for (rank, &index) in ascending.iter().enumerate() {
        floor = floor.max(((p.len() - rank) as f64 * p[index]).min(1.0));
        adjusted[index] = floor;
    }
    adjusted
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(found: &[f64], expected: &[f64]) {
        assert_eq!(found.len(), expected.len());
        for (f, e) in found.iter().zip(expected) {
            assert!((f - e).abs() < 1e-12, "{found:?} is not {expected:?}");
        }
    }

    /// The four-hypotheses example that textbooks use (also on Wikipedia).
    #[test]
    fn textbook_example() {
        close(&holm(&[0.01, 0.04, 0.03, 0.005]), &[0.03, 0.06, 0.06, 0.02]);
    }

    /// `p.adjust(c(0.01, 0.02, 0.03, 0.04, 0.05), "holm")` in R.
    #[test]
    fn the_values_of_r() {
        close(&holm(&[0.01, 0.02, 0.03, 0.04, 0.05]), &[0.05, 0.08, 0.09, 0.09, 0.09]);
    }

    #[test]
    fn families_of_none_and_one_and_large_values() {
        assert!(holm(&[]).is_empty());
        close(&holm(&[0.04]), &[0.04]);
        close(&holm(&[0.9, 0.8]), &[1.0, 1.0]);
    }
}
