//! The files of a results directory: appended to by the runner, read back by everything else.
//!
//! A row is written whole and flushed with its block, so a killed writer loses at most the block
//! that it was writing and leaves at most one torn line. Readers drop a torn last line and say so;
//! every other deviation is an error that names the file, the line and the column.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::path::{Path, PathBuf};

use csv::{ByteRecord, ReaderBuilder, StringRecord, WriterBuilder};
use serde::{Serialize, de::DeserializeOwned};

use super::error::RecordError;
use super::manifest::{MANIFEST_SCHEMA, Manifest};
use super::row::SAMPLES_SCHEMA;
use super::rules::Row;
use crate::plan::PLAN_SCHEMA;

/// Name of the manifest within a results directory.
pub const MANIFEST_FILE: &str = "manifest.json";

/// A last line without its end: its writer was killed. It was left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TornLine {
    /// Name of the file, without its directory, so that the warning is the same wherever the
    /// results lie.
    pub file: &'static str,
    pub line: u64,
}

impl std::fmt::Display for TornLine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}: the last line has no end (its writer was interrupted); it was left out", self.file, self.line)
    }
}

/// Appends rows to one CSV file, writing the header when the file is new.
pub struct RowWriter<R> {
    path: PathBuf,
    inner: csv::Writer<File>,
    rows: std::marker::PhantomData<R>,
}

impl<R: Row> RowWriter<R> {
    /// Opens `R::FILE` in `dir`, creating it with its header if needed. A torn last line of an
    /// interrupted writer is cut off, so that the next row starts on a line of its own.
    ///
    /// # Errors
    ///
    /// If the file cannot be opened, or exists with other columns.
    pub fn append(dir: &Path) -> Result<Self, RecordError> {
        let path = dir.join(R::FILE);
        let existing = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(io(&path)(error)),
        };
        let whole = existing.iter().rposition(|&b| b == b'\n').map_or(0, |n| n + 1);
        if whole > 0 {
            check_header::<R>(&path, &header(&path, &existing[..whole])?, &BTreeMap::new())?;
        }
        let file = OpenOptions::new().create(true).append(true).open(&path).map_err(io(&path))?;
        file.set_len(whole as u64).map_err(io(&path))?;
        let mut inner = WriterBuilder::new().has_headers(false).from_writer(file);
        if whole == 0 {
            inner.write_record(R::COLUMNS).map_err(csv_error(&path))?;
            // At once: a writer that is killed before its first row leaves a file that can be read.
            inner.flush().map_err(io(&path))?;
        }
        Ok(RowWriter { path, inner, rows: std::marker::PhantomData })
    }

    /// Writes the rows of one block and flushes them to the file.
    ///
    /// # Errors
    ///
    /// If a row breaks its own rules (then nothing of the block is written) or the disk fails.
    pub fn write_block(&mut self, rows: &[R]) -> Result<(), RecordError> {
        self.write_loosely(rows)?;
        self.inner.get_ref().sync_data().map_err(io(&self.path))
    }

    /// Writes rows that outlive this process, but not the system: nothing waits for the disk.
    ///
    /// # Errors
    ///
    /// As [`RowWriter::write_block`].
    pub fn write_loosely(&mut self, rows: &[R]) -> Result<(), RecordError> {
        for row in rows {
            row.check().map_err(|(column, expected)| RecordError::Inconsistent {
                path: self.path.clone(),
                message: format!("column `{column}` of {}: expected {expected}", row.key()),
            })?;
        }
        for row in rows {
            self.inner.serialize(row).map_err(csv_error(&self.path))?;
        }
        self.inner.flush().map_err(io(&self.path))
    }
}

