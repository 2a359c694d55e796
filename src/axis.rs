//! Every factor of an experiment with its levels, in one list.
//!
//! Some axes are *compiled*: each of their points is a kernel of its own. The others are *data*:
//! any kernel serves each of their levels, but for `shape`, whose second level some kernels alone have.

use septet_kernels::{Blocking, Granularity, Isa, Layout, Level, Pages, Prefetch, Shape, Unpack, Unroll};

use crate::arm::{ActivationUse, ArmFormat, Epilogue, KvCache, Prefill, Regions, WhoseKernel};

/// Every axis, compiled ones first.
pub static AXES: &[Axis] = &[
    Axis::compiled::<ArmFormat>(),
    Axis::compiled::<Layout>(),
    Axis::compiled::<Unpack>(),
    Axis::compiled::<Unroll>(),
    Axis::compiled::<Isa>(),
    Axis::data::<Granularity>(),
    Axis::data::<Prefetch>(),
    Axis::data::<Blocking>(),
    Axis::data::<Shape>(),
    Axis::data::<Epilogue>(),
    Axis::data::<ActivationUse>(),
    Axis::data::<Prefill>(),
    Axis::data::<Regions>(),
    Axis::data::<Pages>(),
    Axis::data::<KvCache>(),
    Axis::data::<WhoseKernel>(),
];

/// A factor: its name and its levels.
#[derive(Clone, Copy, Debug)]
pub struct Axis {
    /// Name on the command line, in experiments and as a column.
    pub name: &'static str,
    /// Whether each level is a kernel of its own.
    pub compiled: bool,
    levels: fn() -> Vec<(&'static str, &'static str)>,
}

impl Axis {
    const fn compiled<L: Level>() -> Self {
        Self { name: L::AXIS, compiled: true, levels: described::<L> }
    }

    const fn data<L: Level>() -> Self {
        Self { name: L::AXIS, compiled: false, levels: described::<L> }
    }

    /// Whether a level stands in the names of kernels: all levels of a compiled axis do but `mixed`,
    /// which chooses among the others for each tensor.
    pub fn names_kernels(&self, level: &str) -> bool {
        self.compiled && level != ArmFormat::Mixed.name()
    }

    /// Name and one-line description of each level.
    pub fn levels(&self) -> Vec<(&'static str, &'static str)> {
        (self.levels)()
    }
}

fn described<L: Level>() -> Vec<(&'static str, &'static str)> {
    L::ALL.iter().map(|level| (level.name(), level.about())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_plain_and_unique() {
        let plain = |name: &str| name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
        for (i, axis) in AXES.iter().enumerate() {
            assert!(plain(axis.name) && AXES[..i].iter().all(|other| other.name != axis.name));
            let levels = axis.levels();
            for (j, (name, about)) in levels.iter().enumerate() {
                assert!(plain(name) && !about.is_empty() && levels[..j].iter().all(|other| other.0 != *name));
            }
        }
    }
}
