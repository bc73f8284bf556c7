//! What is known of servers by where they are: a backend that a reload gives
//! another name, or puts into another pool, is no stranger. Pure.

use super::{Aim, ProbeKind, Target};
use crate::clock::Moment;
use crate::pool::BackendState;

/// Verdicts, each with what was probed for it.
#[derive(Debug, Default)]
pub struct Known(Vec<Entry>);

#[derive(Debug)]
struct Entry {
    target: Target,
    kind: ProbeKind,
    state: BackendState,
    since: Moment,
}

impl Known {
    /// A probe of `kind` found `target` to be in `state`, from `since` on.
    pub fn note(&mut self, target: Target, kind: ProbeKind, state: BackendState, since: Moment) {
        // Nothing has been found yet.
        if !matches!(state, BackendState::Starting | BackendState::Unknown) {
            self.0.push(Entry {
                target,
                kind,
                state,
                since,
            });
        }
    }

    /// What is known of a backend that is to be probed like this, and since
    /// when. Another kind of probe, or another address, may see something else;
    /// names and the address that a probe leaves from change nothing.
    pub fn of(&self, aim: &Aim, kind: &ProbeKind) -> Option<(BackendState, Moment)> {
        let Aim::Target(target) = aim else {
            return None;
        };
        let is_same = |it: &&Entry| it.kind == *kind && it.target.is_at_the_same(target);
        self.0.iter().find(is_same).map(|it| (it.state, it.since))
    }
}

impl Aim {
    /// Whether a probe of the one sees what a probe of the other sees.
    pub fn is_alike(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Target(one), Self::Target(two)) => one.is_at_the_same(two),
            (Self::Nowhere(_), Self::Nowhere(_)) => true,
            (Self::Target(_), Self::Nowhere(_)) | (Self::Nowhere(_), Self::Target(_)) => false,
        }
    }
}

impl Target {
    fn is_at_the_same(&self, other: &Self) -> bool {
        let what = |it: &Self| (it.is_clients_port, it.send_proxy);
        self.address == other.address && self.host == other.host && what(self) == what(other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Endpoint, Name, Sources};

    const UP: BackendState = BackendState::Up { ramp_from: None };

    fn target(pool: &str, port: u16) -> Target {
        Target {
            pool: Name::new(pool).unwrap(),
            backend: Name::new("a").unwrap(),
            address: Endpoint::Tcp(([10, 0, 0, 1], port).into()),
            is_clients_port: true,
            host: "10.0.0.1".to_owned(),
            sources: Sources::default(),
            send_proxy: None,
        }
    }

    #[test]
    fn a_server_keeps_its_verdict_across_the_names_of_pools() {
        let mut known = Known::default();
        let since = Moment::from_micros(7);
        known.note(target("old", 80), ProbeKind::Tcp, UP, since);
        let of = |target: &Target| known.of(&Aim::Target(target.clone()), &ProbeKind::Tcp);
        assert_eq!(of(&target("new", 80)), Some((UP, since)));
        assert_eq!(of(&target("new", 81)), None, "another server");
        let other_host = Target {
            host: "www.example".to_owned(),
            ..target("new", 80)
        };
        assert_eq!(of(&other_host), None, "another site of the same server");
    }

    #[test]
    fn another_probe_and_one_that_has_not_run_say_nothing() {
        let mut known = Known::default();
        let new = BackendState::Starting;
        known.note(target("a", 80), ProbeKind::Tcp, new, Moment::START);
        let b = Aim::Target(target("b", 80));
        assert_eq!(known.of(&b, &ProbeKind::Tcp), None);
        known.note(target("a", 80), ProbeKind::Tcp, UP, Moment::START);
        let other = ProbeKind::Exec(vec!["/bin/true".to_owned()]);
        assert_eq!(known.of(&b, &other), None);
    }
}
