//! The steps of a factorial design as factors: each is on or off, and every combination is a cell.

use std::collections::BTreeMap;

use septet_kernels::{Isa, Level};

use super::{Expansion, Pair, changes_nothing, label};
use crate::{
    arm::Arm,
    plan::{DesignKind, Factor, Factorial, MAX_FACTORS, Workload},
    spec::{DesignSpec, SpecError, StepSpec},
};

/// What tables call all factors on, against all off.
const ALL_ON: &str = "all on";

impl Expansion<'_> {
    /// The one contrast of a factorial design: all factors on against `from`, where all are off.
    pub(super) fn all_on(&self, design: &DesignSpec, from: Arm, steps: &[StepSpec]) -> Result<Vec<Pair>, SpecError> {
        if !(2..=MAX_FACTORS).contains(&steps.len()) {
            let found = steps.len();
            let message = format!("a factorial design with {found} steps; valid: 2 to {MAX_FACTORS}, each a factor");
            return Err(self.spec.error(design.name.span(), message, None));
        }
        // Alone, each changes something, under a label of its own.
        self.pairs(DesignKind::AddOneIn, from, steps)?;
        let mut taken: BTreeMap<&str, String> = BTreeMap::new();
        for step in steps {
            if let Some(axis) = step.context.as_ref().and_then(|context| context.keys().next()) {
                let message = "a factor has no `context`: it is measured under every combination of the others";
                return Err(self.spec.error(axis.span(), message, None));
            }
            for axis in step.set.get_ref().keys() {
                if let Some(other) = taken.insert(axis.get_ref(), label(step)) {
                    let message = format!("axis `{}` belongs to the factor `{other}` already", axis.get_ref());
                    let help = "give each factor axes of its own: both are on in some cells".to_owned();
                    return Err(self.spec.error(axis.span(), message, help));
                }
            }
        }
        let arm = steps.iter().try_fold(from, |arm, step| self.apply(arm, step.set.get_ref()))?;
        Ok(vec![Pair { step: ALL_ON.to_owned(), arm, reference: from, published: None }])
    }

    /// Every combination of the steps on a workload. Without cells, and with a note for each combination
    /// that cannot exist, if there is one: effects need them all.
    pub(super) fn factorial(
        &mut self,
        design: &str,
        workload: &Workload,
        from: Arm,
        steps: &[StepSpec],
    ) -> Result<Factorial, SpecError> {
        let factors = steps
            .iter()
            .map(|step| Ok(Factor { label: label(step), published: self.published(step.published.as_ref())? }))
            .collect::<Result<Vec<_>, SpecError>>()?;
        let mut factorial = Factorial { workload: workload.name.clone(), factors, cells: Vec::new() };
        let mut complete = true;
        for step in steps.iter().filter(|step| step.set.get_ref().keys().any(|axis| axis.get_ref() == Isa::AXIS)) {
            if self.apply(from, step.set.get_ref())? == from {
                complete = false;
                self.leave_out(design, &label(step), workload, changes_nothing());
            }
        }
        let mut arms = Vec::new();
        for set in 0..factorial.size() {
            let on = steps.iter().enumerate().filter(|(at, _)| (set >> at) & 1 == 1);
            let arm = on.map(|(_, step)| step).try_fold(from, |arm, step| self.apply(arm, step.set.get_ref()))?;
            if let Some(reason) = self.why_not(workload, &[arm]) {
                complete = false;
                let point = if set == 0 { "all off".to_owned() } else { factorial.label(set, " + ") };
                self.leave_out(design, &point, workload, reason);
            }
            arms.push(arm);
        }
        if complete {
            factorial.cells = arms.into_iter().map(|arm| self.cell(workload, arm, None)).collect();
        }
        Ok(factorial)
    }
}
