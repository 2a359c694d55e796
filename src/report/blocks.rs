//! From samples to blocks: the median of each metric of each cell in each block.
//!
//! Reshaping is done on data frames: samples are joined with what is known of their cell, ratios
//! to the roof are taken inside each sample's bracket, and groups of one block become medians.

use std::collections::BTreeMap;

use polars::prelude::*;

use super::metric::KERNEL_TIME;
use crate::record::{CellFacts, Phase, Sample, row::bracket_moved};
use crate::stats::contrast::BlockTimes;
use crate::stats::summary::median;

/// One metric of one cell, by block.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Blocks {
    pub unit: String,
    /// Median over the repetitions of each block.
    pub times: BlockTimes,
    /// Weight bandwidth in GB/s (1e9 bytes, scales and padding included) in each block.
    pub gbps: BTreeMap<u32, f64>,
    /// Share of the read bandwidth measured around each repetition, median of each block; only
    /// where it was measured.
    pub roof_share: BTreeMap<u32, f64>,
    /// That bandwidth itself, GB/s.
    pub roof: BTreeMap<u32, f64>,
    /// int8 peak measured around each repetition, in multiply-accumulates a ns, times the time of the
    /// repetition: how many there would have been room for; median of each block, only where it was measured.
    pub room: BTreeMap<u32, f64>,
    /// Measured repetitions in all blocks.
    pub samples: usize,
    /// Of these, with evidence of contamination.
    pub flagged: usize,
    /// Of these, with a bracket that moved by more than [`BRACKET_TOLERANCE`](crate::record::row::BRACKET_TOLERANCE).
    pub brackets_apart: usize,
}

/// Blocks of each (cell id, metric).
pub type BlockTable = BTreeMap<(String, String), Blocks>;

/// The session of each block that counts: the latest, since a resumed run repeats the block that was
/// open when it stopped.
pub fn counted_sessions(samples: &[Sample]) -> BTreeMap<u32, u32> {
    let mut latest: BTreeMap<u32, u32> = BTreeMap::new();
    for sample in samples {
        let session = latest.entry(sample.block).or_default();
        *session = sample.session.max(*session);
    }
    latest
}

/// Groups the samples that count: those of [`Phase::Measure`], and of each block those of its session
/// in `sessions`.
///
/// # Errors
///
/// If the data frame library fails, which well-typed rows do not cause.
pub fn blocks(samples: &[Sample], sessions: &BTreeMap<u32, u32>, facts: &[CellFacts]) -> PolarsResult<BlockTable> {
    let counted: Vec<&Sample> =
        samples.iter().filter(|s| s.phase == Phase::Measure && sessions.get(&s.block) == Some(&s.session)).collect();
    let frame = sample_frame(&counted)?.left_join(&fact_frame(facts)?, ["cell_id"], ["cell_id"])?;
    group(&frame)
}

fn sample_frame(samples: &[&Sample]) -> PolarsResult<DataFrame> {
    df!(
        "cell_id" => samples.iter().map(|s| s.cell_id.as_str()).collect::<Vec<_>>(),
        "metric" => samples.iter().map(|s| s.metric.as_str()).collect::<Vec<_>>(),
        "unit" => samples.iter().map(|s| s.unit.as_str()).collect::<Vec<_>>(),
        "block" => samples.iter().map(|s| s.block).collect::<Vec<_>>(),
        "value" => samples.iter().map(|s| s.value).collect::<Vec<_>>(),
        "roof_before" => samples.iter().map(|s| s.roof_before).collect::<Vec<_>>(),
        "roof_after" => samples.iter().map(|s| s.roof_after).collect::<Vec<_>>(),
        "peak" => samples.iter().map(|s| Some((s.peak_before? + s.peak_after?) / 2.0)).collect::<Vec<_>>(),
        "flagged" => samples.iter().map(|s| !s.flags.is_empty()).collect::<Vec<_>>(),
    )
}

fn fact_frame(facts: &[CellFacts]) -> PolarsResult<DataFrame> {
    df!(
        "cell_id" => facts.iter().map(|f| f.cell_id.as_str()).collect::<Vec<_>>(),
        "bytes_per_unit" => facts.iter().map(|f| f.bytes_per_unit as f64).collect::<Vec<_>>(),
    )
}

fn group(frame: &DataFrame) -> PolarsResult<BlockTable> {
    let cell_ids = frame.column("cell_id")?.str()?;
    let metrics = frame.column("metric")?.str()?;
    let units = frame.column("unit")?.str()?;
    let numbers = frame.column("block")?.u32()?;
    let values = frame.column("value")?.f64()?;
    let bytes = frame.column("bytes_per_unit")?.f64()?;
    let before = frame.column("roof_before")?.f64()?;
    let after = frame.column("roof_after")?.f64()?;
    let peaks = frame.column("peak")?.f64()?;
    let flagged = frame.column("flagged")?.bool()?;

    let mut table = BlockTable::new();
    let grouped = frame.group_by_stable(["cell_id", "metric", "block"])?;
    for group in grouped.get_groups().iter() {
        let rows = members(group);
        let Some(first) = rows.first() else { continue };
        let key = (cell_ids.get(*first), metrics.get(*first), numbers.get(*first));
        let (Some(cell_id), Some(metric), Some(block)) = key else { continue };

        let entry = table.entry((cell_id.to_owned(), metric.to_owned())).or_default();
        entry.unit = units.get(*first).unwrap_or_default().to_owned();
        entry.samples += rows.len();
        entry.flagged += rows.iter().filter(|&&row| flagged.get(row) == Some(true)).count();
        let times: Vec<f64> = rows.iter().filter_map(|&row| values.get(row)).collect();
        entry.times.extend(median(&times).map(|time| (block, time)));
        if metric != KERNEL_TIME {
            continue;
        }
        let mut speeds = Vec::new();
        let mut shares = Vec::new();
        let mut roofs = Vec::new();
        let mut rooms = Vec::new();
        for &row in &rows {
            // Bytes per ns are GB/s.
            let speed = bytes.get(row).zip(values.get(row)).map(|(bytes, time)| bytes / time);
            speeds.extend(speed);
            // GMAC/s are multiply-accumulates a ns.
            rooms.extend(peaks.get(row).zip(values.get(row)).map(|(peak, time)| peak * time));
            if let (Some(speed), Some(before), Some(after)) = (speed, before.get(row), after.get(row))
                && before > 0.0
                && after > 0.0
            {
                let roof = (before + after) / 2.0;
                roofs.push(roof);
                shares.push(speed / roof);
                entry.brackets_apart += usize::from(bracket_moved(before, after));
            }
        }
        entry.gbps.extend(median(&speeds).map(|speed| (block, speed)));
        entry.roof_share.extend(median(&shares).map(|share| (block, share)));
        entry.roof.extend(median(&roofs).map(|roof| (block, roof)));
        entry.room.extend(median(&rooms).map(|room| (block, room)));
    }
    Ok(table)
}

/// Row numbers of one group.
fn members(group: GroupsIndicator) -> Vec<usize> {
    match group {
        GroupsIndicator::Idx((_, rows)) => rows.iter().map(|&row| row as usize).collect(),
        GroupsIndicator::Slice([start, length]) => (start as usize..(start + length) as usize).collect(),
    }
}
