//! What a person meant who wrote what YAML does not take. Pure.

use super::indent;
use super::node::Place;
use super::scalar::Wrong;

/// Where `text` is no YAML, told so that it can be mended; `message` is what
/// the parser says.
pub(super) fn explain(text: &str, at: Place, message: &str) -> (Place, Wrong) {
    let line = at.line.checked_sub(1);
    let line = line.and_then(|it| text.lines().nth(it)).unwrap_or_default();
    if message.contains("multiple YAML documents") {
        let what = "a second document begins here".to_owned();
        let hint = "an lb.yaml is one document: take the line `---` before it out";
        return (at, wrong(what, hint));
    }
    if message.contains("tabs disallowed") {
        let what = "a tab stands where YAML wants spaces".to_owned();
        return (at, wrong(what, "indent with spaces"));
    }
    if let Some((column, address)) = bare_ipv6(line, at.column) {
        let what = format!("{address:?} needs quotes: without them [ begins a list");
        let length = address.chars().count();
        let at = Place {
            column,
            length,
            ..at
        };
        return (at, wrong(what, format!("write \"{address}\"")));
    }
    if message.contains("unknown anchor") {
        return (at, unknown_alias(line, at.column));
    }
    // Some are found only at the line after.
    if let Some(found) = indent::explain(text, at.line + 1) {
        return found;
    }
    if message.contains("while parsing a flow ") {
        let what = "a bracket before this place is not closed".to_owned();
        return (at, wrong(what, "look for a { or [ without its } or ]"));
    }
    if message.contains("unclosed quote") {
        let what = "a quote begins here and does not end".to_owned();
        return (at, wrong(what, "end it where the value ends"));
    }
    if message.contains("mapping values are not allowed") {
        let what = "a second key stands in this line".to_owned();
        let hint = "write it into a line of its own, or quote a value that has \": \" in it";
        return (at, wrong(what, hint));
    }
    // The place is said before the message.
    let end = message.rfind(" at line ").unwrap_or(message.len());
    let what = message[..end].to_owned();
    (at, Wrong { what, hint: None })
}

/// What begins with a `*` in `line` at `column`, where no anchor is.
fn unknown_alias(line: &str, column: usize) -> Wrong {
    let start = line.char_indices().nth(column.saturating_sub(1));
    let rest = start.map_or("", |(start, _)| &line[start..]);
    let end = rest.find(|c: char| c.is_whitespace() || [',', ']', '}'].contains(&c));
    let alias = &rest[..end.unwrap_or(rest.len())];
    match alias.strip_prefix("*:") {
        Some(port) => wrong(
            format!("{alias:?} is an alias to YAML, and not every address"),
            format!("write \":{port}\""),
        ),
        None => wrong(
            format!("{alias:?} is an alias, and no anchor before it has that name"),
            "quote a text that begins with *; an anchor is written &name",
        ),
    }
}

/// The text of a file that is not UTF-8, or where and why not.
pub(super) fn decode(bytes: &[u8]) -> Result<&str, (Place, Wrong)> {
    let error = match std::str::from_utf8(bytes) {
        Ok(text) => return Ok(text),
        Err(error) => error,
    };
    let (before, rest) = bytes.split_at(error.valid_up_to());
    let before = String::from_utf8_lossy(before);
    let begins = before.rfind('\n').map_or(0, |it| it + 1);
    let at = Place {
        line: before.matches('\n').count() + 1,
        column: before[begins..].chars().count() + 1,
        length: 1,
    };
    let byte = rest.first().copied().unwrap_or_default();
    let what = format!("the file is not UTF-8: there is a byte 0x{byte:02x}");
    let hint = format!(
        "in Latin-1 that is {:?}; convert the file: iconv -f LATIN1 -t UTF-8",
        char::from(byte)
    );
    Err((at, wrong(what, hint)))
}

fn wrong(what: String, hint: impl Into<String>) -> Wrong {
    let hint = Some(hint.into());
    Wrong { what, hint }
}

/// `[::1]:80` without quotes in `line`, whose `]` stands before `column`, and
/// where it begins.
fn bare_ipv6(line: &str, column: usize) -> Option<(usize, &str)> {
    let (end, _) = line.char_indices().nth(column.checked_sub(1)?)?;
    let (before, rest) = (&line[..end], &line[end..]);
    let port = rest.strip_prefix(':')?;
    let digits = port.bytes().take_while(u8::is_ascii_digit).count();
    let begin = before.strip_suffix(']')?.rfind('[')?;
    let inside = &before[begin + 1..end - 1];
    if digits == 0 || inside.parse::<std::net::Ipv6Addr>().is_err() {
        return None;
    }
    let column = line[..begin].chars().count() + 1;
    Some((column, &line[begin..end + 1 + digits]))
}
