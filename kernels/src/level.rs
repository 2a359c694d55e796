//! A level: one value of one axis of the kernel product, with the name that prints and parses.

use std::fmt;

/// A closed set of named values. Help, listings, parsing and tests iterate over [`Level::ALL`].
pub trait Level: Copy + Eq + fmt::Debug + 'static {
    /// Name of the axis: `format`, `isa`, …
    const AXIS: &'static str;
    /// Every level, in the order in which listings print them.
    const ALL: &'static [Self];
    /// Lower-case name, `[a-z0-9_]+`.
    fn name(self) -> &'static str;
    /// One line for listings.
    fn about(self) -> &'static str;
    /// The level of this name.
    ///
    /// # Errors
    /// [`UnknownLevel`], which lists the names that exist.
    fn parse(name: &str) -> Result<Self, UnknownLevel> {
        Self::ALL.iter().copied().find(|level| level.name() == name).ok_or_else(|| UnknownLevel {
            axis: Self::AXIS,
            found: name.to_owned(),
            valid: Self::ALL.iter().map(|level| level.name()).collect(),
        })
    }
}

/// A name that no level of an axis has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownLevel {
    /// The axis that was asked.
    pub axis: &'static str,
    /// The name as found.
    pub found: String,
    /// The names that exist.
    pub valid: Vec<&'static str>,
}

impl fmt::Display for UnknownLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unknown {} `{}`; valid: {}", self.axis, self.found, self.valid.join(", "))
    }
}

impl std::error::Error for UnknownLevel {}
