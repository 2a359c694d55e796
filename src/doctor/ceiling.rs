//! One measured limit of a machine.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::stats::summary::{median, quantile};

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Quantity {
    ReadBandwidth,
    Int8Dot,
    F32Fma,
    VectorIssue,
    CoreToCore,
    TimerStep,
    TimerCost,
}

impl Quantity {
    /// Every quantity, in the order of the report.
    pub const ALL: [Self; 7] = [
        Self::ReadBandwidth,
        Self::Int8Dot,
        Self::F32Fma,
        Self::VectorIssue,
        Self::CoreToCore,
        Self::TimerStep,
        Self::TimerCost,
    ];

    /// Its name in files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ReadBandwidth => "read_bandwidth",
            Self::Int8Dot => "int8_dot",
            Self::F32Fma => "f32_fma",
            Self::VectorIssue => "vector_issue",
            Self::CoreToCore => "core_to_core",
            Self::TimerStep => "timer_step",
            Self::TimerCost => "timer_cost",
        }
    }

    /// The unit of its values.
    pub const fn unit(self) -> &'static str {
        match self {
            Self::ReadBandwidth => "GB/s",
            Self::Int8Dot => "GMAC/s",
            Self::F32Fma => "GFLOP/s",
            Self::VectorIssue => "Ginstr/s",
            Self::CoreToCore | Self::TimerStep | Self::TimerCost => "ns",
        }
    }

    /// Its heading.
    pub const fn title(self) -> &'static str {
        match self {
            Self::ReadBandwidth => "Read bandwidth, GB/s (10^9 bytes)",
            Self::Int8Dot => "int8 dot products in registers, GMAC/s",
            Self::F32Fma => "f32 fused multiply-adds in registers, GFLOP/s",
            Self::VectorIssue => "Vector instructions in registers, Ginstr/s (10^9 instructions)",
            Self::CoreToCore => "Core to core, one way, ns",
            Self::TimerStep => "Smallest step of the timer, ns",
            Self::TimerCost => "Mean cost of reading the timer, ns",
        }
    }
}

/// A limit of the machine, or why it is not known.
#[derive(Clone, Debug, Serialize)]
pub struct Ceiling {
    pub quantity: Quantity,
    /// Where: a cache level, an instruction set, a pair of CPUs.
    pub place: String,
    /// Threads that worked at the same time.
    pub threads: usize,
    /// [`Quantity::unit`].
    pub unit: &'static str,
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// Values with how they were measured, or why there are none.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum Outcome {
    Measured {
        #[serde(flatten)]
        spread: Spread,
        /// The loop, its bytes, and what else the value depends on.
        how: String,
    },
    Unavailable {
        reason: String,
        remedy: String,
    },
}

impl Ceiling {
    pub fn measured(quantity: Quantity, place: impl fmt::Display, threads: usize, values: &[f64], how: String) -> Self {
        let outcome = match Spread::of(values) {
            Some(spread) => Outcome::Measured { spread, how },
            None => Outcome::Unavailable {
                reason: "no repetition gave a value".to_owned(),
                remedy: "run again without other load".to_owned(),
            },
        };
        Self { quantity, place: place.to_string(), threads, unit: quantity.unit(), outcome }
    }

    pub fn unavailable(
        quantity: Quantity,
        place: impl fmt::Display,
        threads: usize,
        reason: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        let outcome = Outcome::Unavailable { reason: reason.into(), remedy: remedy.into() };
        Self { quantity, place: place.to_string(), threads, unit: quantity.unit(), outcome }
    }
}

/// The repetitions of one measurement.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spread {
    pub minimum: f64,
    pub median: f64,
    pub maximum: f64,
    pub repetitions: usize,
}

impl Spread {
    /// The spread of `values`; none without values.
    pub fn of(values: &[f64]) -> Option<Self> {
        Some(Self {
            minimum: quantile(values, 0.0)?,
            median: median(values)?,
            maximum: quantile(values, 1.0)?,
            repetitions: values.len(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_files() {
        for quantity in Quantity::ALL {
            assert_eq!(serde_json::to_value(quantity).expect("a name"), quantity.name());
        }
    }

    #[test]
    fn a_spread_is_ordered_and_needs_a_value() {
        assert_eq!(Spread::of(&[]), None);
        let spread = Spread::of(&[3.0, 1.0, 2.0, 10.0]).expect("values");
        assert_eq!(spread, Spread { minimum: 1.0, median: 2.5, maximum: 10.0, repetitions: 4 });
    }
}
