//! Which columns the row types have, and which values they take.

use serde::{Serialize, de::DeserializeOwned};

use super::row::{CounterRow, CounterStatus, Sample};

/// A kind of row with its own CSV file.
pub trait Row: Serialize + DeserializeOwned {
    /// Name of the file within a results directory.
    const FILE: &'static str;
    /// Columns in the order in which they are written. Readers accept any order.
    const COLUMNS: &'static [&'static str];
    /// The column that names one of a few things, and these.
    const CHOICE: (&'static str, &'static [&'static str]);
    /// What the types alone do not rule out: the column at fault and what it expects.
    fn check(&self) -> Result<(), (&'static str, &'static str)>;
    /// What may be recorded only once.
    fn key(&self) -> String;
    /// The cell that the row is about.
    fn cell_id(&self) -> &str;
}

impl Row for Sample {
    const FILE: &'static str = "samples.csv";
    const COLUMNS: &'static [&'static str] = &[
        "session",
        "block",
        "order",
        "cell_id",
        "workload",
        "arm",
        "format",
        "granularity",
        "layout",
        "unpack",
        "unroll",
        "isa",
        "prefetch",
        "epilogue",
        "activations",
        "threads",
        "phase",
        "repetition",
        "metric",
        "unit",
        "value",
        "roof_before",
        "roof_after",
        "flags",
        "voluntary_switches",
        "involuntary_switches",
        "migrations",
        "minor_faults",
        "major_faults",
        "steal_ticks",
    ];
    const CHOICE: (&'static str, &'static [&'static str]) = ("phase", &["warmup", "measure"]);

    fn check(&self) -> Result<(), (&'static str, &'static str)> {
        let roof = |value: f64| value.is_finite() && value >= 0.0;
        if !(self.value.is_finite() && self.value > 0.0) {
            Err(("value", "a positive, finite number"))
        } else if !roof(self.roof_before) {
            Err(("roof_before", "a finite bandwidth in GB/s, 0 or more"))
        } else if !roof(self.roof_after) {
            Err(("roof_after", "a finite bandwidth in GB/s, 0 or more"))
        } else {
            Ok(())
        }
    }

    fn key(&self) -> String {
        format!(
            "{} of repetition {} ({:?}) of cell {} in block {} of session {}",
            self.metric, self.repetition, self.phase, self.cell_id, self.block, self.session
        )
    }

    fn cell_id(&self) -> &str {
        &self.cell_id
    }
}

impl Row for CounterRow {
    const FILE: &'static str = "counters.csv";
    const COLUMNS: &'static [&'static str] = &["cell_id", "counter", "value", "unit", "status", "source", "reason"];
    const CHOICE: (&'static str, &'static [&'static str]) =
        ("status", &["measured", "simulated", "multiplexed", "unavailable"]);

    fn check(&self) -> Result<(), (&'static str, &'static str)> {
        let unavailable = self.status == CounterStatus::Unavailable;
        if self.value.is_some() == unavailable {
            Err(("value", "empty exactly when the status is `unavailable`"))
        } else if self.value.is_some_and(|value| !value.is_finite()) {
            Err(("value", "a finite number"))
        } else if unavailable && self.reason.is_empty() {
            Err(("reason", "why the counter is unavailable"))
        } else {
            Ok(())
        }
    }

    fn key(&self) -> String {
        format!("counter {} of cell {} from {}", self.counter, self.cell_id, self.source)
    }

    fn cell_id(&self) -> &str {
        &self.cell_id
    }
}
