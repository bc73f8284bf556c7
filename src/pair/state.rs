//! The election of the holder: events in, actions out, one deadline. Pure.
//!
//! The driver hands over everything that has arrived, then, at the deadline,
//! [`Event::Tick`]; after each it carries out what [`Election::poll_action`]
//! yields. Missed heartbeats are counted by ticks, so what has arrived must be
//! handed over first.

mod claims;
mod decide;
mod guests;
mod newcomers;
mod register;
mod roles;
mod ties;
mod twin;
mod view;
mod words;

use std::collections::VecDeque;

use rand::RngExt;
use rand::rngs::SmallRng;

use super::settings::{Failback, Mode, Rules, Timing};
use super::{Boot, Heard, Heartbeat, Hold, Memory, More, Role};
use crate::clock::{Moment, Seed};
use crate::types::{Claim, Name, Term};
use claims::Damper;
use register::Register;
use ties::Tie;
use twin::Twin;

pub use view::{TwinView, View};
pub use words::{Action, Event, Fitness, Order, Probe, ReadError, Refusal, Transition, Why, Wrote};

/// What this program is called to be told apart in heartbeats.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// One node's part in the election.
#[derive(Debug)]
pub struct Election {
    me: Name,
    /// All nodes, best rank first.
    members: Vec<Name>,
    twins: Vec<Twin>,
    /// Nodes of the pair that are not in our lb.yaml.
    guests: Vec<Twin>,
    boot: Boot,
    seq: u64,
    config: u64,
    /// None if it could not be told in a heartbeat.
    version: Option<Name>,
    timing: Timing,
    failback: Failback,
    rules: Rules,
    rng: SmallRng,

    role: Role,
    role_since: Moment,
    /// The newest claim that is known; with a register, one that was read from
    /// it or written to it.
    claim: Option<Claim>,
    /// The newest term that was heard of.
    newest: Term,
    /// None if nothing arbitrates.
    register: Option<Register>,
    fitness: Fitness,
    /// Whether a person has ordered that nothing moves by itself.
    hold: Hold,
    /// A hand-over that a person, or the end of the process, asks for.
    ordered: Option<Name>,
    is_leaving: bool,

    booted: Moment,
    /// Since when nobody is known to hold the name.
    unclaimed_since: Option<Moment>,
    /// Since when the holder is not functional.
    gone_since: Option<Moment>,
    /// Since when a holder that is not in our lb.yaml is not heard of.
    unheard_since: Option<Moment>,
    /// Another claim of the term in which this node holds the name.
    tie: Option<Tie>,
    /// Since when I have no usable backend while a twin has.
    sick_since: Option<Moment>,
    damper: Damper,
    /// The nonces of this life's claims, the newest last.
    nonces: VecDeque<u64>,
    /// Heartbeats that were no sign of life.
    old: u64,
    last_tick: Moment,
    next_tick: Moment,
    /// Something changed that the twins should hear of at once.
    is_news: bool,
    actions: VecDeque<Action>,
}

impl Election {
    /// The part of `me` among `members`, best rank first. `seed` is drawn anew
    /// for each life of the process: its boot and its nonces come from it.
    pub fn new(
        me: Name,
        members: Vec<Name>,
        mode: Mode,
        timing: Timing,
        seed: Seed,
        now: Moment,
    ) -> Self {
        Self::with_rules(me, members, mode, timing, seed, now, Rules::default())
    }

