//! A few blocks of a plan that do not count, in a folder that goes away with them.

use std::{env, fs, path::PathBuf, process};

use super::{
    RunError,
    progress::Progress,
    session::{Ending, Session},
};
use crate::plan::Plan;

/// Blocks of a pilot: the fewest whose spread has two degrees of freedom for each contrast.
pub const BLOCKS: u32 = 3;

/// The folder of a pilot; it is removed with this value.
pub struct Pilot(PathBuf);

impl Pilot {
    /// Runs [`BLOCKS`] blocks of `plan`, as long as its own, with a shortened evaluation of quality.
    /// Nothing when a signal came.
    ///
    /// # Errors
    /// As [`Session::begin`] and [`Session::run`].
    pub fn run(plan: &Plan, spec: &str, say: &dyn Fn(&str)) -> Result<Option<Self>, RunError> {
        let mut plan = plan.clone();
        plan.protocol.blocks = BLOCKS;
        // The blocks themselves are those of the plan: only preflight is shorter.
        plan.protocol.quick = true;
        say(&format!("pilot: {} cells in {BLOCKS} blocks that do not count", plan.cells.len()));
        let pilot = Self(env::temp_dir().join(format!("septet-pilot-{}", process::id())));
        let progress = Progress::new(u64::from(BLOCKS) * plan.cells.len() as u64);
        let mut session = Session::begin(&pilot.0, "pilot", plan, spec.to_owned(), &progress)?;
        let ending = session.run(&progress)?;
        progress.finish();
        Ok((ending != Ending::Interrupted).then_some(pilot))
    }

    /// Where its rows are.
    pub fn dir(&self) -> &std::path::Path {
        &self.0
    }
}

impl Drop for Pilot {
    fn drop(&mut self) {
        // What cannot go stays among temporary files.
        let _ = fs::remove_dir_all(&self.0);
    }
}
