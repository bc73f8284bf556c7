//! What is wrong with an lb.yaml, so that a person can mend it.

use std::fmt;

use super::node::{Node, Place, Value};
use super::reader::Reader;
use crate::types::count;

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
    /// What everybody may know of it: nothing that the file says.
    public: String,
}

/// Everything that is wrong with a file, in its order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems {
    file: String,
    all: Vec<Problem>,
}

impl std::error::Error for Problems {}

impl Problems {
    /// What `reader` has found wrong in the file `file` with this text, which
    /// is the tree `root`, if it is one.
    pub(super) fn new(file: &str, text: &str, root: Option<&Node>, reader: Reader<'_>) -> Self {
        let (mut taint, strange) = (reader.taint.clone(), reader.strange.clone());
        // What is wrong may be no address: then it is shown to nobody.
        for it in &reader.public {
            taint.hide(it.value.expose(), &it.name);
        }
        let given = reader.given.clone();
        let mut found = reader.into_faults();
        found.sort_by_key(|it| (it.at.line, it.at.column));
        let shown = |text: &str| one_line(&given.unquoted(&taint.clean(text)));
        let all = found.into_iter().map(|fault| {
            let line = fault.at.line.checked_sub(1);
            let source = line.and_then(|line| lines(text).nth(line));
            Problem {
                line: fault.at.line,
                column: fault.at.column,
                path: shown(&fault.path),
                what: shown(&fault.what),
                hint: fault.hint.as_deref().map(shown),
                length: fault.at.length,
                source: source.unwrap_or_default().to_owned(),
                public: shown(&public(&fault, root, &strange)),
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

/// Where something is wrong and what, without a word of what the file says
/// there: whoever reaches the admin port or the log may read it.
impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for problem in &self.all {
            let (line, column) = (problem.line.max(1), problem.column.max(1));
            writeln!(f, "{}:{line}:{column}: {}", self.file, problem.public)?;
        }
        write!(f, "{}; `tandem check` shows the lines", self.count())
    }
}

impl Problems {
    /// The whole story, with the lines of the file that are meant.
    pub fn with_lines(&self) -> String {
        let mut text = String::new();
        for problem in &self.all {
            // Writing to a string cannot fail.
            let _infallible = problem.show(&self.file, &mut text);
        }
        text + &self.count()
    }

    fn count(&self) -> String {
        count(self.all.len(), "problem")
    }
}

/// What stands in the place of what the file says.
const MASK: &str = "***";
/// Shorter texts of the file may be words of ours.
const SHORTEST: usize = 4;

/// What everybody may know of `fault`.
fn public(fault: &Fault, root: Option<&Node>, strange: &[String]) -> String {
    let Some(root) = root else {
        // The parser says what it stumbled over.
        return "is not valid YAML".to_owned();
    };
    // Messages quote what the file says.
    let mut what = without_quoted(&fault.what);
    // And a few say it without quotes, as a value to write.
    let mut beside = Vec::new();
    collect(root, fault.at.line, &mut beside);
    beside.sort_by_key(|it| std::cmp::Reverse(it.len()));
    for text in beside.iter().filter(|it| it.len() >= SHORTEST) {
        what = what.replace(text, MASK);
    }
    if fault.path.is_empty() {
        return what;
    }
    let mut path = fault.path.clone();
    for key in strange.iter().filter(|it| !it.is_empty()) {
        path = without_segment(&path, key);
    }
    format!("{path}: {what}")
}

/// The texts that stand in `line`.
fn collect<'n>(node: &'n Node, line: usize, found: &mut Vec<&'n str>) {
    match &node.value {
        Value::Text(text) if node.at.line == line => found.push(text),
        Value::Null | Value::Text(_) => {}
        Value::List(items) => items.iter().for_each(|it| collect(it, line, found)),
        Value::Map(entries) => entries.iter().for_each(|(_, it)| collect(it, line, found)),
    }
}

/// `what` with everything in quotes masked, as `{:?}` writes it.
fn without_quoted(what: &str) -> String {
    let mut out = String::new();
    let mut chars = what.chars();
    while let Some(c) = chars.next() {
        if c != '"' {
            out.push(c);
            continue;
        }
        while let Some(c) = chars.next() {
            match c {
                '"' => break,
                // Whatever is escaped does not end it.
                '\\' => drop(chars.next()),
                _ => {}
            }
        }
        out.push_str(MASK);
    }
    out
}

/// `path` with `key` masked wherever it is a whole part of it.
fn without_segment(path: &str, key: &str) -> String {
    let mut out = String::new();
    let mut rest = path;
    while let Some(at) = rest.find(key) {
        let (before, after) = (&rest[..at], &rest[at + key.len()..]);
        let begins = before.is_empty() && out.is_empty() || before.ends_with('.');
        let ends = after.is_empty() || after.starts_with(['.', '[']);
        out.push_str(before);
        out.push_str(if begins && ends { MASK } else { key });
        rest = after;
    }
    out + rest
}

/// Longer lines are cut around the place that is meant.
const MOST_COLUMNS: usize = 120;

impl Problem {
    fn show(&self, file: &str, f: &mut impl fmt::Write) -> fmt::Result {
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
    use std::path::PathBuf;

    use super::*;
    use crate::config::Process;

    #[test]
    fn a_quoted_value_stays_in_its_line() {
        let fault = Fault {
            at: Place::default(),
            path: "pools.a\u{1b}[2J".to_owned(),
            what: "wrong: x\nlb.yaml:1:1: ü".to_owned(),
            hint: Some("not\r\nthat".to_owned()),
        };
        let here = Process {
            folder: PathBuf::new(),
            node: None,
        };
        let mut reader = Reader::new(&here);
        reader.faults.push(fault);
        let shown = Problems::new("lb.yaml", "", None, reader).with_lines();
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
