//! What this machine can do: its ceilings, each with how it was measured, and the facts that
//! measurements on it depend on.
//!
//! One file a quantity (`bandwidth`, `peak`, `latency`, `timer`); each gives [`Ceiling`]s. A further
//! quantity is such a file, a variant of [`Quantity`] and a line in [`examine`].

mod advice;
pub(crate) mod bandwidth;
mod ceiling;
mod effort;
mod facts;
pub(crate) mod latency;
pub(crate) mod peak;
mod text;
mod timer;

use serde::Serialize;

pub use advice::{Condition, advice};
pub use ceiling::{Ceiling, Outcome, Quantity, Spread};
pub use effort::Effort;
pub use facts::{Fact, Value};

/// Version of the JSON form.
pub const SCHEMA: u32 = 1;

/// Measures one quantity everywhere.
type Measure = fn(&Effort) -> Vec<Ceiling>;

/// All that is found out about a machine.
#[derive(Debug, Serialize)]
pub struct Diagnosis {
    /// [`SCHEMA`].
    pub schema: u32,
    /// Name and version of this program.
    pub program: String,
    /// Whether repetitions were few and short.
    pub quick: bool,
    /// What the machine says about itself.
    pub facts: Vec<Fact>,
    /// What was measured.
    pub ceilings: Vec<Ceiling>,
    /// What would make measurements here better; nothing if nothing would.
    pub advice: Vec<String>,
}

/// Examines this machine; `say` hears what is being done.
pub fn examine(quick: bool, say: &dyn Fn(&str)) -> Diagnosis {
    let effort = if quick { Effort::QUICK } else { Effort::FULL };
    // Before anything is measured, or the load would be this program's own.
    say("reading facts");
    let facts = facts::read();
    let condition = Condition::of(&facts);
    let quantities: [(&str, Measure); 4] = [
        ("read bandwidth", bandwidth::measure),
        ("arithmetic peaks", peak::measure),
        ("core-to-core latency", latency::measure),
        ("the timer", timer::measure),
    ];
    let ceilings = quantities.into_iter().flat_map(|(what, measure)| {
        say(&format!("measuring {what}"));
        measure(&effort)
    });
    Diagnosis {
        schema: SCHEMA,
        program: format!("septet {}", env!("CARGO_PKG_VERSION")),
        quick,
        facts,
        ceilings: ceilings.collect(),
        advice: advice(&condition),
    }
}
