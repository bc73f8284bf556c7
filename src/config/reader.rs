//! Walking the tree, and keeping every fault that is found on the way.

mod secrets;

use super::fields::{Entry, Fields, join};
use super::given::Given;
use super::meant;
use super::node::{Key, Node, Place, Value};
use super::problem::Fault;
use super::public::{Private, Public};
use super::scalar::{Parsed, Wrong, means_off};
use super::surroundings::Surroundings;
use super::warning::Warning;
use crate::types::{Name, Secret, Taint};

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
    /// What everybody may see, though the environment gave it.
    pub(super) public: Vec<Public>,
    /// Secrets, whole and in the environment's parts.
    pub(super) private: Vec<Private>,
    /// Whether what is read now is public.
    is_public: bool,
    /// How many values were read that nobody is to see, and that are too
    /// short to be found in what others say.
    pub(super) too_short: usize,
    /// Keys that are not ours: they may be anything, a password too.
    pub(super) strange: Vec<String>,
    /// The settings that such keys were taken for, each with the number of
    /// faults until then.
    doubtful: Vec<(usize, String)>,
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

impl<'a> Reader<'a> {
    pub(super) fn new(around: &'a dyn Surroundings) -> Self {
        Self {
            around,
            faults: Vec::new(),
            given: Given::default(),
            taint: Taint::default(),
            warnings: Vec::new(),
            public: Vec::new(),
            private: Vec::new(),
            is_public: false,
            too_short: 0,
            strange: Vec::new(),
            doubtful: Vec::new(),
        }
    }

    /// What is wrong with the file. What a key that is not ours is taken for is
    /// a guess: its value is not blamed for not being that.
    pub(super) fn into_faults(self) -> Vec<Fault> {
        let is_guess = |(at, fault): &(usize, Fault)| {
            let mut guesses = self.doubtful.iter();
            guesses.any(|(from, path)| at >= from && is_in(path, &fault.path))
        };
        let faults = self.faults.into_iter().enumerate();
        let kept = faults.filter(|it| !is_guess(it));
        kept.map(|(_, fault)| fault).collect()
    }

    /// Whether something is wrong with the setting at `path`, or in it. What is
    /// said of several settings together is said when each of them is right:
    /// until then it may follow from what is wrong with one.
    pub(super) fn is_told(&self, path: &str) -> bool {
        self.faults.iter().any(|it| is_in(path, &it.path))
    }

    /// Whether something is wrong with the setting at `path` itself.
    pub(super) fn is_told_of(&self, path: &str) -> bool {
        self.faults.iter().any(|it| it.path == path)
    }

    /// Whether `map` has the settings of one `thing` where things are named;
    /// says so.
    pub(super) fn lacks_names(&mut self, map: &Fields<'_>, known: &[&str], thing: &str) -> bool {
        let mut values = map.entries.iter().map(|it| &it.node.value);
        let is_setting = values.any(|it| matches!(it, Value::Text(_) | Value::List(_)));
        let is_setting = is_setting || map.entries.len() > 1;
        let are_known = map.entries.iter().all(|it| known.contains(&it.name));
        if !(is_setting && are_known) {
            return false;
        }
        let at = map.entries.first().map_or(map.at, |it| it.key.at);
        self.faults.push(Fault {
            at,
            path: map.path.clone(),
            what: format!("has settings of a {thing} in it, and no {thing} by name"),
            hint: Some("write a name above them, like `web:`, and indent them below it".to_owned()),
        });
        true
    }

    /// What `read` finds where everything has been read, and told, before.
    pub(super) fn again<T>(&mut self, read: impl FnOnce(&mut Self) -> T) -> T {
        let told = (self.faults.len(), self.strange.len(), self.doubtful.len());
        let found = read(self);
        self.faults.truncate(told.0);
        self.strange.truncate(told.1);
        self.doubtful.truncate(told.2);
        found
    }

