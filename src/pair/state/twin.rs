//! What one node knows of another, and what that proves. Pure.

use std::collections::VecDeque;
use std::time::Duration;

use super::Probe;
use super::newcomers::Newcomers;
use crate::clock::Moment;
use crate::pair::settings::{Rules, Timing};
use crate::pair::{Boot, Heartbeat, More, READS_MORE, Role};
use crate::types::Name;

/// How many heartbeats of ours an echo may be old: ten seconds' worth.
const ECHO_WINDOW: u64 = 200;

/// A twin that may be of an older version is told every so many heartbeats
/// that this one reads more: its echo then answers nothing.
const SAY_EVERY: u64 = 8;

/// How many ended lives of a twin are remembered.
const RETIRED: usize = 8;

/// Another node, as seen from here.
#[derive(Debug)]
pub(super) struct Twin {
    /// Who it is.
    pub(super) name: Name,
    /// Its last heartbeat.
    pub(super) last: Option<Heartbeat>,
    /// Missed heartbeats in a row.
    pub(super) misses: u32,
    /// Since when it is in doubt.
    pub(super) silent_since: Option<Moment>,
    /// Failed connections in a row.
    pub(super) failures: u32,
    /// Since when it says that it cannot serve.
    pub(super) unfit_since: Option<Moment>,
    /// Since when it says that it cannot reach our data port.
    pub(super) complains_since: Option<Moment>,
    /// Since when everything about it is well.
    pub(super) well_since: Option<Moment>,
    /// Since when it is neither heard nor reached.
    pub(super) gone_since: Option<Moment>,
    /// Whether its own record was removed since it was last heard.
    pub(super) is_forgotten: bool,
    refusals: u32,
    /// Whether a connection to it has succeeded, and none has failed since.
    is_reached: bool,
    is_heard: bool,
    /// Its life, and the newest heartbeat number of that.
    life: Option<(Boot, u64)>,
    /// Whether its life has shown that it reads more than version 0.1.0.
    reads_more: bool,
    /// What it said last beyond that, and our steps since.
    more: Option<(More, u32)>,
    retired: VecDeque<Boot>,
    /// The newest of my heartbeats that it has echoed.
    echoed: u64,
    newcomers: Newcomers,
    next_probe: Moment,
    asked: Option<Moment>,
}

/// What the evidence says of a twin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Silent, and its port refuses: the process is gone.
    Refuses,
    /// Silent, and its port does not answer: the host is gone, or the way.
    Silent,
    /// It sends heartbeats, and its data plane is dead.
    Hung,
    /// It says itself that it cannot serve.
    Unfit,
    /// Nothing proves that it is not functional.
    Functional,
}

impl Twin {
    pub(super) fn new(name: Name, now: Moment) -> Self {
        Self {
            name,
            last: None,
            misses: 0,
            silent_since: None,
            failures: 0,
            unfit_since: None,
            complains_since: None,
            well_since: None,
            gone_since: None,
            is_forgotten: false,
            refusals: 0,
            is_reached: false,
            is_heard: false,
            life: None,
            reads_more: false,
            more: None,
            retired: VecDeque::new(),
            echoed: 0,
            newcomers: Newcomers::default(),
            next_probe: now,
            asked: None,
        }
    }

    /// Takes note of a heartbeat; says whether it is a sign of life, and not
    /// an old one, a copy or a recording.
    pub(super) fn hear(
        &mut self,
        heartbeat: Heartbeat,
        mine: (Boot, u64),
        timing: &Timing,
        rules: &Rules,
        now: Moment,
    ) -> bool {
        if !self.is_fresh(&heartbeat, mine, rules, now) {
            return false;
        }
        let was_cut = self.misses >= timing.misses_doubt() || !self.hears_us();
        if was_cut && rules.return_resets {
            // What could not be reached during a cut was not dead for that.
            self.failures = 0;
            self.refusals = 0;
        }
        self.misses = 0;
        self.silent_since = None;
        self.is_heard = true;
        self.is_forgotten = false;
        if let Some(more) = &heartbeat.more {
            self.more = Some((more.clone(), 0));
        }
        self.reads_more |= heartbeat.more.is_some() || heartbeat.echo == READS_MORE;
        since(&mut self.unfit_since, !heartbeat.serving, now);
        since(&mut self.complains_since, heartbeat.complains, now);
        self.last = Some(heartbeat);
        true
    }

