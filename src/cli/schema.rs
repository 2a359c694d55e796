//! `bench schema`: JSON Schemas of the files of a results directory, and of the manifest of a quantized model.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use miette::{Diagnostic, Result};
use thiserror::Error;

use super::{Exit, output::print};
use crate::{
    nearest::did_you_mean,
    record::schema::{FileSchema, SCHEMAS},
};

/// Print the JSON Schema of a file of a results directory or of a quantized model
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The file, such as samples.csv [default: list them]
    #[arg(value_name = "FILE")]
    file: Option<String>,
    /// Write every schema into this folder, as <FILE>.schema.json
    #[arg(long, value_name = "DIR", conflicts_with = "file")]
    out: Option<PathBuf>,
}

/// A schema that does not exist, or that cannot be written.
#[derive(Debug, Error, Diagnostic)]
enum SchemaError {
    #[error("there is no schema of `{found}`")]
    File {
        found: String,
        #[help]
        help: String,
    },
    #[error("cannot write {}: {cause}", path.display())]
    #[diagnostic(help("name a folder that can be written"))]
    Unwritable { path: PathBuf, cause: io::Error },
}

/// Prints or writes schemas.
pub fn run(args: &Args) -> Result<Exit> {
    match (&args.file, &args.out) {
        (Some(file), _) => print(&find(file)?.text())?,
        (None, Some(folder)) => write_all(folder)?,
        (None, None) => {
            let line = |schema: &FileSchema| format!("{:<18} version {}\n", schema.file, schema.version);
            print(&SCHEMAS.iter().map(line).collect::<String>())?;
        }
    }
    Ok(Exit::Pass)
}

fn find(file: &str) -> Result<&'static FileSchema, SchemaError> {
    const ALL: &[FileSchema] = &SCHEMAS;
    let files: Vec<&str> = ALL.iter().map(|schema| schema.file).collect();
    ALL.iter().find(|schema| schema.file == file).ok_or_else(|| {
        let near = did_you_mean(file, files.iter().copied());
        SchemaError::File { found: file.to_owned(), help: format!("{near}there are: {}", files.join(", ")) }
    })
}

fn write_all(folder: &Path) -> Result<(), SchemaError> {
    let unwritable = |path: &Path| {
        let path = path.to_owned();
        move |cause| SchemaError::Unwritable { path, cause }
    };
    fs::create_dir_all(folder).map_err(unwritable(folder))?;
    for schema in &SCHEMAS {
        let path = folder.join(schema.published());
        fs::write(&path, schema.text()).map_err(unwritable(&path))?;
    }
    Ok(())
}
