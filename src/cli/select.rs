//! `-a AXIS=LEVEL,…`: which points of the product a command is about.

use std::collections::BTreeMap;

use miette::Diagnostic;
use septet_kernels::{Level, Unpack, Variant, gemm};
use thiserror::Error;

use crate::{
    arm::{Arm, ArmFormat},
    axis::{AXES, Axis},
    nearest::did_you_mean,
};

/// The flag, to be flattened into the arguments of a command.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct SelectArgs {
    /// Only these levels of an axis; repeatable, see `bench list`
    #[arg(short = 'a', long = "axis", value_name = "AXIS=LEVEL,…")]
    axes: Vec<String>,
}

impl SelectArgs {
    /// The selection, for a command that can choose among the levels of every axis.
    ///
    /// # Errors
    /// [`SelectError`], which lists what there is.
    pub fn selection(&self) -> Result<Selection, SelectError> {
        let mut chosen: BTreeMap<&'static str, Vec<&'static str>> = BTreeMap::new();
        for text in &self.axes {
            let (name, levels) = text.split_once('=').ok_or_else(|| SelectError::Shape { found: text.clone() })?;
            let axis = find_axis(name)?;
            for level in levels.split(',') {
                chosen.entry(axis.name).or_default().push(find_level(axis, level)?);
            }
        }
        Ok(Selection(chosen))
    }

    /// The flags as they were given, each after a space.
    pub fn flags(&self) -> String {
        self.axes.iter().map(|axis| format!(" -a {axis}")).collect()
    }

    /// The selection, for a command that is about kernels and covers every level of the data axes.
    ///
    /// # Errors
    /// [`SelectError`], also where the axis is one of data.
    pub fn compiled(&self) -> Result<Selection, SelectError> {
        let selection = self.selection()?;
        match AXES.iter().find(|axis| !axis.compiled && selection.0.contains_key(axis.name)) {
            Some(axis) => Err(SelectError::Data { axis: axis.name, help: list_axes(|axis| axis.compiled) }),
            None => Ok(selection),
        }
    }
}

/// Chosen levels by axis. An axis that is not mentioned is not restricted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection(BTreeMap<&'static str, Vec<&'static str>>);

impl Selection {
    /// Whether the level is among those chosen for its axis.
    pub fn allows<L: Level>(&self, level: L) -> bool {
        self.0.get(L::AXIS).is_none_or(|chosen| chosen.contains(&level.name()))
    }

    /// Whether every level of the arm is allowed.
    pub fn keeps(&self, arm: &Arm) -> bool {
        let factors = arm.factors();
        self.0.iter().all(|(axis, chosen)| factors.get(*axis).is_some_and(|level| chosen.contains(&level.as_str())))
    }

    /// Whether the kernel for many columns lies in the selection: of the other axes it has one level.
    pub fn holds_batched(&self, variant: gemm::Variant) -> bool {
        let gemm::Variant { format, isa } = variant;
        self.allows(format) && self.allows(isa) && self.allows(variant.layout()) && self.allows(Unpack::BitParallel)
    }

    /// Whether the point lies in the selection; `format=mixed` selects the formats that it chooses among.
    pub fn holds(&self, variant: Variant) -> bool {
        let Variant { format, layout, unpack, unroll, isa } = variant;
        let mut formats = ArmFormat::ALL.iter().filter(|level| self.allows(**level));
        let has_format = formats.any(|level| level.formats().contains(&format));
        has_format && self.allows(layout) && self.allows(unpack) && self.allows(unroll) && self.allows(isa)
    }
}

