//! What a plan will show, from what another run of its contrasts showed: how long it takes, which effects
//! it can detect, and how many blocks would detect the margin.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{analysis::Analysis, metric::TOKEN_TIME, text};
use crate::plan::expand::MIN_BLOCKS;
use crate::plan::{Cell, Plan};
use crate::record::block::{BlockRow, BlockStatus};
use crate::stats::{
    student::{detectable, values_needed},
    summary::median,
};

/// Most blocks that are tried for an answer.
const MOST: usize = 1000;

/// What is expected of a plan.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Forecast {
    /// Run that it is taken from, and its blocks.
    pub from: String,
    pub from_blocks: usize,
    /// Seconds of one block, weights and ceilings included; unknown where the run has not recorded it.
    pub block_seconds: Option<f64>,
    /// In the order of the plan; contrasts that the run does not have are left out.
    pub contrasts: Vec<Expected>,
    /// By workload, in the order of the plan.
    pub workloads: Vec<Typical>,
}

/// What is expected of one contrast, in the time of a token or product.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Expected {
    pub design: String,
    pub step: String,
    pub workload: String,
    /// Standard deviation of the log ratio over blocks.
    pub spread: f64,
    /// Smallest ratio, minus one, that the planned blocks detect with power 0.8, without correction.
    pub detectable: f64,
    /// Blocks that detect the margin; none where 1000 are too few.
    pub blocks_for_margin: Option<usize>,
}

/// What is typical of the contrasts of one workload: the root mean square of their spreads, which few
/// blocks of each tell better than any of them alone.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Typical {
    pub workload: String,
    pub contrasts: usize,
    pub spread: f64,
    pub detectable: f64,
    pub blocks_for_margin: Option<usize>,
}

impl Forecast {
    /// Of `plan`, from a run: the same arms on workloads of the same names.
    pub fn new(plan: &Plan, run: &Analysis, blocks: &[BlockRow]) -> Self {
        let spreads = spreads(run);
        let mut contrasts = Vec::new();
        for design in &plan.designs {
            for contrast in &design.contrasts {
                let arms =
                    [&contrast.arm, &contrast.reference].map(|id| plan.cells.iter().find(|cell| cell.id == **id));
                let [Some(arm), Some(reference)] = arms else { continue };
                let Some(&spread) = spreads.get(&key(arm, reference)) else { continue };
                let (design, step) = (design.name.clone(), contrast.step.clone());
                let (detectable, blocks_for_margin) = outlook(plan, spread);
                let workload = contrast.workload.clone();
                contrasts.push(Expected { design, step, workload, spread, detectable, blocks_for_margin });
            }
        }
        let workloads = plan.workloads.iter().filter_map(|workload| typical(plan, &workload.name, &contrasts));
        let complete = blocks.iter().filter(|row| row.status == BlockStatus::Complete);
        let seconds: Vec<f64> = complete.map(|row| row.seconds).collect();
        Self {
            from: run.manifest.run_id.clone(),
            from_blocks: run.cells.iter().flat_map(|cell| &cell.metrics).map(|m| m.n_blocks).max().unwrap_or(0),
            block_seconds: median(&seconds),
            workloads: workloads.collect(),
            contrasts,
        }
    }

    /// The number of blocks that detects the margin on every workload, from [`MIN_BLOCKS`] to `most`, and
    /// why so many; nothing without a contrast.
    pub fn choose(&self, plan: &Plan, most: u32) -> Option<(u32, String)> {
        let needed = |typical: &Typical| typical.blocks_for_margin.unwrap_or(MOST) as u32;
        let noisiest = self.workloads.iter().max_by_key(|typical| needed(typical))?;
        let blocks = needed(noisiest).clamp(MIN_BLOCKS, most.max(MIN_BLOCKS));
        let margin = text::percent(plan.protocol.margin);
        let wanted = match noisiest.blocks_for_margin {
            Some(blocks) => blocks.to_string(),
            None => format!("more than {MOST}"),
        };
        let reason = format!(
            "a pilot of {} blocks: the log ratios of {} spread by {} from block to block, the most of all workloads; \
             {wanted} blocks detect {margin} with power 0.8; bounds {MIN_BLOCKS} to {most}",
            self.from_blocks,
            noisiest.workload,
            text::two_decimals(noisiest.spread),
        );
        Some((blocks, reason))
    }
}

/// What makes contrasts of two runs the same: the workload, the two arms, and whether one of them is A′.
type Key = (String, String, String, bool);

