//! Settings whose text came from the environment: shown by their source,
//! `${NAME}`, whatever key they stand in. Pure.

use serde_json::{Map, Value};

use crate::types::Secret;

/// A value that is found anywhere else: long enough not to be there by chance.
const SHORTEST_FAR: usize = 8;

/// Every setting that the environment gave something to.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Given(Vec<Setting>);

#[derive(Clone, Debug, PartialEq)]
struct Setting {
    path: String,
    /// What it came to.
    value: Secret,
    /// As it stands in the file.
    shown: String,
    /// What the environment gave, and how the file refers to it.
    parts: Vec<(Secret, String)>,
}

impl Given {
    /// Remembers that the setting at `path`, `shown` in the file, came to
    /// `value` by means of `parts`.
    pub(super) fn note(
        &mut self,
        path: &str,
        value: &str,
        shown: &str,
        parts: Vec<(Secret, String)>,
    ) {
        let setting = Setting {
            path: path.to_owned(),
            value: Secret::new(value),
            shown: shown.to_owned(),
            parts,
        };
        if !self.0.contains(&setting) {
            self.0.push(setting);
        }
    }

    /// `text`, which quotes what such a setting came to, with its source in
    /// quotes instead. A value may be too short to be found otherwise.
    pub(super) fn unquoted(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for setting in &self.0 {
            let value = format!("{:?}", setting.value.expose());
            text = text.replace(&value, &format!("{:?}", setting.shown));
        }
        text
    }

    /// `config` with each such setting shown by its source, and everything
    /// else as `plain` writes it.
    pub(super) fn mask(&self, config: Value, plain: fn(&str) -> String) -> Value {
        self.walk(config, "", plain)
    }

    fn walk(&self, value: Value, path: &str, plain: fn(&str) -> String) -> Value {
        match value {
            Value::Object(map) => {
                let entries = map.into_iter().map(|(key, value)| {
                    let path = match path {
                        "" => key.clone(),
                        path => format!("{path}.{key}"),
                    };
                    let value = self.walk(value, &path, plain);
                    (key, value)
                });
                Value::Object(entries.collect::<Map<_, _>>())
            }
            Value::Array(items) => {
                let items = items.into_iter().enumerate();
                let items = items.map(|(i, it)| self.walk(it, &format!("{path}[{i}]"), plain));
                Value::Array(items.collect())
            }
            Value::String(text) => self.text(&text, path, plain),
            Value::Null | Value::Bool(_) | Value::Number(_) => self.at(path).unwrap_or(value),
        }
    }

    fn at(&self, path: &str) -> Option<Value> {
        let setting = self.0.iter().find(|it| it.path == path)?;
        Some(Value::String(setting.shown.clone()))
    }

    fn text(&self, text: &str, path: &str, plain: fn(&str) -> String) -> Value {
        if let Some(shown) = self.at(path) {
            return shown;
        }
        let near = |it: &&Setting| is_within(path, &it.path) || is_within(&it.path, path);
        let mut whole = self.0.iter().filter(near);
        if let Some(setting) = whole.find(|it| it.value.expose() == text) {
            return Value::String(setting.shown.clone());
        }
        let mut out = plain(text);
        for setting in &self.0 {
            // Where it belongs it is found however short it is.
            let shortest = if near(&setting) { 1 } else { SHORTEST_FAR };
            for (value, name) in &setting.parts {
                let value = value.expose();
                if value.len() >= shortest && out.contains(value) {
                    out = out.replace(value, name);
                }
            }
        }
        Value::String(out)
    }
}

/// Whether `inner` is a setting in the section `outer`.
fn is_within(inner: &str, outer: &str) -> bool {
    let rest = inner.strip_prefix(outer);
    rest.is_some_and(|rest| rest.starts_with(['.', '[']))
}