    /// As `new`, with some rules switched off, to see what they are good for.
    #[doc(hidden)]
    pub fn with_rules(
        me: Name,
        members: Vec<Name>,
        mode: Mode,
        timing: Timing,
        seed: Seed,
        now: Moment,
        rules: Rules,
    ) -> Self {
        let mut rng = seed.rng();
        let boot = Boot(rng.random_range(1..=u64::MAX));
        let twins = members.iter().filter(|it| **it != me);
        Self {
            twins: twins.map(|it| Twin::new(it.clone(), now)).collect(),
            guests: Vec::new(),
            register: Register::of(mode, now),
            me,
            members,
            boot,
            seq: 0,
            config: 0,
            version: Name::new(VERSION).ok(),
            next_tick: now + timing.heartbeat,
            timing,
            failback: Failback::Never,
            rules,
            rng,
            role: Role::Init,
            role_since: now,
            claim: None,
            newest: Term::NONE,
            fitness: Fitness::default(),
            hold: Hold::default(),
            ordered: None,
            is_leaving: false,
            booted: now,
            unclaimed_since: Some(now),
            gone_since: None,
            unheard_since: None,
            tie: None,
            sick_since: None,
            damper: Damper::default(),
            nonces: VecDeque::new(),
            old: 0,
            last_tick: now,
            is_news: false,
            actions: VecDeque::new(),
        }
    }

    /// Whether the name goes back to a node that has recovered.
    pub fn set_failback(&mut self, failback: Failback) {
        self.failback = failback;
    }

    /// Goes on from what an earlier life knew, so that terms grow, and an order
    /// to hold lasts, even when all nodes start anew.
    pub fn resume(&mut self, memory: Memory) {
        self.newest = self.newest.max(memory.term);
        self.hold = self.hold.max(memory.hold);
    }

    /// The hash of the configuration, which heartbeats carry.
    pub const fn set_config(&mut self, config: u64) {
        self.config = config;
    }

    /// Takes note of what happened at `now`, which never goes back.
    pub fn handle(&mut self, now: Moment, event: Event) {
        match event {
            Event::Fitness(fitness) => {
                self.is_news |= self.fitness != fitness;
                self.fitness = fitness;
            }
            Event::Heard(heartbeat) => self.hear(now, heartbeat),
            Event::Order(order) => self.obey(order),
            Event::Probed { node, probe } => {
                if let Some(twin) = self.twins.iter_mut().find(|it| it.name == node) {
                    twin.probed(probe);
                }
            }
            Event::Read(read) => self.read(now, read),
            Event::Shutdown => {
                self.is_leaving = true;
                self.is_news = true;
            }
            Event::Tick if now < self.next_tick => {}
            Event::Tick => self.tick(now),
            Event::Wrote(wrote) => self.wrote(now, wrote),
        }
        if now.since(self.last_tick) <= self.timing.late() {
            self.decide(now);
        }
        // Otherwise this process stood still: what it knows is from before.
        // The next step says so, and decides.
        if self.is_news {
            self.is_news = false;
            self.send(now);
        }
        if cfg!(debug_assertions) {
            self.assert_invariants(now);
        }
    }

    /// What to do next; to be asked after each [`Self::handle`] until there is
    /// nothing left.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// Heartbeats that were no sign of life: copies and recordings.
    pub const fn old(&self) -> u64 {
        self.old
    }

    /// When to hand over the next [`Event::Tick`].
    pub const fn deadline(&self) -> Moment {
        self.next_tick
    }

    fn tick(&mut self, now: Moment) {
        let pause = now.since(self.last_tick);
        let is_late = pause > self.timing.late();
        for twin in &mut self.twins {
            if is_late {
                twin.reset();
            }
            twin.step(is_late, &self.timing, now);
        }
        self.step_guests(is_late, now);
        if is_late {
            self.unheard_since = None;
            self.gone_since = None;
            self.sick_since = None;
        }
        self.last_tick = now;
        self.next_tick = self.next_tick + self.timing.heartbeat;
        if self.next_tick <= now {
            self.next_tick = now + self.timing.heartbeat;
        }
        if pause > self.timing.pause() && self.role == Role::Holder {
            self.become_unsure(now, Why::Paused);
        }
        for at in 0..self.twins.len() {
            if self.twins[at].wants_probe(&self.timing, now) {
                let node = self.twins[at].name.clone();
                self.actions.push_back(Action::Probe(node));
            }
        }
        self.is_news = true;
    }

