//! Walking the tree, and keeping every fault that is found on the way.

use std::path::{Path, PathBuf};

use super::given::Given;
use super::node::{Key, Node, Place, Value};
use super::problem::Fault;
use super::scalar::{Parsed, Wrong, nearest};
use super::surroundings::Surroundings;
use super::warning::Warning;
use crate::types::{Name, Secret, Taint};

/// Words of other balancers, and ours.
const SYNONYMS: [(&str, &str); 17] = [
    ("address", "bind"),
    ("algorithm", "policy"),
    ("backup_servers", "backends"),
    ("balance", "policy"),
    ("check", "probe"),
    ("frontends", "listeners"),
    ("global", "process"),
    ("health", "probe"),
    ("health_check", "probe"),
    ("listen", "bind"),
    ("maxconn", "max_connections"),
    ("max_conns", "max_connections"),
    ("members", "backends"),
    ("port", "bind"),
    ("servers", "backends"),
    ("timeout", "connect_timeout"),
    ("upstreams", "pools"),
];

/// What stands in the place of a secret in a message.
const HIDDEN: &str = "***";

/// What people write to switch something off.
const OFF: [&str; 6] = ["false", "no", "none", "never", "0", "disabled"];

/// Whether the setting at `path` is a map or `off`.
fn can_be_off(path: &str) -> bool {
    let key = path.rsplit('.').next().unwrap_or_default();
    ["dns", "keepalive", "lease", "queue", "tls"].contains(&key)
}

pub(super) struct Reader<'a> {
    around: &'a dyn Surroundings,
    pub(super) faults: Vec<Fault>,
    /// Settings that the environment gave something to.
    pub(super) given: Given,
    /// What nobody is to see.
    pub(super) taint: Taint,
    /// What is to be said of a good file all the same, and of which setting.
    pub(super) warnings: Vec<(Place, String, Warning)>,
    /// Keys that are not ours: they may be anything, a password too.
    pub(super) strange: Vec<String>,
}

/// The text of a setting.
struct Text {
    value: String,
    /// As it stands in the file, if the environment gave something to it.
    shown: Option<String>,
}

/// A text with `${NAME}` replaced.
#[derive(Default)]
struct Replaced {
    value: String,
    /// What the environment gave, and how the file refers to it.
    parts: Vec<(Secret, String)>,
}

/// A map of the file whose keys are known to be right.
pub(super) struct Fields<'n> {
    pub(super) path: String,
    pub(super) at: Place,
    entries: Vec<(&'n Key, &'n Node)>,
}

impl<'n> Fields<'n> {
    pub(super) fn get(&self, key: &str) -> Option<&'n Node> {
        let mut entries = self.entries.iter();
        entries
            .find(|(it, _)| it.name == key)
            .map(|(_, node)| *node)
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.get(key).is_some()
    }

    /// The full name of one of its settings.
    pub(super) fn path(&self, key: &str) -> String {
        join(&self.path, key)
    }

    /// The first of `keys` that is there.
    pub(super) fn first_of(&self, keys: &[&str]) -> Option<&'n Key> {
        let mut entries = self.entries.iter();
        entries
            .find(|(it, _)| keys.contains(&it.name.as_str()))
            .map(|(key, _)| *key)
    }

    pub(super) fn entries(&self) -> impl Iterator<Item = (&'n Key, &'n Node)> {
        self.entries.iter().copied()
    }
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() {
        key.to_owned()
    } else {
        format!("{path}.{key}")
    }
}

impl<'a> Reader<'a> {
    pub(super) fn new(around: &'a dyn Surroundings) -> Self {
        Self {
            around,
            faults: Vec::new(),
            given: Given::default(),
            taint: Taint::default(),
            warnings: Vec::new(),
            strange: Vec::new(),
        }
    }

