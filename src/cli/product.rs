//! `bench product`: one product of one kernel, for those who count it.

use std::io;

use miette::{Diagnostic, Result};
#[cfg(target_os = "linux")]
use rustix::process::{Signal, set_parent_process_death_signal};
use septet_kernels::{Blocking, Granularity, Level, ParseVariantError, Prefetch, Shape, UnknownLevel};
use thiserror::Error;

use super::Exit;
use crate::counters::{Product, product::ServeError};

/// Multiply once with one kernel (started by `bench run`, which counts it)
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Name of a kernel, as `bench list` prints it
    kernel: String,
    #[arg(long)]
    rows: usize,
    #[arg(long)]
    cols: usize,
    #[arg(long, default_value = "g128")]
    granularity: String,
    #[arg(long, default_value = "none")]
    prefetch: String,
    #[arg(long, default_value = "full")]
    blocking: String,
    #[arg(long, default_value = "runtime")]
    shape: String,
    /// Wait for a line on stdin before the product
    #[arg(long)]
    wait: bool,
}

/// A product that does not exist.
#[derive(Debug, Error, Diagnostic)]
enum ProductError {
    #[error("there is no kernel `{name}`: {cause}")]
    #[diagnostic(help("`bench list` prints every kernel"))]
    Kernel { name: String, cause: ParseVariantError },
    #[error(transparent)]
    Level(#[from] UnknownLevel),
    #[error(transparent)]
    #[diagnostic(help("`bench list` prints the kernels and what does not exist, with the reason"))]
    Serve(#[from] ServeError),
}

/// Makes the weights, multiplies once, and writes events to stdout.
///
/// # Errors
/// A product that does not exist.
pub fn run(args: &Args) -> Result<Exit> {
    // Whoever counts may be killed; where the system cannot do this, the product ends by itself.
    #[cfg(target_os = "linux")]
    let _ = set_parent_process_death_signal(Some(Signal::KILL));
    let product = product(args)?;
    let mut input = io::stdin().lock();
    let input: Option<&mut dyn io::BufRead> = if args.wait { Some(&mut input) } else { None };
    product.serve(input, &mut io::stdout().lock()).map_err(ProductError::from)?;
    Ok(Exit::Pass)
}

fn product(args: &Args) -> Result<Product, ProductError> {
    let name = &args.kernel;
    let kernel = name.parse().map_err(|cause| ProductError::Kernel { name: name.clone(), cause })?;
    Ok(Product {
        granularity: Granularity::parse(&args.granularity)?,
        prefetch: Prefetch::parse(&args.prefetch)?,
        blocking: Blocking::parse(&args.blocking)?,
        shape: Shape::parse(&args.shape)?,
        ..Product::of_kernel(kernel, args.rows, args.cols)
    })
}
