//! What everybody may see although the environment gave it: where something is
//! and what it is called. Status, metrics, events and the log are of no use
//! without it, so it is shown there as it is, `check` says so, and a secret
//! may not stand in it. Pure.

use super::node::Place;
use super::problem::Fault;
use crate::types::{Secret, Taint};

/// What a variable gave to an address or a name.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Public {
    pub(super) at: Place,
    /// In which setting.
    pub(super) path: String,
    /// How the file refers to it: `${NAME}`.
    pub(super) name: String,
    pub(super) value: Secret,
}

/// A secret, or the part of one that a variable gave.
#[derive(Clone, Debug)]
pub(super) struct Private {
    /// In which setting.
    pub(super) path: String,
    pub(super) value: Secret,
}

/// A fault for each of `public` that gives a secret away.
pub(super) fn faults(public: &[Public], private: &[Private]) -> Vec<Fault> {
    let clash = |it: &Public| {
        let other = private.iter().find(|other| it.gives_away(other))?;
        Some(Fault {
            at: it.at,
            path: it.path.clone(),
            what: format!(
                "{} is the secret of {} too, and what stands here is shown",
                it.name, other.path
            ),
            hint: Some(
                "addresses and names are in status, metrics and the log; use another variable"
                    .to_owned(),
            ),
        })
    };
    public.iter().filter_map(clash).collect()
}

/// A line for each variable of `public`, at the first place of each.
pub(super) fn notes(public: &[Public]) -> Vec<String> {
    let mut public: Vec<&Public> = public.iter().collect();
    public.sort_by_key(|it| (it.at.line, it.at.column));
    let first = public.iter().enumerate().filter(|(i, it)| {
        let mut earlier = public[..*i].iter();
        !earlier.any(|other| other.name == it.name)
    });
    let note = |it: &Public| {
        format!(
            "{}:{}: {}: what {} stands for is shown in status, metrics and the log, as every \
             address and name is",
            it.at.line, it.at.column, it.path, it.name
        )
    };
    first.map(|(_, it)| note(it)).collect()
}

impl Public {
    fn gives_away(&self, secret: &Private) -> bool {
        let (value, secret) = (self.value.expose(), secret.value.expose());
        // A short secret may be part of anything.
        !secret.is_empty() && (value == secret || Taint::finds(secret) && value.contains(secret))
    }
}
