//! Every kernel of the crate, in one place.
//!
//! The functions of `Registry` form a staircase: each is one axis with its values in plain sight,
//! and calls the next. A new format or layout is a line in `all`, a new strategy a line in
//! `Registry::stored`. Vector instruction sets are those of `isa::visit_all`.

use std::{marker::PhantomData, sync::LazyLock};

use crate::{
    block::Block,
    error::Missing,
    format::{PairFormat, W3, W3p5, W4},
    gemv::Blocking,
    isa::{self, Isa, Vector, Visit, rows, scalar, stripes},
    layout::{BytePerPair, Dense, Layout, PairLayout},
    unpack::{BitParallel, Branch, Lut, ScalarUnpack, Select, Unpack, VectorUnpack},
    variant::{Unroll, Variant},
};

fn all(r: &mut Registry) {
    r.stored::<W4, Dense>();
    r.stored::<W3p5, Dense>();
    r.stored::<W3p5, BytePerPair>();
    r.stored::<W3, Dense>();
    r.striped::<W4>();
    r.striped::<W3p5>();
    r.striped::<W3>();
}

impl Registry {
    fn stored<F: PairFormat, L: PairLayout>(&mut self) {
        self.scalar::<F, L, Branch>();
        self.scalar::<F, L, Select>();
        self.scalar::<F, L, Lut>();
        self.scalar::<F, L, BitParallel>();
        self.vector::<F, L, Select>();
        self.vector::<F, L, Lut>();
        self.vector::<F, L, BitParallel>();
    }

    fn scalar<F: PairFormat, L: PairLayout, U: ScalarUnpack>(&mut self) {
        let point = Self::point::<F, L>(U::UNPACK, Isa::Scalar);
        self.push(point(Unroll::U1), scalar::rows::<F, L, U, 1, false>, scalar::rows::<F, L, U, 1, true>);
        self.push(point(Unroll::U4), scalar::rows::<F, L, U, 4, false>, scalar::rows::<F, L, U, 4, true>);
    }

    fn vector<F: PairFormat, L: PairLayout, U: VectorUnpack>(&mut self) {
        isa::visit_all(&mut OnEach { registry: self, point: PhantomData::<(F, L, U)> });
    }

    fn on<F: PairFormat, L: PairLayout, U: VectorUnpack, V: Vector>(&mut self) {
        let point = Self::point::<F, L>(U::UNPACK, V::ISA);
        self.push(point(Unroll::U1), rows::rows::<F, L, U, V, 1, false>, rows::rows::<F, L, U, V, 1, true>);
        self.push(point(Unroll::U4), rows::rows::<F, L, U, V, 4, false>, rows::rows::<F, L, U, V, 4, true>);
    }

    fn striped<F: PairFormat>(&mut self) {
        let point = Self::striped_point::<F>(Isa::Scalar);
        self.push(point(Unroll::U1), scalar::stripes::<F, false>, scalar::stripes::<F, true>);
        isa::visit_all(&mut OnEach { registry: self, point: PhantomData::<F> });
    }

    fn stripes_on<F: PairFormat, V: Vector>(&mut self) {
        let point = Self::striped_point::<F>(V::ISA);
        self.push(point(Unroll::U1), stripes::stripes::<F, V, 1, false>, stripes::stripes::<F, V, 1, true>);
        self.push(point(Unroll::U4), stripes::stripes::<F, V, 4, false>, stripes::stripes::<F, V, 4, true>);
    }

    fn striped_point<F: PairFormat>(isa: Isa) -> impl Fn(Unroll) -> Variant {
        move |unroll| Variant { format: F::FORMAT, layout: Layout::Rows16, unpack: Unpack::BitParallel, unroll, isa }
    }

    fn point<F: PairFormat, L: PairLayout>(unpack: Unpack, isa: Isa) -> impl Fn(Unroll) -> Variant {
        move |unroll| Variant { format: F::FORMAT, layout: L::LAYOUT, unpack, unroll, isa }
    }

