//! What to do about all that is known.

use std::time::Duration;

use super::twin::{Twin, Verdict, has_lasted, since};
use super::{Action, Election, Why};
use crate::clock::Moment;
use crate::pair::Role;
use crate::pair::settings::Failback;
use crate::types::Name;

/// How long a node that is to end waits for a twin with usable backends: less
/// than the process waits for it.
const PATIENCE: Duration = Duration::from_millis(1500);

impl Election {
    /// Draws the conclusions.
    pub(super) fn decide(&mut self, now: Moment) {
        if self.is_leaving && self.role != Role::Draining {
            self.become_draining(now);
        }
        if self.role == Role::Init {
            self.decide_init(now);
        }
        match self.role {
            Role::Claiming | Role::Init => {}
            Role::Draining => self.decide_draining(now),
            Role::Holder => self.decide_holder(now),
            Role::Standby => self.decide_standby(now),
            Role::Unsure => self.decide_unsure(now),
        }
        self.tend_register(now);
    }

    pub(super) fn twin(&self, name: &Name) -> Option<&Twin> {
        self.twins.iter().find(|twin| twin.name == *name)
    }

    fn holder(&self) -> Option<&Twin> {
        self.claim
            .as_ref()
            .and_then(|claim| self.twin(&claim.holder))
    }

    /// Whether the holder is a twin that may be dead.
    pub(super) fn is_holder_in_doubt(&self) -> bool {
        self.is_stranger_unheard()
            || self.holder().is_some_and(|twin| {
                twin.misses >= self.timing.misses_doubt()
                    || twin.verdict(&self.timing, &self.rules, self.last_tick)
                        != Verdict::Functional
            })
    }

    const fn is_fit(&self) -> bool {
        self.fitness.serving && (self.fitness.has_backends || !self.rules.fit_to_claim)
    }

    fn decide_init(&mut self, now: Moment) {
        let has_looked = match &self.register {
            Some(register) => register.has_read(),
            None => self.claim.is_some(),
        };
        let all_heard = self.twins.iter().all(|it| it.is_heard(&self.timing));
        let is_over = now.since(self.booted) >= self.timing.start_grace;
        if has_looked || (self.register.is_none() && (all_heard || is_over)) {
            self.become_standby(now, Why::Started);
        }
    }

    fn decide_standby(&mut self, now: Moment) {
        let Some(claim) = &self.claim else {
            self.decide_unclaimed(now);
            return;
        };
        if claim.holder == self.me {
            let is_sure = match &self.register {
                Some(register) => register.known().is_some_and(|known| known.claim == *claim),
                None => true,
            };
            if !self.fitness.serving {
                return;
            }
            if is_sure && self.is_of_this_life(claim) {
                self.become_holder(now, Why::Given);
            } else {
                self.claim_name(now, Why::OwnName);
            }
            return;
        }
        let is_unheard = self.is_stranger_unheard();
        since(&mut self.unheard_since, is_unheard, now);
        let why = self.why_to_claim(now);
        since(&mut self.gone_since, why.is_some(), now);
        let Some(why) = why else { return };
        let candidates = self.members.iter().filter(|it| **it != claim.holder);
        let place = candidates.take_while(|it| **it != self.me).count();
        let wait = self
            .timing
            .rank_step
            .saturating_mul(u32::try_from(place).unwrap_or(u32::MAX));
        if has_lasted(self.gone_since, wait, now)
            && self.is_fit()
            && !self.hold.is_on
            && self.may_move(now, why)
        {
            self.claim_name(now, why);
        }
    }

    /// Whether this node may move the name for this reason again already.
    fn may_move(&self, now: Moment, why: Why) -> bool {
        !why.is_damped() || !self.rules.damping || now >= self.damper.free_at(&self.timing, now)
    }

    /// Why the holder, another node, should be replaced.
    fn why_to_claim(&self, now: Moment) -> Option<Why> {
        let Some(twin) = self.holder() else {
            return self.why_to_claim_from_stranger(now);
        };
        let is_silent = |from| match &self.register {
            Some(register) => register.is_still(from, &self.timing, &self.rules, now),
            None => true,
        };
        let register = self.register.as_ref();
        if !self.rules.no_preemption && self.rank(&self.me) < self.rank(&twin.name) {
            return Some(Why::Preferred);
        }
        let is_cut = self.is_heard_elsewhere(twin);
        let why = match twin.verdict(&self.timing, &self.rules, now) {
            Verdict::Refuses if !is_cut => Why::TwinRefuses,
            Verdict::Silent if !is_cut && is_silent(twin.silent_since.unwrap_or(now)) => {
                Why::TwinSilent
            }
            Verdict::Hung => Why::TwinHung,
            Verdict::Unfit => Why::TwinUnfit,
            Verdict::Functional | Verdict::Refuses | Verdict::Silent => {
                let is_abandoned = twin.last.as_ref().is_some_and(|it| it.role == Role::Unsure)
                    && register.is_some_and(|it| it.is_lease_abandoned(&self.rules, now));
                return is_abandoned.then_some(Why::LeaseOver);
            }
        };
        register
            .is_none_or(|it| it.is_lease_over(&self.rules, now))
            .then_some(why)
    }

    /// Whether a node that is heard hears `twin`, which this one does not.
    pub(super) fn is_heard_elsewhere(&self, twin: &Twin) -> bool {
        let others = self.others().filter(|it| it.is_heard(&self.timing));
        let mut others = others.filter(|it| it.name != twin.name);
        self.rules.hearsay && others.any(|it| it.hears_better(&twin.name, twin.misses))
    }

