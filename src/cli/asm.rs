//! `bench asm`: the loop in which a kernel multiplies, as compiled.

use std::fmt::{Display, Write};

use miette::{Diagnostic, Result};
use septet_kernels::{Kernel, ParseVariantError, Variant, gemm, registry};
use thiserror::Error;

use super::{Exit, output::print};
use crate::{
    disassembly::{LoopFacts, Unavailable, gemm_loop_facts, loop_facts},
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
    #[error("the kernel `{name}` has no code that prefetches, nor for one K")]
    #[diagnostic(help(
        "leave `--prefetch` and `--cols` out: kernels for many columns read a panel that lies in a cache"
    ))]
    ManyColumns { name: String },
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// Prints counts and listing of the loop.
///
/// # Errors
/// If no kernel has the name, or its code cannot be shown.
pub fn run(args: &Args) -> Result<Exit> {
    let text = match find(args)? {
        Found::Gemv(kernel) => {
            let facts = loop_facts(kernel, args.prefetch, args.cols).map_err(AsmError::from)?;
            describe(&kernel.variant, args, &facts)
        }
        Found::Gemm(kernel) => describe(&kernel.variant, args, &gemm_loop_facts(kernel).map_err(AsmError::from)?),
    };
    print(&text)?;
    Ok(Exit::Pass)
}

/// A kernel of one of the two registries.
enum Found {
    Gemv(&'static Kernel),
    Gemm(&'static gemm::Kernel),
}

fn find(args: &Args) -> Result<Found, AsmError> {
    let name = args.kernel.as_str();
    let batched = name.starts_with("gemm/");
    let unknown = |reason: String| {
        let gemv = registry::kernels().iter().map(|kernel| kernel.variant.to_string()).filter(|_| !batched);
        let gemm = gemm::kernels().iter().map(|kernel| kernel.variant.to_string()).filter(|_| batched);
        let near = nearest(name, gemv.chain(gemm), 3).join(", ");
        let hint = "`bench list` prints every kernel";
        let help = if near.is_empty() { hint.to_owned() } else { format!("did you mean {near}? {hint}") };
        AsmError::Unknown { name: name.to_owned(), reason, help }
    };
    let not_here = || "it is not compiled for this architecture".to_owned();
    if batched {
        if args.prefetch || args.cols.is_some() {
            return Err(AsmError::ManyColumns { name: name.to_owned() });
        }
        let variant: gemm::Variant =
            name.parse().map_err(|error: gemm::ParseVariantError| unknown(error.to_string()))?;
        return gemm::find(variant).map(Found::Gemm).ok_or_else(|| unknown(not_here()));
    }
    let variant: Variant = name.parse().map_err(|error: ParseVariantError| unknown(error.to_string()))?;
    let none = || variant.infeasible().map_or_else(not_here, str::to_owned);
    registry::find(variant).map(Found::Gemv).ok_or_else(|| unknown(none()))
}

/// The counts as comments of the listing.
fn describe(kernel: &dyn Display, args: &Args, facts: &LoopFacts) -> String {
    let mut text = String::new();
    let mut line = |what: &str, value: String| {
        writeln!(text, "; {what:16} {value}").expect("writing to a string cannot fail");
    };
    let LoopFacts { start, end, instructions, jumps_inside, loop_jumps, exits, calls, .. } = facts;
    let shape = args.cols.map(|cols| format!(", compiled for K = {cols}")).unwrap_or_default();
    let prefetching = if args.prefetch { ", prefetching" } else { "" };
    line("kernel", format!("{kernel}{prefetching}{shape}"));
    line("inner loop", format!("{start:#x}..{end:#x} in the executable"));
    line("weights", format!("{} an iteration, by {} multiplying instructions", facts.weights, facts.products));
    line("instructions", format!("{instructions}, {:.3} a weight", facts.instructions_per_weight()));
    line("jumps on data", format!("{jumps_inside}, {:.3} a weight", facts.jumps_per_weight()));
    line("other", format!("{loop_jumps} loop jumps, {exits} exits, {calls} calls"));
    line(
        "vectors",
        match facts.vector_bits {
            0 => "none".to_owned(),
            bits => format!("{bits} bits, {:.3} operations a weight", facts.vector_operations_per_weight()),
        },
    );
    text + &facts.listing
}
