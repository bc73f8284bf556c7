//! A world for elections: clocks that differ, a network that loses, copies,
//! reorders and cuts, processes that stop and die, a register that lies.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use rand::RngExt;
use rand::rngs::SmallRng;
use tandem::clock::{Moment, Seed};
use tandem::pair::{
    Action, Election, Event, Failback, Fitness, Heartbeat, Order, Probe, ReadError, Role, Rules,
    Timing, Wrote,
};
use tandem::types::{Name, Registered};

use crate::checks::Checks;
pub use crate::parts::{Fault, Kind, Link, Whims};

/// One second in the world's microseconds.
pub const SECOND: u64 = 1_000_000;
/// One millisecond.
pub const MS: u64 = 1_000;

/// After this the client of the register gives up.
const REGISTER_PATIENCE: u64 = 500 * MS;
/// How many heartbeats an attacker has recorded.
const RECORDED: usize = 64;

#[derive(Clone, Debug)]
enum Happening {
    Answer {
        node: usize,
        life: u32,
        op: u64,
        event: Event,
    },
    Apply {
        node: usize,
        life: u32,
        op: u64,
        expect: Option<Registered>,
        new: Registered,
    },
    Arrive {
        node: usize,
        heartbeat: Heartbeat,
    },
    Fault(Fault),
    Hand {
        node: usize,
        life: u32,
        event: Event,
    },
    Look {
        node: usize,
        life: u32,
        op: u64,
    },
    Resume {
        node: usize,
        life: u32,
    },
    Wake {
        node: usize,
        life: u32,
    },
}

struct Due {
    at: u64,
    order: u64,
    what: Happening,
}

impl PartialEq for Due {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.order) == (other.at, other.order)
    }
}
impl Eq for Due {}
impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Due {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}

pub struct Node {
    pub name: Name,
    pub election: Option<Election>,
    pub life: u32,
    /// Parts per million by which its clock is fast.
    skew: i64,
    paused_until: u64,
    inbox: VecDeque<Event>,
    is_hung: bool,
    is_off: bool,
    fitness: Fitness,
    hears_register: bool,
    op: u64,
    wakes_at: u64,
}

impl Node {
    pub fn local(&self, at: u64) -> Moment {
        let skew = i64::try_from(at).unwrap() / 1_000 * self.skew / 1_000;
        Moment::from_micros(at.saturating_add_signed(skew))
    }

    fn global(&self, local: Moment) -> u64 {
        let local = local.as_micros();
        let skew = i64::try_from(local).unwrap() / 1_000 * self.skew / 1_000;
        local.saturating_add_signed(-skew)
    }
}

fn name(node: usize) -> Name {
    Name::new(&format!("lb{}", node + 1)).unwrap()
}

pub struct World {
    pub kind: Kind,
    pub now: u64,
    pub nodes: Vec<Node>,
    pub register: Option<Registered>,
    pub checks: Checks,
    /// Records of the dead that were to be removed.
    pub forgotten: u64,
    /// Whom the file of each node names at its next start; numbers beyond the
    /// nodes are nodes that do not run.
    pub files: Vec<Vec<usize>>,
    /// Writes that were asked for.
    pub writes: u64,
    seed: Seed,
    rng: SmallRng,
    rules: Rules,
    timing: Timing,
    failback: Failback,
    queue: BinaryHeap<Reverse<Due>>,
    order: u64,
    links: Vec<Vec<Link>>,
    whims: Whims,
    former: Vec<Option<Registered>>,
    recorded: Vec<Heartbeat>,
    is_replaying: bool,
    is_healed: bool,
    log: bool,
}

impl World {
    pub fn new(kind: Kind, seed: u64, rules: Rules, log: bool) -> Self {
        let seed = Seed(seed);
        let mut rng = seed.rng();
        let n = kind.nodes();
        let nodes = (0..n).map(|at| Node {
            name: name(at),
            election: None,
            life: 0,
            skew: rng.random_range(-500..=500),
            paused_until: 0,
            inbox: VecDeque::new(),
            is_hung: false,
            is_off: false,
            fitness: Fitness {
                serving: true,
                has_backends: true,
            },
            hears_register: true,
            op: 0,
            wakes_at: 0,
        });
        Self {
            kind,
            now: 0,
            nodes: nodes.collect(),
            register: None,
            checks: Checks::new(kind),
            forgotten: 0,
            files: vec![(0..n).collect(); n],
            writes: 0,
            seed,
            rules,
            timing: Timing::default(),
            failback: Failback::Never,
            queue: BinaryHeap::new(),
            order: 0,
            links: vec![vec![Link::default(); n]; n],
            whims: Whims::default(),
            former: Vec::new(),
            recorded: Vec::new(),
            is_replaying: false,
            is_healed: false,
            log,
            rng,
        }
    }

