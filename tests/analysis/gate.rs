//! The gate's decision on synthetic runs whose truth is known.

use std::path::Path;

use septet::gate::{
    Decision, Gate, GateError, Judgement, Overall, Run, Source, Terms, check_comparable, chosen_metrics,
    output::{annotations::annotations, go_bench::go_bench, junit::junit, summary::summary, text::text},
    paired, recorded,
};
use septet::record::{Manifest, Phase, Sample, Side, read_manifest, read_rows, write_manifest};
use septet::stats::verdict::Verdict;

use crate::synthetic::{BLOCKS, Twist, write_twisted};

const TERMS: Terms = Terms { margin: 0.01, confidence: 0.95 };

/// The cell that is faster than memory in every synthetic run, and how much slower it is not.
const ABOVE_ROOF: (&str, f64) = ("slice70b-13", 1.3);

/// Blocks that agree within a tenth of a percent.
const QUIET: Twist<'static> = Twist { seed: 1, noise: 0.001, times: &[ABOVE_ROOF], failed: &[], missing: &[] };

fn run(twist: &Twist<'_>) -> Run {
    let folder = tempfile::tempdir().unwrap();
    write_twisted(folder.path(), false, twist);
    Run::read(folder.path()).unwrap()
}

fn metrics() -> Vec<String> {
    vec!["token_time".to_owned()]
}

