//! GitHub-flavoured Markdown.

use crate::report::grid::{Align, Entry, Grid};

/// The title in bold, the table, and the notes as a list.
pub fn markdown(grid: &Grid) -> String {
    let headings: Vec<String> = grid.headings.iter().map(|heading| escape(&heading.text)).collect();
    let rules: Vec<&str> = grid
        .headings
        .iter()
        .map(|heading| match heading.align {
            Align::Left => ":--",
            Align::Right => "--:",
        })
        .collect();
    let mut text = format!("**{}**\n\n", escape(&grid.title));
    text += &line(&headings);
    text += &line(&rules);
    for row in &grid.rows {
        text += &line(&row.iter().map(entry).collect::<Vec<_>>());
    }
    if !grid.notes.is_empty() {
        text.push('\n');
    }
    for note in &grid.notes {
        text += &format!("- {}\n", escape(note));
    }
    text
}

fn line(fields: &[impl AsRef<str>]) -> String {
    let mut line = String::from("|");
    for field in fields {
        line += &format!(" {} |", field.as_ref());
    }
    line + "\n"
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