/// Reads every row of `R::FILE` in `dir`, and whether a torn last line was left out.
///
/// A run that is older than an axis names it neither in its plan nor in its header. What it measured
/// was at the published baseline, and its rows say so once they are read. Columns of [`Row::LATER`] are
/// empty where a file lacks them. This is the one place that adds what old files lack.
///
/// # Errors
///
/// If the file is missing, has an unknown, missing or repeated column, a field that is not a value
/// of its column, a measurement twice, or a cell that `manifest` does not plan.
pub fn read_rows<R: Row>(dir: &Path, manifest: &Manifest) -> Result<(Vec<R>, Option<TornLine>), RecordError> {
    let path = dir.join(R::FILE);
    parse_rows(&path, &fs::read(&path).map_err(io(&path))?, manifest)
}

/// Every row in `bytes`, which are those of the file at `path`, as [`read_rows`].
///
/// # Errors
///
/// As [`read_rows`].
pub fn parse_rows<R: Row>(
    path: &Path,
    bytes: &[u8],
    manifest: &Manifest,
) -> Result<(Vec<R>, Option<TornLine>), RecordError> {
    let cells: BTreeSet<&str> = manifest.plan.cells.iter().map(|c| c.id.as_str()).collect();
    let unknown = |row: &R| row.cell_id().is_some_and(|id| !cells.contains(id));
    parse_rows_of(path, bytes, &manifest.plan.unnamed_factors(), |row: &R| {
        if unknown(row) {
            return Some(("cell_id", "the id of a cell in the plan of manifest.json".to_owned()));
        }
        row.contradicts(&manifest.plan)
    })
}

