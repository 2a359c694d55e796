//! `bench check`: every selected kernel against the reference, bit for bit.

use std::collections::BTreeMap;

use miette::{Diagnostic, Result};
use rayon::prelude::*;
use septet_kernels::{
    Format, Kernel, Level,
    check::{self, Cases, Mismatch, Outcome},
    gemm::{self, check::GemmCases},
    registry,
};
use thiserror::Error;

use super::{Exit, output::print, select::SelectArgs};

/// Compare kernels with the reference, bit for bit
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    select: SelectArgs,
    /// Seed of the random weights and activations
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
}

/// A check that checked nothing proves nothing.
#[derive(Debug, Error, Diagnostic)]
enum NothingChecked {
    #[error("no kernel lies in the selection")]
    #[diagnostic(help("`bench list` prints the kernels, and why the other points have none"))]
    Empty,
    #[error("this CPU can run none of the selected kernels")]
    #[diagnostic(help("select another isa, or run the check on a CPU that has the features"))]
    AllSkipped,
}

/// Checks the selection; passes only if something was checked and nothing differs.
pub fn run(args: &Args) -> Result<Exit> {
    let selection = args.select.compiled()?;
    let products: Vec<&Kernel> = registry::kernels().iter().filter(|k| selection.holds(k.variant)).collect();
    let batched: Vec<&gemm::Kernel> = gemm::kernels().iter().filter(|k| selection.holds_batched(k.variant)).collect();
    if products.is_empty() && batched.is_empty() {
        return Err(NothingChecked::Empty.into());
    }
    let mut tally = Tally::default();
    for &format in Format::ALL {
        let of_format: Vec<&Kernel> = products.iter().copied().filter(|k| k.variant.format == format).collect();
        if !of_format.is_empty() {
            let cases = Cases::new(format, args.seed);
            let check = |kernel: &&Kernel| (kernel.variant.to_string(), check::check(kernel, &cases));
            tally.take("gemv", format, of_format.par_iter().map(check).collect())?;
        }
        let of_format: Vec<&gemm::Kernel> = batched.iter().copied().filter(|k| k.variant.format == format).collect();
        if !of_format.is_empty() {
            let cases = GemmCases::new(format, args.seed);
            let check = |kernel: &&gemm::Kernel| (kernel.variant.to_string(), gemm::check::check(kernel, &cases));
            tally.take("gemm", format, of_format.par_iter().map(check).collect())?;
        }
    }
    let Tally { checked, failed, .. } = tally;
    let skipped = tally.skipped();
    print(&format!("checked {checked}, skipped {skipped}, failed {failed}, seed {}\n", args.seed))?;
    match (checked, failed) {
        (0, _) => Err(NothingChecked::AllSkipped.into()),
        (_, 0) => Ok(Exit::Pass),
        _ => Ok(Exit::Regression),
    }
}

/// What became of the kernels so far.
#[derive(Default)]
struct Tally {
    checked: usize,
    failed: usize,
    /// Number of skipped kernels by reason.
    skipped: BTreeMap<String, usize>,
}

impl Tally {
    fn skipped(&self) -> String {
        let reasons: Vec<String> = self.skipped.iter().map(|(reason, count)| format!("{reason}: {count}")).collect();
        let total: usize = self.skipped.values().sum();
        if reasons.is_empty() { total.to_string() } else { format!("{total} ({})", reasons.join("; ")) }
    }

    /// Counts and prints what became of the kernels of an operation and format, each with its name.
    fn take(&mut self, operation: &str, format: Format, outcomes: Vec<(String, Outcome)>) -> Result<()> {
        let kernels = outcomes.len();
        let (mut equal, mut skipped, mut failures) = (0, 0, String::new());
        let (mut fewest, mut most, mut without) = (usize::MAX, 0, 0);
        for (name, outcome) in outcomes {
            match outcome {
                Outcome::Equal { cases, not_offered } => {
                    equal += 1;
                    (fewest, most, without) = (fewest.min(cases), most.max(cases), without.max(not_offered));
                }
                Outcome::Skipped(reason) => {
                    skipped += 1;
                    *self.skipped.entry(reason).or_default() += 1;
                }
                Outcome::Failed(mismatch) => {
                    self.failed += 1;
                    failures += &describe(&name, &mismatch);
                }
            }
        }
        self.checked += kernels - skipped;
        let cases = if fewest == most { most.to_string() } else { format!("{fewest} to {most}") };
        let each = match (equal, without) {
            (0, _) => String::new(),
            (_, 0) => format!(", each in {cases} cases"),
            // A layout may not be offered under every granularity.
            _ => format!(", each in {cases} cases ({without} not offered in their layout)"),
        };
        print(&format!("{operation} {format:5} {equal} of {kernels} kernels equal{each}\n{failures}"))?;
        Ok(())
    }
}

fn describe(name: &str, mismatch: &Mismatch) -> String {
    let Mismatch { case, row, found, expected } = mismatch;
    let at = row.map_or_else(|| "outside of the output".to_owned(), |row| format!("row {row}"));
    let bits = |x: &f32| format!("{x:e} ({:#010x})", x.to_bits());
    format!(
        "  {name} differs\n    case      {case}\n    at        {at}\n    found     {}\n    expected  {}\n",
        bits(found),
        bits(expected),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_names_case_row_found_and_expected() {
        let mismatch = Mismatch { case: "65×172 g128 Random".to_owned(), row: Some(64), found: 1.0, expected: -1.5 };
        let text = describe("gemv/w4/dense/branch/u1/scalar", &mismatch);
        for part in [
            "gemv/w4/dense/branch/u1/scalar differs",
            "65×172 g128 Random",
            "row 64",
            "1e0 (0x3f800000)",
            "-1.5e0 (0xbfc00000)",
        ] {
            assert!(text.contains(part), "{text}");
        }
    }

    #[test]
    fn skips_are_counted_by_reason() {
        let mut tally = Tally::default();
        assert_eq!(tally.skipped(), "0");
        tally.skipped = BTreeMap::from([("a".to_owned(), 2), ("b".to_owned(), 3)]);
        assert_eq!(tally.skipped(), "5 (a: 2; b: 3)");
    }
}
