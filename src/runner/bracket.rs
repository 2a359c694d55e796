//! What the machine does at best, measured just before and just after each repetition.
//!
//! A shared host moves its clock and its bandwidth within seconds, so a share of either counts only
//! beside a measurement of the same moment, about as long as the repetition and on the same threads.

use std::time::Duration;

use super::roof::Roof;
use crate::{
    arm::Arm,
    doctor::peak::Loop,
    plan::Workload,
    pool::ThreadPool,
    record::{Sample, row::bracket_moved},
};

/// How long the multipliers are measured: as long as a product with a hundred columns takes.
const PEAK: Duration = Duration::from_millis(20);

/// One end of a bracket.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct End {
    /// Read bandwidth, GB/s.
    pub roof: f64,
    /// int8 peak, GMAC/s, where it may bind.
    pub peak: Option<f64>,
}

impl End {
    /// Not measured.
    pub const UNKNOWN: Self = Self { roof: 0.0, peak: None };
}

/// Measures the ends of the brackets of one cell.
pub struct Gauge<'a> {
    roof: &'a mut Roof,
    peak: Option<Loop>,
    pool: &'a ThreadPool,
}

impl<'a> Gauge<'a> {
    /// For `arm` on `workload`. The multipliers are measured beside products with several columns, and
    /// only for kernels of this project that have vectors.
    pub fn new(roof: &'a mut Roof, workload: &Workload, arm: &Arm, pool: &'a ThreadPool) -> Self {
        let may_bind = workload.source.columns() > 1 && arm.peer.is_none();
        let peak = may_bind.then(|| Loop::of_int8(arm.isa, pool, PEAK)).flatten();
        Self { roof, peak, pool }
    }

    /// The beginning of the first bracket of the cell: the roof where the cell before it ended.
    pub fn begin(&self) -> End {
        End { roof: self.roof.latest(), peak: self.peak() }
    }

    /// What the machine does at best now.
    pub fn measure(&mut self) -> End {
        let peak = self.peak();
        End { roof: self.roof.measure(self.pool), peak }
    }

    fn peak(&self) -> Option<f64> {
        self.peak.as_ref().map(|peak| peak.rate(self.pool))
    }
}

/// Both ends of the bracket of a repetition.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bracket {
    pub before: End,
    pub after: End,
}

impl Bracket {
    /// Flags of the ends that are apart.
    pub fn flags(&self) -> Vec<&'static str> {
        let Self { before, after } = self;
        let roof = bracket_moved(before.roof, after.roof).then_some("roof_moved");
        let peak = before.peak.zip(after.peak).filter(|&(before, after)| bracket_moved(before, after));
        roof.into_iter().chain(peak.map(|_| "peak_moved")).collect()
    }

    /// Writes both ends into `sample`.
    pub fn into_sample(self, sample: Sample) -> Sample {
        let Self { before, after } = self;
        Sample {
            roof_before: before.roof,
            roof_after: after.roof,
            peak_before: before.peak,
            peak_after: after.peak,
            ..sample
        }
    }
}

#[cfg(test)]
mod tests {
    use septet_kernels::{Isa, Level, Pages};

    use super::*;
    use crate::plan::{Residency, small};

    const BODY: &str = r#"
workload = [
    { name = "one", title = "?", matrix = { rows = 64, cols = 128 }, threads = 1, repetitions = 1, tokens = 1 },
    { name = "two", title = "?", matrix = { rows = 64, cols = 128, columns = 2 }, threads = 1, repetitions = 1, tokens = 1 },
]
arm = { base = { unpack = "lut" } }
design = [{ name = "same", title = "?", kind = "null", from = "base" }]
"#;

    #[test]
    fn multipliers_are_measured_where_they_may_bind() {
        let plan = small::plan(&small::spec(BODY)).expect("a plan");
        let pool = ThreadPool::new(1).expect("a thread");
        let mut roof = Roof::new(Residency::Cache, 4096, 1 << 20, &pool, &[Pages::System]);
        for workload in &plan.workloads {
            for &isa in Isa::ALL.iter().filter(|isa| isa.is_available()) {
                let mut gauge = Gauge::new(&mut roof, workload, &Arm { isa, ..Arm::BASELINE }, &pool);
                let expected = workload.source.columns() == 2 && isa != Isa::Scalar;
                let (begin, end) = (gauge.begin(), gauge.measure());
                assert_eq!((begin.peak.is_some(), end.peak.is_some()), (expected, expected), "{isa:?}");
                assert!(begin.roof > 0.0 && end.roof > 0.0 && end.peak.is_none_or(|peak| peak > 0.0));
            }
        }
    }

    #[test]
    fn ends_that_are_apart_are_flagged() {
        let end = |roof, peak| End { roof, peak };
        let flags = |before, after| Bracket { before, after }.flags();
        assert!(flags(end(20.0, None), end(20.5, None)).is_empty());
        assert_eq!(flags(end(20.0, Some(100.0)), end(15.0, Some(99.0))), ["roof_moved"]);
        assert_eq!(flags(end(20.0, Some(100.0)), end(15.0, Some(80.0))), ["roof_moved", "peak_moved"]);
    }
}