/// Every row in `bytes` that nothing in `contradicts` speaks against: the column at fault and what is
/// expected there. Columns of `unnamed` that the file lacks have their value there, and those of
/// [`Row::LATER`] are empty.
///
/// # Errors
///
/// As [`read_rows`].
pub(super) fn parse_rows_of<R: Row>(
    path: &Path,
    bytes: &[u8],
    unnamed: &BTreeMap<String, String>,
    contradicts: impl Fn(&R) -> Option<(&'static str, String)>,
) -> Result<(Vec<R>, Option<TornLine>), RecordError> {
    let path = path.to_owned();
    let mut reader = ReaderBuilder::new().has_headers(false).flexible(true).from_reader(bytes);
    let mut records: Vec<ByteRecord> = reader.byte_records().collect::<Result<_, _>>().map_err(csv_error(&path))?;
    let torn = if bytes.last().is_some_and(|&b| b != b'\n') {
        records.pop().map(|record| TornLine { file: R::FILE, line: line_of(&record) })
    } else {
        None
    };
    let mut records = records.into_iter();
    let mut header = match records.next() {
        Some(record) => text(&path, &record)?,
        None => StringRecord::new(),
    };
    let mut added = unnamed.clone();
    added.extend(R::LATER.iter().map(|&column| (column.to_owned(), String::new())));
    check_header::<R>(&path, &header, &added)?;
    let width = header.len();
    added.retain(|name, _| R::COLUMNS.contains(&name.as_str()) && !header.iter().any(|column| column == name));
    added.keys().for_each(|name| header.push_field(name));

    let mut seen = BTreeMap::new();
    let mut rows = Vec::new();
    for mut record in records {
        let line = line_of(&record);
        if record.len() != width {
            return Err(RecordError::Width { path, line, found: record.len(), expected: width });
        }
        added.values().for_each(|value| record.push_field(value.as_bytes()));
        let row: R = parse(&path, &header, &record)?;
        if let Some((column, expected)) = contradicts(&row) {
            let at = header.iter().position(|name| name == column);
            let found = at.and_then(|at| record.get(at)).map(|bytes| String::from_utf8_lossy(bytes).into_owned());
            let (column, found) = (column.to_owned(), found.unwrap_or_default());
            return Err(RecordError::Field { path, line, column, found, expected });
        }
        if let Some(first) = seen.insert(row.key(), line) {
            return Err(RecordError::Duplicate { path, line, first, what: row.key() });
        }
        rows.push(row);
    }
    Ok((rows, torn))
}

/// [`read_rows`] of a file that a run need not have: no rows where there is none, or one whose header was
/// never written to its end.
///
/// # Errors
///
/// As [`read_rows`], except for a missing file.
pub fn read_rows_if_any<R: Row>(dir: &Path, manifest: &Manifest) -> Result<(Vec<R>, Option<TornLine>), RecordError> {
    let path = dir.join(R::FILE);
    let mut header = Vec::new();
    match File::open(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok((Vec::new(), None)),
        file => file.and_then(|file| BufReader::new(file).read_until(b'\n', &mut header)).map_err(io(&path))?,
    };
    if header.ends_with(b"\n") { read_rows(dir, manifest) } else { Ok((Vec::new(), None)) }
}

/// Writes `manifest.json`, replacing it in one step.
///
/// # Errors
///
/// If the disk fails.
pub fn write_manifest(dir: &Path, manifest: &Manifest) -> Result<(), RecordError> {
    write_json(&dir.join(MANIFEST_FILE), manifest)
}

/// Writes `value` to `path`, replacing what is there in one step.
pub(super) fn write_json(path: &Path, value: &impl Serialize) -> Result<(), RecordError> {
    let json = |cause| RecordError::Json { path: path.to_owned(), cause };
    let mut bytes = serde_json::to_vec_pretty(value).map_err(json)?;
    bytes.push(b'\n');
    let draft = path.with_extension("json.new");
    let mut file = File::create(&draft).map_err(io(&draft))?;
    file.write_all(&bytes).map_err(io(&draft))?;
    file.sync_data().map_err(io(&draft))?;
    fs::rename(&draft, path).map_err(io(path))
}

/// Reads a JSON file of `schema`, whose version is looked at before anything else: a field that another
/// version has is not the reader's real problem.
///
/// # Errors
///
/// If it is missing, not JSON of this shape, or of another version.
pub(super) fn read_json<T: DeserializeOwned>(path: &Path, schema: u32) -> Result<T, RecordError> {
    let bytes = fs::read(path).map_err(io(path))?;
    let json = |cause| RecordError::Json { path: path.to_owned(), cause };
    let raw: serde_json::Value = serde_json::from_slice(&bytes).map_err(json)?;
    match raw["schema"].as_u64() {
        Some(found) if found != u64::from(schema) => {
            Err(RecordError::Schema { path: path.to_owned(), key: "schema", found, expected: schema })
        }
        _ => serde_json::from_slice(&bytes).map_err(json),
    }
}

/// Reads `manifest.json` and checks that it describes the run consistently.
///
/// # Errors
///
/// If it is missing, not JSON of this shape, of another schema version, or lists facts for other
/// cells than its plan.
pub fn read_manifest(dir: &Path) -> Result<Manifest, RecordError> {
    let path = dir.join(MANIFEST_FILE);
    let no_run = |found| RecordError::NoRun { dir: dir.to_owned(), found };
    let bytes = match fs::read(&path) {
        Err(_) if !dir.exists() => return Err(no_run("no such folder")),
        Err(_) if !dir.is_dir() => return Err(no_run("it is a file")),
        Err(error) if error.kind() == ErrorKind::NotFound => return Err(no_run("there is no manifest.json in it")),
        read => read.map_err(io(&path))?,
    };
    parse_manifest(&path, &bytes)
}

/// The manifest in `bytes`, which are those of the file at `path`.
///
/// # Errors
///
/// As [`read_manifest`].
pub fn parse_manifest(path: &Path, bytes: &[u8]) -> Result<Manifest, RecordError> {
    let path = path.to_owned();
    let json = |cause| RecordError::Json { path: path.clone(), cause };
    // Versions first: a field that another version has is not the reader's real problem.
    let raw: serde_json::Value = serde_json::from_slice(bytes).map_err(json)?;
    let versions = [
        ("schema", &raw["schema"], MANIFEST_SCHEMA),
        ("samples_schema", &raw["samples_schema"], SAMPLES_SCHEMA),
        ("plan.schema", &raw["plan"]["schema"], PLAN_SCHEMA),
    ];
    for (key, found, expected) in versions {
        if let Some(found) = found.as_u64().filter(|&found| found != u64::from(expected)) {
            return Err(RecordError::Schema { path, key, found, expected });
        }
    }
    let manifest: Manifest = serde_json::from_slice(bytes).map_err(json)?;
    manifest.check().map_err(|message| RecordError::Inconsistent { path, message })?;
    Ok(manifest)
}

/// One record as a row, or the field at fault.
fn parse<R: Row>(path: &Path, header: &StringRecord, record: &ByteRecord) -> Result<R, RecordError> {
    let line = line_of(record);
    let record = text(path, record)?;
    let field = |column: &str, expected: String| RecordError::Field {
        path: path.to_owned(),
        line,
        column: column.to_owned(),
        found: header
            .iter()
            .position(|name| name == column)
            .and_then(|index| record.get(index))
            .unwrap_or_default()
            .to_owned(),
        expected,
    };
    if let Some((column, choices)) = R::CHOICE {
        let chosen = header.iter().position(|name| name == column).and_then(|index| record.get(index));
        if chosen.is_none_or(|chosen| !choices.contains(&chosen)) {
            return Err(field(column, format!("one of {}", choices.join(", "))));
        }
    }
    let row: R = record.deserialize(Some(header)).map_err(|error| match error.kind() {
        csv::ErrorKind::Deserialize { err, .. } => {
            let column = err.field().and_then(|index| header.get(index as usize));
            field(column.unwrap_or_default(), expectation(err.kind()))
        }
        _ => csv_error(path)(error),
    })?;
    row.check().map_err(|(column, expected)| field(column, expected.to_owned()))?;
    Ok(row)
}

/// What a column expects, from what its parser said.
fn expectation(kind: &csv::DeserializeErrorKind) -> String {
    use csv::DeserializeErrorKind as Kind;
    match kind {
        Kind::ParseInt(_) => "a whole number, 0 or more".to_owned(),
        Kind::ParseFloat(_) => "a number".to_owned(),
        other => other.to_string(),
    }
}

fn header(path: &Path, bytes: &[u8]) -> Result<StringRecord, RecordError> {
    ReaderBuilder::new().flexible(true).from_reader(bytes).headers().cloned().map_err(csv_error(path))
}

/// Every column of `R` once, and no other; those of `unnamed` factors may be missing.
fn check_header<R: Row>(
    path: &Path,
    header: &StringRecord,
    added: &BTreeMap<String, String>,
) -> Result<(), RecordError> {
    let mut found = BTreeSet::new();
    for column in header {
        if !R::COLUMNS.contains(&column) || !found.insert(column) {
            return Err(RecordError::UnknownColumn {
                path: path.to_owned(),
                column: column.to_owned(),
                valid: R::COLUMNS,
            });
        }
    }
    match R::COLUMNS.iter().find(|&&column| !found.contains(column) && !added.contains_key(column)) {
        Some(column) => Err(RecordError::MissingColumn { path: path.to_owned(), column, valid: R::COLUMNS }),
        None => Ok(()),
    }
}

fn text(path: &Path, record: &ByteRecord) -> Result<StringRecord, RecordError> {
    StringRecord::from_byte_record(record.clone()).map_err(|error| RecordError::Field {
        path: path.to_owned(),
        line: line_of(record),
        column: format!("number {}", error.utf8_error().field() + 1),
        found: String::from_utf8_lossy(&record[error.utf8_error().field()]).into_owned(),
        expected: "UTF-8 text".to_owned(),
    })
}

fn line_of(record: &ByteRecord) -> u64 {
    record.position().map_or(0, csv::Position::line)
}

fn io(path: &Path) -> impl Fn(std::io::Error) -> RecordError {
    move |cause| RecordError::Io { path: path.to_owned(), cause }
}

fn csv_error(path: &Path) -> impl Fn(csv::Error) -> RecordError {
    move |cause| RecordError::Csv { path: path.to_owned(), cause }
}
