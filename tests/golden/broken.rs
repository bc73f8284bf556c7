//! Every good lb.yaml that there is, broken in one place at a time.

use std::fs;
use std::path::Path;

use tandem::config::{Config, Problem};

use super::machine::Machine;
use super::own_names;

/// All that the docs show, that `tandem init` prints, and the good files of the
/// tests, each with its name.
pub(super) fn good_files() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut all = Vec::new();
    for folder in [".", "docs", "src/cli/init", "tests/golden/config-good"] {
        for entry in fs::read_dir(root.join(folder)).unwrap() {
            let path = entry.unwrap().path();
            let Some(kind) = path.extension().and_then(|it| it.to_str()) else {
                continue;
            };
            let name = path.strip_prefix(root).unwrap().display().to_string();
            match kind {
                "yaml" => all.push((name, fs::read_to_string(&path).unwrap())),
                "md" => {
                    let text = fs::read_to_string(&path).unwrap();
                    let blocks = text.split("```yaml\n").skip(1);
                    let blocks = blocks.map(|it| it.split("```").next().unwrap().to_owned());
                    all.extend(blocks.map(|it| (name.clone(), it)));
                }
                _ => {}
            }
        }
    }
    assert!(all.len() >= 18, "{} good files", all.len());
    all
}

/// What is wrong with `text`; nothing if it is good.
pub(super) fn told(text: &str) -> Vec<Problem> {
    match Config::parse(text, "lb.yaml", &Machine) {
        Ok(_) => Vec::new(),
        Err(problems) => problems.iter().cloned().collect(),
    }
}

/// Where the keys of `text` begin and end.
fn keys(text: &str) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        // No good file has a # or a key within quotes before the end of a line.
        let code = line.split(" #").next().unwrap();
        for (colon, _) in code.match_indices(':') {
            let is_key = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
            let key = code[..colon].rfind(|c| !is_key(c)).map_or(0, |it| it + 1);
            let is_begun = code[..key].trim().is_empty() || code[..key].ends_with(['{', ' ']);
            let is_quoted = code[..key].matches('"').count() % 2 == 1;
            let is_ended = code[colon + 1..].starts_with(char::is_whitespace);
            if key < colon && is_begun && is_ended && !is_quoted && !line.starts_with('#') {
                found.push((start + key, start + colon));
            }
        }
        start += line.len();
    }
    found
}

#[test]
fn a_misspelt_key_is_told_at_its_place_and_nothing_that_follows_from_it() {
    let mut count = 0;
    for (file, text) in good_files() {
        let config = Config::parse(&text, "lb.yaml", &Machine).unwrap_or_else(|why| {
            panic!("{file}: {}", why.with_lines());
        });
        let names = own_names(&config.to_json());
        for (from, to) in keys(&text) {
            let key = &text[from..to];
            // What the operator named may be named otherwise.
            if names.iter().any(|it| it == key) || key.starts_with("x-") {
                continue;
            }
            // The second looks like a setting within the right one.
            for more in [&key[key.len() - 1..], ".x"] {
                let broken = format!("{}{more}{}", &text[..to], &text[to..]);
                let found = told(&broken);
                let [problem] = &found[..] else {
                    panic!("{file}: {key}{more} is told as {found:#?}");
                };
                let before = text[..from].rsplit('\n').next().unwrap();
                let place = (line_of(&text, from), before.len() + 1);
                assert_eq!((problem.line, problem.column), place, "{file} {problem:?}");
                assert_eq!(problem.what, format!("unknown key \"{key}{more}\""));
                let hint = format!("did you mean {key:?}?");
                assert_eq!(problem.hint.as_ref(), Some(&hint), "{file}");
                count += 1;
            }
        }
    }
    assert!(count > 400, "{count} keys were misspelt");
}

/// Where the values of `text` begin and end that are whole within a line, each
/// with the place of its key.
fn values(text: &str) -> Vec<(usize, usize, usize)> {
    let found = keys(text).into_iter().filter_map(|(key, colon)| {
        let line = text[colon + 1..].lines().next()?;
        let line = line.split(" #").next()?;
        let rest = line.trim_start();
        let from = colon + 1 + line.len() - rest.len();
        let is_flow = text[..key].rsplit('\n').next()?.contains('{');
        let (mut depth, mut is_quoted) = (0, false);
        let end = rest.find(|c: char| {
            is_quoted ^= c == '"';
            if !is_quoted {
                depth += i32::from("[{".contains(c)) - i32::from("]}".contains(c));
            }
            is_flow && !is_quoted && (depth < 0 || depth == 0 && c == ',')
        });
        let to = from + rest[..end.unwrap_or(rest.len())].trim_end().len();
        // An anchor is needed elsewhere.
        (from < to && !text[from..].starts_with('&')).then_some((key, from, to))
    });
    found.collect()
}

fn line_of(text: &str, at: usize) -> usize {
    text[..at].matches('\n').count() + 1
}

#[test]
fn a_value_of_a_wrong_kind_is_told_once_at_its_line_with_what_to_do() {
    let mut count = 0;
    for (file, text) in good_files() {
        for (key, from, to) in values(&text) {
            // What anchors share is told for each who uses it.
            if text[key..].starts_with("x-") {
                continue;
            }
            for wrong in ["[[x]]", ""] {
                let broken = format!("{}{wrong}{}", &text[..from], &text[to..]);
                let found = told(&broken);
                let [problem] = &found[..] else {
                    panic!("{file}: {broken}\nis told as {found:#?}");
                };
                assert_eq!(problem.line, line_of(&text, key), "{file}: {problem:?}");
                assert!(problem.hint.is_some(), "{file}: {problem:?}");
                count += 1;
            }
        }
    }
    assert!(count > 400, "{count} values were broken");
}

#[test]
fn a_line_that_is_indented_otherwise_means_the_same_or_is_told_with_those_above() {
    let (mut same, mut refused) = (0, 0);
    for (file, text) in good_files() {
        let good = Config::parse(&text, "lb.yaml", &Machine).unwrap().to_json();
        let lines: Vec<&str> = text.lines().collect();
        for (i, line) in lines.iter().enumerate() {
            if line.trim().is_empty() || line.trim_start().starts_with('#') {
                continue;
            }
            let deeper = format!(" {line}");
            for other in [Some(deeper.as_str()), line.strip_prefix(' ')] {
                let Some(other) = other else {
                    continue;
                };
                let mut lines = lines.clone();
                lines[i] = other;
                let broken = lines.join("\n");
                match Config::parse(&broken, "lb.yaml", &Machine) {
                    Ok(config) => {
                        assert_eq!(config.to_json(), good, "{file}:\n{broken}");
                        same += 1;
                    }
                    Err(_) => {
                        let found = told(&broken);
                        let [problem] = &found[..] else {
                            panic!("{file}:\n{broken}\nis told as {found:#?}");
                        };
                        let what = &problem.what;
                        assert!(what.starts_with("the line is indented by "), "{problem:?}");
                        assert!(problem.line > i && problem.hint.is_some(), "{problem:?}");
                        refused += 1;
                    }
                }
            }
        }
    }
    assert!(same > 50 && refused > 200, "{same} {refused}");
}
