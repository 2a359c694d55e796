//! The file that callgrind writes, read strictly: what it counted in all.
//!
//! The format is described in valgrind's manual ("Callgrind Format Specification"). Names and calls are
//! checked for their form and not kept. A file whose lines do not add up to its totals was cut off or is
//! of another format: an error with its line, like everything that is not understood.

use thiserror::Error;

/// Most characters of a line that a message shows.
const SHOWN: usize = 60;

/// Keys of the header whose values are free text.
const HEADER: [&str; 7] = ["version", "creator", "pid", "cmd", "part", "thread", "desc"];

/// What names a place of the program, before `=`.
const PLACES: [&str; 9] = ["ob", "fl", "fi", "fe", "fn", "cob", "cfi", "cfl", "cfn"];

/// What was counted, by event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutFile {
    /// Names of events, in the order of the file.
    events: Vec<String>,
    /// Of each event.
    totals: Vec<u64>,
}

/// A line that is not understood.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("line {line}: found `{found}`, expected {expected}")]
pub struct ParseError {
    /// Counted from 1.
    pub line: usize,
    pub found: String,
    pub expected: String,
}

impl OutFile {
    /// Reads the text of a file.
    ///
    /// # Errors
    /// The first line that breaks the format.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        let mut reader = Reader::default();
        let mut last = 0;
        for (number, line) in text.lines().enumerate() {
            last = number + 1;
            let error = |expected: String| ParseError { line: last, found: shown(line), expected };
            if reader.totals.is_some() && !line.trim().is_empty() {
                return Err(error("nothing behind the totals".to_owned()));
            }
            reader.line(line).map_err(error)?;
        }
        let cut_off =
            |expected: &str| ParseError { line: last + 1, found: String::new(), expected: expected.to_owned() };
        if reader.after_call {
            return Err(cut_off("the cost of a call"));
        }
        let totals = reader.totals.ok_or_else(|| cut_off("a line `totals:`"))?;
        Ok(Self { events: reader.events, totals })
    }

    /// The total of an event, if it was counted.
    pub fn total(&self, event: &str) -> Option<u64> {
        self.events.iter().position(|name| name == event).map(|at| self.totals[at])
    }
}

/// What has been read so far.
#[derive(Default)]
struct Reader {
    events: Vec<String>,
    /// Numbers in front of the costs of a line; one if the file does not say.
    positions: Option<usize>,
    /// What the header says of the totals.
    summary: Option<Vec<u64>>,
    /// Of the cost lines so far, without those of calls: what functions cost by themselves.
    sums: Vec<u64>,
    /// Whether the next line is the cost of a call.
    after_call: bool,
    totals: Option<Vec<u64>>,
}

impl Reader {
    /// One line, or what was expected in its place.
    fn line(&mut self, line: &str) -> Result<(), String> {
        let line = line.trim_end();
        if self.after_call {
            self.costs(line)?;
            self.after_call = false;
            return Ok(());
        }
        if line.is_empty() || line.starts_with('#') {
            return Ok(());
        }
        if line.starts_with(|c: char| c.is_ascii_digit() || "+-*".contains(c)) {
            let costs = self.costs(line)?;
            return add(&mut self.sums, &costs);
        }
        // A name may hold a colon, and a header an equals sign: the first of the two decides.
        match line.find([':', '=']) {
            Some(at) if line.as_bytes()[at] == b':' => self.header(&line[..at], line[at + 1..].trim()),
            Some(at) => self.place(&line[..at], line[at + 1..].trim()),
            None => Err("a header, a place or a cost".to_owned()),
        }
    }

