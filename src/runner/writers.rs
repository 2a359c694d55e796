//! The files that complete blocks are appended to.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::{RunError, child::Measured};
use crate::record::{CeilingRow, OpenSample, RowWriter, Sample, WeightsRow, block::BlockRow, rules::Row as _};

/// The open files of one run.
pub struct Writers {
    dir: PathBuf,
    samples: RowWriter<Sample>,
    weights: RowWriter<WeightsRow>,
    ceilings: RowWriter<CeilingRow>,
}

impl Writers {
    /// Opens the files of the run in `dir`.
    ///
    /// # Errors
    /// A file that cannot be opened or has other columns.
    pub fn append(dir: &Path) -> Result<Self, RunError> {
        Ok(Self {
            dir: dir.to_owned(),
            samples: RowWriter::append(dir)?,
            weights: RowWriter::append(dir)?,
            ceilings: RowWriter::append(dir)?,
        })
    }

    /// Appends a complete block.
    ///
    /// # Errors
    /// Rows that break their rules, or a disk that fails.
    pub fn write(&mut self, measured: &Measured, tried: BlockRow) -> Result<(), RunError> {
        self.ceilings.write_block(&measured.ceilings)?;
        self.weights.write_block(&measured.weights)?;
        RowWriter::<BlockRow>::append(&self.dir)?.write_block(&[tried])?;
        // Last, since samples are what makes a block complete.
        self.samples.write_block(&measured.samples)?;
        forget_open(&self.dir)
    }
}

/// The open block of the run in `dir` has ended, and its rows are elsewhere.
pub fn forget_open(dir: &Path) -> Result<(), RunError> {
    match fs::remove_file(dir.join(OpenSample::FILE)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}
