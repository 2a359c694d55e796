//! From files of a run to its report, on synthetic runs whose truth is known.

mod factorial;
mod gate;
mod record;
mod report;
mod roofline;
mod statistics;
mod synthetic;
