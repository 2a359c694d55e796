//! The text that Go's benchmarks print, for `benchstat`: a line for each block of each arm of both sides.
//!
//! Factors in which the arms of a run differ are part of a benchmark's name, as `key=value`; the others, and
//! the side, are configuration lines above. So `benchstat -col side` sets B beside A, and
//! `benchstat -col /unpack` one level of an axis beside another.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
};

use crate::{
    axis::AXES,
    gate::Run,
    plan::{Cell, Workload},
    record::Side,
};

/// Both sides in turn, as often as there are runs of them.
pub fn go_bench(runs: &[(Side, &Run)]) -> String {
    let mut text = String::new();
    write(runs, &mut text).expect("writing to a string cannot fail");
    text
}

fn write(runs: &[(Side, &Run)], out: &mut String) -> std::fmt::Result {
    for (side, run) in runs {
        let plan = &run.manifest.plan;
        let (varying, fixed) = axes(&plan.cells);
        writeln!(out, "experiment: {}", plan.experiment)?;
        if let Some(cpu) = run.manifest.environment.get("cpu") {
            writeln!(out, "cpu: {cpu}")?;
        }
        for (axis, level) in fixed {
            writeln!(out, "{axis}: {level}")?;
        }
        writeln!(out, "side: {}\n", side.name())?;
        // The null check would count its arm twice.
        for cell in plan.cells.iter().filter(|cell| cell.null_of.is_none() && run.unusable(&cell.id).is_none()) {
            let Some(workload) = plan.workloads.iter().find(|workload| workload.name == cell.workload) else {
                continue;
            };
            let name = name(cell, workload, &varying);
            for values in blocks(run, cell, workload).values() {
                writeln!(out, "Benchmark{name} 1 {}", values.join(" "))?;
            }
        }
        writeln!(out)?;
    }
    Ok(())
}

/// Axes in which cells differ, and the level of each other.
fn axes(cells: &[Cell]) -> (Vec<&'static str>, Vec<(&'static str, &str)>) {
    let levels = |axis: &str| -> BTreeSet<&str> { cells.iter().filter_map(|cell| cell.level(axis)).collect() };
    let (mut varying, mut fixed) = (Vec::new(), Vec::new());
    for axis in AXES {
        let levels = levels(axis.name);
        match levels.first() {
            Some(level) if levels.len() == 1 => fixed.push((axis.name, *level)),
            Some(_) => varying.push(axis.name),
            None => {}
        }
    }
    (varying, fixed)
}

/// `Tiny/format=w3p5/unpack=lut-2`: workload, factors, threads. Names begin with a capital letter.
fn name(cell: &Cell, workload: &Workload, varying: &[&str]) -> String {
    // A blank would end a name and a slash begin another key.
    let plain = |text: &str| text.replace([' ', '/'], "_");
    let mut name = plain(&workload.name);
    if let Some(first) = name.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    for axis in varying {
        if let Some(level) = cell.level(axis) {
            name += &format!("/{axis}={}", plain(level));
        }
    }
    format!("{name}-{}", workload.threads)
}

/// Values with their units in each block that has any.
fn blocks(run: &Run, cell: &Cell, workload: &Workload) -> BTreeMap<u32, Vec<String>> {
    let mut blocks: BTreeMap<u32, Vec<String>> = BTreeMap::new();
    for metric in workload.metrics() {
        for (block, time) in run.times(&cell.id, metric) {
            blocks.entry(block).or_default().push(format!("{time} {}", unit(metric)));
        }
    }
    blocks
}

/// Go's unit of a metric in ns: `ns/op` for the time of a whole unit, `kernel-ns/op` for `kernel_time`.
fn unit(metric: &str) -> String {
    match metric {
        "token_time" => "ns/op".to_owned(),
        other => format!("{}-ns/op", other.replace("_time", "").replace('_', "-")),
    }
}
