//! What the outside may know of the election.

use super::{Boot, Election, Fitness, Memory};
use crate::clock::Moment;
use crate::pair::Role;
use crate::types::{Claim, Name, Term};

/// Who holds the name, and how the others are, as one node sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// Whose view it is.
    pub me: Name,
    /// What this node is.
    pub role: Role,
    /// Since when.
    pub since: Moment,
    /// The newest term that it knows.
    pub term: Term,
    /// The claim in force, as far as it knows.
    pub claim: Option<Claim>,
    /// Until when nobody else can be exclusive: with leases only. A moment, not
    /// an answer, so that it holds for a process that has just stood still.
    pub exclusive_until: Option<Moment>,
    /// What the next life should know.
    pub memory: Memory,
    /// From when on this node may move the name by itself again.
    pub damped_until: Moment,
    /// Whether it looks as if this node were the sick one: it reaches no
    /// backend, and a twin does.
    pub is_sick: bool,
    /// Whose address this node gives to those who ask it for the name.
    pub answer: Name,
    /// All nodes that can serve, this one included, best rank first.
    pub functional: Vec<Name>,
    /// The other nodes, best rank first.
    pub twins: Vec<TwinView>,
    /// Nodes of the pair that are not in this node's lb.yaml.
    pub strangers: Vec<Name>,
}

/// How another node is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TwinView {
    /// Which.
    pub name: Name,
    /// Whether its heartbeats come.
    pub is_up: bool,
    /// Whether it could take the name now.
    pub is_ready: bool,
    /// What it says it is.
    pub role: Option<Role>,
    /// What it says it can do for clients.
    pub fitness: Option<Fitness>,
    /// Missed heartbeats in a row.
    pub misses: u32,
    /// Failed connections to its data port in a row.
    pub failures: u32,
    /// Its version, where it says one; those of 0.1.0 do not all.
    pub version: Option<Name>,
    /// Its life.
    pub boot: Option<Boot>,
    /// Whether its configuration differs from ours.
    pub has_drifted: bool,
}

impl Election {
    /// What this node is.
    pub const fn role(&self) -> Role {
        self.role
    }

    /// The claim in force, as far as this node knows.
    pub const fn claim(&self) -> Option<&Claim> {
        self.claim.as_ref()
    }

    /// Whether nobody else can be exclusive at this moment. Only leases can
    /// promise that; ask again before each act that needs it.
    pub fn is_exclusive(&self, now: Moment) -> bool {
        self.role == Role::Holder
            && self
                .register
                .as_ref()
                .is_some_and(|register| register.has_lease(now))
    }

    /// Whether a process that is to end holds nothing any more, or nobody is
    /// there who could take it.
    pub fn may_end(&self) -> bool {
        let is_mine = self.claim.as_ref().is_some_and(|it| it.holder == self.me);
        let is_writing = self.register.as_ref().is_some_and(|it| it.is_writing());
        let can_give = self.twins.iter().any(|it| it.is_ready(&self.timing));
        self.role == Role::Draining && !is_writing && !(is_mine && can_give)
    }

    /// All of it.
    pub fn view(&self, now: Moment) -> View {
        let is_ok = |name: &Name| {
            if *name == self.me {
                self.fitness.serving && !self.is_leaving
            } else {
                self.twin(name).is_some_and(|it| it.is_ready(&self.timing))
            }
        };
        View {
            me: self.me.clone(),
            role: self.role,
            since: self.role_since,
            term: self.newest,
            claim: self.claim.clone(),
            memory: Memory {
                term: self.newest,
                hold: self.hold,
            },
            exclusive_until: self.register.as_ref().and_then(|register| {
                let until = register.lease_until();
                until.filter(|_| self.role == Role::Holder)
            }),
            damped_until: self.damper.free_at(&self.timing, now),
            is_sick: self.is_sick(),
            answer: self.answer(),
            functional: self
                .members
                .iter()
                .filter(|it| is_ok(it))
                .cloned()
                .collect(),
            twins: self.twins.iter().map(|it| self.view_of(it)).collect(),
            strangers: self.strangers(),
        }
    }

    fn is_sick(&self) -> bool {
        !self.fitness.has_backends
            && self.twins.iter().any(|twin| {
                twin.is_ready(&self.timing) && twin.last.as_ref().is_some_and(|it| it.has_backends)
            })
    }

    /// The holder if that is heard, here or by a twin that is heard; otherwise
    /// this node, for whoever can ask it can reach it.
    fn answer(&self) -> Name {
        let timing = &self.timing;
        let twin = |it: &&super::Twin| it.is_ready(timing);
        let yields = matches!(self.role, Role::Draining | Role::Unsure) || !self.fitness.serving;
        let holder = self.claim.as_ref().map(|it| &it.holder);
        let holder = holder.and_then(|name| self.twin(name));
        let holder = holder.filter(|it| twin(it) || self.is_heard_elsewhere(it));
        // Who leaves serves on until somebody can do as much.
        let can_do = |it: &&super::Twin| !self.fitness.serving || !self.can_more_than(&it.name);
        let mut able = self.twins.iter().filter(twin).filter(can_do);
        let other = holder.or_else(|| able.next().filter(|_| yields));
        other.map_or_else(|| self.me.clone(), |it| it.name.clone())
    }

    fn view_of(&self, twin: &super::Twin) -> TwinView {
        let last = twin.last.as_ref();
        TwinView {
            name: twin.name.clone(),
            is_up: twin.is_heard(&self.timing),
            is_ready: twin.is_ready(&self.timing),
            role: last.map(|it| it.role),
            fitness: last.map(|it| Fitness {
                serving: it.serving,
                has_backends: it.has_backends,
            }),
            misses: twin.misses,
            failures: twin.failures,
            version: twin.version().cloned(),
            boot: twin.boot(),
            has_drifted: last.is_some_and(|it| it.config != self.config),
        }
    }
}
