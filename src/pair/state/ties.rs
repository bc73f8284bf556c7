//! Two claims of one term, where nothing arbitrates: after a partition, or
//! after a start in which two nodes did not know of each other. Pure.
//!
//! Of members the better rank wins, on every node that has the same lb.yaml.
//! Who knows only one of the two cannot tell; so the holder that sees the tie
//! and keeps the name claims anew, and a higher term is clear to everybody.

use std::time::Duration;

use rand::RngExt;

use super::Election;
use crate::clock::Moment;
use crate::pair::Role;
use crate::types::Claim;

/// A claim as old as ours, which is not better.
#[derive(Debug)]
pub(super) struct Tie {
    since: Moment,
    heard: Moment,
    /// How long it may last.
    wait: Duration,
}

impl Election {
    /// Takes note of a claim that was heard, and that did not win.
    pub(super) fn note_tie(&mut self, now: Moment, heard: &Claim) {
        let Some(known) = &self.claim else { return };
        let is_tie = heard.term == known.term && heard.holder != known.holder;
        if !is_tie || self.role != Role::Holder || !self.rules.tie_break {
            return;
        }
        if let Some(tie) = &mut self.tie
            && now.since(tie.heard) <= self.timing.late()
        {
            tie.heard = now;
            return;
        }
        let step = self.timing.rank_step;
        let wait = if self.is_member(&heard.holder) {
            // It has given up by then; only who does not know it goes on.
            step * 2
        } else {
            // Not at the same time as that one, if it does not know us either.
            step.mul_f64(self.rng.random_range(0.0..1.0))
        };
        self.tie = Some(Tie {
            since: now,
            heard: now,
            wait,
        });
    }

    /// Claims anew if somebody still has a claim of the same term.
    pub(super) fn end_tie(&mut self, now: Moment) {
        let Some(tie) = &self.tie else { return };
        if now.since(tie.heard) > self.timing.late() {
            self.tie = None;
        } else if now.since(tie.since) >= tie.wait {
            self.tie = None;
            self.claim_anew(now);
        }
    }
}
