//! Claims: which of two counts, how one is made, how the name is given away.

use std::cmp::Ordering;
use std::collections::VecDeque;

use rand::RngExt;

use super::register::Purpose;
use super::{Action, Election, Why};
use crate::clock::Moment;
use crate::pair::Role;
use crate::pair::settings::Timing;
use crate::types::{Claim, Name, Registered};

/// How many automatic moves are remembered: more do not lengthen the wait.
const MOVES: usize = 16;

/// Makes a node that moves the name again and again wait longer and longer.
#[derive(Debug, Default)]
pub(super) struct Damper {
    moves: VecDeque<Moment>,
}

impl Damper {
    /// Takes note of an automatic move.
    pub(super) fn moved(&mut self, now: Moment) {
        self.moves.push_back(now);
        if self.moves.len() > MOVES {
            self.moves.pop_front();
        }
    }

    /// The last move was none: another node was first.
    pub(super) fn has_not_moved(&mut self) {
        self.moves.pop_back();
    }

    /// From when on this node may move the name by itself.
    pub(super) fn free_at(&self, timing: &Timing, now: Moment) -> Moment {
        let recent = self
            .moves
            .iter()
            .filter(|at| now.since(**at) < timing.hold_memory)
            .count();
        let Some(last) = self.moves.back().filter(|_| recent > 0) else {
            return Moment::START;
        };
        let doublings = u32::try_from(recent - 1).unwrap_or(u32::MAX).min(16);
        let wait = timing.hold_least.saturating_mul(1 << doublings);
        *last + wait.min(timing.hold_most)
    }
}

impl Election {
    /// Whether `claim` beats the one that is known: by its term, then by the
    /// rank of its holder. The nonce only makes the order total. Those who are
    /// not in our lb.yaml have no rank: that tie is not ours to break.
    fn is_better(&self, claim: &Claim) -> bool {
        let Some(known) = &self.claim else {
            return true;
        };
        let by_rank = self.rank(&known.holder).cmp(&self.rank(&claim.holder));
        match claim.term.cmp(&known.term) {
            Ordering::Greater => true,
            Ordering::Less => false,
            Ordering::Equal if !self.rules.tie_break => false,
            Ordering::Equal
                if known.holder != claim.holder
                    && !(self.is_member(&known.holder) && self.is_member(&claim.holder)) =>
            {
                false
            }
            Ordering::Equal => by_rank.then(claim.nonce.cmp(&known.nonce)).is_gt(),
        }
    }

    /// How good the place of a node is: 0 is the best.
    pub(super) fn rank(&self, node: &Name) -> usize {
        self.members
            .iter()
            .position(|it| it == node)
            .unwrap_or(usize::MAX)
    }

    /// Believes in `claim` if it beats the one that is known.
    pub(super) fn learn(&mut self, now: Moment, claim: Claim) {
        if self.is_better(&claim) {
            self.adopt(now, claim, Why::NewerClaim);
        }
    }

    /// Believes in `claim`, and gives up what contradicts it.
    pub(super) fn adopt(&mut self, now: Moment, claim: Claim, why: Why) {
        let is_mine = claim.holder == self.me;
        let mut others = self.twins.iter_mut().chain(&mut self.guests);
        if let Some(twin) = others.find(|it| it.name == claim.holder) {
            // Whoever has a better claim lives, wherever that was heard: what
            // spoke against it is from before.
            twin.reset();
        }
        self.newest = self.newest.max(claim.term);
        self.unclaimed_since = None;
        self.gone_since = None;
        self.unheard_since = None;
        self.tie = None;
        self.is_news = true;
        self.actions.push_back(Action::Publish(claim.clone()));
        self.claim = Some(claim);
        if !is_mine {
            self.ordered = None;
            if matches!(self.role, Role::Holder | Role::Unsure) {
                self.become_standby(now, why);
            }
        }
    }

    /// Whether this life of this node made `claim`, or was given it.
    pub(super) fn is_of_this_life(&self, claim: &Claim) -> bool {
        claim.holder == self.me
            && (claim.nonce == self.boot.0 || self.nonces.contains(&claim.nonce))
    }

    /// A claim of this node that beats every one that is known.
    fn next_claim(&mut self) -> Claim {
        Claim {
            term: self.newest.next(),
            holder: self.me.clone(),
            nonce: self.rng.random_range(1..=u64::MAX),
        }
    }

    /// Claims what this node holds already, in a higher term.
    pub(super) fn claim_anew(&mut self, now: Moment) {
        let claim = self.next_claim();
        self.remember(claim.nonce);
        self.adopt(now, claim, Why::OwnName);
    }

    /// Claims the name for this node.
    pub(super) fn claim_name(&mut self, now: Moment, why: Why) {
        let claim = self.next_claim();
        let nonce = claim.nonce;
        if let Some(register) = &self.register {
            if !register.is_free() {
                return;
            }
            self.become_claiming(now, why);
            self.remember(nonce);
            let new = Registered { claim, beat: 0 };
            self.write(now, new, Purpose::Claim);
        } else {
            self.remember(nonce);
            self.adopt(now, claim, why);
            self.become_holder(now, why);
        }
        self.damper.moved(now);
    }

    fn remember(&mut self, nonce: u64) {
        self.nonces.push_back(nonce);
        if self.nonces.len() > MOVES {
            self.nonces.pop_front();
        }
    }

    /// Gives the name to a twin: announces, or writes, the new holder first.
    pub(super) fn hand_over(&mut self, now: Moment, to: &Name, why: Why) {
        let Some(boot) = self.twin(to).and_then(super::twin::Twin::boot) else {
            return;
        };
        let term = if self.rules.hand_over_new_term {
            self.newest.next()
        } else {
            self.newest
        };
        let claim = Claim {
            term,
            holder: to.clone(),
            // The twin's life: another life of it must claim anew.
            nonce: boot.0,
        };
        if let Some(register) = &self.register {
            if !register.is_free() {
                return;
            }
            if self.rules.drop_first {
                self.drop_lease();
            }
            let new = Registered { claim, beat: 0 };
            self.write(now, new, Purpose::HandOver(why));
        } else {
            self.adopt(now, claim, why);
        }
        self.ordered = None;
        if !matches!(why, Why::Ordered | Why::Shutdown) {
            self.damper.moved(now);
        }
    }
}
