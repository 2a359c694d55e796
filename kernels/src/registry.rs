//! Every kernel of the crate, in one place.
//!
//! The functions of `Registry` form a staircase: each is one axis with its values in plain sight,
//! and calls the next. A new format or layout is a line in `all`, a new strategy a line in
//! `Registry::stored`. Vector instruction sets are those of `isa::visit_all`.

use std::{marker::PhantomData, sync::LazyLock};

use crate::{
    block::Block,
    error::{Missing, UncompiledShape},
    format::{PairFormat, W3, W3p5, W4},
    gemv::Blocking,
    granularity::{Granularity, MAX_SEGMENT},
    isa::{self, Isa, Vector, Visit, rows, scalar, stripes},
    layout::{BytePerPair, Dense, Layout, PairLayout},
    packed::PackedMatrix,
    shape::{ANY, COMPILED_COLS, Shape},
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
    r.shaped::<W4>();
    r.shaped::<W3p5>();
    r.shaped::<W3>();
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
        let (u1, u4) = (scalar::rows::<F, L, U, 1, false>, scalar::rows::<F, L, U, 4, false>);
        self.push(point(Unroll::U1), Instance { plain: u1, prefetching: scalar::rows::<F, L, U, 1, true> });
        self.push(point(Unroll::U4), Instance { plain: u4, prefetching: scalar::rows::<F, L, U, 4, true> });
    }

    fn vector<F: PairFormat, L: PairLayout, U: VectorUnpack>(&mut self) {
        isa::visit_all(&mut OnEach { registry: self, point: PhantomData::<(F, L, U)> });
    }

    fn on<F: PairFormat, L: PairLayout, U: VectorUnpack, V: Vector>(&mut self) {
        let point = Self::point::<F, L>(U::UNPACK, V::ISA);
        self.push(point(Unroll::U1), rows_of::<F, L, U, V, 1, ANY>());
        self.push(point(Unroll::U4), rows_of::<F, L, U, V, 4, ANY>());
    }

    fn striped<F: PairFormat>(&mut self) {
        let point = Self::striped_point::<F>(Isa::Scalar);
        let (plain, prefetching) = (scalar::stripes::<F, false>, scalar::stripes::<F, true>);
        self.push(point(Unroll::U1), Instance { plain, prefetching });
        isa::visit_all(&mut OnEach { registry: self, point: PhantomData::<F> });
    }

    fn stripes_on<F: PairFormat, V: Vector>(&mut self) {
        let point = Self::striped_point::<F>(V::ISA);
        self.push(point(Unroll::U1), stripes_of::<F, V, 1, ANY>());
        self.push(point(Unroll::U4), stripes_of::<F, V, 4, ANY>());
    }

    /// Instances of compile-time shapes, of kernels that are registered already.
    fn shaped<F: PairFormat>(&mut self) {
        isa::visit_all(&mut OnEach { registry: self, point: PhantomData::<Shaped<F>> });
    }

    fn shapes_on<F: PairFormat, V: Vector>(&mut self) {
        const SHORT: usize = COMPILED_COLS[0] / MAX_SEGMENT;
        const LONG: usize = COMPILED_COLS[1] / MAX_SEGMENT;
        let dense = Self::point::<F, Dense>(Unpack::BitParallel, V::ISA)(Unroll::U4);
        let rows16 = Self::striped_point::<F>(V::ISA);
        self.compile(
            dense,
            [rows_of::<F, Dense, BitParallel, V, 4, SHORT>(), rows_of::<F, Dense, BitParallel, V, 4, LONG>()],
        );
        self.compile(rows16(Unroll::U1), [stripes_of::<F, V, 1, SHORT>(), stripes_of::<F, V, 1, LONG>()]);
        self.compile(rows16(Unroll::U4), [stripes_of::<F, V, 4, SHORT>(), stripes_of::<F, V, 4, LONG>()]);
    }

    fn striped_point<F: PairFormat>(isa: Isa) -> impl Fn(Unroll) -> Variant {
        move |unroll| Variant { format: F::FORMAT, layout: Layout::Rows16, unpack: Unpack::BitParallel, unroll, isa }
    }

    fn point<F: PairFormat, L: PairLayout>(unpack: Unpack, isa: Isa) -> impl Fn(Unroll) -> Variant {
        move |unroll| Variant { format: F::FORMAT, layout: L::LAYOUT, unpack, unroll, isa }
    }

    fn push(&mut self, variant: Variant, of_any_shape: Instance) {
        self.0.push(Kernel { variant, of_any_shape, of_shapes: None });
    }

    fn compile(&mut self, variant: Variant, shapes: [Instance; COMPILED_COLS.len()]) {
        let kernel = self.0.iter_mut().find(|kernel| kernel.variant == variant);
        kernel.expect("kernels are registered before their shapes").of_shapes = Some(shapes);
    }
}

