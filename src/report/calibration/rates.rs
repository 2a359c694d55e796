//! Verdicts over windows, counted: how often identical arms are told apart, and how often a slow-down is
//! found.

use std::collections::BTreeMap;

use crate::{
    calibration::{AGAIN, CalibrationArm, Phase, Settings, session::whole_blocks},
    record::calibration::CalibrationRow,
    stats::{
        Interval,
        binomial::{clopper_pearson, sign_test},
        contrast::{Effect, log_of_neighbours},
        holm::holm,
        verdict::Verdict,
    },
};

/// Share of windows from which on a slow-down counts as one that is found.
pub const FOUND: f64 = 0.8;

/// One phase on one number of threads. Strata share blocks, so their counts are never added up.
#[derive(Clone, Debug, PartialEq)]
pub struct Stratum {
    pub phase: Phase,
    pub threads: usize,
    /// Blocks that are there.
    pub blocks: usize,
    /// Rows with a flag of evidence, and all of them.
    pub flagged: (usize, usize),
    /// Every arm but the reference, in the order of the settings.
    pub arms: Vec<ArmRates>,
}

/// One arm against the reference.
#[derive(Clone, Debug, PartialEq)]
pub struct ArmRates {
    pub name: String,
    /// Injected, if known.
    pub slowdown: Option<f64>,
    /// Over all blocks of the stratum.
    pub effect: Option<Effect>,
    /// For each number of blocks of a window, ascending.
    pub windows: Vec<WindowRates>,
}

/// What the windows of one size say about one arm.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WindowRates {
    /// Blocks of a window.
    pub blocks: usize,
    /// Windows all of whose blocks are there.
    pub windows: usize,
    /// Windows whose interval excludes one, before any correction.
    pub significant: usize,
    pub improvements: usize,
    pub regressions: usize,
    pub equivalent: usize,
    /// Windows in which the arm is faster on average.
    pub faster: usize,
}

impl WindowRates {
    /// Verdicts that say that there is a difference.
    pub fn differences(&self) -> usize {
        self.improvements + self.regressions
    }

    /// p of the sign test: whether faster and slower windows come equally often.
    pub fn sign_p(&self) -> f64 {
        sign_test(self.faster, self.windows)
    }
}

/// A share with its exact interval; nothing without windows.
pub fn share(found: usize, windows: usize, confidence: f64) -> Option<(f64, Interval)> {
    (windows > 0).then(|| (found as f64 / windows as f64, clopper_pearson(found, windows, confidence)))
}

impl Stratum {
    /// The arm that is the reference once more.
    pub fn again(&self) -> Option<&ArmRates> {
        self.arms.iter().find(|arm| arm.name == AGAIN)
    }

    /// The smallest injected slow-down that is found in [`FOUND`] of the windows of so many blocks or
    /// more, as are all larger ones.
    pub fn smallest_found(&self, blocks: usize) -> Option<f64> {
        let mut smallest = None;
        let mut injected: Vec<(f64, &ArmRates)> =
            self.arms.iter().filter_map(|arm| Some((arm.slowdown.filter(|part| *part > 0.0)?, arm))).collect();
        injected.sort_by(|(a, _), (b, _)| b.total_cmp(a));
        for (slowdown, arm) in injected {
            let rates = arm.of(blocks).filter(|rates| rates.windows > 0)?;
            if (rates.regressions as f64) < FOUND * rates.windows as f64 {
                break;
            }
            smallest = Some(slowdown);
        }
        smallest
    }
}

impl ArmRates {
    /// Rates of windows of so many blocks.
    pub fn of(&self, blocks: usize) -> Option<&WindowRates> {
        self.windows.iter().find(|rates| rates.blocks == blocks)
    }
}

/// Numbers of blocks that windows are cut into: half a window, a window, and two.
pub fn sizes(settings: &Settings) -> Vec<usize> {
    let window = settings.window as usize;
    let mut sizes = vec![window / 2, window, 2 * window];
    // One block has no spread.
    sizes.retain(|&size| size >= 2);
    sizes
}

/// Counts the verdicts of every window in every stratum.
pub fn strata(settings: &Settings, rows: &[CalibrationRow]) -> Vec<Stratum> {
    let blocks = whole_blocks(settings, rows);
    let of_phase = |phase| {
        let blocks: BTreeMap<u32, &Vec<&CalibrationRow>> =
            blocks.iter().filter(|(block, _)| settings.phase(**block) == phase).map(|(b, rows)| (*b, rows)).collect();
        settings.threads.iter().map(move |&threads| stratum(settings, phase, threads, &blocks)).collect::<Vec<_>>()
    };
    Phase::ALL.into_iter().flat_map(of_phase).collect()
}

