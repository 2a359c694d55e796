//! The `bench` binary.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use septet::cli::generate::{GenerateArgs, GenerateError};

#[derive(Parser)]
#[command(version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Generate(GenerateArgs),
}

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Nothing is left to do when not even the message can be printed.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { 3 } else { 0 });
        }
    };
    let Command::Generate(args) = cli.command;
    match args.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(match error {
                GenerateError::Model(_) => 3,
                GenerateError::Output(_) => 4,
            })
        }
    }
}
