//! The command line: one file for each subcommand, with its arguments and its `run`.
//!
//! Results go to stdout, everything else to stderr. Libraries return typed errors; here they become
//! a message and [`Exit::BadInput`].

use std::ffi::OsString;

use clap::{Parser, Subcommand};

mod asm;
mod block;
mod calibrate;
mod calibration_block;
mod check;
mod doctor;
mod exit;
mod gate;
mod generate;
mod list;
mod output;
mod perplexity;
mod pipeline;
mod plan;
mod product;
mod quantize;
mod report;
mod run;
mod schema;
mod select;
mod sensitivity;
mod weight_format;

pub use exit::Exit;

/// Experiments on sub-4-bit LLM inference on CPUs.
#[derive(Debug, Parser)]
#[command(name = "bench", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Asm(asm::Args),
    #[command(hide = true)]
    Block(block::Args),
    Calibrate(calibrate::Args),
    #[command(hide = true)]
    CalibrationBlock(calibration_block::Args),
    Check(check::Args),
    Doctor(doctor::Args),
    Gate(Box<gate::Args>),
    Generate(generate::Args),
    List(list::Args),
    #[command(hide = true)]
    Load(calibration_block::LoadArgs),
    Perplexity(perplexity::Args),
    Pipeline(Box<pipeline::Args>),
    Plan(plan::Args),
    #[command(hide = true)]
    Product(product::Args),
    Quantize(quantize::Args),
    Report(report::Args),
    Run(run::Args),
    Schema(schema::Args),
    Sensitivity(sensitivity::Args),
}

impl Command {
    fn run(self) -> miette::Result<Exit> {
        match self {
            Self::Asm(args) => asm::run(&args),
            Self::Block(args) => block::run(&args),
            Self::Calibrate(args) => calibrate::run(&args),
            Self::CalibrationBlock(args) => calibration_block::run(&args),
            Self::Check(args) => check::run(&args),
            Self::Doctor(args) => doctor::run(&args),
            Self::Gate(args) => gate::run(&args),
            Self::Generate(args) => generate::run(&args),
            Self::List(args) => list::run(&args),
            Self::Load(args) => calibration_block::run_load(&args),
            Self::Perplexity(args) => perplexity::run(&args),
            Self::Pipeline(args) => pipeline::run(&args),
            Self::Plan(args) => plan::run(&args),
            Self::Product(args) => product::run(&args),
            Self::Quantize(args) => quantize::run(&args),
            Self::Report(args) => report::run(&args),
            Self::Run(args) => run::run(&args),
            Self::Schema(args) => schema::run(&args),
            Self::Sensitivity(args) => sensitivity::run(&args),
        }
    }
}

/// Runs the command in `args`, whose first element is the name of the program.
pub fn main(args: impl IntoIterator<Item = OsString>) -> Exit {
    output::set_error_style();
    match Cli::try_parse_from(args) {
        Ok(cli) => cli.command.run().unwrap_or_else(|error| {
            output::note(format!("{error:?}").trim_end());
            Exit::BadInput
        }),
        Err(message) => {
            // Help and version end up here too; a closed stream leaves nobody to tell.
            let _ = message.print();
            if message.use_stderr() { Exit::BadInput } else { Exit::Pass }
        }
    }
}
