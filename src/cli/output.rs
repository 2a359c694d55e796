//! The two streams: stdout carries results and nothing else, stderr everything else.

use std::{
    io::{self, ErrorKind, IsTerminal, Write},
    path::Path,
};

use miette::{Diagnostic, MietteHandlerOpts};
use thiserror::Error;

/// Stdout does not take what is written to it: a full disk, for one.
#[derive(Debug, Error, Diagnostic)]
#[error("cannot write to stdout")]
pub struct Unwritable(#[from] io::Error);

/// Writes `text` to stdout.
///
/// A reader that went away (`bench list | head`) is no error: what is written then is lost, and the
/// command goes on to the exit code that it would have had.
///
/// # Errors
/// [`Unwritable`], if stdout is there and fails.
pub fn print(text: &str) -> Result<(), Unwritable> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error.into()),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Writes a line to stderr. A stderr that does not take it leaves nobody to tell.
pub fn note(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// Errors wrapped and drawn on a terminal, one plain line for each part elsewhere.
pub(super) fn set_error_style() {
    let terminal = io::stderr().is_terminal();
    // Fails only where a style is set already, which is as good.
    let _ = miette::set_hook(Box::new(move |_| Box::new(MietteHandlerOpts::new().wrap_lines(terminal).build())));
}

/// A path as one word of a shell's command line.
pub fn shell_word(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+=:@%,".contains(c);
    if !text.is_empty() && text.chars().all(plain) { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_quoted_where_a_shell_would_cut_them() {
        assert_eq!(shell_word(Path::new("results/a-b_1.toml")), "results/a-b_1.toml");
        assert_eq!(shell_word(Path::new("my results")), "'my results'");
        assert_eq!(shell_word(Path::new("it's")), r"'it'\''s'");
    }
}