    /// Who gets the name back, from now on.
    pub fn prefer(&mut self, failback: Failback) {
        for election in self.nodes.iter_mut().filter_map(|it| it.election.as_mut()) {
            election.set_failback(failback.clone());
        }
        self.failback = failback;
    }

    /// A number below `n`.
    pub fn below(&mut self, n: u64) -> u64 {
        self.rng.random_range(0..n.max(1))
    }

    fn whims(&self, node: usize) -> Whims {
        match self.whims.only {
            Some(only) if only != node => Whims::default(),
            _ => self.whims,
        }
    }

    fn percent(&mut self, chance: u8) -> bool {
        chance > 0 && self.rng.random_range(0..100) < chance
    }

    pub fn at(&mut self, at: u64, fault: Fault) {
        self.push(at, Happening::Fault(fault));
    }

    fn push(&mut self, at: u64, what: Happening) {
        self.order += 1;
        self.queue.push(Reverse(Due {
            at: at.max(self.now),
            order: self.order,
            what,
        }));
    }

    /// Lets everything happen until `end`, or until a check fails.
    pub fn run_until(&mut self, end: u64) -> Result<(), String> {
        while let Some(Reverse(due)) = self.queue.peek() {
            if due.at > end {
                break;
            }
            let Some(Reverse(due)) = self.queue.pop() else {
                break;
            };
            self.now = due.at;
            self.happen(due.what);
            self.checks.verdict()?;
        }
        self.now = end;
        Ok(())
    }

    fn happen(&mut self, what: Happening) {
        match what {
            Happening::Arrive { node, heartbeat } => self.hand(node, Event::Heard(heartbeat)),
            Happening::Fault(_) if self.is_healed => {}
            Happening::Fault(fault) => self.fault(fault),
            Happening::Hand { node, life, event } if self.nodes[node].life == life => {
                self.hand(node, event);
            }
            Happening::Wake { node, life } if self.nodes[node].life == life => {
                let it = &self.nodes[node];
                if it.paused_until <= self.now && it.wakes_at == self.now {
                    self.hand(node, Event::Tick);
                    self.sleep(node);
                }
            }
            Happening::Resume { node, life } if self.nodes[node].life == life => {
                if self.nodes[node].paused_until <= self.now {
                    while let Some(event) = self.nodes[node].inbox.pop_front() {
                        self.hand(node, event);
                    }
                    self.hand(node, Event::Tick);
                    self.sleep(node);
                }
            }
            Happening::Answer {
                node,
                life,
                op,
                event,
            } => {
                let it = &mut self.nodes[node];
                if it.life == life && it.op == op {
                    // One answer to each question; what comes later is lost.
                    it.op += 1;
                    self.hand(node, event);
                }
            }
            Happening::Apply {
                node,
                life,
                op,
                expect,
                new,
            } => {
                self.apply(node, life, op, expect, new);
            }
            Happening::Look { node, life, op } => {
                let is_stale = self.percent(self.whims(node).stale);
                let mut found = self.register.clone();
                if is_stale && !self.former.is_empty() {
                    let back = self.below(3.min(self.former.len() as u64)) as usize;
                    found = self.former[self.former.len() - 1 - back].clone();
                }
                self.answer(node, life, op, Event::Read(Ok(found)));
            }
            Happening::Hand { .. } | Happening::Wake { .. } | Happening::Resume { .. } => {}
        }
    }

    fn sleep(&mut self, node: usize) {
        let it = &self.nodes[node];
        if let Some(election) = &it.election {
            let at = it.global(election.deadline()) + 1;
            let life = it.life;
            let at = (at + self.below(2 * MS)).max(self.now);
            self.nodes[node].wakes_at = at;
            self.push(at, Happening::Wake { node, life });
        }
    }

