//! The dense bit stream: a pair takes exactly its bits.

use super::{Layout, PairLayout};

/// The layout `dense` as a type.
pub struct Dense;

impl PairLayout for Dense {
    const LAYOUT: Layout = Layout::Dense;
}