fn rows_of<F, L, U, V, const UNROLL: usize, const SEGMENTS: usize>() -> Instance
where
    F: PairFormat,
    L: PairLayout,
    U: VectorUnpack,
    V: Vector,
{
    Instance {
        plain: rows::rows::<F, L, U, V, UNROLL, false, SEGMENTS>,
        prefetching: rows::rows::<F, L, U, V, UNROLL, true, SEGMENTS>,
    }
}

fn stripes_of<F: PairFormat, V: Vector, const STRIPES: usize, const SEGMENTS: usize>() -> Instance {
    Instance {
        plain: stripes::stripes::<F, V, STRIPES, false, SEGMENTS>,
        prefetching: stripes::stripes::<F, V, STRIPES, true, SEGMENTS>,
    }
}

/// Kernels being collected.
struct Registry(Vec<Kernel>);

/// A format whose kernels are compiled for some shapes.
struct Shaped<F>(PhantomData<F>);

/// Registers a point, layout and strategy or a format in `rows16`, or its shapes, on each vector
/// instruction set.
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

impl<F: PairFormat> Visit for OnEach<'_, Shaped<F>> {
    fn visit<V: Vector>(&mut self) {
        self.registry.shapes_on::<F, V>();
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

/// A compiled kernel, without and with software prefetch.
#[derive(Clone, Copy, Debug)]
struct Instance {
    plain: RowsFn,
    prefetching: RowsFn,
}

impl Instance {
    fn rows(self, prefetching: bool) -> RowsFn {
        if prefetching { self.prefetching } else { self.plain }
    }
}

/// One point of the product, compiled; any machine may list it.
#[derive(Clone, Copy, Debug)]
pub struct Kernel {
    /// Which point.
    pub variant: Variant,
    of_any_shape: Instance,
    /// For each of [`COMPILED_COLS`].
    of_shapes: Option<[Instance; COMPILED_COLS.len()]>,
}

impl Kernel {
    /// The kernel as something that may run.
    ///
    /// # Errors
    /// [`Missing`], if this CPU lacks the instruction set.
    pub fn bind(&self) -> Result<BoundKernel, Missing> {
        let isa = self.variant.isa;
        let bound =
            BoundKernel { kernel: *self, instance: self.of_any_shape, shape: Shape::Runtime, blocking: Blocking::Full };
        if isa.is_available() { Ok(bound) } else { Err(Missing { isa, needs: isa.needs() }) }
    }

    /// Columns of matrices, under [`Granularity::Group128`], that it is compiled for; none of most kernels.
    pub fn compiled_cols(&self) -> &'static [usize] {
        if self.of_shapes.is_some() { &COMPILED_COLS } else { &[] }
    }

    /// The instance that is compiled for so many columns, if there is one.
    fn of_cols(&self, cols: usize) -> Option<Instance> {
        let at = COMPILED_COLS.iter().position(|compiled| *compiled == cols)?;
        self.of_shapes.map(|shapes| shapes[at])
    }

    /// Where its code begins, for disassembly: the code for any shape, or that compiled for so many columns,
    /// if there is such code.
    pub fn code_address(&self, prefetching: bool, cols: Option<usize>) -> Option<usize> {
        let instance = cols.map_or(Some(self.of_any_shape), |cols| self.of_cols(cols))?;
        Some(instance.rows(prefetching) as usize)
    }
}

