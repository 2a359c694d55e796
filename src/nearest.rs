//! "Did you mean …?"

/// The candidates closest to `found`, best first, at most `count`; none that is mostly different.
pub fn nearest<S: AsRef<str>>(found: &str, candidates: impl IntoIterator<Item = S>, count: usize) -> Vec<S> {
    let limit = found.chars().count().max(3) / 3;
    let mut near: Vec<(usize, S)> = candidates
        .into_iter()
        .map(|candidate| (distance(found, candidate.as_ref()), candidate))
        .filter(|(distance, _)| *distance <= limit)
        .collect();
    near.sort_by_key(|(distance, _)| *distance);
    near.into_iter().take(count).map(|(_, candidate)| candidate).collect()
}

/// The beginning of a help: `did you mean …? `, or nothing where no name is near.
pub fn did_you_mean<'a>(found: &str, names: impl IntoIterator<Item = &'a str>) -> String {
    nearest(found, names, 1).first().map_or_else(String::new, |name| format!("did you mean `{name}`? "))
}

/// Levenshtein distance: insertions, deletions and replacements from one to the other.
fn distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (i, a) in from.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, b) in to.iter().enumerate() {
            let replaced = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_count_edits() {
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("ünpack", "unpack"), 1);
    }

    #[test]
    fn only_similar_names_are_near() {
        let axes = ["format", "layout", "unpack", "unroll", "isa"];
        assert_eq!(nearest("unpak", axes, 3), ["unpack"]);
        assert_eq!(nearest("issa", axes, 3), ["isa"]);
        assert!(nearest("granularity", axes, 3).is_empty());
    }
}