/// A selection that means nothing.
#[derive(Clone, Debug, PartialEq, Eq, Error, Diagnostic)]
pub enum SelectError {
    /// No `=`.
    #[error("`-a {found}` is not of the form AXIS=LEVEL,…")]
    #[diagnostic(help("for example: -a unpack=lut,bit_parallel -a isa=avx2"))]
    Shape {
        /// The text as found.
        found: String,
    },
    /// No axis has the name.
    #[error("there is no axis `{found}`")]
    Axis {
        /// The name as found.
        found: String,
        /// The nearest name and all valid ones.
        #[help]
        help: String,
    },
    /// No level of the axis has the name.
    #[error("axis {axis} has no level `{found}`")]
    Level {
        /// The axis.
        axis: &'static str,
        /// The name as found.
        found: String,
        /// The nearest name and all valid ones.
        #[help]
        help: String,
    },
    /// The axis is one of data, and the command is about compiled kernels.
    #[error("axis {axis} is chosen at run time: this command covers all of its levels for every kernel")]
    Data {
        /// The axis.
        axis: &'static str,
        /// The axes that can be selected.
        #[help]
        help: String,
    },
}

fn find_axis(name: &str) -> Result<&'static Axis, SelectError> {
    AXES.iter().find(|axis| axis.name == name).ok_or_else(|| SelectError::Axis {
        found: name.to_owned(),
        help: did_you_mean(name, AXES.iter().map(|axis| axis.name)) + &list_axes(|_| true),
    })
}

fn find_level(axis: &Axis, name: &str) -> Result<&'static str, SelectError> {
    let names: Vec<&'static str> = axis.levels().into_iter().map(|(name, _)| name).collect();
    names.iter().copied().find(|level| *level == name).ok_or_else(|| SelectError::Level {
        axis: axis.name,
        found: name.to_owned(),
        help: format!("{}levels of {}: {}", did_you_mean(name, names.iter().copied()), axis.name, names.join(", ")),
    })
}

fn list_axes(of: impl Fn(&Axis) -> bool) -> String {
    let names: Vec<&str> = AXES.iter().filter(|axis| of(axis)).map(|axis| axis.name).collect();
    format!("axes: {}", names.join(", "))
}

#[cfg(test)]
mod tests {
    use septet_kernels::Isa;

    use super::*;

    fn select(texts: &[&str]) -> Result<Selection, SelectError> {
        SelectArgs { axes: texts.iter().map(ToString::to_string).collect() }.selection()
    }

    #[test]
    fn repeated_flags_add_levels_of_an_axis_and_intersect_axes() {
        let selection = select(&["unpack=lut", "unpack=select", "isa=scalar"]).unwrap();
        assert!(selection.allows(Unpack::Lut) && selection.allows(Unpack::Select));
        assert!(!selection.allows(Unpack::Branch) && !selection.allows(Isa::Avx2));
        assert!(selection.holds("gemv/w3/dense/lut/u4/scalar".parse().unwrap()));
        assert!(!selection.holds("gemv/w3/dense/lut/u4/avx2".parse().unwrap()));
    }

    #[test]
    fn mixed_selects_the_formats_that_it_chooses_among() {
        let [w3, w4] = ["gemv/w3/dense/lut/u4/avx2", "gemv/w4/dense/lut/u4/avx2"].map(|name| name.parse().unwrap());
        let mixed = select(&["format=mixed"]).unwrap();
        assert!(mixed.holds(w3) && mixed.holds(w4));
        let one = select(&["format=w4"]).unwrap();
        assert!(!one.holds(w3) && one.holds(w4));
    }

    #[test]
    fn mistakes_name_what_there_is() {
        assert!(matches!(select(&["isa"]), Err(SelectError::Shape { .. })));
        let Err(SelectError::Axis { help, .. }) = select(&["unpak=lut"]) else { panic!("`unpak` was accepted") };
        assert!(help.starts_with("did you mean `unpack`? axes: format, layout"), "{help}");
        let Err(SelectError::Level { help, .. }) = select(&["isa=avx3,scalar"]) else { panic!("`avx3` was accepted") };
        assert!(
            help.contains("did you mean `avx2`?")
                && help.contains("scalar, avx2, avxvnni, avx512bw, avx512vnni, avx512, neon"),
            "{help}"
        );
        assert!(matches!(select(&["isa="]), Err(SelectError::Level { .. })));
    }

    #[test]
    fn data_axes_cannot_restrict_kernels() {
        let args = SelectArgs { axes: vec!["prefetch=none".to_owned()] };
        assert!(args.selection().is_ok());
        assert!(matches!(args.compiled(), Err(SelectError::Data { axis: "prefetch", .. })));
    }
}
