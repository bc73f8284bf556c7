//! What is wrong with an lb.yaml, so that a person can mend it.

use std::fmt;

use super::node::Place;

/// One fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The line, counted from 1; 0 if the whole file is meant.
    pub line: usize,
    /// The column, counted from 1.
    pub column: usize,
    /// Which setting, like `pools.web.probe`.
    pub path: String,
    /// What is wrong with it.
    pub what: String,
    /// What to do about it.
    pub hint: Option<String>,
    /// How many characters are meant.
    length: usize,
    /// The line itself.
    source: String,
}

/// Everything that is wrong with a file, in its order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems {
    file: String,
    all: Vec<Problem>,
}

impl std::error::Error for Problems {}

impl Problems {
    pub(super) fn new(file: &str, text: &str, mut found: Vec<Fault>) -> Self {
        found.sort_by_key(|it| (it.at.line, it.at.column));
        let all = found.into_iter().map(|fault| {
            let line = fault.at.line.checked_sub(1);
            let source = line.and_then(|line| lines(text).nth(line));
            Problem {
                line: fault.at.line,
                column: fault.at.column,
                path: one_line(&fault.path),
                what: one_line(&fault.what),
                hint: fault.hint.as_deref().map(one_line),
                length: fault.at.length,
                source: source.unwrap_or_default().to_owned(),
            }
        });
        Self {
            file: file.to_owned(),
            all: all.collect(),
        }
    }

    /// The problems, in the order of the file.
    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.all.iter()
    }
}

/// The lines of `text` as YAML counts them: a lone CR ends one, too.
fn lines(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        let Some(end) = text.find(['\r', '\n']) else {
            rest = None;
            return Some(text);
        };
        let width = if text[end..].starts_with("\r\n") {
            2
        } else {
            1
        };
        rest = Some(&text[end + width..]);
        Some(&text[..end])
    })
}

/// `text` with line breaks and all other control characters written out: a
/// quoted value must not look like another message, nor steer a terminal.
fn one_line(text: &str) -> String {
    let shown = |c: char| match c.is_control() {
        true => c.escape_default().collect(),
        false => String::from(c),
    };
    text.chars().map(shown).collect()
}

/// A problem before it has been shown its line.
#[derive(Clone, Debug)]
pub(super) struct Fault {
    pub(super) at: Place,
    pub(super) path: String,
    pub(super) what: String,
    pub(super) hint: Option<String>,
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for problem in &self.all {
            problem.show(&self.file, f)?;
        }
        match self.all.len() {
            1 => f.write_str("1 problem"),
            n => write!(f, "{n} problems"),
        }
    }
}

/// Longer lines are cut around the place that is meant.
const MOST_COLUMNS: usize = 120;

impl Problem {
    fn show(&self, file: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (line, column) = (self.line.max(1), self.column.max(1));
        write!(f, "{file}:{line}:{column}: ")?;
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        writeln!(f, "{}", self.what)?;
        let shown: String = self
            .source
            .chars()
            .map(|c| if c.is_control() { ' ' } else { c })
            .take(MOST_COLUMNS)
            .collect();
        let width = shown.chars().count();
        if width > 0 && column <= width {
            let room = width + 1 - column;
            let carets = "^".repeat(self.length.clamp(1, room));
            let (number, blank) = (line.to_string(), " ".repeat(column - 1));
            let margin = " ".repeat(number.len());
            writeln!(f, " {number} | {shown}\n {margin} | {blank}{carets}")?;
        }
        match &self.hint {
            Some(hint) => writeln!(f, "   = {hint}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quoted_value_stays_in_its_line() {
        let fault = Fault {
            at: Place::default(),
            path: "pools.a\u{1b}[2J".to_owned(),
            what: "wrong: x\nlb.yaml:1:1: ü".to_owned(),
            hint: Some("not\r\nthat".to_owned()),
        };
        let shown = Problems::new("lb.yaml", "", vec![fault]).to_string();
        let lines: Vec<_> = shown.lines().collect();
        let expected = [
            r"lb.yaml:1:1: pools.a\u{1b}[2J: wrong: x\nlb.yaml:1:1: ü",
            r"   = not\r\nthat",
            "1 problem",
        ];
        assert_eq!(lines, expected);
    }

    #[test]
    fn every_way_to_end_a_line_counts() {
        let found: Vec<_> = lines("a\rb\r\n\nc\n").collect();
        assert_eq!(found, ["a", "b", "", "c", ""]);
    }
}