    fn header(&mut self, key: &str, value: &str) -> Result<(), String> {
        match key {
            "events" if !self.events.is_empty() => Err("one list of events".to_owned()),
            "events" => {
                for name in value.split_whitespace() {
                    if self.events.iter().any(|other| other == name) {
                        return Err("each event once".to_owned());
                    }
                    self.events.push(name.to_owned());
                }
                self.sums = vec![0; self.events.len()];
                if self.events.is_empty() { Err("names of events".to_owned()) } else { Ok(()) }
            }
            "positions" => {
                let names: Vec<&str> = value.split_whitespace().collect();
                if self.positions.is_some() || !matches!(names[..], ["instr"] | ["line"] | ["instr", "line"]) {
                    return Err("`instr`, `line` or both, once".to_owned());
                }
                self.positions = Some(names.len());
                Ok(())
            }
            "summary" if self.summary.is_some() => Err("one summary".to_owned()),
            "summary" => {
                self.summary = Some(self.values(value.split_whitespace())?);
                Ok(())
            }
            "totals" => {
                let totals = self.values(value.split_whitespace())?;
                if totals != self.sums {
                    return Err(format!("the sum of all costs, {:?}", self.sums));
                }
                if self.summary.as_ref().is_some_and(|summary| *summary != totals) {
                    return Err("the numbers of the summary".to_owned());
                }
                self.totals = Some(totals);
                Ok(())
            }
            key if HEADER.contains(&key) => Ok(()),
            _ => Err(format!("one of the headers {}, events, positions, summary, totals", HEADER.join(", "))),
        }
    }

    fn place(&mut self, key: &str, value: &str) -> Result<(), String> {
        if key == "calls" {
            let mut words = value.split_whitespace();
            words.next().and_then(number).ok_or("a number of calls")?;
            self.skip_positions(&mut words)?;
            self.after_call = true;
            return if words.next().is_none() {
                Ok(())
            } else {
                Err("nothing behind the place that is called".to_owned())
            };
        }
        if !PLACES.contains(&key) {
            return Err(format!("calls= or one of the places {}", PLACES.join("=, ") + "="));
        }
        // `(3)`, `(3) name` or `name`.
        match value.strip_prefix('(').map(|rest| rest.split_once(')')) {
            Some(Some((id, _))) if number(id).is_some() => Ok(()),
            None if !value.is_empty() => Ok(()),
            _ => Err("a name, with its number in parentheses or without".to_owned()),
        }
    }

    /// The costs of a line, one for each event: those that are left out at its end are zero.
    fn costs(&self, line: &str) -> Result<Vec<u64>, String> {
        let mut words = line.split_whitespace();
        self.skip_positions(&mut words)?;
        self.values(words)
    }

    /// Passes the numbers that say where a cost arose.
    fn skip_positions<'a>(&self, words: &mut impl Iterator<Item = &'a str>) -> Result<(), String> {
        for _ in 0..self.positions.unwrap_or(1) {
            let word = words.next().ok_or("a position")?;
            let relative = word.strip_prefix(['+', '-']).unwrap_or(word);
            if word != "*" && number(relative).is_none() {
                return Err("a position: a number, or +, - or * from the one before".to_owned());
            }
        }
        Ok(())
    }

    fn values<'a>(&self, words: impl Iterator<Item = &'a str>) -> Result<Vec<u64>, String> {
        if self.events.is_empty() {
            return Err("`events:` before the first number".to_owned());
        }
        let most = format!("at most {} whole numbers, one for each event", self.events.len());
        let mut values = words.map(|word| number(word).ok_or_else(|| most.clone())).collect::<Result<Vec<u64>, _>>()?;
        if values.len() > self.events.len() {
            return Err(most);
        }
        values.resize(self.events.len(), 0);
        Ok(values)
    }
}

fn add(sums: &mut [u64], costs: &[u64]) -> Result<(), String> {
    for (sum, cost) in sums.iter_mut().zip(costs) {
        *sum = sum.checked_add(*cost).ok_or("costs whose sum is below 2^64")?;
    }
    Ok(())
}

/// A number, decimal or hexadecimal behind `0x`.
fn number(word: &str) -> Option<u64> {
    match word.strip_prefix("0x") {
        Some(digits) if digits.bytes().all(|b| b.is_ascii_hexdigit()) => u64::from_str_radix(digits, 16).ok(),
        None if word.bytes().all(|b| b.is_ascii_digit()) => word.parse().ok(),
        _ => None,
    }
}