    /// A setting that has to be there.
    pub(super) fn need<'n>(
        &mut self,
        fields: &Fields<'n>,
        key: &str,
        hint: &'static str,
    ) -> Option<&'n Node> {
        let node = fields.get(key);
        if node.is_none() {
            self.fault(fields.at, fields.path(key), "is missing", hint);
        }
        node
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
            Value::Text(text) if means_off(text) && can_be_off(path) => {
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
        let mut kept: Vec<Entry<'_>> = Vec::with_capacity(entries.len());
        for (key, node) in entries {
            let name = key.name.as_str();
            if let Some(earlier) = kept.iter().find(|it| it.name == name) {
                let first = earlier.key.at.line;
                let what = format!("{name:?} stands here twice, first in line {first}");
                self.fault(key.at, join(path, name), what, "keep one of them");
                continue;
            }
            kept.push(Entry { name, key, node });
        }
        Some(Fields {
            path: path.to_owned(),
            at: node.at,
            entries: kept,
        })
    }

    /// A map with keys of ours. Unknown ones are faults; one that is clear all
    /// the same is taken for what it means, so that nothing else is missed.
    pub(super) fn fields<'n>(
        &mut self,
        node: &'n Node,
        path: &str,
        known: &[&'static str],
    ) -> Option<Fields<'n>> {
        let map = self.map(node, path)?;
        let mut kept = Vec::with_capacity(known.len());
        let mut unknown = Vec::new();
        // Whatever begins so at the top holds what the file shares by anchors.
        let is_shared = |key: &Key| path.is_empty() && key.name.starts_with("x-");
        for entry in map.entries {
            if known.contains(&entry.name) {
                kept.push(entry);
            } else if !is_shared(entry.key) {
                unknown.push(entry);
            }
        }
        for entry in unknown {
            let (name, at) = (entry.name, entry.key.at);
            let (meant, hint) = meant::key(name, known);
            self.strange.push(name.to_owned());
            self.faults.push(Fault {
                at,
                path: join(path, name),
                what: format!("unknown key {name:?}"),
                hint: Some(hint),
            });
            if let Some(name) = meant.filter(|it| kept.iter().all(|kept| kept.name != *it)) {
                self.doubtful.push((self.faults.len(), join(path, name)));
                kept.push(Entry { name, ..entry });
            }
        }
        Some(Fields {
            entries: kept,
            ..map
        })
    }

    /// What `read` reads says where something is or what it is called, and is
    /// shown as such: `${NAME}` in it hides nothing.
    pub(super) fn public<T>(&mut self, read: impl FnOnce(&mut Self) -> T) -> T {
        let before = std::mem::replace(&mut self.is_public, true);
        let read = read(self);
        self.is_public = before;
        read
    }

    /// A scalar, with `${NAME}` replaced.
    pub(super) fn text(&mut self, node: &Node, path: &str) -> Option<String> {
        Some(self.read_text(node, path)?.value)
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
                        if self.is_public {
                            self.public.push(Public {
                                at: node.at,
                                path: path.to_owned(),
                                name: name.clone(),
                                value: value.clone(),
                            });
                        } else {
                            self.hide(value.expose(), name);
                        }
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
                self.wrong(node.at, path, not_single(node));
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
                let hint = "write it behind the colon, like a or [a, b]";
                self.fault(node.at, &path, "should be a single value or a list", hint);
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
}

/// What is wrong with a `node` that should be a scalar.
fn not_single(node: &Node) -> Wrong {
    if let Some(address) = node.bare_ipv6() {
        return Wrong {
            what: format!("{address:?} needs quotes: without them [ begins a list"),
            hint: Some(format!("write \"{address}\"")),
        };
    }
    let hint = match node.value {
        Value::List(_) => "write one value, without [ ] or dashes",
        Value::Null | Value::Text(_) | Value::Map(_) => "write one value, without keys",
    };
    Wrong {
        what: "should be a single value".to_owned(),
        hint: Some(hint.to_owned()),
    }
}

/// Whether `inner` is the setting at `path`, or one in it.
fn is_in(path: &str, inner: &str) -> bool {
    let rest = inner.strip_prefix(path);
    rest.is_some_and(|it| it.is_empty() || it.starts_with(['.', '[']))
}
