//! The forms that the weights of arms are stored in, and how they came to lie in memory.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use septet_kernels::{Format, Granularity, HUGE_PAGE, Layout, Level, PackedMatrix, Pages};

use crate::{
    arm::{Arm, ArmFormat},
    mixed::MixedFormats,
    model::{Config, Linear, LinearSet, Place, Storage},
    pages::Mappings,
    plan::Workload,
    record::WeightsRow,
    runner::RunError,
};

/// What the stored weights of arms may differ in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stored {
    pub format: ArmFormat,
    pub granularity: Granularity,
    pub layout: Layout,
    pub pages: Pages,
}

impl From<&Arm> for Stored {
    fn from(arm: &Arm) -> Self {
        Self { format: arm.format, granularity: arm.granularity, layout: arm.layout, pages: arm.pages }
    }
}

impl Stored {
    /// The forms of our own that `arms` need, each once.
    pub fn of_all(arms: &[Arm]) -> Vec<Self> {
        let forms: BTreeSet<Self> = arms.iter().filter(|arm| arm.peer.is_none()).map(Self::from).collect();
        forms.into_iter().collect()
    }

    /// Bytes that the last page of each of `matrices` matrices may waste.
    pub fn slack(self, matrices: usize) -> usize {
        if self.pages == Pages::System { 0 } else { matrices * HUGE_PAGE }
    }

    /// How each linear layer of a model of this configuration is kept.
    ///
    /// # Errors
    /// No sensitivity table to choose mixed formats by.
    pub fn storage(self, config: &Config) -> Result<impl Fn(Place) -> Storage, RunError> {
        let Self { granularity, layout, format, .. } = self;
        let format_at: Box<dyn Fn(Place) -> Format + Send + Sync> = match format {
            ArmFormat::Uniform(format) => Box::new(move |_| format),
            ArmFormat::Mixed => {
                let mixed = MixedFormats::for_model(config)?;
                Box::new(move |place| mixed.format(place))
            }
        };
        Ok(move |place| Storage::Quantized { format: format_at(place), layout, granularity })
    }
}

/// Equal copies of some weights at distinct addresses, in one form.
pub struct Stowed<T> {
    pub stored: Stored,
    pub copies: Vec<T>,
    /// How long it took to put the codes of one copy into their layout.
    pub packing: Duration,
}

impl Stowed<LinearSet> {
    /// `sets`, moved into the pages of their form.
    pub fn moved(stored: Stored, sets: Vec<LinearSet>, packing: Duration) -> Self {
        let moved = |set: LinearSet| if stored.pages == Pages::System { set } else { set.duplicate_in(stored.pages) };
        Self { stored, copies: sets.into_iter().map(moved).collect(), packing }
    }
}

/// Weights that lie in packed matrices.
pub trait Packed {
    /// Each matrix.
    fn matrices(&self) -> impl Iterator<Item = &PackedMatrix>;
}

impl Packed for Arc<PackedMatrix> {
    fn matrices(&self) -> impl Iterator<Item = &PackedMatrix> {
        std::iter::once(&**self)
    }
}

impl Packed for LinearSet {
    fn matrices(&self) -> impl Iterator<Item = &PackedMatrix> {
        self.iter().filter_map(|linear| match linear {
            Linear::F32(_) => None,
            Linear::Quantized(matrix) => Some(&**matrix),
        })
    }
}

impl<T: Packed> Stowed<T> {
    /// What is recorded of them in a block of `workload`. `fresh` says whether they were made for it.
    pub fn row(&self, workload: &Workload, mappings: Option<&Mappings>, fresh: bool) -> WeightsRow {
        let matrices = || self.copies.iter().flat_map(T::matrices);
        // Without what may be read behind the last code.
        let codes = || {
            matrices().map(|matrix| {
                let start = matrix.code_addresses().start;
                start..start + matrix.stripes() * matrix.stripe_bytes()
            })
        };
        let Stored { format, granularity, layout, pages } = self.stored;
        WeightsRow {
            session: 0,
            block: 0,
            workload: workload.name.clone(),
            format: format.name().to_owned(),
            granularity: granularity.name().to_owned(),
            layout: layout.name().to_owned(),
            pages: pages.name().to_owned(),
            copies: self.copies.len() as u64,
            bytes: matrices().map(|matrix| matrix.stored_bytes() as u64).sum(),
            code_bytes: codes().map(|addresses| addresses.len() as u64).sum(),
            huge_bytes: mappings.map(|mappings| codes().map(|addresses| mappings.huge_bytes(&addresses)).sum()),
            pack_ns: fresh.then(|| (self.packing.as_nanos() as u64).max(1)),
        }
    }
}
