//! Texts that end a continuation.

use std::mem;

use super::error::Error;

/// Finds the first stop string in a text that comes in pieces, and holds back what may be the beginning of one.
///
/// The text ends with the first character that completes a stop string; of several that it completes, the
/// longest counts. So the pieces in which a text comes make no difference.
#[derive(Clone, Debug)]
pub struct StopStrings {
    /// None is empty.
    texts: Vec<String>,
    /// What came and was not passed on: the beginning of a stop string, or nothing.
    held: String,
}

/// What a piece of text lets through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Passed {
    /// Text before a stop string.
    pub text: String,
    /// A stop string came: the text is over.
    pub stopped: bool,
}

impl StopStrings {
    /// Ends a text at each of `texts`; without any, nothing is held back.
    ///
    /// # Errors
    ///
    /// For an empty one, which is in every text.
    pub fn new(texts: Vec<String>) -> Result<Self, Error> {
        if texts.iter().any(String::is_empty) {
            return Err(Error::EmptyStop);
        }
        Ok(Self { texts, held: String::new() })
    }

    /// The text that can be passed on after `piece` came.
    pub fn push(&mut self, piece: &str) -> Passed {
        self.held.push_str(piece);
        let ends = self.texts.iter().filter_map(|text| {
            let start = self.held.find(text)?;
            Some((start + text.len(), start))
        });
        if let Some((_, start)) = ends.min() {
            self.held.truncate(start);
            return Passed { text: mem::take(&mut self.held), stopped: true };
        }
        let begins = |&at: &usize| self.texts.iter().any(|text| text.starts_with(&self.held[at..]));
        let held = self.held.char_indices().map(|(at, _)| at).find(begins).unwrap_or(self.held.len());
        let rest = self.held.split_off(held);
        Passed { text: mem::replace(&mut self.held, rest), stopped: false }
    }

    /// What is left when the text ends by itself.
    pub fn finish(self) -> String {
        self.held
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stops(texts: &[&str]) -> StopStrings {
        StopStrings::new(texts.iter().map(|&text| text.to_owned()).collect()).expect("valid")
    }

    /// What passes of `pieces`, and whether a stop string ended it.
    fn passed(texts: &[&str], pieces: &[&str]) -> (String, bool) {
        let mut stops = stops(texts);
        let mut shown = String::new();
        for piece in pieces {
            let Passed { text, stopped } = stops.push(piece);
            shown += &text;
            if stopped {
                assert_eq!(stops.finish(), "");
                return (shown, true);
            }
        }
        (shown + &stops.finish(), false)
    }

    #[test]
    fn text_is_held_back_only_while_it_may_be_a_stop_string() {
        let mut stops = stops(&["\n\n", "END"]);
        for (piece, text) in [("a", "a"), ("b\n", "b"), ("c", "\nc"), ("E", ""), ("N", ""), ("EN", "EN")] {
            assert_eq!(stops.push(piece), Passed { text: text.to_owned(), stopped: false }, "{piece:?}");
        }
        assert_eq!(stops.push("D, and more"), Passed { text: String::new(), stopped: true });
    }

    #[test]
    fn a_stop_string_may_cross_pieces_and_its_own_beginning() {
        for (texts, pieces, shown) in [
            (&["stop"][..], &["no st", "op"][..], "no "),
            (&["aab"], &["aaab"], "a"),
            (&["aab"], &["a", "a", "a", "b"], "a"),
            (&["abab"], &["aba", "abab"], "aba"),
            (&["abac"], &["ababac"], "ab"),
            (&["日本"], &["今日", "本"], "今"),
            (&["é"], &["caf", "é"], "caf"),
        ] {
            assert_eq!(passed(texts, pieces), (shown.to_owned(), true), "{texts:?} in {pieces:?}");
        }
        for (texts, pieces) in [(&["aab"][..], &["aa", "a"][..]), (&["日本"], &["日"]), (&[], &["any", "thing"])] {
            assert_eq!(passed(texts, pieces), (pieces.concat(), false), "{texts:?} in {pieces:?}");
        }
    }

    #[test]
    fn of_several_the_one_that_is_complete_first_counts() {
        assert_eq!(passed(&["ab", "a"], &["xab"]), ("x".to_owned(), true));
        assert_eq!(passed(&["b", "abc"], &["xabc"]), ("xa".to_owned(), true));
        assert_eq!(passed(&["bc", "abc"], &["xabc"]), ("x".to_owned(), true));
    }

    #[test]
    fn pieces_make_no_difference() {
        let alphabet = ["a", "b", "é"];
        let word = |mut number: usize, length: usize| -> String {
            (0..length)
                .map(|_| {
                    let letter = alphabet[number % 3];
                    number /= 3;
                    letter
                })
                .collect()
        };
        for number in 0..3_usize.pow(6) {
            let text = word(number, 6);
            for pair in 0..81 {
                let texts = [word(pair % 9, 2), word(pair / 9 * 3 + number % 3, 3)];
                let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
                let letters: Vec<String> = text.chars().map(String::from).collect();
                let letters: Vec<&str> = letters.iter().map(String::as_str).collect();
                assert_eq!(passed(&texts, &[&text]), passed(&texts, &letters), "{texts:?} in {text}");
            }
        }
    }

    #[test]
    fn an_empty_stop_string_is_refused() {
        let error = StopStrings::new(vec!["\n".to_owned(), String::new()]).expect_err("empty");
        assert!(error.to_string().contains("--stop"), "{error}");
    }
}
