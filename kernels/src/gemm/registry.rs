//! Every GEMM kernel, and its name.
//!
//! ```text
//!   gemm/<format>/rows16/<isa>      gemm/w3p5/rows16/avx512
//! ```
//!
//! The other axes of GEMV have no second value here: panels are made from `rows16`, once for all
//! columns, so that neither the way to unpack nor prefetches can be seen in its time.

use std::{fmt, marker::PhantomData, str::FromStr, sync::LazyLock};

use thiserror::Error;

use super::Tile;
use crate::{
    error::Missing,
    format::{Format, PairFormat, W3, W3p5, W4},
    isa::{
        self, Isa, Vector, Visit, scalar,
        tile::{self, Workspace},
    },
    layout::Layout,
    level::{Level, UnknownLevel},
};

/// A compiled kernel: products of one tile.
pub(crate) type TileFn = fn(&mut Tile<'_>, &mut Workspace);

static KERNELS: LazyLock<Vec<Kernel>> = LazyLock::new(|| {
    let mut kernels = Vec::new();
    compiled::<W4>(&mut kernels);
    compiled::<W3p5>(&mut kernels);
    compiled::<W3>(&mut kernels);
    kernels.sort_by_key(|kernel| kernel.variant);
    kernels
});

fn compiled<F: PairFormat>(kernels: &mut Vec<Kernel>) {
    kernels.push(Kernel { variant: Variant { format: F::FORMAT, isa: Isa::Scalar }, tile: scalar::tile::<F> });
    isa::visit_all(&mut OnEach { kernels, format: PhantomData::<F> });
}

/// Registers the kernels of a format, one for each vector instruction set.
struct OnEach<'a, F> {
    kernels: &'a mut Vec<Kernel>,
    format: PhantomData<F>,
}

impl<F: PairFormat> Visit for OnEach<'_, F> {
    fn visit<V: Vector>(&mut self) {
        let variant = Variant { format: F::FORMAT, isa: V::ISA };
        self.kernels.push(Kernel { variant, tile: tile::tile::<F, V> });
    }
}

/// Every kernel, sorted by variant; also those that this CPU cannot run.
pub fn kernels() -> &'static [Kernel] {
    &KERNELS
}

/// The kernel of a variant, if it is compiled for this architecture.
pub fn find(variant: Variant) -> Option<&'static Kernel> {
    kernels().iter().find(|kernel| kernel.variant == variant)
}

/// Which kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Variant {
    /// Which numbers.
    pub format: Format,
    /// Instruction set.
    pub isa: Isa,
}

impl Variant {
    /// Every variant, in the order of the axes.
    pub fn product() -> impl Iterator<Item = Self> {
        Format::ALL.iter().flat_map(|&format| Isa::ALL.iter().map(move |&isa| Self { format, isa }))
    }

    /// The layout of the matrices.
    pub const fn layout(self) -> Layout {
        Layout::Rows16
    }
}

impl fmt::Display for Variant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("gemm/{}/{}/{}", self.format, self.layout(), self.isa))
    }
}

/// A string that is not the name of a variant.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ParseVariantError {
    /// Not the parts of a name.
    #[error("`{0}` is not `gemm/<format>/rows16/<isa>`")]
    Shape(String),
    /// A part is not a level of its axis.
    #[error(transparent)]
    Level(#[from] UnknownLevel),
}

impl FromStr for Variant {
    type Err = ParseVariantError;

    fn from_str(name: &str) -> Result<Self, ParseVariantError> {
        let parts: Vec<&str> = name.split('/').collect();
        let ["gemm", format, "rows16", isa] = parts[..] else {
            return Err(ParseVariantError::Shape(name.to_owned()));
        };
        Ok(Self { format: Format::parse(format)?, isa: Isa::parse(isa)? })
    }
}

/// A compiled kernel; any machine may list it.
#[derive(Clone, Copy, Debug)]
pub struct Kernel {
    /// Which.
    pub variant: Variant,
    tile: TileFn,
}

impl Kernel {
    /// The kernel as something that may run.
    ///
    /// # Errors
    /// [`Missing`], if this CPU lacks the instruction set.
    pub fn bind(&self) -> Result<BoundKernel, Missing> {
        let isa = self.variant.isa;
        if isa.is_available() { Ok(BoundKernel(*self)) } else { Err(Missing { isa, needs: isa.needs() }) }
    }

    /// Where the compiled code begins, for disassembly.
    pub fn code_address(&self) -> usize {
        self.tile as usize
    }
}

/// A kernel that this CPU can run.
#[derive(Clone, Copy, Debug)]
pub struct BoundKernel(Kernel);

impl BoundKernel {
    /// Which kernel.
    pub fn variant(&self) -> Variant {
        self.0.variant
    }

    /// The compiled function.
    pub(crate) fn tile(&self) -> TileFn {
        self.0.tile
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_print_and_parse() {
        for variant in Variant::product() {
            assert_eq!(variant.to_string().parse::<Variant>(), Ok(variant));
        }
        assert!(matches!("gemm/w5/rows16/avx2".parse::<Variant>(), Err(ParseVariantError::Level(_))));
        assert!(matches!("gemv/w4/rows16/avx2".parse::<Variant>(), Err(ParseVariantError::Shape(_))));
    }

    #[test]
    fn the_registry_holds_every_variant() {
        let sets = isa::compiled();
        let registered: Vec<Variant> = kernels().iter().map(|kernel| kernel.variant).collect();
        assert_eq!(registered.len(), 3 * sets.len());
        assert_eq!(registered, Variant::product().filter(|v| sets.contains(&v.isa)).collect::<Vec<_>>());
        assert!(registered.iter().all(|&variant| find(variant).is_some()));
    }
}
