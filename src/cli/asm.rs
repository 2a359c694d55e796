//! `bench asm`: the loop in which a kernel multiplies, as compiled.

use std::fmt::Write;

use miette::{Diagnostic, Result};
use septet_kernels::{Kernel, ParseVariantError, Variant, registry};
use thiserror::Error;

use super::{Exit, output::print};
use crate::{
    disassembly::{LoopFacts, Unavailable, loop_facts},
    nearest::nearest,
};

/// Print the compiled inner loop of a kernel
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Name of a kernel, as `bench list` prints it
    kernel: String,
    /// The code that also prefetches
    #[arg(long)]
    prefetch: bool,
    /// The code that is compiled for matrices of K columns
    #[arg(long, value_name = "K")]
    cols: Option<usize>,
}

/// A name that no kernel has, or code that cannot be shown.
#[derive(Debug, Error, Diagnostic)]
enum AsmError {
    #[error("there is no kernel `{name}`: {reason}")]
    Unknown {
        name: String,
        reason: String,
        #[help]
        help: String,
    },
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// Prints counts and listing of the loop.
pub fn run(args: &Args) -> Result<Exit> {
    let kernel = find(&args.kernel)?;
    let facts = loop_facts(kernel, args.prefetch, args.cols).map_err(AsmError::from)?;
    print(&describe(kernel, args, &facts))?;
    Ok(Exit::Pass)
}

fn find(name: &str) -> Result<&'static Kernel, AsmError> {
    let unknown = |reason: String| {
        let names = registry::kernels().iter().map(|kernel| kernel.variant.to_string());
        let near = nearest(name, names, 3).join(", ");
        let hint = "`bench list` prints every kernel";
        let help = if near.is_empty() { hint.to_owned() } else { format!("did you mean {near}? {hint}") };
        AsmError::Unknown { name: name.to_owned(), reason, help }
    };
    let variant: Variant = name.parse().map_err(|error: ParseVariantError| unknown(error.to_string()))?;
    let none = || variant.infeasible().unwrap_or("it is not compiled for this architecture").to_owned();
    registry::find(variant).ok_or_else(|| unknown(none()))
}

/// The counts as comments of the listing.
fn describe(kernel: &Kernel, args: &Args, facts: &LoopFacts) -> String {
    let mut text = String::new();
    let mut line = |what: &str, value: String| {
        writeln!(text, "; {what:16} {value}").expect("writing to a string cannot fail");
    };
    let LoopFacts { start, end, instructions, jumps_inside, loop_jumps, exits, calls, .. } = facts;
    let shape = args.cols.map(|cols| format!(", compiled for K = {cols}")).unwrap_or_default();
    let prefetching = if args.prefetch { ", prefetching" } else { "" };
    line("kernel", format!("{}{prefetching}{shape}", kernel.variant));
    line("inner loop", format!("{start:#x}..{end:#x} in the executable"));
    line("weights", format!("{} an iteration, by {} multiplying instructions", facts.weights, facts.products));
    line("instructions", format!("{instructions}, {:.3} a weight", facts.instructions_per_weight()));
    line("jumps on data", format!("{jumps_inside}, {:.3} a weight", facts.jumps_per_weight()));
    line("other", format!("{loop_jumps} loop jumps, {exits} exits, {calls} calls"));
    line("vectors", if facts.vector_bits == 0 { "none".to_owned() } else { format!("{} bits", facts.vector_bits) });
    text + &facts.listing
}
