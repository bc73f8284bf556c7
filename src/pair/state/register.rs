//! The register: when to read it, when to beat, and what its answers mean.

use std::time::Duration;

use super::twin::has_lasted;
use super::{Action, Election, ReadError, Why, Wrote};
use crate::clock::Moment;
use crate::pair::Role;
use crate::pair::settings::{Mode, Rules, Timing};
use crate::types::Registered;

/// What is known of the register.
#[derive(Debug)]
pub(super) struct Register {
    /// How long a renewal is good for, and the margin for the clocks' drift.
    lease: Option<(Duration, Duration)>,
    /// What it held when last seen: what the next write expects.
    known: Option<Registered>,
    has_read: bool,
    asked: Option<(Asked, Moment)>,
    /// Something happened that only a read can settle.
    pub(super) must_read: bool,
    /// When it was last asked to be read.
    read_at: Option<Moment>,
    /// When the last question was put that it answered well.
    last_ok: Moment,
    is_failing: bool,
    /// When it was last seen to differ from before.
    changed_at: Moment,
    /// Since when it has answered without a failure between.
    reached_since: Option<Moment>,
    beat_at: Option<Moment>,
    lonely_since: Option<Moment>,
    lease_until: Option<Moment>,
    /// Since when it shows something older than what is known.
    odd_since: Option<Moment>,
}

#[derive(Debug)]
enum Asked {
    Read,
    Write { new: Registered, purpose: Purpose },
}

/// What a write is for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Purpose {
    Beat,
    Claim,
    HandOver(Why),
}

impl Register {
    pub(super) fn of(mode: Mode, now: Moment) -> Option<Self> {
        let lease = match mode {
            Mode::Embedded => return None,
            Mode::Cas => None,
            Mode::Lease { ttl, margin } => Some((ttl, margin)),
        };
        Some(Self {
            lease,
            known: None,
            has_read: false,
            asked: None,
            must_read: true,
            read_at: None,
            last_ok: now,
            is_failing: false,
            changed_at: now,
            reached_since: None,
            beat_at: None,
            lonely_since: None,
            lease_until: None,
            odd_since: None,
        })
    }

    /// Whether it can be written: nothing is under way or unsettled.
    pub(super) const fn is_free(&self) -> bool {
        self.asked.is_none() && !self.must_read && self.has_read
    }

    /// Whether a write is under way.
    pub(super) const fn is_writing(&self) -> bool {
        matches!(self.asked, Some((Asked::Write { .. }, _)))
    }

    /// Whether a hand-over is under way.
    pub(super) const fn is_giving(&self) -> bool {
        matches!(
            self.asked,
            Some((
                Asked::Write {
                    purpose: Purpose::HandOver(_),
                    ..
                },
                _
            ))
        )
    }

    /// Whether it has been read since the start.
    pub(super) const fn has_read(&self) -> bool {
        self.has_read
    }

    /// What it held when last seen.
    pub(super) const fn known(&self) -> Option<&Registered> {
        self.known.as_ref()
    }

    /// Whether a read that began at `from` or later has succeeded.
    pub(super) fn is_known_since(&self, from: Moment) -> bool {
        self.last_ok >= from && !self.must_read
    }

    /// Whether it has not been reached for `long`.
    pub(super) fn is_lost(&self, long: Duration, now: Moment) -> bool {
        self.is_failing && now.since(self.last_ok) >= long
    }

    /// Whether it shows no life of a holder that has been silent since then.
    pub(super) fn is_still(
        &self,
        silent_since: Moment,
        timing: &Timing,
        rules: &Rules,
        now: Moment,
    ) -> bool {
        if !rules.beats_count {
            return true;
        }
        let (from, patience) = if self.changed_at < silent_since {
            (silent_since, timing.beat_absent)
        } else if now.since(silent_since) * 5 < timing.beat_slow_after * 4 {
            (self.changed_at, timing.beat_stopped)
        } else {
            // By now the holder beats slowly; sooner than it does, in case the
            // two clocks differ.
            (self.changed_at, timing.read_every * 3)
        };
        let enough = from + patience;
        now >= enough && self.last_ok + timing.read_doubt >= enough
    }