/// The decision on two programs; `second` are the sides of the confirmation.
fn paired(a: &Twist<'_>, b: &Twist<'_>, second: Option<[&Twist<'_>; 2]>) -> Decision {
    let findings = |[a, b]: [&Twist<'_>; 2]| paired::findings(&run(a), &run(b), &metrics(), TERMS.confidence).unwrap();
    Decision::paired(&findings([a, b]), second.map(findings).as_deref(), TERMS)
}

fn recorded(a: &Twist<'_>, b: &Twist<'_>) -> Decision {
    let findings = recorded::findings(&run(a), &run(b), &metrics(), TERMS.confidence).unwrap();
    Decision::recorded(&findings, TERMS)
}

/// Workload, subject, verdict and objection of each question that is not answered with equivalence.
fn others(decision: &Decision) -> Vec<(String, Verdict, String)> {
    let different = decision.judgements.iter().filter(|judgement| judgement.verdict != Verdict::Equivalent);
    let line = |judgement: &Judgement| {
        let objection = judgement.objection.clone().unwrap_or_default();
        (format!("{}, {}", judgement.question.workload, judgement.question.subject), judgement.verdict, objection)
    };
    different.map(line).collect()
}

/// A quiet run in which one cell takes so many times as long.
fn slower<'a>(seed: u64, times: &'a [(&'a str, f64)]) -> Twist<'a> {
    Twist { seed, times, ..QUIET }
}

const SLOW_CELL: [(&str, f64); 2] = [ABOVE_ROOF, ("tiny-03", 1.05)];
const FAST_CELL: [(&str, f64); 2] = [ABOVE_ROOF, ("tiny-03", 0.95)];

#[test]
fn two_programs_that_are_equally_fast_pass() {
    let decision = paired(&QUIET, &Twist { seed: 2, ..QUIET }, None);
    // Sixteen cells on each workload, of which one is the null check.
    assert_eq!((decision.judgements.len(), others(&decision)), (30, vec![]));
    assert_eq!(decision.overall(), Overall::Pass);
    assert!(!decision.awaits_confirmation());
}

#[test]
fn a_slower_arm_is_a_regression_once_it_is_confirmed() {
    let slow = slower(2, &SLOW_CELL);
    let first = paired(&QUIET, &slow, None);
    assert!(first.awaits_confirmation());
    let [(_, Verdict::Inconclusive, objection)] = &others(&first)[..] else { panic!("{first:?}") };
    assert!(objection.contains("was not confirmed"), "{objection}");
    assert_eq!(first.overall(), Overall::Inconclusive);

    let again = [&Twist { seed: 3, ..QUIET }, &slower(4, &SLOW_CELL)];
    let both = paired(&QUIET, &slow, Some(again));
    assert_eq!((both.overall(), others(&both).len(), both.count(Verdict::Regression)), (Overall::Regression, 1, 1));
    let judgement = both.worst_first()[0];
    let [judged, confirmed] = [judgement.judged, judgement.confirmation].map(|judged| judged.unwrap().effect);
    assert!((judged.ratio * 1.05 - 1.0).abs() < 0.005 && judged.interval.high < 1.0 / 1.01, "{judged:?}");
    assert!((confirmed.ratio * 1.05 - 1.0).abs() < 0.005 && confirmed.ratio != judged.ratio, "{confirmed:?}");
}

#[test]
fn a_confirmation_that_disagrees_leaves_the_question_open() {
    let decision = paired(&QUIET, &slower(2, &SLOW_CELL), Some([&slower(3, &[ABOVE_ROOF]), &slower(4, &[ABOVE_ROOF])]));
    assert_eq!(decision.overall(), Overall::Inconclusive);
    let [(_, Verdict::Inconclusive, objection)] = &others(&decision)[..] else { panic!("{decision:?}") };
    assert_eq!(objection, "a regression that was not confirmed: equivalent in reversed order");

    let lost = Twist { missing: &["tiny-03"], ..slower(4, &[ABOVE_ROOF]) };
    let decision = paired(&QUIET, &slower(2, &SLOW_CELL), Some([&slower(3, &[ABOVE_ROOF]), &lost]));
    let [(_, Verdict::Inconclusive, objection)] = &others(&decision)[..] else { panic!("{decision:?}") };
    assert!(objection.contains("could not be confirmed: in B: missing"), "{objection}");
}

/// What fails the second time alone was not asked: the confirmation is about the first failures.
#[test]
fn a_confirmation_finds_nothing_new() {
    let other = [ABOVE_ROOF, ("tiny-03", 1.05), ("tiny-05", 1.05)];
    let again = [&slower(3, &[ABOVE_ROOF]), &slower(4, &other)];
    let decision = paired(&QUIET, &slower(2, &SLOW_CELL), Some(again));
    assert_eq!((decision.count(Verdict::Regression), others(&decision).len()), (1, 1));
}

#[test]
fn a_faster_arm_passes() {
    let decision = paired(&QUIET, &slower(2, &FAST_CELL), None);
    let [(_, Verdict::Improvement, objection)] = &others(&decision)[..] else { panic!("{decision:?}") };
    assert_eq!((objection.as_str(), decision.overall()), ("", Overall::Pass));
}

#[test]
fn noise_decides_nothing() {
    let noisy = |seed| Twist { seed, noise: 0.1, ..QUIET };
    let decision = paired(&noisy(1), &noisy(2), None);
    assert_eq!(decision.overall(), Overall::Inconclusive);
    let open = others(&decision);
    let undecided = |words: &str| words.contains("across the margin") || words.contains("not significant");
    assert!(open.len() == 30 && open.iter().all(|(_, _, words)| undecided(words)), "{open:?}");
}

/// Inside the margin, from blocks that would often have missed a difference of its size.
#[test]
fn equivalence_needs_blocks_that_could_have_told() {
    let twist = |seed| Twist { seed, noise: 0.0125, ..QUIET };
    let decision = paired(&twist(1), &twist(2), None);
    let coarse = |judgement: &&Judgement| judgement.judged.unwrap().verdict == Verdict::Equivalent;
    let coarse: Vec<&Judgement> = decision.judgements.iter().filter(coarse).collect();
    let detectable = |judgement: &Judgement| judgement.judged.unwrap().effect.detectable;
    assert!(coarse.iter().any(|judgement| detectable(judgement) > 0.01), "no such question");
    for judgement in coarse {
        let objected = judgement.objection.as_ref().is_some_and(|words| words.contains("the smallest effect"));
        assert_eq!(objected, detectable(judgement) > 0.01, "{judgement:?}");
    }
}

#[test]
fn failed_and_missing_cells_prove_nothing() {
    let failed = Twist { failed: &["tiny-04"], missing: &["tiny-05"], ..QUIET };
    let decision = paired(&QUIET, &failed, None);
    assert_eq!(decision.overall(), Overall::Inconclusive);
    let words: Vec<String> = others(&decision).into_iter().map(|(_, _, words)| words).collect();
    let reasons = ["in B: failed: its process ended early: signal: 11", "in B: missing: no measured repetition"];
    assert_eq!(words, reasons);

    // What is known outweighs what is not.
    let worse = Twist { failed: &["tiny-04"], ..slower(2, &SLOW_CELL) };
    let decision = paired(&QUIET, &worse, Some([&QUIET, &worse]));
    assert_eq!((decision.overall(), decision.count(Verdict::Inconclusive)), (Overall::Regression, 1));
}

#[test]
fn recorded_runs_with_steps_of_equal_worth_pass() {
    let decision = recorded(&QUIET, &Twist { seed: 2, ..QUIET });
    // Seven steps of the ladder, four of what is left out, two more alone, on each workload.
    assert_eq!((decision.judgements.len(), others(&decision)), (26, vec![]));
    assert_eq!(decision.overall(), Overall::Pass);
}

/// An arm of one contrast; what a run of recorded rows says is not measured again.
#[test]
fn a_step_that_is_worth_less_is_a_regression() {
    let decision = recorded(&QUIET, &slower(2, &[ABOVE_ROOF, ("tiny-14", 1.05)]));
    let [(subject, Verdict::Regression, _)] = &others(&decision)[..] else { panic!("{decision:?}") };
    assert_eq!((subject.as_str(), decision.overall()), ("tiny, alone: unroll=4", Overall::Regression));
    let decision = recorded(&QUIET, &slower(2, &[ABOVE_ROOF, ("tiny-14", 0.95)]));
    let [(_, Verdict::Improvement, _)] = &others(&decision)[..] else { panic!("{decision:?}") };
    assert_eq!(decision.overall(), Overall::Pass);
}

/// In a leave-one-out design the arm is the one without the step: slower, it says that the step gained.
#[test]
fn what_is_left_out_counts_the_other_way() {
    let decision = recorded(&QUIET, &slower(2, &[ABOVE_ROOF, ("tiny-09", 1.05)]));
    let [(subject, Verdict::Improvement, _)] = &others(&decision)[..] else { panic!("{decision:?}") };
    assert_eq!(subject, "tiny, without: unroll=1");
}

/// A run that is slower as a whole has the same ratios.
#[test]
fn absolute_times_of_two_runs_are_never_compared() {
    let all: Vec<String> =
        ["tiny", "slice70b"].iter().flat_map(|w| (0..16).map(move |i| format!("{w}-{i:02}"))).collect();
    let times: Vec<(&str, f64)> =
        all.iter().map(|cell| (cell.as_str(), if *cell == ABOVE_ROOF.0 { 2.0 * ABOVE_ROOF.1 } else { 2.0 })).collect();
    assert_eq!(recorded(&QUIET, &slower(2, &times)).overall(), Overall::Pass);
    assert_eq!(paired(&QUIET, &slower(2, &times), None).overall(), Overall::Inconclusive);
}

#[test]
fn recorded_runs_with_noise_or_without_cells_are_inconclusive() {
    let noisy = |seed| Twist { seed, noise: 0.1, ..QUIET };
    assert_eq!(recorded(&noisy(1), &noisy(2)).overall(), Overall::Inconclusive);
    let decision = recorded(&QUIET, &Twist { failed: &["tiny-14"], missing: &["tiny-09"], ..QUIET });
    let words: Vec<String> = others(&decision).into_iter().map(|(_, _, words)| words).collect();
    assert!(
        words.len() == 2 && words[0].starts_with("in B: missing") && words[1].starts_with("in B: failed"),
        "{words:?}"
    );
}

/// A run without rows whose manifest was changed is refused beside one whose manifest was not.
fn refused(change: impl FnOnce(&mut Manifest), parts: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    let manifest = write_twisted(folder.path(), false, &QUIET);
    let run = |manifest| Run::new(Path::new("run"), manifest, &[], &[]).unwrap();
    let mut changed = manifest.clone();
    change(&mut changed);
    let message = check_comparable(&run(manifest), &run(changed), false).unwrap_err().to_string();
    assert!(parts.iter().all(|part| message.contains(part)), "{message}");
}

#[test]
fn runs_of_different_experiments_models_and_machines_are_refused() {
    refused(|m| m.plan.experiment = "other".into(), &["different experiments", "synthetic", "other"]);
    refused(|m| m.plan.protocol.margin = 0.02, &["protocols differ", "margin 0.01", "margin 0.02"]);
    refused(|m| m.plan.workloads[0].tokens = 3, &["workloads differ", "16 tokens", "3 tokens"]);
    refused(|m| m.plan.cells[2].arm = "another".into(), &["different cells", "another on tiny"]);
    refused(|m| drop(m.plan.designs[0].contrasts.remove(0)), &["different contrasts", "ladder: unpack=lut"]);
    refused(|m| drop(m.environment.insert("model_sha256".into(), "abc".into())), &["different models", "abc"]);
    refused(|m| drop(m.environment.insert("cpu".into(), "Another CPU".into())), &["different machines", "Another CPU"]);
}

#[test]
fn what_may_differ_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let mut manifest = write_twisted(folder.path(), false, &QUIET);
    manifest.plan.protocol.blocks = BLOCKS + 1;
    manifest.environment.insert("rustc".into(), "rustc 2".into());
    write_manifest(folder.path(), &manifest).unwrap();
    let notes = check_comparable(&run(&QUIET), &Run::read(folder.path()).unwrap(), false).unwrap();
    assert_eq!(notes, ["`rustc` differs: not recorded in A, rustc 2 in B", "B has 10 of 11 blocks"]);
}

#[test]
fn quick_runs_decide_nothing_unless_they_are_allowed() {
    let folder = tempfile::tempdir().unwrap();
    write_twisted(folder.path(), true, &QUIET);
    let quick = || Run::read(folder.path()).unwrap();
    let error = check_comparable(&quick(), &quick(), false).unwrap_err();
    assert!(matches!(error, GateError::Quick { .. }) && error.to_string().contains("quick run"));
    let notes = check_comparable(&quick(), &quick(), true).unwrap();
    assert!(notes.iter().all(|note| note.contains("NOT CITABLE")) && notes.len() == 2, "{notes:?}");
}

#[test]
fn metrics_are_those_of_the_experiment() {
    let plan = run(&QUIET).manifest.plan;
    let asked = |names: &[&str]| chosen_metrics(&plan, &names.iter().map(ToString::to_string).collect::<Vec<_>>());
    assert_eq!(asked(&["kernel_time", "token_time", "kernel_time"]).unwrap(), ["token_time", "kernel_time"]);
    let Err(GateError::Metric { found, valid }) = asked(&["speed"]) else { panic!("`speed` was accepted") };
    assert!(found == "speed" && valid.contains(&"prefill_time".to_owned()));
}

/// One of each: a confirmed regression, one that was not confirmed, a failed cell, an improvement, the rest.
fn gate() -> Gate {
    let times = [ABOVE_ROOF, ("tiny-03", 1.05), ("tiny-05", 1.05), ("tiny-06", 0.9)];
    let confirmed = [ABOVE_ROOF, ("tiny-03", 1.05)];
    let b = Twist { failed: &["slice70b-02"], ..slower(2, &times) };
    let decision = paired(&QUIET, &b, Some([&slower(3, &[ABOVE_ROOF]), &slower(4, &confirmed)]));
    let keep = ["tiny-03", "tiny-05", "tiny-06", "tiny-08", "slice70b-02"];
    let cells = run(&QUIET).manifest.plan.cells;
    let arms: Vec<(String, String)> =
        cells.into_iter().filter(|c| keep.contains(&c.id.as_str())).map(|c| (c.workload, c.arm)).collect();
    let kept = |judgement: &Judgement| {
        arms.contains(&(judgement.question.workload.clone(), judgement.question.subject.clone()))
    };
    let judgements = decision.judgements.into_iter().filter(kept).collect();
    Gate {
        source: Source::Paired,
        experiment: "synthetic".into(),
        metrics: metrics(),
        sides: ["origin/main: commit 0123".into(), "this checkout: commit 4567, dirty".into()],
        decision: Decision { terms: TERMS, judgements },
        notes: vec!["samples are in results/gate/x".into()],
    }
}

#[test]
fn text_for_people() {
    insta::assert_snapshot!(text(&gate()));
}

#[test]
fn markdown_for_a_step() {
    insta::assert_snapshot!(summary(&gate()));
}

#[test]
fn annotations_for_a_log() {
    insta::assert_snapshot!(annotations(&gate()));
}

#[test]
fn junit_for_a_server() {
    insta::assert_snapshot!(junit(&gate()).unwrap());
}

/// More than GitHub shows, and text that would end a command.
#[test]
fn annotations_are_few_and_escaped() {
    let mut gate = gate();
    let mut open = gate.decision.judgements.iter().find(|j| j.verdict == Verdict::Inconclusive).unwrap().clone();
    open.objection = Some("50%\nof it".into());
    gate.decision.judgements = vec![open; 12];
    let text = annotations(&gate);
    assert_eq!(text.lines().count(), 10);
    assert!(text.lines().all(|line| line.starts_with("::warning title=bench gate::inconclusive: ")));
    assert!(text.contains("50%25%0Aof it") && text.ends_with("inconclusive: 3 more questions\n"), "{text}");
}

/// Two arms in two blocks of each side: what they share stands above.
#[test]
fn go_benchmarks_of_both_sides() {
    let side = |seed| {
        let folder = tempfile::tempdir().unwrap();
        write_twisted(folder.path(), false, &Twist { seed, ..QUIET });
        let manifest = read_manifest(folder.path()).unwrap();
        let (mut rows, _) = read_rows::<Sample>(folder.path(), &manifest).unwrap();
        rows.retain(|row| {
            row.block < 2 && row.phase == Phase::Measure && ["tiny-00", "tiny-02"].contains(&row.cell_id.as_str())
        });
        rows.iter_mut().for_each(|row| row.value = row.value.round());
        Run::new(Path::new("run"), manifest, &rows, &[]).unwrap()
    };
    let (a, b) = (side(1), side(2));
    insta::assert_snapshot!(go_bench(&[(Side::A, &a), (Side::B, &b)]));
}
