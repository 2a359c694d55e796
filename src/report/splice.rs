//! Puts generated tables between markers of a Markdown file, so that a README cannot drift from
//! the data.

use thiserror::Error;

/// A marker that is not where it has to be.
#[derive(Debug, PartialEq, Eq, Error)]
#[error(
    "expected the line `{marker}` exactly once{}, found it {found} times; add the two lines \
         `{}` and `{}` where the text is to go",
    place(marker, name),
    begin(name),
    end(name)
)]
pub struct SpliceError {
    name: String,
    marker: String,
    found: usize,
}

/// Replaces what stands between `<!-- BEGIN septet:NAME -->` and `<!-- END septet:NAME -->` by
/// `block`, for each pair of `blocks`; where there are markers for the run alone, `septet:NAME RUN`, what stands
/// between these. Text outside of the markers is kept byte for byte.
///
/// # Errors
///
/// If a marker is missing, is repeated, or the end comes before the beginning.
pub fn splice(text: &str, run: &str, blocks: &[(&str, String)]) -> Result<String, SpliceError> {
    blocks.iter().try_fold(text.to_owned(), |text, (name, block)| {
        let of_run = format!("{name} {run}");
        let name = if text.contains(&begin(&of_run)) { &of_run } else { *name };
        let (head, rest) = split_once(&text, name, &begin(name))?;
        let (_, tail) = split_once(rest, name, &end(name))?;
        Ok(format!("{head}{}\n{}\n{}{tail}", begin(name), block.trim_end(), end(name)))
    })
}

fn begin(name: &str) -> String {
    format!("<!-- BEGIN septet:{name} -->")
}

fn end(name: &str) -> String {
    format!("<!-- END septet:{name} -->")
}

fn place(marker: &str, name: &str) -> &'static str {
    if marker == end(name) { " after its beginning" } else { "" }
}

fn split_once<'a>(text: &'a str, name: &str, marker: &str) -> Result<(&'a str, &'a str), SpliceError> {
    match (text.matches(marker).count(), text.split_once(marker)) {
        (1, Some(parts)) => Ok(parts),
        (found, _) => Err(SpliceError { name: name.to_owned(), marker: marker.to_owned(), found }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const README: &str = "# Title\n<!-- BEGIN septet:claims -->\nold\n<!-- END septet:claims -->\ntail\n";

    #[test]
    fn markers_of_a_run_come_before_those_of_any() {
        let both = README.to_owned() + "<!-- BEGIN septet:claims old -->\n<!-- END septet:claims old -->\n";
        let blocks = [("claims", "| new |".to_owned())];
        assert_eq!(splice(&both, "run", &blocks).unwrap(), both.replace("\nold\n", "\n| new |\n"));
        assert_eq!(splice(&both, "old", &blocks).unwrap(), both.replace("old -->\n<", "old -->\n| new |\n<"));
    }

    #[test]
    fn replaces_only_what_is_between_the_markers() {
        let found = splice(README, "run", &[("claims", "| new |\n\n".into())]).expect("markers");
        assert_eq!(found, README.replace("old", "| new |"));
        let again = splice(&found, "run", &[("claims", "| new |".into())]).expect("markers");
        assert_eq!(again, found);
    }

    #[test]
    fn says_which_marker_is_missing() {
        let error = splice(README, "run", &[("ladder", String::new())]).expect_err("no such marker");
        assert_eq!(
            error.to_string(),
            "expected the line `<!-- BEGIN septet:ladder -->` exactly once, found it 0 times; add the two \
             lines `<!-- BEGIN septet:ladder -->` and `<!-- END septet:ladder -->` where the text is to go"
        );
        let swapped = "<!-- END septet:x -->\n<!-- BEGIN septet:x -->\n";
        let error = splice(swapped, "run", &[("x", String::new())]).expect_err("the end comes first");
        assert!(error.to_string().contains("`<!-- END septet:x -->` exactly once after its beginning"));
    }
}