    fn is_fresh(&mut self, it: &Heartbeat, mine: (Boot, u64), rules: &Rules, now: Moment) -> bool {
        if let Some((boot, seq)) = &mut self.life
            && *boot == it.boot
        {
            let is_newer = it.seq > *seq;
            *seq = it.seq.max(*seq);
            if is_newer && it.echo.0 == mine.0 {
                self.echoed = it.echo.1.max(self.echoed);
            }
            return is_newer;
        }
        if rules.fresh_lives {
            if self.retired.contains(&it.boot) {
                return false;
            }
            let is_echo =
                it.echo.0 == mine.0 && it.echo.1 <= mine.1 && it.echo.1 + ECHO_WINDOW > mine.1;
            // What was recorded of a life before this one echoes no more than
            // this one has: only a later life can.
            if !is_echo || it.echo.1 <= self.echoed {
                self.newcomers.note(it.boot, it.seq, now);
                return false;
            }
        }
        if let Some((boot, _)) = self.life {
            self.retired.push_back(boot);
            if self.retired.len() > RETIRED {
                self.retired.pop_front();
            }
        }
        self.life = Some((it.boot, it.seq));
        // Another life may be of another version.
        self.reads_more = false;
        self.more = None;
        if it.echo.0 == mine.0 {
            self.echoed = it.echo.1;
        }
        self.newcomers.remove(it.boot);
        self.reset();
        true
    }

    /// What to echo to it: its life, and by turns a life that would like to
    /// prove itself.
    pub(super) fn echo(&self, turn: u64, timing: &Timing, now: Moment) -> (Boot, u64) {
        if !self.reads_more && turn % SAY_EVERY == SAY_EVERY - 1 {
            return READS_MORE;
        }
        let newcomer = |turn| self.newcomers.ask(turn, timing.start_grace, now);
        let asked = match self.life {
            None => newcomer(turn),
            Some(_) if turn.is_multiple_of(2) => newcomer(turn / 2),
            Some(_) => None,
        };
        asked.or(self.life).unwrap_or_default()
    }

    /// Whether to tell it more than version 0.1.0 reads. While it is silent,
    /// by turns: it may have started anew, with an older version.
    pub(super) fn is_told_more(&self, turn: u64, timing: &Timing) -> bool {
        self.reads_more && (self.is_heard(timing) || turn.is_multiple_of(2))
    }

    /// Its version, if it says one.
    pub(super) fn version(&self) -> Option<&Name> {
        self.more.as_ref().map(|(more, _)| &more.version)
    }

    /// Whether it hears `node` while we, who have missed `misses` of that one's
    /// heartbeats, do not: then it is our way that is cut. Of a node that has
    /// died all have missed as many, and one more or less.
    pub(super) fn hears_better(&self, node: &Name, misses: u32) -> bool {
        let Some((more, steps)) = &self.more else {
            return false;
        };
        let found = more.hears.iter().find(|it| it.node == *node);
        found.is_some_and(|it| u32::from(it.misses) + steps.saturating_add(2) <= misses)
    }

    /// Whether it hears `node`. One of a version that does not say whom it hears
    /// takes whom it calls the holder for alive.
    pub(super) fn hears(&self, node: &Name, timing: &Timing) -> bool {
        let Some((more, steps)) = &self.more else {
            let last = self.last.as_ref();
            return last.is_some_and(|it| it.holder.as_ref() == Some(node));
        };
        let mut hears = more.hears.iter().filter(|it| it.node == *node);
        hears.any(|it| u32::from(it.misses).saturating_add(*steps) < timing.misses_dead)
    }

    /// Whether we may vouch for it to others that do not hear it.
    pub(super) fn is_vouched_for(&self, timing: &Timing, rules: &Rules, now: Moment) -> bool {
        self.life.is_some()
            && self.verdict(timing, rules, now) == Verdict::Functional
            && self.last.as_ref().is_some_and(|it| it.role != Role::Unsure)
    }

    /// One step of the clock, after all that had arrived was heard. `is_late`
    /// says that our own pause explains the silence.
    pub(super) fn step(&mut self, is_late: bool, timing: &Timing, now: Moment) {
        if !self.is_heard && !is_late {
            self.misses = self.misses.saturating_add(1);
            if self.misses >= timing.misses_doubt() && self.silent_since.is_none() {
                self.silent_since = Some(now);
            }
        }
        self.is_heard = false;
        if let Some((_, steps)) = &mut self.more {
            *steps = steps.saturating_add(1);
        }
        let is_well = self.is_ready(timing) && self.last.as_ref().is_some_and(|it| it.has_backends);
        since(&mut self.well_since, is_well, now);
        let is_gone = self.misses >= timing.misses_dead && self.failures >= timing.probe_failures;
        since(&mut self.gone_since, is_gone, now);
    }

    /// Whether to connect to its data port now.
    pub(super) fn wants_probe(&mut self, timing: &Timing, now: Moment) -> bool {
        if let Some(asked) = self.asked
            && now.since(asked) < timing.probe_timeout * 2
        {
            return false;
        }
        let in_doubt = self.misses >= timing.misses_refused || self.failures > 0;
        if !in_doubt && now < self.next_probe {
            return false;
        }
        self.asked = Some(now);
        self.next_probe = now + timing.probe_every;
        true
    }

