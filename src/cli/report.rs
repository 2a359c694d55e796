//! `bench report`: rebuilds tables and figures from the raw rows of a run.

use std::fs;
use std::path::{Path, PathBuf};

use miette::IntoDiagnostic;

use super::{
    Exit,
    output::{note, print},
};
use crate::report::{self, Report, ReportError, calibration::Calibration, splice::splice};

/// Rebuild tables and figures from the samples of a run
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Results directory: the one with manifest.json or calibration.json
    dir: PathBuf,
    /// Put the headline tables between the markers of this Markdown file
    #[arg(long, value_name = "FILE")]
    splice: Option<PathBuf>,
}

/// Writes everything derived and prints the paths of what was written.
///
/// # Errors
/// If the run cannot be read, a file cannot be written, or the Markdown file lacks the markers.
pub fn run(args: &Args) -> miette::Result<Exit> {
    if Calibration::is_in(&args.dir) {
        return calibration(args);
    }
    let report = Report::read(&args.dir).into_diagnostic()?;
    let summary = report.write(&args.dir).into_diagnostic()?;
    for torn in &summary.torn {
        note(&format!("warning: {torn}"));
    }
    let mut written: Vec<PathBuf> = summary.files.iter().map(|file| args.dir.join(file)).collect();
    if let Some(path) = &args.splice {
        splice_file(&report, &args.dir, path).into_diagnostic()?;
        written.push(path.clone());
    }
    print(&written.iter().map(|path| format!("{}\n", path.display())).collect::<String>())?;
    Ok(Exit::Pass)
}

/// The same for the folder of a calibration, which has no headline tables.
fn calibration(args: &Args) -> miette::Result<Exit> {
    if let Some(path) = &args.splice {
        miette::bail!("{}: a calibration has no tables for `--splice {}`", args.dir.display(), path.display());
    }
    let summary = report::calibration::build(&args.dir).into_diagnostic()?;
    for torn in &summary.torn {
        note(&format!("warning: {torn}"));
    }
    print(&summary.files.iter().map(|file| format!("{}\n", args.dir.join(file).display())).collect::<String>())?;
    Ok(Exit::Pass)
}

/// Replaces the headline tables of the Markdown file at `path` by those of the run in `dir`.
fn splice_file(report: &Report, dir: &Path, path: &Path) -> Result<(), ReportError> {
    let io = |cause| ReportError::Io { path: path.to_owned(), cause };
    let text = fs::read_to_string(path).map_err(io)?;
    let run = dir.file_name().unwrap_or_default().to_string_lossy();
    let spliced = splice(&text, &run, &report.headlines())
        .map_err(|cause| ReportError::Splice { path: path.to_owned(), cause })?;
    fs::write(path, spliced).map_err(io)
}