    /// Whether it has not changed for `patience` since then, nor since its last
    /// change.
    pub(super) fn is_quiet(
        &self,
        since: Moment,
        patience: Duration,
        timing: &Timing,
        now: Moment,
    ) -> bool {
        let enough = since.max(self.changed_at) + patience;
        now >= enough && self.last_ok + timing.read_doubt >= enough
    }

    /// Whether the holder's lease, if there are leases, is over for certain.
    pub(super) fn is_lease_over(&self, rules: &Rules, now: Moment) -> bool {
        self.lease.is_none_or(|(ttl, margin)| {
            let wait = if rules.lease_waits {
                ttl + margin
            } else {
                ttl / 4
            };
            now.since(self.changed_at) >= wait
        })
    }

    /// Whether the holder has let its lease end although the register answers.
    pub(super) fn is_lease_abandoned(&self, rules: &Rules, now: Moment) -> bool {
        self.lease.is_some_and(|(ttl, _)| {
            self.is_lease_over(rules, now) && has_lasted(self.reached_since, ttl / 2, now)
        })
    }

    /// The end of this node's own lease; None where there are no leases.
    pub(super) fn own_lease_end(&self, holder_since: Moment) -> Option<Moment> {
        let (ttl, _) = self.lease?;
        Some(self.lease_until.unwrap_or(holder_since + ttl))
    }

    /// When this node's own lease ends.
    pub(super) const fn lease_until(&self) -> Option<Moment> {
        self.lease_until
    }

    /// Whether this node's own lease is good.
    pub(super) fn has_lease(&self, now: Moment) -> bool {
        self.lease_until.is_some_and(|until| now < until)
    }

    fn read_due(&self, in_doubt: bool, timing: &Timing, now: Moment) -> bool {
        let every = if self.must_read && !self.is_failing {
            timing.heartbeat
        } else if self.is_failing || in_doubt || self.must_read {
            timing.read_doubt
        } else if let Some((ttl, _)) = self.lease {
            (ttl / 4).min(timing.read_every)
        } else {
            timing.read_every
        };
        self.read_at.is_none_or(|at| now.since(at) >= every)
    }

    fn beat_due(&mut self, is_lonely: bool, timing: &Timing, now: Moment) -> bool {
        super::twin::since(&mut self.lonely_since, is_lonely, now);
        let every = if let Some((ttl, _)) = self.lease {
            ttl / 4
        } else if has_lasted(self.lonely_since, timing.beat_slow_after, now) {
            timing.read_every
        } else if is_lonely {
            timing.beat_every
        } else {
            return false;
        };
        (self.lease.is_some() && self.lease_until.is_none())
            || self.beat_at.is_none_or(|at| now.since(at) >= every)
    }

    /// Whether `found` is older than what is known: a secondary that lags, or
    /// a record that somebody changed by hand.
    fn is_odd(&self, found: Option<&Registered>) -> bool {
        match (&self.known, found) {
            (None, _) => false,
            (Some(_), None) => true,
            (Some(known), Some(found)) => {
                found.claim.term < known.claim.term
                    || (found.claim.term == known.claim.term
                        && (found.claim != known.claim || found.beat < known.beat))
            }
        }
    }

    fn answered(&mut self, asked_at: Moment, now: Moment) {
        self.last_ok = self.last_ok.max(asked_at);
        self.is_failing = false;
        self.odd_since = None;
        self.has_read = true;
        if self.reached_since.is_none() {
            self.reached_since = Some(now);
        }
    }

    fn failed(&mut self) {
        self.is_failing = true;
        self.reached_since = None;
    }
}

impl Election {
    /// Asks the register what is to be asked now.
    pub(super) fn tend_register(&mut self, now: Moment) {
        let in_doubt = self.is_holder_in_doubt();
        let is_lonely = self.twins.iter().any(|twin| {
            twin.misses > self.timing.misses_refused
                || twin.last.as_ref().is_some_and(|it| !it.hears_you)
        });
        let is_holder = self.role == Role::Holder;
        let Some(register) = &mut self.register else {
            return;
        };
        if register.asked.is_some() {
            return;
        }
        if is_holder && !register.must_read && register.beat_due(is_lonely, &self.timing, now) {
            if let Some(known) = &register.known
                && known.claim.holder == self.me
            {
                let new = Registered {
                    claim: known.claim.clone(),
                    beat: known.beat.saturating_add(1),
                };
                self.write(now, new, Purpose::Beat);
            }
            return;
        }
        if register.read_due(in_doubt, &self.timing, now) {
            register.asked = Some((Asked::Read, now));
            register.read_at = Some(now);
            self.actions.push_back(Action::Read);
        }
    }