fn stratum(
    settings: &Settings,
    phase: Phase,
    threads: usize,
    blocks: &BTreeMap<u32, &Vec<&CalibrationRow>>,
) -> Stratum {
    let rows = || blocks.values().flat_map(|rows| rows.iter()).filter(|row| row.threads as usize == threads);
    let mut logs: BTreeMap<&str, Logs> = BTreeMap::new();
    for row in rows() {
        if let Some(log) = row.times().and_then(|[reference, arm]| log_of_neighbours(&reference, &arm)) {
            logs.entry(row.arm.as_str()).or_default().insert(row.block, log);
        }
    }
    let none = Logs::new();
    let arm = |arm: &CalibrationArm| {
        let logs = logs.get(arm.name.as_str()).unwrap_or(&none);
        ArmRates {
            name: arm.name.clone(),
            slowdown: arm.slowdown,
            effect: effect(logs.values(), settings),
            windows: sizes(settings).into_iter().map(|size| rates(settings, size, logs)).collect(),
        }
    };
    Stratum {
        phase,
        threads,
        blocks: blocks.len(),
        flagged: (rows().filter(|row| !row.flags.is_empty()).count(), rows().count()),
        arms: settings.compared().iter().map(arm).collect(),
    }
}

/// Of each block, the log ratio of an arm as a gate has it of a pair.
type Logs = BTreeMap<u32, f64>;

/// Above one, the arm is faster.
fn effect<'a>(logs: impl Iterator<Item = &'a f64>, settings: &Settings) -> Option<Effect> {
    Effect::of_pairs(&logs.copied().collect::<Vec<_>>(), settings.confidence)
}

/// The verdicts of all windows of `size` consecutive blocks that are whole.
fn rates(settings: &Settings, size: usize, logs: &Logs) -> WindowRates {
    let mut rates = WindowRates { blocks: size, ..WindowRates::default() };
    let alpha = 1.0 - settings.confidence;
    for first in (0..settings.blocks).step_by(size) {
        let window = logs.range(first..first + size as u32).map(|(_, log)| log);
        let Some(effect) = effect(window, settings) else { continue };
        if effect.n_blocks < size {
            continue;
        }
        let verdict = Verdict::of(effect.interval, adjusted(effect.p, settings.family), settings.margin, alpha);
        rates.windows += 1;
        rates.significant += usize::from(effect.p < alpha);
        rates.faster += usize::from(effect.ratio > 1.0);
        match verdict {
            Verdict::Improvement => rates.improvements += 1,
            Verdict::Regression => rates.regressions += 1,
            Verdict::Equivalent => rates.equivalent += 1,
            Verdict::Inconclusive => {}
        }
    }
    rates
}

