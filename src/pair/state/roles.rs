//! The only places that assign a role, and what must always hold.

use super::{Action, Election, Transition, Why};
use crate::clock::Moment;
use crate::pair::Role;

impl Election {
    pub(super) fn become_standby(&mut self, now: Moment, why: Why) {
        debug_assert!(!matches!(self.role, Role::Standby | Role::Draining));
        self.drop_lease();
        self.become_it(now, Role::Standby, why);
    }

    pub(super) fn become_claiming(&mut self, now: Moment, why: Why) {
        debug_assert!(matches!(self.role, Role::Standby));
        self.become_it(now, Role::Claiming, why);
    }

    pub(super) fn become_holder(&mut self, now: Moment, why: Why) {
        debug_assert!(matches!(
            self.role,
            Role::Claiming | Role::Standby | Role::Unsure
        ));
        self.become_it(now, Role::Holder, why);
    }

    pub(super) fn become_unsure(&mut self, now: Moment, why: Why) {
        debug_assert!(matches!(self.role, Role::Holder));
        self.drop_lease();
        if let Some(register) = &mut self.register {
            register.must_read = true;
        }
        self.become_it(now, Role::Unsure, why);
    }

    pub(super) fn become_draining(&mut self, now: Moment) {
        debug_assert!(!matches!(self.role, Role::Draining));
        self.become_it(now, Role::Draining, Why::Shutdown);
    }

    fn become_it(&mut self, now: Moment, to: Role, why: Why) {
        let from = self.role;
        self.role = to;
        self.role_since = now;
        self.gone_since = None;
        self.sick_since = None;
        self.is_news = true;
        self.actions.push_back(Action::Tell(Transition {
            from,
            to,
            why,
            term: self.newest,
        }));
    }

    /// What is true after every step.
    pub(super) fn assert_invariants(&self, now: Moment) {
        let holder = self.claim.as_ref().map(|it| &it.holder);
        if matches!(self.role, Role::Holder | Role::Unsure) {
            assert_eq!(holder, Some(&self.me), "a holder knows a claim of its own");
        }
        if self.role == Role::Claiming {
            let is_writing = self.register.as_ref().is_some_and(|it| it.is_writing());
            assert!(is_writing, "who claims waits for the register");
        }
        if self.is_exclusive(now) {
            assert_eq!(self.role, Role::Holder, "only the holder is exclusive");
        }
        if let Some(claim) = &self.claim {
            assert!(claim.term <= self.newest, "a claim's term is known");
            assert!(claim.term.0 > 0, "a claim has a term");
        }
        assert!(
            self.next_tick > self.last_tick,
            "the next step is in the future"
        );
        assert!(
            self.is_leaving || self.role != Role::Draining,
            "who drains leaves"
        );
    }
}
