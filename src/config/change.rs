//! What a reload will do: the difference of two configurations. Pure.

use std::fmt;

use serde_json::Value;

use super::{Config, PairConfig, print};
use crate::health::{ProbeKind, ProbeSettings};
use crate::types::count;

/// One difference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Which setting, like `pools.web.policy`.
    pub path: String,
    /// What it was; `None`: it is new.
    pub from: Option<String>,
    /// What it is; `None`: it is gone.
    pub to: Option<String>,
    /// Whether only a restart puts it in force.
    pub needs_restart: bool,
}

/// A [`Change`] without a word of when it takes effect.
#[derive(Debug)]
pub struct Difference<'c>(&'c Change);

impl Change {
    /// What has changed, and no more.
    pub const fn difference(&self) -> Difference<'_> {
        Difference(self)
    }
}

impl fmt::Display for Difference<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Change { path, from, to, .. } = self.0;
        match (from, to) {
            (None, Some(to)) => write!(f, "{path}: added ({to})"),
            (Some(_), None) => write!(f, "{path}: removed"),
            (Some(from), Some(to)) => write!(f, "{path}: {from} -> {to}"),
            (None, None) => write!(f, "{path}: changed"),
        }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.difference().fmt(f)?;
        if self.needs_restart {
            f.write_str(" (takes effect at the next start)")?;
        }
        Ok(())
    }
}

/// Every difference between `old` and `new`, in the order of the file.
pub fn changes(old: &Config, new: &Config) -> Vec<Change> {
    let mut changes = Vec::new();
    compare("", &print::json(old), &print::json(new), &mut changes);
    secrets(old, new, &mut changes);
    changes
}

fn compare(path: &str, old: &Value, new: &Value, changes: &mut Vec<Change>) {
    if old == new {
        return;
    }
    let (Value::Object(old_map), Value::Object(new_map)) = (old, new) else {
        changes.push(change(path, Some(show(old)), Some(show(new))));
        return;
    };
    let join = |key: &str| match path {
        "" => key.to_owned(),
        path => format!("{path}.{key}"),
    };
    for (key, old) in old_map {
        match new_map.get(key) {
            Some(new) => compare(&join(key), old, new, changes),
            None => changes.push(change(&join(key), Some(show(old)), None)),
        }
    }
    for (key, new) in new_map {
        if !old_map.contains_key(key) {
            changes.push(change(&join(key), None, Some(show(new))));
        }
    }
}

fn change(path: &str, from: Option<String>, to: Option<String>) -> Change {
    Change {
        needs_restart: needs_restart(path),
        path: path.to_owned(),
        from,
        to,
    }
}

fn needs_restart(path: &str) -> bool {
    matches!(
        path,
        "process.workers" | "process.busy_poll" | "process.state_dir"
    ) || path == "log.format"
        || path.starts_with("admin") && path != "admin.histograms"
        || path.starts_with("pair")
}

/// A value in a line; whole pools in a few words.
fn show(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Object(map) => match map.get("address").or_else(|| map.get("bind")) {
            Some(place) => show(place),
            None => count(map.len(), "setting"),
        },
        Value::Array(items) => items.iter().map(show).collect::<Vec<_>>().join(", "),
        Value::Null | Value::Bool(_) | Value::Number(_) => value.to_string(),
    }
}

/// Secrets are masked in what is compared above, and still they may change.
fn secrets(old: &Config, new: &Config, changes: &mut Vec<Change>) {
    if old.admin.token.is_some() && new.admin.token.is_some() && old.admin.token != new.admin.token
    {
        changes.push(change("admin.token", None, None));
    }
    if let (Some(old), Some(new)) = (&old.pair, &new.pair) {
        if old.pair.secret != new.pair.secret {
            changes.push(change("pair.secret", None, None));
        }
        let key = |it: &PairConfig| Some(it.register.as_ref()?.key.as_ref()?.secret.clone());
        let (was, is) = (key(old), key(new));
        if was.is_some() && is.is_some() && was != is {
            changes.push(change("pair.dns.rfc2136.secret", None, None));
        }
    }
    for pool in &new.pools {
        let mut before = old.pools.iter();
        let Some(before) = before.find(|it| it.pool.name == pool.pool.name) else {
            continue;
        };
        let (was, is) = (password(&before.probe), password(&pool.probe));
        if was.is_some() && is.is_some() && was != is {
            let path = format!("pools.{}.probe.password", pool.pool.name);
            changes.push(change(&path, None, None));
        }
    }
}

fn password(probe: &ProbeSettings) -> Option<&str> {
    match &probe.kind {
        ProbeKind::Mysql(probe) => Some(probe.login.as_ref()?.password.expose()),
        ProbeKind::Exec(_) | ProbeKind::Http(_) | ProbeKind::SendExpect(_) | ProbeKind::Tcp => None,
    }
}
