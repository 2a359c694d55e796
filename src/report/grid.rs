//! A table before it is rendered: built once, printed as Markdown, CSV and LaTeX.

/// Side to which a column is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Align {
    Left,
    Right,
}

/// A heading and its side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heading {
    pub text: String,
    pub align: Align,
}

/// One entry; strong ones are set in bold by renderers that can.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub text: String,
    pub strong: bool,
}

impl Entry {
    /// An entry that stands out when `strong` holds.
    pub fn strong_if(strong: bool, text: impl Into<String>) -> Entry {
        Entry { text: text.into(), strong }
    }
}

impl From<String> for Entry {
    fn from(text: String) -> Entry {
        Entry::strong_if(false, text)
    }
}

impl From<&str> for Entry {
    fn from(text: &str) -> Entry {
        Entry::strong_if(false, text)
    }
}

/// Headings, rows of the same width, and notes that belong below.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grid {
    pub title: String,
    pub headings: Vec<Heading>,
    pub rows: Vec<Vec<Entry>>,
    pub notes: Vec<String>,
}

impl Grid {
    /// An empty table. Headings that end in `>` are set to the right.
    pub fn new(title: impl Into<String>, headings: &[&str]) -> Grid {
        let heading = |text: &&str| match text.strip_suffix('>') {
            Some(text) => Heading { text: text.trim_end().to_owned(), align: Align::Right },
            None => Heading { text: (*text).to_owned(), align: Align::Left },
        };
        Grid {
            title: title.into(),
            headings: headings.iter().map(heading).collect(),
            rows: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// Adds a row.
    ///
    /// # Panics
    ///
    /// If it is not as wide as the headings.
    pub fn push(&mut self, row: impl IntoIterator<Item = Entry>) {
        let row: Vec<Entry> = row.into_iter().collect();
        assert_eq!(row.len(), self.headings.len(), "row of another width in `{}`", self.title);
        self.rows.push(row);
    }
}