/// The beginning of a line.
fn shown(line: &str) -> String {
    match line.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use septet_kernels::SplitMix64;

    use super::*;

    /// What callgrind wrote of products of two kernels, with the paths of this machine cut to names.
    const SAMPLES: [&str; 2] = [include_str!("samples/lut.out"), include_str!("samples/branch.out")];

    fn error(text: &str) -> ParseError {
        OutFile::parse(text).expect_err(text)
    }

    #[test]
    fn totals_are_those_of_the_file() {
        for sample in SAMPLES {
            let file = OutFile::parse(sample).unwrap();
            let totals = sample.lines().rev().find_map(|line| line.strip_prefix("totals: ")).unwrap();
            let totals: Vec<u64> = totals.split(' ').map(|word| word.parse().unwrap()).collect();
            assert_eq!(file.totals, totals);
            assert_eq!((file.total("Ir"), file.total("Bcm").is_some()), (Some(totals[0]), true));
            assert_eq!(file.total("Xyz"), None);
        }
    }

    #[test]
    fn a_file_may_have_every_form_of_the_format() {
        let text = "# callgrind format\nversion: 1\ndesc: I1 cache: 1 B\npositions: instr line\nevents: Ir Bc\n\nob=(1) a b\n\
                    fl=(2) c:d=e\nfn=(3)\n0x10 7 5 1\n+4 +1 2\ncfn=(4) other\ncalls=1 0x20 9\n* * 100 50\n-4 * 0x3\n\
                    totals: 10 1\n";
        assert_eq!(OutFile::parse(text).unwrap().totals, [10, 1]);
    }

    #[test]
    fn what_breaks_the_format_is_an_error_with_its_line() {
        let head = "events: Ir Bc\nfn=a\n";
        for (text, line, expected) in [
            ("", 1, "totals"),
            ("events: Ir\n1 5\n", 3, "totals"),
            ("events: Ir\n1 5\ntotals: 4\n", 3, "sum of all costs, [5]"),
            ("events: Ir\nsummary: 6\n1 5\ntotals: 5\n", 4, "summary"),
            ("events: Ir\n1 5\ntotals: 5\n1 5\n", 4, "nothing behind"),
            ("1 5\n", 1, "`events:` before"),
            ("events:\n", 1, "names of events"),
            ("events: Ir Ir\n", 1, "each event once"),
            ("events: Ir\nevents: Ir\n", 2, "one list"),
            ("positions: column\n", 1, "`instr`, `line`"),
            ("speed: 5\n", 1, "one of the headers"),
            ("nonsense\n", 1, "a header, a place or a cost"),
            (&format!("{head}1 2 3 4\n"), 3, "at most 2 whole numbers"),
            (&format!("{head}1 -2\n"), 3, "whole numbers"),
            (&format!("{head}1 99999999999999999999\n"), 3, "whole numbers"),
            (&format!("{head}1 18446744073709551615\n1 1\n"), 4, "below 2^64"),
            (&format!("{head}+x 2\n"), 3, "a position"),
            (&format!("{head}calls=x 2\n1 2\n"), 3, "a number of calls"),
            (&format!("{head}calls=1 2 3\n1 2\n"), 3, "nothing behind the place"),
            (&format!("{head}calls=1 2\n"), 4, "the cost of a call"),
            (&format!("{head}calls=1 2\nfn=a\n"), 4, "a position"),
            (&format!("{head}fn=(x) a\n"), 3, "a name"),
            (&format!("{head}fn=\n"), 3, "a name"),
            (&format!("{head}jump=1 2\n"), 3, "calls= or one of the places"),
        ] {
            let error = error(text);
            assert!(error.line == line && error.expected.contains(expected), "{text}: {error}");
        }
        assert!(error(&format!("{}\n", "é".repeat(100))).found.chars().count() == SHOWN + 1);
    }

    /// Half of a file is no file: nothing but its end may be missing.
    #[test]
    fn a_file_that_is_cut_off_is_an_error() {
        for sample in SAMPLES {
            let whole = sample.trim_end().len();
            for end in (0..whole).filter(|&end| sample.is_char_boundary(end)) {
                assert!(OutFile::parse(&sample[..end]).is_err(), "{end} of {whole}");
            }
        }
    }

    #[test]
    fn no_bytes_make_it_panic() {
        let mut random = SplitMix64::new(1);
        for sample in SAMPLES {
            for _ in 0..2000 {
                let mut bytes = sample.as_bytes().to_vec();
                for _ in 0..1 + random.next() % 4 {
                    let at = (random.next() % bytes.len() as u64) as usize;
                    match random.next() % 3 {
                        0 => bytes[at] = random.next() as u8,
                        1 => drop(bytes.remove(at)),
                        _ => bytes.insert(at, b"0:=()*+- \n"[(random.next() % 10) as usize]),
                    }
                }
                // Whatever it gives, it comes back.
                let _ = OutFile::parse(&String::from_utf8_lossy(&bytes));
            }
        }
    }
}