    /// Nobody is known to hold the name: the best node that is there claims
    /// it, after those who may not have been heard yet had their time. A pair on
    /// hold does so, too: what nobody has does not move.
    fn decide_unclaimed(&mut self, now: Moment) {
        if !self.is_fit() {
            return;
        }
        let grace = self.timing.start_grace;
        let mut wait = 0;
        for twin in &self.twins {
            let is_better = self.rank(&twin.name) < self.rank(&self.me);
            let is_fit = twin
                .last
                .as_ref()
                .is_some_and(|it| it.serving && it.has_backends && it.role != Role::Draining);
            wait = wait.max(if !twin.is_heard(&self.timing) {
                // It may hold the name, and only its heartbeats are lost.
                if twin.is_reached() { 4 } else { 1 }
            } else if is_better && is_fit {
                2
            } else {
                0
            });
        }
        if self.guests.iter().any(|it| !it.is_heard(&self.timing)) {
            // It may hold the name, and has had no time to prove itself.
            wait = wait.max(1);
        }
        let place = u32::try_from(self.rank(&self.me)).unwrap_or(u32::MAX);
        let wait = if wait == 0 {
            Duration::ZERO
        } else {
            grace * wait + self.timing.rank_step.saturating_mul(place)
        };
        if has_lasted(self.unclaimed_since, wait, now) {
            self.claim_name(now, Why::Unclaimed);
        }
    }

    fn decide_holder(&mut self, now: Moment) {
        if let Some(to) = self.ordered.clone() {
            self.hand_over(now, &to, Why::Ordered);
            return;
        }
        if let Some(register) = &self.register {
            let hears_twin = self.twins.iter().any(|it| it.is_heard(&self.timing));
            let is_over = |end| now >= end && !register.is_giving();
            if register.own_lease_end(self.role_since).is_some_and(is_over) {
                self.become_unsure(now, Why::LeaseOver);
                return;
            }
            if !hears_twin && register.is_lost(self.timing.isolation, now) {
                self.become_unsure(now, Why::Isolated);
                return;
            }
        }
        self.end_tie(now);
        self.forget_the_dead(now);
        if !self.hold.is_on
            && let Some((to, why)) = self.why_to_give(now)
            && self.may_move(now, why)
        {
            self.hand_over(now, &to, why);
        }
    }

    /// To whom to give the name, and why.
    fn why_to_give(&mut self, now: Moment) -> Option<(Name, Why)> {
        let target = self.best_target();
        if !self.fitness.serving {
            return target.map(|to| (to, Why::Unfit));
        }
        let better = target.filter(|_| !self.fitness.has_backends);
        let better = better.filter(|to| {
            let last = self.twin(to).and_then(|twin| twin.last.as_ref());
            last.is_some_and(|it| it.has_backends)
        });
        since(&mut self.sick_since, better.is_some(), now);
        if let Some(to) = better
            && has_lasted(self.sick_since, self.timing.sick_after, now)
        {
            return Some((to, Why::NoBackends));
        }
        let timing = &self.timing;
        let complains = self.twins.iter().find(|twin| {
            twin.is_ready(timing) && has_lasted(twin.complains_since, timing.complaint_after, now)
        });
        if let Some(twin) = complains {
            return Some((twin.name.clone(), Why::Complaint));
        }
        if let Failback::Prefer { node, after } = &self.failback
            && has_lasted(self.twin(node)?.well_since, *after, now)
        {
            return Some((node.clone(), Why::Preferred));
        }
        None
    }

    /// The best twin that could take the name; one with backends if any has.
    fn best_target(&self) -> Option<Name> {
        let ready = || self.twins.iter().filter(|it| it.is_ready(&self.timing));
        let has_backends = |twin: &&Twin| twin.last.as_ref().is_some_and(|it| it.has_backends);
        ready()
            .find(has_backends)
            .or_else(|| ready().next())
            .map(|twin| twin.name.clone())
    }

    fn forget_the_dead(&mut self, now: Moment) {
        for twin in &mut self.twins {
            if !twin.is_forgotten && has_lasted(twin.gone_since, self.timing.forget_after, now) {
                twin.is_forgotten = true;
                self.actions.push_back(Action::Forget(twin.name.clone()));
            }
        }
    }

    fn decide_unsure(&mut self, now: Moment) {
        let is_sure = match &self.register {
            Some(register) => {
                register.is_known_since(self.role_since)
                    && register.known().map(|it| &it.claim) == self.claim.as_ref()
            }
            // All that came during the pause has been heard by then.
            None => now.since(self.role_since) >= self.timing.late(),
        };
        if is_sure {
            self.become_holder(now, Why::StillMine);
        }
    }

    fn decide_draining(&mut self, now: Moment) {
        let is_mine = self.claim.as_ref().is_some_and(|it| it.holder == self.me);
        if is_mine
            && let Some(to) = self.best_target()
            // A twin that has just started will have probed its backends soon.
            && (!self.can_more_than(&to) || now.since(self.role_since) >= PATIENCE)
        {
            self.hand_over(now, &to, Why::Shutdown);
        }
    }

    /// Whether this node has usable backends, and the twin has none.
    pub(super) fn can_more_than(&self, twin: &Name) -> bool {
        let last = self.twin(twin).and_then(|it| it.last.as_ref());
        self.fitness.has_backends && last.is_some_and(|it| !it.has_backends)
    }
}
