//! A diagnosis as text.

use std::fmt::{self, Write};

use super::{Ceiling, Diagnosis, Fact, Outcome, Quantity, Value};
use crate::report::text::significant;

impl fmt::Display for Diagnosis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let quick = if self.quick { ", quick: few and short repetitions" } else { "" };
        writeln!(f, "{}{quick}\n\nMachine", self.program)?;
        let width = self.facts.iter().map(|fact| fact.name.len()).max().unwrap_or(0);
        for Fact { name, value, source } in &self.facts {
            match value {
                Value::Known { value } => writeln!(f, "  {name:width$}  {value}  ({source})")?,
                Value::Unavailable { reason, remedy } => {
                    writeln!(
                        f,
                        "  {name:width$}  unavailable: {reason}  ({source})\n  {:width$}  remedy: {remedy}",
                        ""
                    )?;
                }
            }
        }
        for quantity in Quantity::ALL {
            let rows: Vec<&Ceiling> = self.ceilings.iter().filter(|row| row.quantity == quantity).collect();
            if !rows.is_empty() {
                write_quantity(f, quantity, &rows)?;
            }
        }
        if !self.advice.is_empty() {
            writeln!(f, "\nAdvice")?;
        }
        self.advice.iter().try_for_each(|line| writeln!(f, "  {line}"))
    }
}

fn write_quantity(f: &mut impl Write, quantity: Quantity, rows: &[&Ceiling]) -> fmt::Result {
    let width = rows.iter().map(|row| row.place.len()).max().unwrap_or(0);
    let (title, head) = (quantity.title(), ["threads", "minimum", "median", "maximum"]);
    writeln!(f, "\n{title}\n  {:width$}  {:>7}  {:>8}  {:>8}  {:>8}", "", head[0], head[1], head[2], head[3])?;
    for Ceiling { place, threads, outcome, .. } in rows {
        write!(f, "  {place:width$}  {threads:>7}")?;
        match outcome {
            Outcome::Measured { spread, how } => {
                let [minimum, median, maximum] =
                    [spread.minimum, spread.median, spread.maximum].map(|value| format!("{:>8}", significant(value)));
                writeln!(f, "  {minimum}  {median}  {maximum}  {how}, {} repetitions", spread.repetitions)?;
            }
            Outcome::Unavailable { reason, remedy } => writeln!(f, "  unavailable: {reason}; remedy: {remedy}")?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_json_of_a_synthetic_machine() {
        let facts = vec![
            Fact {
                name: "cpu".to_owned(),
                value: Value::Known { value: "Difference Engine No. 2".to_owned() },
                source: "/proc/cpuinfo".to_owned(),
            },
            Fact {
                name: "valgrind".to_owned(),
                value: Value::Unavailable { reason: "not in PATH".to_owned(), remedy: "install it".to_owned() },
                source: "PATH".to_owned(),
            },
        ];
        let ceilings = vec![
            Ceiling::measured(
                Quantity::ReadBandwidth,
                "L1",
                1,
                &[205.25, 199.0, 210.9],
                "plain loads, 24 KiB of 48 KiB for each thread".to_owned(),
            ),
            Ceiling::measured(
                Quantity::ReadBandwidth,
                "DRAM",
                2,
                &[9.876, 12.04],
                "prefetching loads, windows of 256 MiB in turn from 1024 MiB".to_owned(),
            ),
            Ceiling::unavailable(Quantity::CoreToCore, "pairs of CPUs", 2, "one CPU only", "allow more"),
        ];
        let diagnosis = Diagnosis {
            schema: super::super::SCHEMA,
            program: "septet 0.0.0".to_owned(),
            quick: true,
            facts,
            ceilings,
            advice: vec!["Close other programs.".to_owned()],
        };
        insta::assert_snapshot!("text", diagnosis.to_string());
        insta::assert_snapshot!("json", serde_json::to_string_pretty(&diagnosis).expect("plain data"));
    }
}
