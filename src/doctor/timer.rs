//! The clock of every measurement: its smallest step, and what reading it costs.

use std::{hint::black_box, time::Instant};

use super::{Ceiling, Effort, Quantity, effort::seconds};

/// Readings of one repetition.
const READINGS: u32 = 100_000;

/// Step and cost of [`Instant::now`].
pub fn measure(effort: &Effort) -> Vec<Ceiling> {
    let steps: Vec<f64> = (0..effort.repetitions).filter_map(|_| smallest_step()).collect();
    let costs: Vec<f64> = (0..effort.repetitions).map(|_| cost()).collect();
    vec![
        Ceiling::measured(
            Quantity::TimerStep,
            "Instant",
            1,
            &steps,
            format!("smallest difference above zero of {READINGS} neighbouring readings"),
        ),
        Ceiling::measured(Quantity::TimerCost, "Instant", 1, &costs, format!("mean of {READINGS} readings in a row")),
    ]
}

/// In nanoseconds; none if the clock stood still.
fn smallest_step() -> Option<f64> {
    let mut before = Instant::now();
    let steps = (0..READINGS).map(|_| {
        let now = Instant::now();
        let step = now.duration_since(before).as_nanos();
        before = now;
        step
    });
    steps.filter(|&step| step > 0).min().map(|step| step as f64)
}

/// In nanoseconds.
fn cost() -> f64 {
    let total = seconds(|| {
        for _ in 0..READINGS {
            black_box(Instant::now());
        }
    });
    total * 1e9 / f64::from(READINGS)
}
