//! `bench list`: the axes, the kernels, and the points that cannot exist.

use std::{collections::BTreeMap, fmt::Write};

use miette::IntoDiagnostic;
use septet_kernels::{Variant, gemm, registry};
use serde::Serialize;

use super::{
    Exit,
    output::print,
    select::{SelectArgs, Selection},
};
use crate::axis::AXES;

/// List axes, kernels and infeasible points
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    select: SelectArgs,
}

/// Prints the listing.
pub fn run(args: &Args) -> miette::Result<Exit> {
    let listing = Listing::of(&args.select.compiled()?);
    let text =
        if args.json { serde_json::to_string_pretty(&listing).into_diagnostic()? + "\n" } else { listing.text() };
    print(&text)?;
    Ok(Exit::Pass)
}

#[derive(Serialize)]
struct Listing {
    axes: Vec<AxisRow>,
    kernels: Vec<KernelRow>,
    infeasible: Vec<InfeasibleRow>,
}

#[derive(Serialize)]
struct AxisRow {
    name: &'static str,
    compiled: bool,
    levels: Vec<LevelRow>,
}

#[derive(Serialize)]
struct LevelRow {
    name: &'static str,
    about: &'static str,
    /// Whether there are kernels of this level; `mixed` chooses among the kernels of other levels.
    has_kernels: bool,
}

#[derive(Serialize)]
struct KernelRow {
    name: String,
    /// Why this CPU cannot run it; nothing if it can.
    unavailable: Option<String>,
}

#[derive(Serialize)]
struct InfeasibleRow {
    name: String,
    reason: &'static str,
}

impl Listing {
    fn of(selection: &Selection) -> Self {
        let axes = AXES.iter().map(|axis| AxisRow {
            name: axis.name,
            compiled: axis.compiled,
            levels: axis
                .levels()
                .into_iter()
                .map(|(name, about)| LevelRow { name, about, has_kernels: axis.names_kernels(name) })
                .collect(),
        });
        let kernels = registry::kernels().iter().filter(|kernel| selection.holds(kernel.variant)).map(|kernel| {
            let unavailable = kernel.bind().err().map(|missing| missing.to_string());
            KernelRow { name: kernel.variant.to_string(), unavailable }
        });
        let batched = gemm::kernels().iter().filter(|kernel| selection.holds_batched(kernel.variant)).map(|kernel| {
            let unavailable = kernel.bind().err().map(|missing| missing.to_string());
            KernelRow { name: kernel.variant.to_string(), unavailable }
        });
        let infeasible = Variant::product().filter(|variant| selection.holds(*variant)).filter_map(|variant| {
            let compiled = registry::find(variant).is_some();
            let reason = variant.infeasible().or((!compiled).then_some("not compiled for this architecture"))?;
            Some(InfeasibleRow { name: variant.to_string(), reason })
        });
        Self { axes: axes.collect(), kernels: kernels.chain(batched).collect(), infeasible: infeasible.collect() }
    }

    fn text(&self) -> String {
        let mut text = String::new();
        self.write_text(&mut text).expect("writing to a string cannot fail");
        text
    }

    fn write_text(&self, out: &mut String) -> std::fmt::Result {
        for (title, compiled, has_kernels) in [
            ("Compiled axes", true, true),
            ("Chosen among compiled levels, for each tensor", true, false),
            ("Data axes", false, false),
        ] {
            writeln!(out, "{title}")?;
            for axis in self.axes.iter().filter(|axis| axis.compiled == compiled) {
                let levels = axis.levels.iter().filter(|level| level.has_kernels == has_kernels);
                for (i, level) in levels.enumerate() {
                    let name = if i == 0 { axis.name } else { "" };
                    writeln!(out, "  {name:12} {:14} {}", level.name, level.about)?;
                }
            }
            writeln!(out)?;
        }
        let running = self.kernels.iter().filter(|kernel| kernel.unavailable.is_none()).count();
        writeln!(out, "Kernels: {}, of which this CPU runs {running}", self.kernels.len())?;
        for KernelRow { name, unavailable } in &self.kernels {
            match unavailable {
                None => writeln!(out, "  {name}")?,
                Some(reason) => writeln!(out, "  {name:47} not here: {reason}")?,
            }
        }
        writeln!(out, "\nInfeasible points: {}", self.infeasible.len())?;
        let mut reasons: BTreeMap<&str, usize> = BTreeMap::new();
        for row in &self.infeasible {
            *reasons.entry(row.reason).or_default() += 1;
        }
        for (reason, count) in reasons {
            writeln!(out, "  {count:3}  {reason}")?;
        }
        Ok(())
    }
}
