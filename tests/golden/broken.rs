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
            let last = &key[key.len() - 1..];
            let broken = format!("{}{last}{}", &text[..to], &text[to..]);
            let found = told(&broken);
            let [problem] = &found[..] else {
                panic!("{file}: {key}{last} is told as {found:#?}");
            };
            let before = text[..from].rsplit('\n').next().unwrap();
            let place = (text[..from].matches('\n').count() + 1, before.len() + 1);
            assert_eq!((problem.line, problem.column), place, "{file} {problem:?}");
            assert_eq!(problem.what, format!("unknown key \"{key}{last}\""));
            let hint = format!("did you mean {key:?}?");
            assert_eq!(problem.hint.as_ref(), Some(&hint), "{file}");
            count += 1;
        }
    }
    assert!(count > 200, "{count} keys were misspelt");
}