    /// Hands an event to a node, or keeps it while the node stands still.
    fn hand(&mut self, node: usize, event: Event) {
        let it = &mut self.nodes[node];
        let local = it.local(self.now);
        let Some(election) = &mut it.election else {
            return;
        };
        if it.paused_until > self.now {
            if event != Event::Tick {
                it.inbox.push_back(event);
            }
            return;
        }
        let before = election.claim().cloned();
        election.handle(local, event);
        let mut actions = Vec::new();
        while let Some(action) = election.poll_action() {
            actions.push(action);
        }
        let after = election.claim().cloned();
        let role = election.role();
        if self.log {
            for action in &actions {
                if !matches!(action, Action::Send(_) | Action::Probe(_) | Action::Read) {
                    println!(
                        "{:9.3} {} {action:?}",
                        self.now as f64 / 1e6,
                        self.nodes[node].name
                    );
                }
            }
        }
        let name = self.nodes[node].name.clone();
        let life = self.nodes[node].life;
        let mut before = before;
        for action in &actions {
            if let Action::Publish(claim) = action {
                self.checks.believes(&name, life, before.as_ref(), claim);
                before = Some(claim.clone());
            }
        }
        assert_eq!(before, after, "each new claim is published");
        self.checks.stepped(&name, role, after.as_ref());
        for action in actions {
            self.act(node, action);
        }
        self.look();
    }

    fn look(&mut self) {
        let now = self.now;
        if self.kind == Kind::Lease {
            let exclusive = self
                .nodes
                .iter()
                .filter(|it| {
                    it.election
                        .as_ref()
                        .is_some_and(|e| e.is_exclusive(it.local(now)))
                })
                .count();
            self.checks.exclusive(exclusive);
        }
        let claims = self
            .nodes
            .iter()
            .filter_map(|it| it.election.as_ref()?.claim());
        self.checks.authority(self.register.as_ref(), claims);
    }

    fn act(&mut self, node: usize, action: Action) {
        match action {
            Action::Send(heartbeat) => self.send(node, heartbeat),
            Action::Probe(name) => self.probe(node, &name),
            Action::Read => self.ask(node, None),
            Action::Write { expect, new } => {
                self.writes += 1;
                self.ask(node, Some((expect, new)));
            }
            Action::Tell(transition) => {
                self.checks
                    .told(self.now, &self.nodes[node].name, transition);
            }
            Action::Forget(_) => self.forgotten += 1,
            Action::Publish(_) | Action::Refuse(_) => {}
        }
    }

    fn index(&self, name: &Name) -> Option<usize> {
        self.nodes.iter().position(|it| it.name == *name)
    }

    fn send(&mut self, node: usize, heartbeat: Heartbeat) {
        let Some(to) = self.index(&heartbeat.to) else {
            return;
        };
        if self.is_replaying {
            if self.recorded.len() < RECORDED {
                self.recorded.push(heartbeat.clone());
            } else if self.percent(5) {
                let at = self.below(RECORDED as u64) as usize;
                self.recorded[at] = heartbeat.clone();
            }
        }
        if self.nodes[node].is_off || self.nodes[to].is_off {
            return;
        }
        let link = self.links[node][to];
        let copies = 1 + u8::from(self.percent(link.copies));
        for _ in 0..copies {
            if link.is_cut || link.is_deaf || self.percent(link.loss) {
                continue;
            }
            let at = self.now + 100 + self.below(link.delay + 200);
            self.push(
                at,
                Happening::Arrive {
                    node: to,
                    heartbeat: heartbeat.clone(),
                },
            );
        }
    }

    /// An attacker plays recordings to everybody for as long as it likes.
    fn replay(&mut self) {
        if !self.is_replaying {
            return;
        }
        for _ in 0..3 {
            if self.recorded.is_empty() {
                break;
            }
            let at = self.below(self.recorded.len() as u64) as usize;
            let heartbeat = self.recorded[at].clone();
            let node = self.index(&heartbeat.to).unwrap();
            self.push(self.now, Happening::Arrive { node, heartbeat });
        }
        self.at(self.now + 20 * MS, Fault::Replay(true));
    }

