//! Lines that begin where no line of theirs does. Pure.

use super::node::Place;
use super::scalar::Wrong;

/// Where a line of the file began that others may stand beside.
struct Level {
    spaces: usize,
    line: usize,
}

/// The first line of `text`, up to line `last`, that is indented as nothing
/// that it could belong to; `None`: each stands well.
pub(super) fn explain(text: &str, last: usize) -> Option<(Place, Wrong)> {
    let mut levels: Vec<Level> = Vec::new();
    // Whether the line before has room for deeper ones.
    let mut opens = true;
    // How many brackets are open, and how deep a text of several lines is.
    let mut brackets = 0;
    let mut block = None;
    for (line, whole) in (1..=last).zip(text.lines()) {
        let code = without_comment(whole);
        let rest = code.trim_start_matches(' ');
        let spaces = code.len() - rest.len();
        if rest.is_empty() || rest.starts_with("---") {
            continue;
        }
        if brackets > 0 {
            brackets += balance(rest);
            continue;
        }
        if block.is_some_and(|it| spaces > it) {
            continue;
        }
        let mut deeper = None;
        while levels.last().is_some_and(|it| it.spaces > spaces) {
            deeper = levels.pop();
        }
        let upper = levels.last();
        if upper.is_none_or(|it| it.spaces < spaces) {
            if deeper.is_some() || !opens {
                let others = deeper.iter().chain(upper);
                return Some(misplaced(line, spaces, rest, others));
            }
            levels.push(Level { spaces, line });
        }
        let item = rest.trim_start_matches(['-', ' ']);
        if rest.starts_with("- ") && !item.is_empty() {
            let spaces = code.len() - item.len();
            levels.push(Level { spaces, line });
        }
        let end = rest.split(' ').rfind(|it| !it.starts_with(['&', '!']));
        opens = end.is_some_and(|it| it.ends_with(':') || it == "-");
        let is_block = end.is_some_and(|it| it.starts_with(['|', '>']));
        block = is_block.then_some(spaces);
        brackets = balance(rest);
    }
    None
}

fn misplaced<'l>(
    line: usize,
    spaces: usize,
    rest: &str,
    others: impl Iterator<Item = &'l Level>,
) -> (Place, Wrong) {
    let length = rest.find(':').unwrap_or(rest.len());
    let at = Place {
        line,
        column: spaces + 1,
        length: rest[..length].chars().count(),
    };
    let others = others.map(|it| format!("{} (line {})", it.spaces, it.line));
    let others: Vec<String> = others.collect();
    let what = format!(
        "the line is indented by {spaces}, and those above by {}",
        others.join(" or ")
    );
    let hint = "indent it as the lines that it stands beside".to_owned();
    let hint = Some(hint);
    (at, Wrong { what, hint })
}

/// `line` without a comment and the spaces before it.
fn without_comment(line: &str) -> &str {
    let mut before = ' ';
    let mut quote = None;
    for (at, c) in line.char_indices() {
        if quote.is_none() && c == '#' && before == ' ' {
            return line[..at].trim_end();
        }
        quote = quote_after(quote, c);
        before = c;
    }
    line.trim_end()
}

/// How many more brackets are opened in `code` than closed.
fn balance(code: &str) -> i32 {
    let mut quote = None;
    let mut open = 0;
    for c in code.chars() {
        quote = quote_after(quote, c);
        if quote.is_none() {
            open += i32::from(matches!(c, '[' | '{')) - i32::from(matches!(c, ']' | '}'));
        }
    }
    open
}

/// Which quote is open behind `c`.
fn quote_after(quote: Option<char>, c: char) -> Option<char> {
    match (quote, c) {
        (None, '"' | '\'') => Some(c),
        (Some(open), _) if open == c => None,
        (quote, _) => quote,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str) -> Option<(usize, String)> {
        let (at, wrong) = explain(text, usize::MAX)?;
        Some((at.line, wrong.what))
    }

    #[test]
    fn a_line_stands_beside_others_or_is_told() {
        let what = "the line is indented by 3, and those above by 4 (line 3) or 2 (line 2)";
        let text = "a:\n  b:\n    c: 1\n   d: 2\n";
        assert_eq!(told(text), Some((4, what.to_owned())));
        let what = "the line is indented by 4, and those above by 2 (line 2)";
        assert_eq!(told("a:\n  b: 1\n    c: 2\n"), Some((3, what.to_owned())));
        let what = "the line is indented by 0, and those above by 1 (line 1)";
        assert_eq!(told(" a:\n  b: 1\nc: 2\n"), Some((3, what.to_owned())));
    }

    #[test]
    fn what_yaml_allows_is_not_told() {
        for text in [
            "a:\n  b: 1\n\n# c\n  d:\n      e: 1\nf: 2\n",
            "a:\n- b: 1\n  c: 2\n- d\ne:\n  - f\n  -\n    g: 1\n",
            "a: { b: [1,\n 2], # c\n   d: 3 }\ne: \"# {\"\n",
            "a: |\n   text:\n     more\n  less\nb: &c\n  d: it's\n<<: *c\n",
        ] {
            assert_eq!(told(text), None, "{text}");
        }
    }
}