    fn push(&mut self, variant: Variant, plain: RowsFn, prefetching: RowsFn) {
        self.0.push(Kernel { variant, plain, prefetching });
    }
}

/// Kernels being collected.
struct Registry(Vec<Kernel>);

/// Registers a point, layout and strategy or a format in `rows16`, on each vector instruction set.
struct OnEach<'a, P> {
    registry: &'a mut Registry,
    point: PhantomData<P>,
}

impl<F: PairFormat, L: PairLayout, U: VectorUnpack> Visit for OnEach<'_, (F, L, U)> {
    fn visit<V: Vector>(&mut self) {
        self.registry.on::<F, L, U, V>();
    }
}

impl<F: PairFormat> Visit for OnEach<'_, F> {
    fn visit<V: Vector>(&mut self) {
        self.registry.stripes_on::<F, V>();
    }
}

static KERNELS: LazyLock<Vec<Kernel>> = LazyLock::new(|| {
    let mut registry = Registry(Vec::new());
    all(&mut registry);
    registry.0.sort_by_key(|kernel| kernel.variant);
    registry.0
});

/// Every kernel, sorted by variant; also those that this CPU cannot run.
pub fn kernels() -> &'static [Kernel] {
    &KERNELS
}

/// The kernel of a variant, if it is feasible and compiled for this architecture.
pub fn find(variant: Variant) -> Option<&'static Kernel> {
    kernels().binary_search_by_key(&variant, |kernel| kernel.variant).ok().map(|at| &kernels()[at])
}

/// A compiled kernel: products of a block of rows.
pub(crate) type RowsFn = fn(&mut Block<'_>);

/// One point of the product, compiled; any machine may list it.
#[derive(Clone, Copy, Debug)]
pub struct Kernel {
    /// Which point.
    pub variant: Variant,
    plain: RowsFn,
    prefetching: RowsFn,
}

impl Kernel {
    /// The kernel as something that may run.
    ///
    /// # Errors
    /// [`Missing`], if this CPU lacks the instruction set.
    pub fn bind(&self) -> Result<BoundKernel, Missing> {
        let isa = self.variant.isa;
        let bound = BoundKernel { kernel: *self, blocking: Blocking::Full };
        if isa.is_available() { Ok(bound) } else { Err(Missing { isa, needs: isa.needs() }) }
    }

    /// Where the compiled code begins, for disassembly.
    pub fn code_address(&self, prefetching: bool) -> usize {
        (if prefetching { self.prefetching } else { self.plain }) as usize
    }
}

/// A kernel that this CPU can run.
#[derive(Clone, Copy, Debug)]
pub struct BoundKernel {
    kernel: Kernel,
    blocking: Blocking,
}

impl BoundKernel {
    /// Which point of the product.
    pub fn variant(&self) -> Variant {
        self.kernel.variant
    }

    /// The same kernel, taking matrices in such blocks; a bound kernel takes rows as a whole.
    pub fn with_blocking(self, blocking: Blocking) -> Self {
        Self { blocking, ..self }
    }

    /// The blocks that matrices are taken in.
    pub fn blocking(&self) -> Blocking {
        self.blocking
    }

    /// The compiled function, with or without software prefetch.
    pub(crate) fn rows(&self, prefetching: bool) -> RowsFn {
        if prefetching { self.kernel.prefetching } else { self.kernel.plain }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_registry_holds_exactly_the_feasible_points() {
        let sets = isa::compiled();
        let mut registered: Vec<Variant> = kernels().iter().map(|k| k.variant).collect();
        assert_eq!(registered.len(), 35 + 30 * (sets.len() - 1));
        registered.dedup();
        let mut expected: Vec<Variant> =
            Variant::product().filter(|v| v.infeasible().is_none() && sets.contains(&v.isa)).collect();
        expected.sort();
        assert_eq!(registered, expected);
    }
}
