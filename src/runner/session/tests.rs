//! Runs whose blocks are shell scripts: what the parent makes of each way in which a block can end.

use super::*;
use crate::runner::{
    block::Event,
    fake::{self, ceiling, plan, samples},
    resume::finished,
};

/// A run in `dir` whose blocks are run by a shell script with this text.
fn session(dir: &Path, plan: Plan, script: &str) -> Session {
    let (manifest, program) = (fake::manifest(plan), fake::program(dir, script));
    write_manifest(dir, &manifest).unwrap();
    Session::new(dir, manifest, program, &Stop::default())
}

/// A script that runs `fault` in the second cell.
fn faulty(dir: &Path, plan: &Plan, fault: &str) -> String {
    fake::script(dir, plan, Some((1, fault)))
}

#[test]
fn a_crash_voids_its_block_and_fails_its_cell() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    let plan = plan();
    let script = faulty(dir, &plan, "kill -SEGV $$");
    let mut session = session(dir, plan.clone(), &script);
    let ending = session.run(&Progress::new(6)).unwrap();
    let crashed = plan.cells[1].id.clone();
    assert_eq!(ending, Ending::Complete { failed: BTreeSet::from([crashed.clone()]) });

    let (failures, _) = read_rows_if_any::<FailureRow>(dir, &session.manifest).unwrap();
    assert!(failures.len() == 1 && failures[0].block == 0 && failures[0].cell_id == crashed, "{failures:?}");
    assert!(failures[0].reason.contains("ended early: signal: 11"), "{failures:?}");
    let (partial, _) = read_rows_if_any::<PartialSample>(dir, &session.manifest).unwrap();
    assert!(!partial.is_empty() && partial.iter().all(|row| row.0.cell_id == plan.cells[0].id));
    let (samples, _) = read_rows_if_any::<Sample>(dir, &session.manifest).unwrap();
    assert!(samples.iter().all(|sample| sample.cell_id != crashed));
    let (ceilings, _) = read_rows_if_any::<CeilingRow>(dir, &session.manifest).unwrap();
    assert_eq!(ceilings, [ceiling(0), ceiling(1)], "once for each complete block");
    assert_eq!(finished(&session.manifest, &samples, &failures), BTreeSet::from([0, 1]));
    assert_eq!(finished(&session.manifest, &samples[..samples.len() - 1], &failures), BTreeSet::from([0]));
    assert_eq!(finished(&session.manifest, &samples, &[]), BTreeSet::new(), "a cell is missing without a reason");
}

/// Every way in which a cell can fail voids its block and no other, and says what happened.
#[test]
fn a_cell_that_hangs_exits_or_is_wrong_fails_alone() {
    let plan = plan();
    let id = &plan.cells[1].id;
    let wrong = format!("echo '{{\"failed\":{{\"cell\":\"{id}\",\"reason\":\"wrong output\"}}}}'; exit 0");
    let faults = [
        ("exec sleep 60", "no sign of life for 1 s"),
        ("exit 3", "ended early: exit status: 3"),
        ("exit 0", "ended early: exit status: 0"),
        ("kill -KILL $$", "ended early: signal: 9"),
        (wrong.as_str(), "wrong output"),
    ];
    for (fault, reason) in faults {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path();
        let mut session = session(dir, plan.clone(), &faulty(dir, &plan, fault));
        session.silence = Duration::from_secs(1);
        let ending = session.run(&Progress::new(6)).unwrap();
        assert_eq!(ending, Ending::Complete { failed: BTreeSet::from([id.clone()]) }, "{fault}");
        let (failures, _) = read_rows_if_any::<FailureRow>(dir, &session.manifest).unwrap();
        assert!(failures.len() == 1 && failures[0].reason.contains(reason), "{fault}: {failures:?}");
        let (samples, _) = read_rows_if_any::<Sample>(dir, &session.manifest).unwrap();
        assert_eq!(finished(&session.manifest, &samples, &failures), BTreeSet::from([0, 1]), "{fault}");
        let tries: Vec<(u32, BlockStatus)> = tries(&session).iter().map(|row| (row.block, row.status)).collect();
        let expected = [(0, BlockStatus::Failed), (0, BlockStatus::Complete), (1, BlockStatus::Complete)];
        assert_eq!(tries, expected, "{fault}");
        assert!(!dir.join(OpenSample::FILE).exists());
    }
}

fn tries(session: &Session) -> Vec<BlockRow> {
    read_rows_if_any::<BlockRow>(&session.dir, &session.manifest).unwrap().0
}

/// The first try at block 0 is preempted throughout: it is put back, and its rows are partial.
#[test]
fn a_disturbed_block_is_run_again_at_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    let plan = plan();
    let script = faulty(dir, &plan, "true");
    for cell in &plan.cells {
        let mut rows = samples(&plan, cell, 0);
        rows.iter_mut().for_each(|row| row.flags = "preempted".to_owned());
        let event = serde_json::to_string(&Event::Samples(rows)).unwrap();
        fs::write(dir.join(format!("{}.disturbed", cell.id)), event + "\n").unwrap();
    }
    let once = format!("if [ $3 = 0 ] && mkdir '{0}/once' 2>/dev/null; then block=disturbed; fi\n", dir.display());
    let ceilings = dir.join("ceilings.disturbed");
    fs::copy(dir.join("ceilings.0"), ceilings).unwrap();
    let script = script.replacen("block=$3\n", &format!("block=$3\n{once}"), 1);
    let mut session = session(dir, plan.clone(), &script);
    let ending = session.run(&Progress::new(6)).unwrap();
    assert_eq!(ending, Ending::Complete { failed: BTreeSet::new() });
    let found: Vec<(u32, BlockStatus, u32)> =
        tries(&session).iter().map(|row| (row.block, row.status, row.disturbed)).collect();
    let expected = [(0, BlockStatus::Requeued, 3), (1, BlockStatus::Complete, 0), (0, BlockStatus::Complete, 0)];
    assert_eq!(found, expected);
    let (partial, _) = read_rows_if_any::<PartialSample>(dir, &session.manifest).unwrap();
    assert!(!partial.is_empty() && partial.iter().all(|row| row.0.block == 0 && row.0.flags == "preempted"));
    let (samples, _) = read_rows_if_any::<Sample>(dir, &session.manifest).unwrap();
    assert!(samples.iter().all(|row| row.flags.is_empty()));
    assert_eq!(finished(&session.manifest, &samples, &[]), BTreeSet::from([0, 1]));
}

#[test]
fn a_program_that_breaks_the_protocol_ends_the_run() {
    let folder = tempfile::tempdir().unwrap();
    let message = |script: &str| {
        let mut session = session(folder.path(), plan(), script);
        session.run(&Progress::new(6)).unwrap_err().to_string()
    };
    assert!(message("echo nonsense").contains("wrote `nonsense`"));
    assert!(message("exit 7").contains("block 0: its process ended early: exit status: 7"));
}
