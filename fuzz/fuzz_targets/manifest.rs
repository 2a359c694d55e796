//! Manifests: a run of what is accepted can be analysed.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use septet::{
    record::{Manifest, Sample, parse_manifest},
    report::analysis::Analysis,
};

/// Blocks of a run: fewer have no interval.
const BLOCKS: u32 = 3;

/// A sample of each metric of each cell in each block, no two of the same time.
fn samples(manifest: &Manifest) -> Vec<Sample> {
    let plan = &manifest.plan;
    let mut samples = Vec::new();
    for cell in &plan.cells {
        let workload = plan.workloads.iter().find(|workload| workload.name == cell.workload).expect("was checked");
        for (block, metric) in
            (0..BLOCKS).flat_map(|block| workload.metrics().iter().map(move |metric| (block, metric)))
        {
            let value = (1000 + samples.len()) as f64;
            let (metric, roof_before, roof_after) = ((*metric).to_owned(), 10.0, 11.0);
            samples.push(Sample { block, metric, value, roof_before, roof_after, ..Sample::of(cell, workload) });
        }
    }
    samples
}

fuzz_target!(|bytes: &[u8]| {
    match parse_manifest(Path::new("manifest.json"), bytes) {
        Err(error) => assert!(error.to_string().starts_with("manifest.json")),
        Ok(manifest) => {
            let samples = samples(&manifest);
            Analysis::new(manifest, &samples, Vec::new(), &[], &[], &[]).expect("an analysis");
        }
    }
});
