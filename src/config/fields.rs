//! A map of the file, and how to ask it.

use super::node::{Key, Node, Place};

/// A map of the file whose keys are known to be right.
pub(super) struct Fields<'n> {
    pub(super) path: String,
    pub(super) at: Place,
    pub(super) entries: Vec<Entry<'n>>,
}

/// A key with its value.
pub(super) struct Entry<'n> {
    /// What the key means; what it says is in `key`.
    pub(super) name: &'n str,
    pub(super) key: &'n Key,
    pub(super) node: &'n Node,
}

impl<'n> Fields<'n> {
    pub(super) fn get(&self, key: &str) -> Option<&'n Node> {
        let mut entries = self.entries.iter();
        entries.find(|it| it.name == key).map(|it| it.node)
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
        entries.find(|it| keys.contains(&it.name)).map(|it| it.key)
    }

    pub(super) fn entries(&self) -> impl Iterator<Item = (&'n Key, &'n Node)> {
        self.entries.iter().map(|it| (it.key, it.node))
    }
}

/// The full name of `key` in the map at `path`.
pub(super) fn join(path: &str, key: &str) -> String {
    if path.is_empty() {
        key.to_owned()
    } else {
        format!("{path}.{key}")
    }
}
