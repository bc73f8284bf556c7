//! Nodes that lb.yaml does not name, and that sign as the pair does: lb.yaml
//! of another node, newer or older than ours, names them. Pure.
//!
//! Such a guest is answered, so that it can prove that it is no recording, and
//! its claim counts as a member's does. It never gets the name from here, and
//! nobody here probes it.

use super::twin::{Twin, Verdict, has_lasted};
use super::{Election, Why};
use crate::clock::Moment;
use crate::pair::Role;
use crate::types::Name;

/// How many are known at a time: as many as a pair may have nodes.
const MOST: usize = 8;

/// Missed heartbeats after which a guest is forgotten: more than the echo of a
/// heartbeat of ours may be old, so that what was recorded of it until then
/// proves nothing later.
const KEPT: u32 = 400;

impl Election {
    /// Whether `node` is in our lb.yaml.
    pub(super) fn is_member(&self, node: &Name) -> bool {
        self.members.contains(node)
    }

    /// All other nodes that speak to this one.
    pub(super) fn others(&self) -> impl Iterator<Item = &Twin> {
        self.twins.iter().chain(&self.guests)
    }

    /// What is known of the sender of a heartbeat; nothing if there is no room
    /// for one more guest.
    pub(super) fn sender(&mut self, name: &Name, now: Moment) -> Option<&mut Twin> {
        if let Some(at) = self.twins.iter().position(|it| it.name == *name) {
            return self.twins.get_mut(at);
        }
        if let Some(at) = self.guests.iter().position(|it| it.name == *name) {
            return self.guests.get_mut(at);
        }
        if !self.rules.strangers {
            return None;
        }
        if self.guests.len() == MOST {
            let most = (0..MOST).max_by_key(|at| self.guests[*at].misses)?;
            if self.guests[most].is_heard(&self.timing) {
                return None;
            }
            self.guests.remove(most);
        }
        self.guests.push(Twin::new(name.clone(), now));
        self.guests.last_mut()
    }

    /// One step of the clock for the guests.
    pub(super) fn step_guests(&mut self, is_late: bool, now: Moment) {
        for guest in &mut self.guests {
            if is_late {
                guest.reset();
            }
            guest.step(is_late, &self.timing, now);
        }
        self.guests.retain(|it| it.misses < KEPT);
    }

    /// The nodes that this one knows of, and its lb.yaml does not.
    pub(super) fn strangers(&self) -> Vec<Name> {
        let guests = self.guests.iter().filter(|it| it.is_heard(&self.timing));
        let holder = self.claim.as_ref().map(|it| &it.holder);
        let holder = holder.filter(|it| !self.is_member(it));
        let mut all: Vec<Name> = guests.map(|it| &it.name).chain(holder).cloned().collect();
        all.sort();
        all.dedup();
        all
    }

    /// Whether a node that is not in our lb.yaml holds the name, and neither it
    /// nor anybody who hears it is heard.
    pub(super) fn is_stranger_unheard(&self) -> bool {
        let Some(claim) = &self.claim else {
            return false;
        };
        let mut heard = self.others().filter(|it| it.is_heard(&self.timing));
        !self.is_member(&claim.holder)
            && !heard.any(|it| it.name == claim.holder || it.hears(&claim.holder, &self.timing))
    }

    /// Why a holder that is not in our lb.yaml should be replaced: only if it
    /// says so itself, or is heard of no more for long, for its port is not
    /// known here.
    pub(super) fn why_to_claim_from_stranger(&self, now: Moment) -> Option<Why> {
        let holder = &self.claim.as_ref()?.holder;
        let timing = &self.timing;
        let register = self.register.as_ref();
        let is_over = register.is_none_or(|it| it.is_lease_over(&self.rules, now));
        let guest = self.guests.iter().find(|it| it.name == *holder);
        if let Some(guest) = guest.filter(|it| it.is_heard(timing)) {
            let is_unfit = guest.verdict(timing, &self.rules, now) == Verdict::Unfit;
            let is_unsure = guest
                .last
                .as_ref()
                .is_some_and(|it| it.role == Role::Unsure);
            let is_abandoned = register.is_some_and(|it| it.is_lease_abandoned(&self.rules, now));
            return match (is_unfit && is_over, is_unsure && is_abandoned) {
                (true, _) => Some(Why::TwinUnfit),
                (false, true) => Some(Why::LeaseOver),
                (false, false) => None,
            };
        }
        let patience = match register {
            None => timing.start_grace,
            // Even a holder that has been alone for long beats in that time.
            Some(_) => timing.start_grace.max(timing.read_every * 3),
        };
        let since = self.unheard_since?;
        let is_quiet = register.is_none_or(|it| it.is_quiet(since, patience, timing, now));
        (has_lasted(self.unheard_since, patience, now) && is_quiet && is_over)
            .then_some(Why::StrangerGone)
    }
}
