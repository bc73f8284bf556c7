//! YAML text -> a tree that knows where each piece stood. The only file that
//! knows which parser it is.

use std::fmt;
use std::net::SocketAddrV6;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_yaml::options::{DuplicateKeyPolicy, NonFiniteFloatPolicy};
use serde_yaml::{Location, Spanned};

use super::scalar::Wrong;
use super::syntax;

/// A longer file is not an lb.yaml.
const MOST_BYTES: usize = 4 << 20;

/// Where something stands in the file, counted from 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) line: usize,
    pub(super) column: usize,
    /// How many characters it has.
    pub(super) length: usize,
}

/// A piece of the file.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) at: Place,
    pub(super) value: Value,
}

#[derive(Clone, Debug)]
pub(super) enum Value {
    Null,
    /// A scalar as it was written: what it means is for others to say.
    Text(String),
    List(Vec<Node>),
    Map(Vec<(Key, Node)>),
}

#[derive(Clone, Debug)]
pub(super) struct Key {
    pub(super) at: Place,
    pub(super) name: String,
}

impl Node {
    /// The tree of `text`, or where and why there is none.
    pub(super) fn read(text: &str) -> Result<Self, (Place, Wrong)> {
        if text.len() > MOST_BYTES {
            let what = format!("the file has more than {} MiB", MOST_BYTES >> 20);
            return Err((Place::default(), Wrong { what, hint: None }));
        }
        let options = serde_yaml::options! {
            // Duplicates are found by the check, together with all else.
            duplicate_keys: DuplicateKeyPolicy::PassThrough,
            with_snippet: false,
            // `1e999` is a text like any other.
            non_finite_float_policy: NonFiniteFloatPolicy::PassThrough,
            // An lb.yaml repeats a block a few times, not a million.
            alias_limits: serde_yaml::alias_limits! {
                max_total_replayed_events: 20_000,
            },
        };
        let raw: Raw = serde_yaml::from_str_with_options(text, options).map_err(|error| {
            let place = error.location().map(Place::of).unwrap_or_default();
            syntax::explain(text, place, &first_line(&error.to_string()))
        })?;
        Ok(raw.into_node(text, false))
    }

    /// `[::1]:80` without quotes within a list, where YAML takes it for a map.
    pub(super) fn bare_ipv6(&self) -> Option<String> {
        let Value::Map(entries) = &self.value else {
            return None;
        };
        let [(key, node)] = &entries[..] else {
            return None;
        };
        let Value::Text(port) = &node.value else {
            return None;
        };
        let address = format!("{}:{port}", key.name);
        address.parse::<SocketAddrV6>().is_ok().then_some(address)
    }
}

fn first_line(message: &str) -> String {
    message.lines().next().unwrap_or_default().to_owned()
}

impl Place {
    fn of(location: Location) -> Self {
        let number = |value: u64| usize::try_from(value).unwrap_or(usize::MAX);
        Self {
            line: number(location.line()),
            column: number(location.column()),
            length: number(location.span().len()),
        }
    }
}

/// What the parser gives: scalars that it has understood already, and where
/// they were, so that their text can be looked up.
#[derive(Debug)]
struct Raw(Box<Spanned<RawValue>>);

#[derive(Debug)]
enum RawValue {
    Null,
    /// A plain scalar that looks like a number or a boolean.
    Guessed(String),
    Text(String),
    List(Vec<Raw>),
    Map(Vec<(Raw, Raw)>),
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Spanned::deserialize(deserializer).map(|it| Self(Box::new(it)))
    }
}

