//! What tests ask of a program that has ended.

use std::process::Output;

pub fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

pub fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// Bad input: exit code 3, nothing on stdout, no panic, each of `parts` in the message.
pub fn assert_refused(output: &Output, parts: &[&str]) {
    let err = stderr(output);
    assert_eq!((output.status.code(), stdout(output).as_str()), (Some(3), ""), "{err}");
    assert!(!err.contains("panicked"), "{err}");
    for part in parts {
        assert!(err.contains(part), "no `{part}` in\n{err}");
    }
}