/// Holm's correction in a family whose others show nothing: what it costs a single true effect.
fn adjusted(p: f64, family: usize) -> f64 {
    let mut family_p = vec![1.0; family.max(1)];
    family_p[0] = p;
    holm(&family_p)[0]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{calibration::Size, record::rules::Row as _};

    fn settings() -> Settings {
        Settings::new(Size { blocks: 160, window: 10, cores: 1 }, "test".to_owned(), BTreeMap::new())
    }

    /// Rows of every block: the time of each arm is 100 µs, times its factor, with a little noise that
    /// differs from block to block and arm to arm; the last turn of side A is beside a burst.
    fn rows(settings: &Settings, factor: impl Fn(&str) -> f64) -> Vec<CalibrationRow> {
        let mut random = septet_kernels::SplitMix64::new(7);
        let mut rows = Vec::new();
        for block in 0..settings.blocks {
            for (order, arm) in settings.compared().iter().enumerate() {
                let mut ns = || 1e5 * (1.0 + 0.003 * f64::from(random.normal_f32()));
                let (reference, changed) = (ns(), factor(&arm.name) * ns());
                let mut a_ns = vec![reference; settings.turns as usize];
                a_ns[settings.turns as usize - 1] *= 2.0;
                rows.push(CalibrationRow {
                    session: 0,
                    block,
                    threads: 1,
                    order: order as u32,
                    arm: arm.name.clone(),
                    spin_ns: 0.0,
                    a_ns: CalibrationRow::joined(&a_ns),
                    b_ns: CalibrationRow::joined(&vec![changed; settings.turns as usize]),
                    flags: if order == 0 { "stolen".to_owned() } else { String::new() },
                    voluntary_switches: 0,
                    involuntary_switches: 0,
                    migrations: 0,
                    minor_faults: 0,
                    major_faults: 0,
                    steal_ticks: 0,
                });
            }
        }
        rows
    }

    /// Ratios of such times have no finite logarithm, and no estimate has a value there.
    #[test]
    fn times_that_no_machine_takes_are_refused() {
        let mut row = rows(&settings(), injected).swap_remove(0);
        assert_eq!(row.check(), Ok(()));
        let valid = "positive numbers from 1e-12 to 1e18 joined by `+`";
        for ns in ["1000.0+1e308", "1e-308", "", "1+"] {
            row.b_ns = ns.to_owned();
            assert_eq!(row.check(), Err(("b_ns", valid)), "{ns}");
        }
        row.a_ns = "-1".to_owned();
        assert_eq!(row.check(), Err(("a_ns", valid)));
    }

    fn injected(name: &str) -> f64 {
        name.strip_prefix("slower_").map_or(1.0, |percent| 1.0 + percent.parse::<f64>().unwrap() / 100.0)
    }

    #[test]
    fn windows_are_disjoint_and_of_one_phase() {
        let settings = settings();
        let strata = strata(&settings, &rows(&settings, injected));
        let [quiet, interference] = &strata[..] else { panic!("two phases on one thread") };
        assert_eq!((quiet.phase, quiet.blocks), (Phase::Quiet, 120));
        assert_eq!((interference.phase, interference.blocks), (Phase::Interference, 40));
        let counts = |stratum: &Stratum| -> Vec<(usize, usize)> {
            stratum.arms[0].windows.iter().map(|rates| (rates.blocks, rates.windows)).collect()
        };
        assert_eq!(counts(quiet), [(5, 24), (10, 12), (20, 6)]);
        assert_eq!(counts(interference), [(5, 8), (10, 4), (20, 2)]);
        assert_eq!(quiet.flagged, (120, 120 * 7));
    }

    #[test]
    fn effects_are_found_where_they_are_and_nowhere_else() {
        let settings = settings();
        let strata = strata(&settings, &rows(&settings, injected));
        let quiet = &strata[0];
        let again = quiet.again().unwrap().of(10).unwrap();
        assert_eq!((again.differences(), again.equivalent), (0, again.windows), "{again:?}");
        let found = |name: &str| quiet.arms.iter().find(|arm| arm.name == name).unwrap().of(20).unwrap().regressions;
        // A spread of 0.4 % in the ratio: 3 % and more stand far beyond the margin, 1 % never does.
        assert_eq!([found("slower_1"), found("slower_3"), found("slower_5"), found("slower_10")], [0, 6, 6, 6]);
        assert_eq!(quiet.smallest_found(20), Some(0.02));
        let ten = quiet.arms.iter().find(|arm| arm.name == "slower_10").unwrap().effect.unwrap();
        assert!((ten.ratio * 1.10 - 1.0).abs() < 0.003, "{ten:?}");
    }

    /// A slow-down that is found where a larger one is not counts for nothing.
    #[test]
    fn the_smallest_found_needs_all_larger_ones() {
        let settings = settings();
        let odd = |name: &str| if name == "slower_10" { 1.0 } else { injected(name) };
        assert_eq!(strata(&settings, &rows(&settings, odd))[0].smallest_found(20), None);
        let none = strata(&settings, &[]);
        assert!(none.iter().all(|stratum| stratum.smallest_found(20).is_none() && stratum.arms[0].effect.is_none()));
    }

    #[test]
    fn a_window_with_a_missing_block_does_not_count() {
        let settings = settings();
        let mut rows = rows(&settings, injected);
        let quiet = (0..settings.blocks).find(|&block| settings.phase(block) == Phase::Quiet).unwrap();
        // The block is there in part: its process was killed.
        let index = rows.iter().position(|row| row.block == quiet).unwrap();
        rows.remove(index);
        let strata = strata(&settings, &rows);
        let counts: Vec<usize> = strata[0].arms[0].windows.iter().map(|rates| rates.windows).collect();
        assert_eq!((counts, strata[0].blocks), (vec![23, 11, 5], 119));
    }

    #[test]
    fn the_family_multiplies_p() {
        assert_eq!(adjusted(0.01, 10), 0.1);
        assert_eq!(adjusted(0.01, 1), 0.01);
        assert_eq!(adjusted(0.3, 10), 1.0);
        assert_eq!(share(0, 0, 0.95), None);
    }
}