impl<'de> Deserialize<'de> for RawValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RawVisitor)
    }
}

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = RawValue;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map, a list or a scalar")
    }

    fn visit_unit<E: de::Error>(self) -> Result<RawValue, E> {
        Ok(RawValue::Null)
    }

    fn visit_none<E: de::Error>(self) -> Result<RawValue, E> {
        Ok(RawValue::Null)
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<RawValue, E> {
        Ok(RawValue::Guessed(value.to_string()))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<RawValue, E> {
        Ok(RawValue::Guessed(value.to_string()))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<RawValue, E> {
        Ok(RawValue::Guessed(value.to_string()))
    }

    fn visit_i128<E: de::Error>(self, value: i128) -> Result<RawValue, E> {
        Ok(RawValue::Guessed(value.to_string()))
    }

    fn visit_u128<E: de::Error>(self, value: u128) -> Result<RawValue, E> {
        Ok(RawValue::Guessed(value.to_string()))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<RawValue, E> {
        Ok(RawValue::Guessed(value.to_string()))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<RawValue, E> {
        Ok(RawValue::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<RawValue, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = list.next_element()? {
            items.push(item);
        }
        Ok(RawValue::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RawValue, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(RawValue::Map(entries))
    }
}

impl Raw {
    /// Whether it stands elsewhere, and an alias or `<<` brings it here.
    fn is_brought(&self) -> bool {
        self.0.referenced != self.0.defined
    }

    /// What `is_brought` with all around it is to be mended where it stands.
    fn into_node(self, text: &str, is_brought: bool) -> Node {
        let inner_is_brought = is_brought || self.is_brought();
        let Spanned {
            value,
            referenced,
            defined,
        } = *self.0;
        let mut at = Place::of(if is_brought { defined } else { referenced });
        let value = match value {
            RawValue::Null => Value::Null,
            // `010` and `1_000` are what was typed, not what was guessed: by
            // way of an alias or of `<<`, too, so where it was *defined*.
            RawValue::Guessed(guess) => {
                Value::Text(typed(text, defined).map_or(guess, str::to_owned))
            }
            RawValue::Text(text) => Value::Text(text),
            RawValue::List(items) => {
                let items = items.into_iter();
                Value::List(
                    items
                        .map(|it| it.into_node(text, inner_is_brought))
                        .collect(),
                )
            }
            RawValue::Map(entries) => {
                let entries = entries.into_iter().map(|(key, it)| {
                    // Of what `<<` brings the keys say so: the map is here.
                    let is_brought = inner_is_brought || key.is_brought();
                    (key.into_key(text), it.into_node(text, is_brought))
                });
                Value::Map(entries.collect())
            }
        };
        if matches!(value, Value::List(_) | Value::Map(_)) {
            at.length = 1;
        }
        Node { at, value }
    }

    fn into_key(self, text: &str) -> Key {
        let node = self.into_node(text, true);
        Key {
            at: node.at,
            name: match node.value {
                Value::Text(name) => name,
                Value::Null => "~".to_owned(),
                // `[::1]:80` is a list with a value; see `Node::bare_ipv6`.
                Value::List(items) => match &items[..] {
                    [
                        Node {
                            value: Value::Text(text),
                            ..
                        },
                    ] => format!("[{text}]"),
                    _ => "?".to_owned(),
                },
                Value::Map(_) => "?".to_owned(),
            },
        }
    }
}

/// What was typed for a scalar at `location`, without quotes.
fn typed(text: &str, location: Location) -> Option<&str> {
    let typed = slice(text, location)?.trim();
    let typed = typed.trim_matches(['"', '\'']);
    (!typed.is_empty() && typed.chars().all(is_number_like)).then_some(typed)
}

fn is_number_like(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.' | '_')
}

fn slice(text: &str, location: Location) -> Option<&str> {
    let span = location.span();
    let start = usize::try_from(span.byte_offset()?).ok()?;
    let length = usize::try_from(span.byte_len()?).ok()?;
    text.get(start..start.checked_add(length)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(node: &Node) -> &str {
        match &node.value {
            Value::Text(text) => text,
            Value::Null | Value::List(_) | Value::Map(_) => panic!("{node:?}"),
        }
    }

    #[test]
    fn scalars_are_what_was_typed_and_know_where() {
        let yaml = "a: off\nb: [010, 1_000, 5s, \"q x\", 1.50, yes]\nc:\n";
        let Value::Map(entries) = Node::read(yaml).unwrap().value else {
            panic!()
        };
        assert_eq!(entries[0].0.name, "a");
        assert_eq!((entries[0].1.at.line, entries[0].1.at.column), (1, 4));
        assert_eq!(text(&entries[0].1), "off");
        let Value::List(items) = &entries[1].1.value else {
            panic!()
        };
        let items: Vec<&str> = items.iter().map(text).collect();
        assert_eq!(items, ["010", "1_000", "5s", "q x", "1.50", "yes"]);
        assert!(matches!(entries[2].1.value, Value::Null));
    }

    /// The scalars of `node`, each with the name of its key.
    fn scalars(node: &Node, found: &mut Vec<(String, String)>) {
        match &node.value {
            Value::Map(entries) => {
                for (key, node) in entries {
                    if let Value::Text(text) = &node.value {
                        found.push((key.name.clone(), text.clone()));
                    }
                    scalars(node, found);
                }
            }
            Value::List(items) => items.iter().for_each(|it| scalars(it, found)),
            Value::Null | Value::Text(_) => {}
        }
    }

    /// Everything that YAML could take for something else than a text.
    const SPELLINGS: [&str; 27] = [
        "007",
        "1_000",
        "1e3",
        "1E+3",
        "1e999",
        "0x10",
        "0o17",
        "0b11",
        "+5",
        "-0",
        "-7",
        "1.50",
        "1.",
        ".5",
        ".inf",
        "-.INF",
        ".nan",
        "yes",
        "No",
        "off",
        "TRUE",
        "y",
        "2026-11-30",
        "12:30:45",
        "99999999999999999999999999999999999999999999",
        "9223372036854775808",
        "1__2",
    ];

    #[test]
    fn an_alias_of_a_number_keeps_its_text() {
        for word in SPELLINGS {
            let quoted = [word.to_owned(), format!("\"{word}\""), format!("'{word}'")];
            for typed in quoted {
                let yaml = format!(
                    "x: &x {typed}\nalias: *x\nlist: [{{ a: *x }}]\n\
                     base: &base {{ inherited: {typed}, nested: {{ b: {typed} }} }}\n\
                     merged:\n  <<: *base\n  own: {typed}\n\
                     several: {{ <<: [*base, {{ c: {typed} }}] }}\n"
                );
                let node = Node::read(&yaml).unwrap_or_else(|why| panic!("{yaml}{why:?}"));
                let mut found = Vec::new();
                scalars(&node, &mut found);
                assert_eq!(found.len(), 11, "{yaml}{found:?}");
                for (key, text) in &found {
                    assert_eq!(text, word, "{key} in\n{yaml}");
                }
            }
        }
    }

    #[test]
    fn a_key_is_what_was_typed() {
        for word in SPELLINGS {
            let yaml = format!("{word}: 1\n");
            let Value::Map(entries) = Node::read(&yaml).unwrap().value else {
                panic!("{yaml}")
            };
            assert_eq!(entries[0].0.name, word);
        }
    }

    #[test]
    fn duplicates_are_kept_for_the_check() {
        let Value::Map(entries) = Node::read("a: 1\na: 2\n").unwrap().value else {
            panic!()
        };
        assert_eq!(entries.len(), 2);
        assert_eq!(entries[1].0.at.line, 2);
    }

    #[test]
    fn a_bomb_is_refused_at_once() {
        let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
        for i in 1..20 {
            let last = format!("*a{}, ", i - 1).repeat(9);
            bomb.push_str(&format!("a{i}: &a{i} [{last}]\n"));
        }
        assert!(Node::read(&bomb).is_err());
    }
}
