//! `bench`, the command line of septet; all of it is in [`septet::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    septet::cli::main(std::env::args_os()).into()
}
