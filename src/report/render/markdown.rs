//! GitHub-flavoured Markdown.

use crate::report::grid::{Align, Entry, Grid, Heading};

/// The title in bold, the table, and the notes as a list.
pub fn markdown(grid: &Grid) -> String {
    let rules = grid.headings.iter().map(|heading| rule(heading.align).to_owned()).collect();
    with_title_and_notes(grid, &[vec![headings(grid)], vec![rules], rows(grid)].concat())
}

/// The same, with columns as wide as their widest field: to be read as it is, on a terminal.
pub fn aligned(grid: &Grid) -> String {
    let mut lines = [vec![headings(grid)], rows(grid)].concat();
    let widest = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..grid.headings.len()).map(|column| widest(column).max(3)).collect();
    for line in &mut lines {
        for ((field, heading), &width) in line.iter_mut().zip(&grid.headings).zip(&widths) {
            *field = match heading.align {
                Align::Left => format!("{field:<width$}"),
                Align::Right => format!("{field:>width$}"),
            };
        }
    }
    let dashes = |(heading, &width): (&Heading, &usize)| match heading.align {
        Align::Left => format!(":{}", "-".repeat(width - 1)),
        Align::Right => format!("{}:", "-".repeat(width - 1)),
    };
    lines.insert(1, grid.headings.iter().zip(&widths).map(dashes).collect());
    with_title_and_notes(grid, &lines)
}

fn headings(grid: &Grid) -> Vec<String> {
    grid.headings.iter().map(|heading| escape(&heading.text)).collect()
}

fn rows(grid: &Grid) -> Vec<Vec<String>> {
    grid.rows.iter().map(|row| row.iter().map(entry).collect()).collect()
}

fn rule(align: Align) -> &'static str {
    match align {
        Align::Left => ":--",
        Align::Right => "--:",
    }
}

fn with_title_and_notes(grid: &Grid, lines: &[Vec<String>]) -> String {
    let mut text = format!("**{}**\n\n", escape(&grid.title));
    for line in lines {
        text += &format!("| {} |\n", line.join(" | "));
    }
    if !grid.notes.is_empty() {
        text.push('\n');
    }
    for note in &grid.notes {
        text += &format!("- {}\n", escape(note));
    }
    text
}

fn entry(entry: &Entry) -> String {
    let text = escape(&entry.text);
    if entry.strong { format!("**{text}**") } else { text }
}

/// Keeps a text within its field and free of accidental markup.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '|' | '*' | '_' | '`' | '<' | '\\' => escaped.extend(['\\', c]),
            '\n' | '\r' => escaped.push(' '),
            _ => escaped.push(c),
        }
    }
    escaped
}
