//! The name of a kernel: a grammar, printed from its parts and parsed back.
//!
//! ```text
//!   gemv/<format>/<layout>/<unpack>/u<unroll>/<isa>      gemv/w3p5/dense/lut/u4/avx512
//! ```

use std::{fmt, str::FromStr};

use thiserror::Error;

use crate::{
    format::Format,
    isa::Isa,
    layout::Layout,
    level::{Level, UnknownLevel},
    unpack::Unpack,
};

/// Independent accumulators of a kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Unroll {
    /// One pair (scalar), or one segment or stripe (vector) at a time.
    U1,
    /// Four pairs, eight weights (scalar), or four segments or stripes (vector) at a time.
    U4,
}

impl Level for Unroll {
    const AXIS: &'static str = "unroll";
    const ALL: &'static [Self] = &[Self::U1, Self::U4];

    fn name(self) -> &'static str {
        match self {
            Self::U1 => "u1",
            Self::U4 => "u4",
        }
    }

    fn about(self) -> &'static str {
        match self {
            Self::U1 => "one accumulator",
            Self::U4 => {
                "four independent accumulators: 8 weights (scalar), 4 segments or 4 stripes (vectors) an iteration"
            }
        }
    }
}

impl fmt::Display for Unroll {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// One point of the product of compiled axes, feasible or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Variant {
    /// Which numbers.
    pub format: Format,
    /// How they lie in memory.
    pub layout: Layout,
    /// How fields become integers.
    pub unpack: Unpack,
    /// Independent accumulators.
    pub unroll: Unroll,
    /// Instruction set.
    pub isa: Isa,
}

impl Variant {
    /// Every point, feasible or not, in the order of the axes.
    pub fn product() -> impl Iterator<Item = Self> {
        Format::ALL.iter().flat_map(|&format| {
            Layout::ALL.iter().flat_map(move |&layout| {
                Unpack::ALL.iter().flat_map(move |&unpack| {
                    Unroll::ALL.iter().flat_map(move |&unroll| {
                        Isa::ALL.iter().map(move |&isa| Self { format, layout, unpack, unroll, isa })
                    })
                })
            })
        })
    }

    /// Why no kernel exists at this point, if none does.
    pub fn infeasible(&self) -> Option<&'static str> {
        if self.unpack == Unpack::Branch && self.isa != Isa::Scalar {
            return Some("vectors cannot branch for each weight: branch is scalar only");
        }
        if self.layout == Layout::Rows16 && self.unpack != Unpack::BitParallel {
            return Some("rows16 keeps fields ready to be masked: no other unpacking applies");
        }
        if self.layout == Layout::Rows16 && self.unroll != Unroll::U1 && self.isa == Isa::Scalar {
            return Some("without vectors rows16 is taken a row at a time");
        }
        self.layout.infeasible(self.format)
    }
}

impl fmt::Display for Variant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { format, layout, unpack, unroll, isa } = self;
        f.pad(&format!("gemv/{format}/{layout}/{unpack}/{unroll}/{isa}"))
    }
}

/// A string that is not the name of a variant.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ParseVariantError {
    /// Not five parts behind `gemv/`.
    #[error("`{0}` is not `gemv/<format>/<layout>/<unpack>/<unroll>/<isa>`")]
    Shape(String),
    /// A part is not a level of its axis.
    #[error(transparent)]
    Level(#[from] UnknownLevel),
}

impl FromStr for Variant {
    type Err = ParseVariantError;

    fn from_str(name: &str) -> Result<Self, ParseVariantError> {
        let parts: Vec<&str> = name.split('/').collect();
        let ["gemv", format, layout, unpack, unroll, isa] = parts[..] else {
            return Err(ParseVariantError::Shape(name.to_owned()));
        };
        Ok(Self {
            format: Format::parse(format)?,
            layout: Layout::parse(layout)?,
            unpack: Unpack::parse(unpack)?,
            unroll: Unroll::parse(unroll)?,
            isa: Isa::parse(isa)?,
        })
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
        assert!(matches!("gemv/w5/dense/lut/u4/avx2".parse::<Variant>(), Err(ParseVariantError::Level(_))));
        assert!(matches!("w4/dense".parse::<Variant>(), Err(ParseVariantError::Shape(_))));
    }
}
