//! What callgrind writes: totals or an error with its line.
#![no_main]

use libfuzzer_sys::fuzz_target;
use septet::counters::callgrind::out_file::OutFile;

fuzz_target!(|text: &str| {
    match OutFile::parse(text) {
        Ok(file) => assert!(file.total("no such event").is_none()),
        Err(error) => assert!(error.line >= 1 && !error.expected.is_empty()),
    }
});
