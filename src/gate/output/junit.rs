//! JUnit XML: a test case for each question. A regression is a failure, and what has no answer is skipped.

use quick_junit::{NonSuccessKind, Report, SerializeError, TestCase, TestCaseStatus, TestSuite};

use super::{numbers, sentence};
use crate::{
    gate::{Gate, Judgement},
    stats::verdict::Verdict,
};

/// The XML file.
///
/// # Errors
/// If the XML library fails, which text without control characters does not cause.
pub fn junit(gate: &Gate) -> Result<String, SerializeError> {
    let mut suite = TestSuite::new(gate.experiment.as_str());
    suite.add_property(("a", gate.sides[0].as_str()));
    suite.add_property(("b", gate.sides[1].as_str()));
    suite.add_property(("ratio", gate.source.ratio()));
    suite.add_property(("verdict", gate.decision.overall().to_string().as_str()));
    suite.add_test_cases(gate.decision.judgements.iter().map(case));
    let mut report = Report::new("bench gate");
    report.add_test_suite(suite);
    report.to_string()
}

fn case(judgement: &Judgement) -> TestCase {
    let mut status = match judgement.verdict {
        Verdict::Improvement | Verdict::Equivalent => TestCaseStatus::success(),
        Verdict::Regression => TestCaseStatus::non_success(NonSuccessKind::Failure),
        Verdict::Inconclusive => TestCaseStatus::skipped(),
    };
    if matches!(judgement.verdict, Verdict::Regression | Verdict::Inconclusive) {
        status.set_message(sentence(judgement));
    }
    let mut case = TestCase::new(judgement.question.subject.as_str(), status);
    case.set_classname(format!("{}.{}", judgement.question.workload, judgement.question.metric));
    let [ratio, p, detectable] = numbers(judgement);
    for (name, value) in
        [("verdict", judgement.verdict.to_string()), ("ratio", ratio), ("p_adjusted", p), ("detectable", detectable)]
    {
        case.add_property((name, value.as_str()));
    }
    case
}