fn key(arm: &Cell, reference: &Cell) -> Key {
    (arm.workload.clone(), arm.arm.clone(), reference.arm.clone(), arm.null_of.is_some())
}

/// Spreads of all contrasts of a run that have one.
fn spreads(run: &Analysis) -> BTreeMap<Key, f64> {
    let of_time = run.contrasts.iter().filter(|result| result.metric == TOKEN_TIME);
    let spread = |result: &super::analysis::ContrastResult| {
        let arm = &run.cell(&result.contrast.arm)?.cell;
        let reference = &run.cell(&result.contrast.reference)?.cell;
        let spread = result.outcome.numbers()?.effect.spread;
        spread.is_finite().then(|| (key(arm, reference), spread))
    };
    of_time.filter_map(spread).collect()
}

/// What the planned blocks detect at this spread, and how many detect the margin.
fn outlook(plan: &Plan, spread: f64) -> (f64, Option<usize>) {
    let protocol = &plan.protocol;
    let planned = detectable(spread, protocol.blocks.max(2) as usize, protocol.confidence);
    (planned.exp_m1(), values_needed(spread, protocol.margin.ln_1p(), protocol.confidence, MOST))
}

fn typical(plan: &Plan, workload: &str, contrasts: &[Expected]) -> Option<Typical> {
    let spreads: Vec<f64> =
        contrasts.iter().filter(|contrast| contrast.workload == workload).map(|contrast| contrast.spread).collect();
    let squares: f64 = spreads.iter().map(|spread| spread * spread).sum();
    let spread = (!spreads.is_empty()).then(|| (squares / spreads.len() as f64).sqrt())?;
    let (detectable, blocks_for_margin) = outlook(plan, spread);
    Some(Typical { workload: workload.to_owned(), contrasts: spreads.len(), spread, detectable, blocks_for_margin })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::small;

    const BODY: &str = r#"
workload = [
    { name = "one", title = "?", matrix = { rows = 64, cols = 128 }, threads = 1, repetitions = 1, tokens = 1 },
    { name = "two", title = "?", matrix = { rows = 64, cols = 256 }, threads = 1, repetitions = 1, tokens = 1 },
]
arm = { base = { unpack = "lut" } }
design = [{ name = "same", title = "?", kind = "null", from = "base" }]
"#;

    fn expected(workload: &str, spread: f64) -> Expected {
        let (design, step) = ("same".to_owned(), "A′".to_owned());
        let workload = workload.to_owned();
        Expected { design, step, workload, spread, detectable: 0.0, blocks_for_margin: None }
    }

    fn forecast(plan: &Plan, contrasts: Vec<Expected>) -> Forecast {
        let workloads = ["one", "two"].into_iter().filter_map(|name| typical(plan, name, &contrasts)).collect();
        Forecast { from: "pilot".to_owned(), from_blocks: 3, block_seconds: None, contrasts, workloads }
    }

    /// A spread of 2 % needs 34 blocks for 1 % (t table: (2.035 + 0.853) · 2 % / √34 = 0.99 %).
    #[test]
    fn the_noisiest_workload_decides_within_the_bounds() {
        let plan = small::plan(&small::spec(BODY)).unwrap();
        let noisy = vec![expected("one", 0.001), expected("two", 0.02), expected("two", 0.02)];
        let forecast_of = |most| forecast(&plan, noisy.clone()).choose(&plan, most).unwrap();
        let (blocks, reason) = forecast_of(100);
        assert_eq!(blocks, 34);
        assert!(reason.contains("of two spread by 2.00%") && reason.contains("34 blocks detect 1%"), "{reason}");
        assert_eq!(forecast_of(20).0, 20);
        let quiet = forecast(&plan, vec![expected("one", 0.001)]).choose(&plan, 100).unwrap();
        assert_eq!(quiet.0, MIN_BLOCKS);
        let hopeless = forecast(&plan, vec![expected("one", 5.0)]).choose(&plan, 100).unwrap();
        assert!(hopeless.0 == 100 && hopeless.1.contains("more than 1000 blocks detect"), "{}", hopeless.1);
        assert_eq!(forecast(&plan, Vec::new()).choose(&plan, 100), None);
    }

    #[test]
    fn spreads_of_a_workload_are_a_root_mean_square() {
        let plan = small::plan(&small::spec(BODY)).unwrap();
        let typical = typical(&plan, "one", &[expected("one", 0.03), expected("one", 0.04), expected("two", 9.0)]);
        let typical = typical.unwrap();
        assert!((typical.spread - (0.0025_f64 / 2.0).sqrt()).abs() < 1e-12 && typical.contrasts == 2);
    }
}
