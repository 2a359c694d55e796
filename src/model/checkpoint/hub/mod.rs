//! Models by name: `hf:OWNER/NAME` is a repository of Hugging Face.
//!
//! The cargo feature `hub` fetches what a name means. Without it a name is an error, which says how to get the model
//! by hand.

#[cfg(feature = "hub")]
mod fetch;

use std::borrow::Cow;
use std::fmt;
use std::path::Path;

use crate::model::error::Error;

/// What a name begins with.
const SCHEME: &str = "hf:";

/// A model on Hugging Face. What it is made of may stand in paths, URLs and commands as it is.
#[derive(Debug, PartialEq)]
struct Name {
    /// `OWNER/NAME`
    repository: String,
    /// The GGUF file of the repository that is the model, if it is not the repository's Hugging Face folder.
    file: Option<String>,
    /// A branch, a tag or a commit; without one the branch `main`.
    revision: Option<String>,
}

/// Whether `model` is a name and no path.
pub fn is_name(model: &Path) -> bool {
    model.to_string_lossy().starts_with(SCHEME)
}

/// The folder or file of `model`: what is fetched for a name, or the path that it is.
///
/// # Errors
///
/// For a malformed name, and one that can not be fetched.
pub fn path(model: &Path) -> Result<Cow<'_, Path>, Error> {
    match model.to_string_lossy().strip_prefix(SCHEME) {
        Some(name) => fetch(&Name::parse(name)?).map(Cow::Owned),
        None => Ok(Cow::Borrowed(model)),
    }
}

#[cfg(feature = "hub")]
use fetch::fetch;

#[cfg(not(feature = "hub"))]
fn fetch(name: &Name) -> Result<std::path::PathBuf, Error> {
    let (command, result) = name.by_hand();
    Err(Error::HubFeature { model: name.to_string(), command, result })
}

impl Name {
    /// Parses what stands behind `hf:`.
    fn parse(text: &str) -> Result<Self, Error> {
        let (path, revision) = match text.split_once('@') {
            Some((path, revision)) => (path, Some(revision)),
            None => (text, None),
        };
        let parts: Vec<&str> = path.split('/').collect();
        let file = parts.get(2);
        // Branches have folders.
        let mut words = parts.iter().copied().chain(revision.iter().flat_map(|revision| revision.split('/')));
        if (2..=3).contains(&parts.len()) && words.all(is_word) && file.is_none_or(|file| file.ends_with(".gguf")) {
            let (repository, file) = (parts[..2].join("/"), file.map(ToString::to_string));
            Ok(Self { repository, file, revision: revision.map(str::to_owned) })
        } else {
            Err(Error::HubName { found: format!("{SCHEME}{text}") })
        }
    }

    /// The command that fetches the model without this program, and what is the model then.
    fn by_hand(&self) -> (String, String) {
        let (mut command, mut result) = (format!("hf download {}", self.repository), "DIR".to_owned());
        if let Some(file) = &self.file {
            command += &format!(" {file}");
            result += &format!("/{file}");
        }
        if let Some(revision) = &self.revision {
            command += &format!(" --revision {revision}");
        }
        (command + " --local-dir DIR", result)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}", self.repository)?;
        self.file.iter().try_for_each(|file| write!(f, "/{file}"))?;
        self.revision.iter().try_for_each(|revision| write!(f, "@{revision}"))
    }
}

/// Whether `text` is neither a path, nor an option, nor anything that is to be escaped in a URL.
fn is_word(text: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    !text.is_empty() && !text.starts_with(['.', '-']) && text.chars().all(is_plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_repository_a_file_of_it_and_a_revision() {
        for text in ["a/b", "a/b.c-d_e/f.Q4_K.gguf", "a/b@main", "a/b@refs/pr/1", "a/b/c.gguf@v1.0"] {
            let name = Name::parse(text).expect("valid");
            assert_eq!(name.to_string(), format!("hf:{text}"));
            assert_eq!((name.file.is_some(), name.revision.is_some()), (text.contains("gguf"), text.contains('@')));
        }
        let name = Name::parse("a/b/c.gguf@v1/x").expect("valid");
        let expected = ("hf download a/b c.gguf --revision v1/x --local-dir DIR", "DIR/c.gguf");
        let (command, result) = name.by_hand();
        assert_eq!((command.as_str(), result.as_str()), expected);
        let (command, result) = Name::parse("a/b").expect("valid").by_hand();
        assert_eq!((command.as_str(), result.as_str()), ("hf download a/b --local-dir DIR", "DIR"));
    }

    #[test]
    fn a_malformed_name_is_refused_and_shown_without_control_characters() {
        let malformed = [
            "",
            "a",
            "/",
            "a/",
            "/b",
            "/a/b",
            "a/b/",
            "a//b",
            "../b",
            "a/..",
            "./b",
            "a/b/../c.gguf",
            "a/b/c",
            "a/b/c.bin",
            "a/b/c/d.gguf",
            "a/b/.gguf",
            "a/b@",
            "a/b@/",
            "a/b@..",
            "a/b@x/../y",
            "a/b@x@y",
            "@main",
            "a/b\n",
            "a/\u{1b}[2Jb",
            "a/b?c",
            "a/b#c",
            "a/b%2f",
            "a\\b",
            "a/ü",
            "-a/b",
            "a/-b",
            "https://a/b",
            "a/b@-x",
            " a/b",
        ];
        for text in malformed {
            let error = path(Path::new(&format!("hf:{text}"))).expect_err(text);
            assert!(matches!(error, Error::HubName { .. }), "{text:?}: {error}");
            assert!(!error.to_string().contains(char::is_control), "{error}");
        }
    }

    #[test]
    fn a_path_is_itself() {
        for text in ["hf", "./hf:a/b", "folder/model.gguf", "/hf:a/b", ""] {
            assert_eq!(path(Path::new(text)).expect("a path"), Path::new(text));
        }
    }

    #[cfg(not(feature = "hub"))]
    #[test]
    fn a_build_without_the_feature_says_what_to_do() {
        let message = path(Path::new("hf:a/b@v1")).expect_err("can not fetch").to_string();
        for text in ["hf:a/b@v1: ", "--features hub", "`hf download a/b --revision v1 --local-dir DIR`", "`DIR`"] {
            assert!(message.contains(text), "{message}");
        }
    }
}