    /// Takes note of how a connection to its data port went.
    pub(super) fn probed(&mut self, probe: Probe) {
        if self.asked.take().is_none() {
            // Asked before our own pause: it proves nothing.
            return;
        }
        match probe {
            Probe::Ok => {
                self.failures = 0;
                self.refusals = 0;
                self.is_reached = true;
            }
            Probe::Refused => {
                self.failures = self.failures.saturating_add(1);
                self.refusals = self.refusals.saturating_add(1);
                self.is_reached = false;
            }
            Probe::TimedOut => {
                self.failures = self.failures.saturating_add(1);
                self.refusals = 0;
                self.is_reached = false;
            }
        }
    }

    /// Forgets all that speaks against it.
    pub(super) fn reset(&mut self) {
        self.misses = 0;
        self.silent_since = None;
        self.failures = 0;
        self.refusals = 0;
        self.asked = None;
        self.unfit_since = None;
        self.complains_since = None;
        self.gone_since = None;
    }

    /// What the evidence says.
    pub(super) fn verdict(&self, timing: &Timing, rules: &Rules, now: Moment) -> Verdict {
        if self.misses >= timing.misses_refused && self.refusals >= timing.refusals {
            Verdict::Refuses
        } else if self.misses >= timing.misses_dead
            && (self.failures >= timing.probe_failures || !rules.two_kinds)
        {
            Verdict::Silent
        } else if self.is_heard(timing) && has_lasted(self.unfit_since, timing.unfit_after, now) {
            Verdict::Unfit
        } else if self.is_heard(timing)
            && self.failures >= timing.probes_hung
            // It hears us, so the way there is good; and if it cannot reach us
            // either, connections fail for another reason.
            && self.hears_us()
            && self.complains_since.is_none()
        {
            Verdict::Hung
        } else {
            Verdict::Functional
        }
    }

    /// Whether its heartbeats come.
    pub(super) fn is_heard(&self, timing: &Timing) -> bool {
        self.life.is_some() && self.misses < timing.misses_doubt()
    }

    /// Whether it could take the name now.
    pub(super) fn is_ready(&self, timing: &Timing) -> bool {
        self.is_heard(timing)
            && self.is_reached
            && self
                .last
                .as_ref()
                .is_some_and(|it| it.serving && !matches!(it.role, Role::Draining | Role::Init))
    }

    /// Whether it says that it hears us.
    pub(super) fn hears_us(&self) -> bool {
        self.last.as_ref().is_some_and(|it| it.hears_you)
    }

    /// Whether the last connection to its data port was accepted.
    pub(super) const fn is_reached(&self) -> bool {
        self.is_reached
    }

    /// Its life.
    pub(super) fn boot(&self) -> Option<Boot> {
        self.life.map(|(boot, _)| boot)
    }
}

/// Whether something that began at `from` has lasted for `long`.
pub(super) fn has_lasted(from: Option<Moment>, long: Duration, now: Moment) -> bool {
    from.is_some_and(|from| now.since(from) >= long)
}

/// Keeps in `from` since when `is` has been true.
pub(super) fn since(from: &mut Option<Moment>, is: bool, now: Moment) {
    if !is {
        *from = None;
    } else if from.is_none() {
        *from = Some(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pair::Role;
    use crate::types::Term;

    fn beat(boot: u64, seq: u64, echoed: u64) -> Heartbeat {
        Heartbeat {
            from: Name::new("lb1").unwrap(),
            to: Name::new("lb2").unwrap(),
            boot: Boot(boot),
            seq,
            role: Role::Standby,
            term: Term::NONE,
            holder: None,
            nonce: 0,
            serving: true,
            has_backends: true,
            hears_you: true,
            complains: false,
            hold: crate::pair::Hold::default(),
            echo: (Boot(9), echoed),
            config: 0,
            more: None,
        }
    }

    #[test]
    fn a_recording_of_a_life_that_was_never_heard_is_no_life() {
        let mut twin = Twin::new(Name::new("lb1").unwrap(), Moment::START);
        let rules = Rules::default();
        let mut is_fresh =
            |it: Heartbeat, mine: u64| twin.is_fresh(&it, (Boot(9), mine), &rules, Moment::START);
        assert!(
            is_fresh(beat(2, 1, 10), 10),
            "the second life proves itself"
        );
        assert!(
            !is_fresh(beat(1, 5, 8), 12),
            "the first was recorded before"
        );
        assert!(is_fresh(beat(2, 2, 11), 12));
        assert!(!is_fresh(beat(1, 6, 11), 12));
        assert!(is_fresh(beat(3, 1, 12), 12), "a third one is a life");
        assert!(!is_fresh(beat(2, 3, 12), 12), "and ends the second");
    }
}
