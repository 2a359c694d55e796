//! CSV of what the table shows, as it shows it; full precision is in `cells.csv` and
//! `contrasts.csv`.

use crate::report::grid::Grid;

/// Headings and rows, without title and notes.
pub fn csv(grid: &Grid) -> String {
    let headings = line(grid.headings.iter().map(|heading| heading.text.as_str()));
    let rows = grid.rows.iter().map(|row| line(row.iter().map(|entry| entry.text.as_str())));
    headings + &rows.collect::<String>()
}

/// One record of RFC 4180, with a bare line feed.
fn line<'a>(fields: impl Iterator<Item = &'a str>) -> String {
    let quoted: Vec<String> = fields
        .map(|field| {
            if field.contains([',', '"', '\n', '\r']) {
                format!("\"{}\"", field.replace('"', "\"\""))
            } else {
                field.to_owned()
            }
        })
        .collect();
    quoted.join(",") + "\n"
}