/// A kernel that this CPU can run.
#[derive(Clone, Copy, Debug)]
pub struct BoundKernel {
    kernel: Kernel,
    instance: Instance,
    shape: Shape,
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

    /// The same kernel, with the code that is compiled for the columns of `weights`. It then multiplies
    /// matrices of that shape alone, in whole rows.
    ///
    /// # Errors
    /// [`UncompiledShape`], if the kernel is compiled for others or for none.
    pub fn with_shape_of(self, weights: &PackedMatrix) -> Result<Self, UncompiledShape> {
        let (cols, granularity) = (weights.cols(), weights.granularity());
        let instance = self.kernel.of_cols(cols).filter(|_| granularity == Granularity::Group128);
        let Kernel { variant, .. } = self.kernel;
        let compiled = || self.kernel.compiled_cols().to_vec();
        let instance = instance.ok_or_else(|| UncompiledShape { variant, cols, granularity, compiled: compiled() })?;
        Ok(Self { instance, shape: Shape::CompileTime, ..self })
    }

    /// Whether its code is compiled for one K.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// The compiled function, with or without software prefetch.
    pub(crate) fn rows(&self, prefetching: bool) -> RowsFn {
        self.instance.rows(prefetching)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{activations::Activations, format::Format, quantized::QuantizedMatrix};

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

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn shapes_are_compiled_for_exactly_the_kernels_that_say_so() {
        let (none, g128) = (Blocking::Full, Granularity::Group128);
        for kernel in kernels() {
            let says = Shape::CompileTime.infeasible(kernel.variant, g128, none).is_none();
            assert_eq!(kernel.compiled_cols(), if says { &COMPILED_COLS[..] } else { &[] }, "{}", kernel.variant);
            for cols in COMPILED_COLS {
                assert_eq!(kernel.code_address(true, Some(cols)).is_some(), says, "{}", kernel.variant);
            }
        }
        assert_eq!(kernels().iter().filter(|kernel| !kernel.compiled_cols().is_empty()).count(), 3 * 3 * 5);
    }

    #[test]
    fn a_kernel_refuses_shapes_that_it_is_not_compiled_for() {
        let matrix = |cols, granularity| {
            let matrix = QuantizedMatrix::random(2, cols, Format::W4, granularity, 1).unwrap();
            PackedMatrix::pack(&matrix, Layout::Rows16).unwrap()
        };
        let refusal = |name: &str, weights: &PackedMatrix| {
            let kernel = find(name.parse().unwrap()).and_then(|kernel| kernel.bind().ok())?;
            Some(kernel.with_shape_of(weights).err().map(|error| error.to_string()).unwrap_or_default())
        };
        let (g128, channel) = (Granularity::Group128, Granularity::Channel);
        let scalar = refusal("gemv/w4/rows16/bit_parallel/u1/scalar", &matrix(8192, g128)).unwrap();
        assert!(scalar.contains("K = 8192 under g128; compiled: no shape"), "{scalar}");
        // What follows needs the instructions.
        let avx2 = "gemv/w4/rows16/bit_parallel/u1/avx2";
        let Some(short) = refusal(avx2, &matrix(8191, g128)) else { return };
        assert!(short.contains("K = 8191 under g128; compiled: K = 8192 under g128, K = 28672"), "{short}");
        assert!(refusal(avx2, &matrix(8192, channel)).unwrap().contains("K = 8192 under channel"));
        assert_eq!(refusal(avx2, &matrix(28_672, g128)).as_deref(), Some(""));
    }

    #[test]
    #[should_panic(expected = "compiled shape")]
    fn a_block_of_another_shape_is_a_mistake_of_the_caller() {
        let matrix = QuantizedMatrix::random(2, 256, Format::W4, Granularity::Group128, 1).unwrap();
        let packed = PackedMatrix::pack(&matrix, Layout::Rows16).unwrap();
        let mut operand = Activations::default();
        operand.quantize(&[1.0; 256], packed.segment()).unwrap();
        let mut out = [0.0; 2];
        Block::new(&packed, packed.codes(), 0, 0..2, &operand, 0, &mut out).of_shape(Format::W4, Layout::Rows16, 64);
    }
}