    fn hear(&mut self, now: Moment, heartbeat: Heartbeat) {
        if heartbeat.to != self.me || heartbeat.from == self.me {
            return;
        }
        let hold = heartbeat.hold;
        let heard = heartbeat.holder.clone().map(|holder| Claim {
            term: heartbeat.term,
            holder,
            nonce: heartbeat.nonce,
        });
        let mine = (self.boot, self.seq);
        let (timing, rules) = (self.timing.clone(), self.rules);
        let sender = self.sender(&heartbeat.from.clone(), now);
        if !sender.is_some_and(|it| it.hear(heartbeat, mine, &timing, &rules, now)) {
            self.old += 1;
            return;
        }
        if hold > self.hold {
            self.hold = hold;
            self.is_news = true;
        }
        let counts = |holder: &Name| self.rules.strangers || self.is_member(holder);
        let heard = heard.filter(|claim| claim.term > Term::NONE && counts(&claim.holder));
        let Some(claim) = heard else {
            return;
        };
        self.newest = self.newest.max(claim.term);
        if self.register.is_none() {
            self.note_tie(now, &claim);
            self.learn(now, claim);
        } else if self.claim.as_ref().is_none_or(|it| it.term < claim.term) {
            self.hear_of_newer_term(now);
        }
    }

    fn obey(&mut self, order: Order) {
        match order {
            Order::Hold(is_on) => {
                self.hold = self.hold.next(is_on);
                self.is_news = true;
            }
            Order::Handover { to } => {
                let refusal = if !matches!(self.role, Role::Holder) {
                    Some(Refusal::NotHolder)
                } else if self.can_more_than(&to)
                    || !self
                        .twins
                        .iter()
                        .any(|twin| twin.name == to && twin.is_ready(&self.timing))
                {
                    Some(Refusal::NotReady(to.clone()))
                } else {
                    None
                };
                match refusal {
                    Some(refusal) => self.actions.push_back(Action::Refuse(refusal)),
                    None => self.ordered = Some(to),
                }
            }
        }
    }

    /// Sends a heartbeat to each node that there is.
    fn send(&mut self, now: Moment) {
        self.seq += 1;
        let timing = &self.timing;
        for twin in self.twins.iter().chain(&self.guests) {
            let heartbeat = Heartbeat {
                from: self.me.clone(),
                to: twin.name.clone(),
                boot: self.boot,
                seq: self.seq,
                role: self.role,
                term: self.claim.as_ref().map_or(Term::NONE, |it| it.term),
                holder: self.claim.as_ref().map(|it| it.holder.clone()),
                nonce: self.claim.as_ref().map_or(0, |it| it.nonce),
                serving: self.fitness.serving && !self.is_leaving,
                has_backends: self.fitness.has_backends,
                hears_you: twin.is_heard(timing),
                complains: twin.failures >= timing.probes_complain
                    && twin.is_heard(timing)
                    && twin.hears_us(),
                hold: self.hold,
                echo: twin.echo(self.seq, timing, now),
                config: self.config,
                more: self.more_for(twin, now),
            };
            self.actions.push_back(Action::Send(heartbeat));
        }
    }

    /// What to tell a twin beyond what every version reads.
    fn more_for(&self, twin: &Twin, now: Moment) -> Option<More> {
        if !twin.is_told_more(self.seq, &self.timing) {
            return None;
        }
        let others = self.others().filter(|it| it.name != twin.name);
        let heard = others.filter(|it| {
            it.is_vouched_for(&self.timing, &self.rules, now)
                // Nothing but its heartbeats says that a guest lives.
                && (it.is_heard(&self.timing) || self.is_member(&it.name))
        });
        let hears = heard.map(|it| Heard {
            node: it.name.clone(),
            misses: u8::try_from(it.misses).unwrap_or(u8::MAX),
        });
        Some(More {
            version: self.version.clone()?,
            hears: hears.take(More::MOST_HEARD).collect(),
        })
    }
}
