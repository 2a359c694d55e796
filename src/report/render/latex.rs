//! LaTeX for `\input`: booktabs rules and threeparttable notes, no float of its own.

use crate::report::grid::{Align, Entry, Grid};

/// The table, after a comment that says from which run it comes.
pub fn latex(grid: &Grid, origin: &str) -> String {
    let columns: String = grid
        .headings
        .iter()
        .map(|heading| match heading.align {
            Align::Left => 'l',
            Align::Right => 'r',
        })
        .collect();
    let headings: Vec<String> = grid.headings.iter().map(|heading| escape(&heading.text)).collect();
    let mut text = format!("% {}: {}\n", one_line(&grid.title), one_line(origin));
    text += "% needs \\usepackage{booktabs,threeparttable}\n";
    text += "\\begin{threeparttable}\n";
    text += &format!("\\begin{{tabular}}{{@{{}}{columns}@{{}}}}\n\\toprule\n");
    text += &line(&headings);
    text += "\\midrule\n";
    for row in &grid.rows {
        text += &line(&row.iter().map(entry).collect::<Vec<_>>());
    }
    text += "\\bottomrule\n\\end{tabular}\n";
    if !grid.notes.is_empty() {
        text += "\\begin{tablenotes}\\footnotesize\n";
        for note in &grid.notes {
            text += &format!("\\item {}\n", escape(note));
        }
        text += "\\end{tablenotes}\n";
    }
    text + "\\end{threeparttable}\n"
}

fn line(fields: &[String]) -> String {
    format!("{} \\\\\n", fields.join(" & "))
}

fn entry(entry: &Entry) -> String {
    let text = escape(&entry.text);
    if entry.strong {
        format!("\\textbf{{{text}}}")
    } else if text.starts_with('[') {
        // After the `\\` of the row above, a bracket would be read as its optional argument.
        format!("{{{text}}}")
    } else {
        text
    }
}

fn one_line(text: &str) -> String {
    text.replace(['\n', '\r'], " ")
}

/// Text for a document in any input encoding: specials escaped, symbols as commands.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' | '%' | '$' | '#' | '_' | '{' | '}' => escaped.extend(['\\', c]),
            '\\' => escaped += "\\textbackslash{}",
            '~' => escaped += "\\textasciitilde{}",
            '^' => escaped += "\\textasciicircum{}",
            '<' => escaped += "$<$",
            '>' => escaped += "$>$",
            '×' => escaped += "$\\times$",
            '−' => escaped += "$-$",
            '±' => escaped += "$\\pm$",
            '≥' => escaped += "$\\geq$",
            '≤' => escaped += "$\\leq$",
            '·' => escaped += "$\\cdot$",
            '→' => escaped += "$\\rightarrow$",
            '′' => escaped += "$'$",
            'µ' => escaped += "$\\mu$",
            '–' => escaped += "--",
            '†' => escaped += "$\\dagger$",
            '‡' => escaped += "$\\ddagger$",
            '\n' | '\r' => escaped.push(' '),
            _ => escaped.push(c),
        }
    }
    escaped
}
