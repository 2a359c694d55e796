//! `septet`: experiments on sub-4-bit LLM inference on CPUs.
//!
//! Data flows one way: [`spec`] (TOML as written) → [`plan`] (checked, expanded to unique cells) →
//! [`runner`] (processes, blocks, samples) → [`record`] (append-only rows) → [`stats`] (pure
//! functions) → [`report`] and [`gate`] (pure functions of rows). Beside it, [`doctor`] examines the machine,
//! [`pipeline`] times a whole model,
//! and [`calibration`] what the protocol finds where the truth is known.

#![deny(unsafe_code)]

pub mod affinity;
mod aligned;
pub mod arm;
pub mod axis;
pub mod calibration;
pub mod cli;
pub mod counters;
pub mod digest;
pub mod disassembly;
pub mod doctor;
pub mod gate;
pub mod mixed;
pub mod model;
mod nearest;
pub mod pages;
pub mod pipeline;
pub mod plan;
pub mod pool;
pub mod record;
pub mod report;
pub mod revision;
pub mod runner;
pub mod spec;
pub mod stats;