    /// What the file is read for.
    pub(super) fn around(&self) -> &'a dyn Surroundings {
        self.around
    }

    pub(super) fn fault(
        &mut self,
        at: Place,
        path: impl Into<String>,
        what: impl Into<String>,
        hint: impl Into<Option<&'static str>>,
    ) {
        let hint: Option<&str> = hint.into();
        self.faults.push(Fault {
            at,
            path: path.into(),
            what: what.into(),
            hint: hint.map(str::to_owned),
        });
    }

    pub(super) fn wrong(&mut self, at: Place, path: impl Into<String>, wrong: Wrong) {
        self.faults.push(Fault {
            at,
            path: path.into(),
            what: wrong.what,
            hint: wrong.hint,
        });
    }

    /// A map with keys of the operator's choice. Duplicates are faults.
    pub(super) fn map<'n>(&mut self, node: &'n Node, path: &str) -> Option<Fields<'n>> {
        let entries = match &node.value {
            Value::Map(entries) => entries,
            Value::Null => {
                self.fault(node.at, path, "is empty", "fill it in or leave it out");
                return None;
            }
            Value::Text(text) if OFF.contains(&text.as_str()) && can_be_off(path) => {
                let what = format!("{text:?} is not how to switch it off");
                self.fault(node.at, path, what, "write off");
                return None;
            }
            Value::List(items) if items.iter().all(|it| matches!(it.value, Value::Map(_))) => {
                let hint = "write `NAME: { key: value, ... }` lines below it, without dashes";
                self.fault(node.at, path, "is a list, and should be a map", hint);
                return None;
            }
            Value::Text(_) | Value::List(_) => {
                let hint = "write `key: value` lines below it, or { key: value, ... }";
                self.fault(node.at, path, "should be a map", hint);
                return None;
            }
        };
        let mut kept: Vec<(&Key, &Node)> = Vec::with_capacity(entries.len());
        for (key, node) in entries {
            let earlier = kept.iter().find(|(it, _)| it.name == key.name);
            if let Some((earlier, _)) = earlier {
                let what = format!(
                    "{:?} stands here twice, first in line {}",
                    key.name, earlier.at.line
                );
                self.fault(key.at, join(path, &key.name), what, "keep one of them");
                continue;
            }
            kept.push((key, node));
        }
        Some(Fields {
            path: path.to_owned(),
            at: node.at,
            entries: kept,
        })
    }

    /// A map with keys of ours. Unknown ones are faults.
    pub(super) fn fields<'n>(
        &mut self,
        node: &'n Node,
        path: &str,
        known: &[&str],
    ) -> Option<Fields<'n>> {
        let mut fields = self.map(node, path)?;
        // Whatever begins so at the top holds what the file shares by anchors.
        let is_shared = |key: &Key| path.is_empty() && key.name.starts_with("x-");
        fields.entries.retain(|(key, _)| {
            if is_shared(key) {
                return false;
            }
            let is_known = known.contains(&key.name.as_str());
            if !is_known {
                self.unknown(key, path, known);
            }
            is_known
        });
        Some(fields)
    }

    fn unknown(&mut self, key: &Key, path: &str, known: &[&str]) {
        let name = key.name.as_str();
        let synonym = SYNONYMS.iter().find(|(word, _)| *word == name);
        let synonym = synonym.map(|(_, ours)| *ours);
        let synonym = synonym.filter(|ours| known.contains(ours));
        let in_probe = ["fall", "interval", "path", "rise"].contains(&name);
        let hint = if in_probe && known.contains(&"probe") {
            format!("{name} belongs into probe: {{ type: ..., {name}: ... }}")
        } else if let Some(ours) = synonym.or_else(|| nearest(name, known.iter().copied())) {
            format!("did you mean {ours:?}?")
        } else {
            format!("known here: {}", known.join(", "))
        };
        self.strange.push(key.name.clone());
        self.faults.push(Fault {
            at: key.at,
            path: join(path, name),
            what: format!("unknown key {name:?}"),
            hint: Some(hint),
        });
    }

    /// A scalar, with `${NAME}` replaced.
    pub(super) fn text(&mut self, node: &Node, path: &str) -> Option<String> {
        Some(self.read_text(node, path)?.value)
    }

    /// The same for a text that nobody is to see.
    pub(super) fn secret(&mut self, node: &Node, path: &str) -> Option<Secret> {
        let Replaced { value: text, parts } = self.replaced(node, path)?;
        if parts.is_empty() {
            let warning = (node.at, path.to_owned(), Warning::InlineSecret);
            self.warnings.push(warning);
        }
        self.taint.hide(&text, HIDDEN);
        Some(Secret::new(text))
    }

    fn read_text(&mut self, node: &Node, path: &str) -> Option<Text> {
        let Replaced { value, parts } = self.replaced(node, path)?;
        let shown = match &node.value {
            Value::Text(source) if !parts.is_empty() => Some(source.clone()),
            Value::Text(_) | Value::Null | Value::List(_) | Value::Map(_) => None,
        };
        if let Some(shown) = &shown {
            self.given.note(path, &value, shown, parts);
        }
        Some(Text { value, shown })
    }

    fn replaced(&mut self, node: &Node, path: &str) -> Option<Replaced> {
        match &node.value {
            Value::Text(text) => match self.substitute(text) {
                Ok(replaced) => {
                    for (value, name) in &replaced.parts {
                        self.taint.hide(value.expose(), name);
                    }
                    Some(replaced)
                }
                Err(wrong) => {
                    self.wrong(node.at, path, wrong);
                    None
                }
            },
            Value::Null => {
                self.fault(node.at, path, "has no value", "fill it in or leave it out");
                None
            }
            Value::List(_) | Value::Map(_) => {
                self.fault(node.at, path, "should be a single value", None);
                None
            }
        }
    }

    fn substitute(&self, text: &str) -> Parsed<Replaced> {
        let mut replaced = Replaced::default();
        let out = &mut replaced.value;
        let mut rest = text;
        while let Some(at) = rest.find("${") {
            let before = &rest[..at];
            rest = &rest[at + 2..];
            if let Some(before) = before.strip_suffix('$') {
                out.push_str(before);
                out.push_str("${");
                continue;
            }
            out.push_str(before);
            let Some(end) = rest.find('}') else {
                return Err(Wrong {
                    what: "${ has no }".to_owned(),
                    hint: Some("write ${NAME}, or $${ for a literal ${".to_owned()),
                });
            };
            let name = &rest[..end];
            rest = &rest[end + 1..];
            match self.around.env(name) {
                Some(value) => {
                    out.push_str(&value);
                    let name = format!("${{{name}}}");
                    replaced.parts.push((Secret::new(value), name));
                }
                None => {
                    return Err(Wrong {
                        what: format!("the environment has no {name:?}"),
                        hint: Some("set it, or write $${ for a literal ${".to_owned()),
                    });
                }
            }
        }
        out.push_str(rest);
        Ok(replaced)
    }

    /// One value.
    pub(super) fn one<T>(
        &mut self,
        node: &Node,
        path: &str,
        parse: impl Fn(&str) -> Parsed<T>,
    ) -> Option<T> {
        let text = self.read_text(node, path)?;
        match (parse(&text.value), text.shown) {
            (Ok(value), _) => Some(value),
            (Err(wrong), None) => {
                self.wrong(node.at, path, wrong);
                None
            }
            // What is wrong is told of `${NAME}`, never of what it stands for.
            (Err(_), Some(shown)) => {
                let wrong = parse(&shown).err().unwrap_or_else(|| Wrong {
                    what: format!("what {shown:?} stands for does not fit here"),
                    hint: None,
                });
                self.wrong(node.at, path, wrong);
                None
            }
        }
    }

    /// One setting, if it is there: a default stays as it is otherwise.
    pub(super) fn set<T>(
        &mut self,
        fields: &Fields<'_>,
        key: &str,
        target: &mut T,
        parse: impl Fn(&str) -> Parsed<T>,
    ) {
        if let Some(node) = fields.get(key)
            && let Some(value) = self.one(node, &fields.path(key), parse)
        {
            *target = value;
        }
    }

    /// The same for a setting whose default is that there is none.
    pub(super) fn set_some<T>(
        &mut self,
        fields: &Fields<'_>,
        key: &str,
        target: &mut Option<T>,
        parse: impl Fn(&str) -> Parsed<T>,
    ) {
        self.set(fields, key, target, |text| parse(text).map(Some));
    }

    /// A list, or one value that stands for a list of one.
    pub(super) fn list<T>(
        &mut self,
        fields: &Fields<'_>,
        key: &str,
        parse: impl Fn(&str) -> Parsed<T>,
    ) -> Option<Vec<(Place, T)>> {
        let node = fields.get(key)?;
        let path = fields.path(key);
        let items = match &node.value {
            Value::List(items) => items.as_slice(),
            Value::Map(_) => {
                self.fault(node.at, &path, "should be a single value or a list", None);
                return None;
            }
            Value::Null | Value::Text(_) => std::slice::from_ref(node),
        };
        let values = items.iter().enumerate().filter_map(|(i, item)| {
            let path = match &node.value {
                Value::List(_) => format!("{path}[{i}]"),
                Value::Null | Value::Text(_) | Value::Map(_) => path.clone(),
            };
            Some((item.at, self.one(item, &path, &parse)?))
        });
        Some(values.collect())
    }

    /// The name that a key gives.
    pub(super) fn name(&mut self, key: &Key, path: &str) -> Option<Name> {
        match Name::new(&key.name) {
            Ok(name) => Some(name),
            Err(error) => {
                let what = format!("{:?} is not a name: {error}", key.name);
                self.strange.push(key.name.clone());
                self.fault(key.at, path, what, None);
                None
            }
        }
    }

    /// The file that `node` names, and what is in it.
    pub(super) fn named_file(&mut self, node: &Node, path: &str) -> Option<(PathBuf, String)> {
        let name = self.text(node, path)?;
        let file = self.around.folder().join(Path::new(&name));
        match self.around.read_file(&file) {
            Ok(text) => Some((file, text)),
            Err(error) => {
                let what = format!("cannot read {name:?}: {error}");
                self.fault(node.at, path, what, None);
                None
            }
        }
    }

    /// A secret from the file that `node` names.
    pub(super) fn secret_file(&mut self, node: &Node, path: &str) -> Option<Secret> {
        let (file, text) = self.named_file(node, path)?;
        let name = self.text(node, path)?;
        let text = text.trim_end_matches(['\r', '\n']);
        if text.is_empty() {
            self.fault(node.at, path, format!("{name:?} is empty"), None);
            return None;
        }
        if self.around.is_open_to_all(&file) {
            let what = format!("everybody on this machine may read {name:?}");
            self.fault(node.at, path, what, "chmod o= the file");
            return None;
        }
        self.taint.hide(text, HIDDEN);
        Some(Secret::new(text))
    }
}
