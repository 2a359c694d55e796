//! How far apart the logits of two implementations are.

/// The largest difference between two vectors of logits, as a part of the largest logit; not a number if one of
/// the logits is none.
///
/// # Panics
///
/// When one vector is longer than the other.
pub fn distance(ours: &[f32], theirs: &[f32]) -> f64 {
    assert_eq!(ours.len(), theirs.len(), "logits of unequal vocabularies");
    let differences = ours.iter().zip(theirs).map(|(&a, &b)| f64::from(a) - f64::from(b));
    magnitude(differences) / magnitude(theirs.iter().copied().map(f64::from))
}

/// The token with the largest logit, and how far it is above every other, as a part of the largest magnitude.
///
/// # Panics
///
/// When there are no logits.
pub fn favourite(logits: &[f32]) -> (usize, f64) {
    let mut order: Vec<usize> = (0..logits.len()).collect();
    order.sort_by(|&a, &b| logits[b].total_cmp(&logits[a]));
    let lead = order.get(1).map_or(f32::INFINITY, |&second| logits[order[0]] - logits[second]);
    (order[0], f64::from(lead) / magnitude(logits.iter().copied().map(f64::from)))
}

/// The largest magnitude; not a number if one of the values is none, which `f64::max` would pass over.
fn magnitude(values: impl Iterator<Item = f64>) -> f64 {
    values.map(f64::abs).fold(0.0, |largest, value| if value > largest || value.is_nan() { value } else { largest })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_parts_of_the_largest_logit() {
        assert_eq!(distance(&[1.0, -4.0], &[1.0, -4.0]), 0.0);
        assert_eq!(distance(&[1.0, -3.0], &[1.5, -4.0]), 0.25);
        for logits in [[f32::NAN, 1.0], [1.0, f32::NAN]] {
            assert!(distance(&logits, &[1.0, 1.0]).is_nan() && distance(&[1.0, 1.0], &logits).is_nan());
        }
    }

    #[test]
    fn a_favourite_leads_by_a_part_of_the_largest_magnitude() {
        assert_eq!(favourite(&[1.0, 2.0, -4.0]), (1, 0.25));
        assert_eq!(favourite(&[2.0, 1.0, 2.0]).1, 0.0);
    }
}