    fn probe(&mut self, node: usize, name: &Name) {
        // Who does not run is as good as off.
        let to = self.index(name).unwrap_or(node);
        let (there, back) = (self.links[node][to], self.links[to][node]);
        let lost = self.percent(there.loss) || self.percent(back.loss);
        let target = &self.nodes[to];
        let is_cut =
            to == node || there.is_cut || back.is_cut || target.is_off || self.nodes[node].is_off;
        let is_still = target.is_hung || target.paused_until > self.now;
        let (probe, after) = if is_cut || lost {
            (Probe::TimedOut, 200 * MS)
        } else if target.election.is_none() {
            (Probe::Refused, 300)
        } else if is_still {
            (Probe::TimedOut, 200 * MS)
        } else {
            (Probe::Ok, 300)
        };
        let life = self.nodes[node].life;
        let node_name = name.clone();
        let event = Event::Probed {
            node: node_name,
            probe,
        };
        self.push(self.now + after, Happening::Hand { node, life, event });
    }

    /// A question to the register: a read, or a compare-and-swap.
    fn ask(&mut self, node: usize, write: Option<(Option<Registered>, Registered)>) {
        self.nodes[node].op += 1;
        let it = &self.nodes[node];
        let (life, op) = (it.life, it.op);
        let is_reached = it.hears_register && !it.is_off && !self.whims(node).is_down;
        let silence = if write.is_some() {
            Event::Wrote(Wrote::Unknown)
        } else {
            Event::Read(Err(ReadError))
        };
        let give_up = self.now + REGISTER_PATIENCE;
        self.push(
            give_up,
            Happening::Answer {
                node,
                life,
                op,
                event: silence,
            },
        );
        if !is_reached || self.percent(self.whims(node).lost) {
            return;
        }
        let copies = 1 + u8::from(self.percent(self.whims(node).copies));
        for _ in 0..copies {
            let at = self.now + 300 + self.below(2 * MS) + self.below(self.whims(node).slow);
            let what = match &write {
                None => Happening::Look { node, life, op },
                Some((expect, new)) => Happening::Apply {
                    node,
                    life,
                    op,
                    expect: expect.clone(),
                    new: new.clone(),
                },
            };
            self.push(at, what);
        }
    }

    fn apply(
        &mut self,
        node: usize,
        life: u32,
        op: u64,
        expect: Option<Registered>,
        new: Registered,
    ) {
        let wrote = if self.register == expect {
            self.former.push(self.register.take());
            self.checks.registered(expect.as_ref(), &new);
            self.register = Some(new);
            self.look();
            Wrote::Won
        } else {
            Wrote::Lost
        };
        self.answer(node, life, op, Event::Wrote(wrote));
    }

    fn answer(&mut self, node: usize, life: u32, op: u64, event: Event) {
        let it = &self.nodes[node];
        if it.is_off || !it.hears_register || self.percent(self.whims(node).unanswered) {
            return;
        }
        let at = self.now + 300 + self.below(2 * MS) + self.below(self.whims(node).slow_back);
        self.push(
            at,
            Happening::Answer {
                node,
                life,
                op,
                event,
            },
        );
    }

    fn fault(&mut self, fault: Fault) {
        if self.log && !matches!(fault, Fault::Replay(_)) {
            println!("{:9.3} --- {fault:?}", self.now as f64 / 1e6);
        }
        match fault {
            Fault::Backends(node, has) => {
                self.nodes[node].fitness.has_backends = has;
                self.tell_fitness(node);
            }
            Fault::Boot(node) => self.boot(node),
            Fault::CutFromRegister(node, is_cut) => self.nodes[node].hears_register = !is_cut,
            Fault::HandOver(node, to) => {
                let to = self.nodes[to].name.clone();
                self.hand(node, Event::Order(Order::Handover { to }));
            }
            Fault::Hang(node, is_hung) => self.nodes[node].is_hung = is_hung,
            Fault::Heal => self.heal(),
            Fault::Hold(node, is_held) => self.hand(node, Event::Order(Order::Hold(is_held))),
            Fault::HostDown(node) => {
                self.nodes[node].is_off = true;
                self.kill(node);
            }
            Fault::Kill(node) => self.kill(node),
            Fault::Link(from, to, link) => self.links[from][to] = link,
            Fault::Pause(node, _) if self.nodes[node].election.is_none() => {}
            Fault::Pause(node, long) => {
                let it = &mut self.nodes[node];
                it.paused_until = it.paused_until.max(self.now + long);
                let (at, life) = (it.paused_until, it.life);
                self.push(at, Happening::Resume { node, life });
            }
            Fault::Register(whims) => self.whims = whims,
            Fault::Replay(is_on) => {
                self.is_replaying = is_on;
                self.replay();
            }
            Fault::Serving(node, serving) => {
                self.nodes[node].fitness.serving = serving;
                self.tell_fitness(node);
            }
            Fault::Shutdown(node) => self.hand(node, Event::Shutdown),
        }
    }

