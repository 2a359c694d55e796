//! What the machine can do at best in the minute of a block: the lines of a roofline, and whether its
//! two first workers are near each other.
//!
//! Measured by the loops of `bench doctor`, shortened, before the workloads of a block exist. The
//! bandwidth around each sample ([`super::roof`]) is an instrument of its own: shares of a memory are
//! taken from that one, since it is nearer to the sample.

use std::collections::BTreeSet;

use septet_kernels::{Isa, Level};

use crate::{
    affinity,
    doctor::{Ceiling, Effort, Outcome, bandwidth, latency, peak},
    plan::Plan,
    record::CeilingRow,
};

/// The int8 peaks and vector issue of the vector sets of the plan, read bandwidth of every level, and the latency between
/// the CPUs of the first two workers, on each number of threads of the plan. What this machine does
/// not have has no row.
pub fn measure(plan: &Plan, session: u32, block: u32) -> Vec<CeilingRow> {
    let counts = plan.thread_counts();
    let used: BTreeSet<&str> = plan.isas();
    let sets: Vec<Isa> =
        Isa::ALL.iter().copied().filter(|isa| used.contains(isa.name()) && peak::has_vectors(*isa)).collect();
    let effort = &Effort::BLOCK;
    let mut ceilings = peak::int8_on(&sets, &counts, effort);
    ceilings.extend(peak::issue_on(&sets, &counts, effort));
    ceilings.extend(bandwidth::measure_on(&counts, effort));
    // The first two workers of any pool are bound to the first two CPUs.
    let two = counts.last().filter(|&&most| most > 1).and_then(|&most| affinity::placement(most).ok());
    if let Some(&[first, second, ..]) = two {
        ceilings.push(latency::between(first, second, effort));
    }
    ceilings.into_iter().filter_map(|ceiling| row(ceiling, session, block)).collect()
}

fn row(ceiling: Ceiling, session: u32, block: u32) -> Option<CeilingRow> {
    let Ceiling { quantity, place, threads, unit, outcome } = ceiling;
    let Outcome::Measured { spread, .. } = outcome else { return None };
    let (threads, unit) = (threads as u32, unit.to_owned());
    Some(CeilingRow { session, block, ceiling: quantity, place, threads, value: spread.median, unit })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{doctor::Quantity, plan::small, record::rules::Row as _};

    /// One workload on one thread and one on two, with an arm of each vector set.
    const BODY: &str = r#"
workload = [
    { name = "one", title = "?", matrix = { rows = 64, cols = 128 }, threads = 1, repetitions = 1, tokens = 1 },
    { name = "two", title = "?", matrix = { rows = 64, cols = 128 }, threads = 2, repetitions = 1, tokens = 1 },
]
arm = { base = { unpack = "lut" } }
design = [{ name = "wide", title = "?", kind = "add-one-in", from = "base", step = [{ set = { isa = "widest" } }] }]
"#;

    #[test]
    fn every_row_is_one_that_the_plan_allows() {
        // Where scalar is the widest, the step changes nothing.
        let Ok(plan) = small::plan(&small::spec(BODY)) else { return };
        let rows = measure(&plan, 3, 1);
        for row in &rows {
            assert_eq!((row.session, row.block), (3, 1));
            assert_eq!((row.check(), row.contradicts(&plan)), (Ok(()), None), "{row:?}");
        }
        let keys: BTreeSet<String> = rows.iter().map(CeilingRow::key).collect();
        assert_eq!(keys.len(), rows.len());
        let count = |quantity| rows.iter().filter(|row| row.ceiling == quantity).count();
        for peak in [Quantity::Int8Dot, Quantity::VectorIssue] {
            assert_eq!(count(peak), 2, "the scalar arm has no {}", peak.name());
        }
        assert!(count(Quantity::ReadBandwidth) >= 2 && count(Quantity::CoreToCore) <= 1);
    }
}