    pub(super) fn write(&mut self, now: Moment, new: Registered, purpose: Purpose) {
        let Some(register) = &mut self.register else {
            return;
        };
        if new.claim.holder == self.me {
            register.beat_at = Some(now);
        }
        self.actions.push_back(Action::Write {
            expect: register.known.clone(),
            new: new.clone(),
        });
        register.asked = Some((Asked::Write { new, purpose }, now));
    }

    pub(super) fn drop_lease(&mut self) {
        if let Some(register) = &mut self.register {
            register.lease_until = None;
        }
    }

    pub(super) fn hear_of_newer_term(&mut self, now: Moment) {
        if let Some(register) = &mut self.register {
            register.must_read = true;
        }
        if self.role == Role::Holder {
            self.become_unsure(now, Why::NewerClaim);
        }
    }

    pub(super) fn read(&mut self, now: Moment, read: Result<Option<Registered>, ReadError>) {
        let Some(register) = &mut self.register else {
            return;
        };
        let Some((Asked::Read, asked_at)) = register.asked else {
            return;
        };
        register.asked = None;
        let Ok(found) = read else {
            register.failed();
            return;
        };
        if register.is_odd(found.as_ref()) {
            super::twin::since(&mut register.odd_since, true, now);
            if !has_lasted(register.odd_since, self.timing.odd_after, now) {
                register.failed();
                return;
            }
            // What is there is there: the next write expects it. The belief in
            // the newer claim stays, for terms never go back.
            register.known = found;
            register.must_read = false;
            register.changed_at = now;
            register.answered(asked_at, now);
            if matches!(self.role, Role::Holder | Role::Unsure) {
                self.become_standby(now, Why::OwnName);
            }
            return;
        }
        if found != register.known || !register.has_read {
            register.changed_at = now;
        }
        register.known.clone_from(&found);
        register.must_read = false;
        register.answered(asked_at, now);
        if let Some(found) = found
            && (self.rules.strangers || self.is_member(&found.claim.holder))
        {
            self.learn(now, found.claim);
        }
    }

    pub(super) fn wrote(&mut self, now: Moment, wrote: Wrote) {
        let Some(register) = &mut self.register else {
            return;
        };
        let (new, purpose, asked_at) = match register.asked.take() {
            Some((Asked::Write { new, purpose }, at)) => (new, purpose, at),
            other => {
                register.asked = other;
                return;
            }
        };
        let is_won = match wrote {
            Wrote::Won => true,
            Wrote::Lost => false,
            Wrote::Unknown => !self.rules.unknown_is_unknown,
        };
        if !is_won {
            register.must_read = true;
            if wrote == Wrote::Unknown {
                register.failed();
            } else if matches!(purpose, Purpose::Claim) {
                self.damper.has_not_moved();
            }
            if self.role == Role::Claiming {
                self.become_standby(now, Why::NotWon);
            }
            return;
        }
        register.known = Some(new.clone());
        register.changed_at = now;
        register.read_at = Some(now);
        register.answered(asked_at, now);
        if let Some((ttl, margin)) = register.lease
            && new.claim.holder == self.me
        {
            register.lease_until = Some(if self.rules.lease_from_send {
                // It was renewed at that moment at the earliest.
                asked_at + ttl - margin
            } else {
                now + ttl
            });
        }
        match purpose {
            Purpose::Beat => {}
            Purpose::Claim => {
                self.adopt(now, new.claim, Why::Won);
                if self.role == Role::Claiming {
                    self.become_holder(now, Why::Won);
                }
            }
            Purpose::HandOver(why) => self.adopt(now, new.claim, why),
        }
    }
}