    fn tell_fitness(&mut self, node: usize) {
        let fitness = self.nodes[node].fitness;
        self.hand(node, Event::Fitness(fitness));
    }

    fn kill(&mut self, node: usize) {
        let it = &mut self.nodes[node];
        it.election = None;
        it.life += 1;
        it.inbox.clear();
        it.paused_until = 0;
    }

    fn boot(&mut self, node: usize) {
        if self.nodes[node].election.is_some() {
            self.kill(node);
        }
        if self.log {
            println!(
                "{:9.3} file of {node}: {:?}",
                self.now as f64 / 1e6,
                self.files[node]
            );
        }
        let members = self.files[node].iter().map(|it| name(*it)).collect();
        let it = &mut self.nodes[node];
        it.life += 1;
        it.paused_until = 0;
        it.is_off = false;
        it.op += 1;
        let seed = self.seed.fork(node as u64 * 1_000 + u64::from(it.life));
        let now = it.local(self.now);
        let (me, mode, timing) = (it.name.clone(), self.kind.mode(), self.timing.clone());
        let mut election = Election::with_rules(me, members, mode, timing, seed, now, self.rules);
        election.set_failback(self.failback.clone());
        it.election = Some(election);
        self.tell_fitness(node);
        self.sleep(node);
    }

    /// All is well again; whoever is dead or leaves is started anew.
    fn heal(&mut self) {
        self.whims = Whims::default();
        self.is_replaying = false;
        for row in &mut self.links {
            row.fill(Link::default());
        }
        for node in 0..self.nodes.len() {
            let it = &mut self.nodes[node];
            it.is_hung = false;
            let is_old = |it: &Event| matches!(it, Event::Fitness(_) | Event::Order(_));
            it.inbox.retain(|it| *it != Event::Shutdown && !is_old(it));
            it.hears_register = true;
            it.fitness = Fitness {
                serving: true,
                has_backends: true,
            };
            let role = it.election.as_ref().map(Election::role);
            if role.is_none_or(|it| it == Role::Draining) {
                self.boot(node);
                continue;
            }
            if it.paused_until > self.now {
                it.paused_until = self.now;
                let life = it.life;
                self.push(self.now, Happening::Resume { node, life });
            }
            self.tell_fitness(node);
        }
        self.is_healed = true;
        self.checks.healed();
    }

    /// Why the nodes do not agree, if they do not.
    pub fn disagreement(&self) -> Option<String> {
        let mut holders = Vec::new();
        let mut claims = Vec::new();
        for it in &self.nodes {
            let Some(election) = &it.election else {
                continue;
            };
            match election.role() {
                Role::Holder => holders.push(it.name.clone()),
                Role::Standby => {}
                role @ (Role::Claiming | Role::Draining | Role::Init | Role::Unsure) => {
                    return Some(format!("{} is {role:?}", it.name));
                }
            }
            claims.push(election.claim().map(|it| (it.term, it.holder.clone())));
        }
        if holders.len() != 1 {
            return Some(format!("{} holders: {holders:?}", holders.len()));
        }
        if claims.windows(2).any(|two| two[0] != two[1]) {
            return Some(format!("different claims: {claims:?}"));
        }
        let holder = claims.first()?.as_ref().map(|it| &it.1);
        if holder != holders.first() {
            return Some(format!("{holder:?} is believed to hold, {holders:?} does"));
        }
        let registered = self.register.as_ref().map(|it| &it.claim.holder);
        if self.kind.has_register() && registered != holder {
            return Some(format!("the register says {registered:?}, not {holder:?}"));
        }
        None
    }
}
