//! How long a line of memory takes from one CPU to another.
//!
//! On a shared host two virtual CPUs may be threads of one core now and cores of two sockets a
//! minute later; the latency tells which.

use std::{
    io,
    sync::{
        Barrier,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    thread,
};

use super::{Ceiling, Effort, Quantity, effort::seconds};
use crate::affinity;

/// CPUs whose pairs are measured.
const CPUS: usize = 8;

/// Round trips of one repetition.
const ROUND_TRIPS: u32 = 5000;

/// Round trips before the first repetition.
const WARM_UP: u32 = 500;

/// The counter that two threads take turns in increasing, in a pair of cache lines of its own,
/// since prefetchers fetch lines in pairs.
#[repr(align(128))]
struct Ball(AtomicU32);

/// Every pair of the first eight CPUs of this process.
pub fn measure(effort: &Effort) -> Vec<Ceiling> {
    let unavailable = |reason: &str, remedy: &str| {
        vec![Ceiling::unavailable(Quantity::CoreToCore, "pairs of CPUs", 2, reason, remedy)]
    };
    let cpus = match affinity::allowed() {
        Ok(cpus) => &cpus[..cpus.len().min(CPUS)],
        Err(reason) => return unavailable(reason, "run on Linux with at most 1024 CPUs"),
    };
    if cpus.len() < 2 {
        return unavailable("this process may use one CPU only", "allow more: taskset -c 0,1, or a larger quota");
    }
    let pairs = cpus.iter().enumerate().flat_map(|(i, &from)| cpus[i + 1..].iter().map(move |&to| (from, to)));
    pairs.map(|(from, to)| between(from, to, effort)).collect()
}

/// One pair of CPUs.
pub fn between(from: usize, to: usize, effort: &Effort) -> Ceiling {
    let place = format!("CPU {from} - {to}");
    match ping_pong(from, to, effort.repetitions) {
        Ok(values) => {
            let how = format!("half of the mean round trip of one atomic, {ROUND_TRIPS} trips, bound threads");
            Ceiling::measured(Quantity::CoreToCore, place, 2, &values, how)
        }
        Err(error) => {
            let (reason, remedy) = (format!("sched_setaffinity: {error}"), "allow it to this process (seccomp)");
            Ceiling::unavailable(Quantity::CoreToCore, place, 2, reason, remedy)
        }
    }
}

/// One-way nanoseconds between two CPUs, for each repetition.
fn ping_pong(from: usize, to: usize, repetitions: usize) -> io::Result<Vec<f64>> {
    let ball = Ball(AtomicU32::new(0));
    let trips = WARM_UP + ROUND_TRIPS * repetitions as u32;
    let (both, bound) = (Barrier::new(2), AtomicBool::new(true));
    // Both threads play, or none: a player without a partner would wait for ever.
    let ready = |cpu| {
        let result = affinity::bind(cpu);
        bound.fetch_and(result.is_ok(), Ordering::AcqRel);
        both.wait();
        result.map(|()| bound.load(Ordering::Acquire))
    };
    // No pause instruction in the waits: it alone takes as long as a near line.
    let wait = |turn| while ball.0.load(Ordering::Acquire) != turn {};
    thread::scope(|scope| {
        let answering = scope.spawn(|| {
            if ready(to)? {
                for trip in 0..trips {
                    wait(2 * trip + 1);
                    ball.0.store(2 * trip + 2, Ordering::Release);
                }
            }
            io::Result::Ok(())
        });
        let asking = scope.spawn(|| {
            let mut values = Vec::new();
            if ready(from)? {
                let mut trip = 0;
                let mut play = |trips| {
                    for _ in 0..trips {
                        ball.0.store(2 * trip + 1, Ordering::Release);
                        wait(2 * trip + 2);
                        trip += 1;
                    }
                };
                play(WARM_UP);
                let nanoseconds = 1e9 / f64::from(2 * ROUND_TRIPS);
                values.extend((0..repetitions).map(|_| seconds(|| play(ROUND_TRIPS)) * nanoseconds));
            }
            io::Result::Ok(values)
        });
        let stopped = |_| io::Error::other("a thread stopped");
        answering.join().map_err(stopped)??;
        asking.join().map_err(stopped)?
    })
}
