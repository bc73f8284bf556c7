//! The table of all roles and events: the documentation of the machine.
//!
//! `UPDATE=1 cargo test --test sim roles` writes it anew; the difference is to
//! be read.

use std::fmt::Write as _;
use std::path::Path;
use std::{env, fs};

use tandem::clock::{Moment, Seed};
use tandem::pair::{
    Action, Boot, Election, Event, Fitness, Heartbeat, Mode, Order, Probe, ReadError, Role, Timing,
    Wrote,
};
use tandem::types::{Claim, Name, Registered, Term};

const WELL: Fitness = Fitness {
    serving: true,
    has_backends: true,
};

const ROLES: [Role; 6] = [
    Role::Claiming,
    Role::Draining,
    Role::Holder,
    Role::Init,
    Role::Standby,
    Role::Unsure,
];

/// lb1 in a pair with lb2, whose heartbeats are made here.
struct One {
    election: Election,
    now: Moment,
    seq: u64,
    boot: Boot,
    echo: (Boot, u64),
    claim: Option<Claim>,
    write: Option<Registered>,
    actions: Vec<Action>,
}

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn claim(term: u64, holder: &str, nonce: u64) -> Claim {
    Claim {
        term: Term(term),
        holder: name(holder),
        nonce,
    }
}

impl One {
    fn new(mode: Mode) -> Self {
        let members = vec![name("lb1"), name("lb2")];
        let now = Moment::START;
        let election = Election::new(name("lb1"), members, mode, Timing::default(), Seed(1), now);
        let mut one = Self {
            election,
            now,
            seq: 0,
            boot: Boot(7),
            echo: (Boot(0), 0),
            claim: None,
            write: None,
            actions: Vec::new(),
        };
        one.handle(Event::Fitness(WELL));
        one
    }

    fn handle(&mut self, event: Event) {
        self.election.handle(self.now, event);
        self.actions.clear();
        while let Some(action) = self.election.poll_action() {
            match &action {
                Action::Send(heartbeat) => self.echo = (heartbeat.boot, heartbeat.seq),
                Action::Write { new, .. } => self.write = Some(new.clone()),
                Action::Forget(_)
                | Action::Probe(_)
                | Action::Publish(_)
                | Action::Read
                | Action::Refuse(_)
                | Action::Tell(_) => {}
            }
            self.actions.push(action);
        }
    }

    fn heartbeat(&mut self, role: Role, claim: Option<&Claim>) -> Heartbeat {
        self.seq += 1;
        Heartbeat {
            from: name("lb2"),
            to: name("lb1"),
            boot: self.boot,
            seq: self.seq,
            role,
            term: claim.map_or(Term::NONE, |it| it.term),
            holder: claim.map(|it| it.holder.clone()),
            nonce: claim.map_or(0, |it| it.nonce),
            serving: true,
            has_backends: true,
            hears_you: true,
            complains: false,
            hold: tandem::pair::Hold::default(),
            echo: self.echo,
            config: 0,
            more: None,
        }
    }

    fn hear(&mut self, role: Role, claim: Option<&Claim>) {
        let heartbeat = self.heartbeat(role, claim);
        self.handle(Event::Heard(heartbeat));
    }

    fn tick(&mut self) {
        self.now = self.election.deadline();
        self.handle(Event::Tick);
    }

    fn probed(&mut self, probe: Probe) {
        let node = name("lb2");
        self.handle(Event::Probed { node, probe });
    }

    /// Brings lb1 into `role`; None if the mode does not know it.
    fn into_role(mode: Mode, role: Role) -> Option<Self> {
        let mut one = Self::new(mode);
        if role == Role::Init {
            return Some(one);
        }
        one.tick();
        let mine = matches!(role, Role::Holder | Role::Unsure);
        let other = claim(1, "lb2", 7);
        if mode == Mode::Embedded {
            one.hear(
                if mine { Role::Standby } else { Role::Holder },
                (!mine).then_some(&other),
            );
        } else {
            let found = Registered {
                claim: other.clone(),
                beat: 0,
            };
            let is_held = !mine && role != Role::Claiming;
            one.hear(Role::Standby, None);
            one.handle(Event::Read(Ok(is_held.then_some(found))));
            if mine {
                one.handle(Event::Wrote(Wrote::Won));
            }
        }
        one.claim = one.election.claim().cloned();
        // The twin's data port answers; heartbeats go on meanwhile.
        for _ in 0..if role == Role::Claiming { 0 } else { 12 } {
            one.tick();
            let its = if mine { Role::Standby } else { Role::Holder };
            let claim = one.claim.clone();
            one.hear(its, claim.as_ref());
            one.probed(Probe::Ok);
        }
        match role {
            Role::Draining => one.handle(Event::Shutdown),
            Role::Unsure => {
                one.now = one.now + Timing::default().heartbeat * 20;
                one.handle(Event::Tick);
                let claim = one.claim.clone();
                one.hear(Role::Standby, claim.as_ref());
            }
            Role::Claiming | Role::Holder | Role::Init | Role::Standby => {}
        }
        (one.election.role() == role).then_some(one)
    }
}

type Try = (&'static str, fn(&mut One));

const EVENTS: &[Try] = &[
    ("Fitness: not serving", |it| {
        let serving = false;
        it.handle(Event::Fitness(Fitness { serving, ..WELL }));
    }),
    ("Heard: the same claim", |it| {
        let claim = it.claim.clone();
        it.hear(Role::Standby, claim.as_ref());
    }),
    ("Heard: a newer claim, the twin's", |it| {
        it.hear(Role::Holder, Some(&claim(9, "lb2", 7)));
    }),
    ("Heard: a newer claim, ours", |it| {
        let nonce = it.echo.0.0;
        it.hear(Role::Standby, Some(&claim(9, "lb1", nonce)));
    }),
    ("Heard: our claim of an earlier life", |it| {
        it.hear(Role::Standby, Some(&claim(9, "lb1", 1)));
    }),
    ("Heard: an older claim", |it| {
        it.hear(Role::Holder, Some(&claim(0, "lb2", 7)));
    }),
    ("Order: hand over", |it| {
        let to = name("lb2");
        it.handle(Event::Order(Order::Handover { to }));
    }),
    ("Order: hold", |it| {
        it.handle(Event::Order(Order::Hold(true)))
    }),
    ("Probed: ok", |it| it.probed(Probe::Ok)),
    ("Probed: refused", |it| it.probed(Probe::Refused)),
    ("Probed: timed out", |it| it.probed(Probe::TimedOut)),
    ("Read: failed", |it| it.handle(Event::Read(Err(ReadError)))),
    ("Read: a newer claim, the twin's", |it| {
        let claim = claim(9, "lb2", 7);
        it.handle(Event::Read(Ok(Some(Registered { claim, beat: 0 }))));
    }),
    ("Read: as it was written", |it| {
        let written = it.write.clone();
        it.handle(Event::Read(Ok(written)));
    }),
    ("Wrote: won", |it| it.handle(Event::Wrote(Wrote::Won))),
    ("Wrote: lost", |it| it.handle(Event::Wrote(Wrote::Lost))),
    ("Wrote: unknown", |it| {
        it.handle(Event::Wrote(Wrote::Unknown))
    }),
    ("Shutdown", |it| it.handle(Event::Shutdown)),
    ("Tick", One::tick),
    ("Tick, a second late", |it| {
        it.now = it.election.deadline() + Timing::default().heartbeat * 20;
        it.handle(Event::Tick);
    }),
    ("Ticks: the twin is silent, and refuses", |it| {
        until(it, Probe::Refused, 60);
    }),
    ("Ticks: the twin is silent, no answer", |it| {
        until(it, Probe::TimedOut, 60);
    }),
    ("Ticks: the twin is silent, its port answers", |it| {
        until(it, Probe::Ok, 60);
    }),
];

/// Ticks until the role changes. The register does not change meanwhile.
fn until(one: &mut One, probe: Probe, most: u32) {
    let role = one.election.role();
    let known = one.write.clone();
    let known = known.or_else(|| {
        Some(Registered {
            claim: one.claim.clone()?,
            beat: 0,
        })
    });
    for _ in 0..most {
        one.tick();
        if one.election.role() != role {
            return;
        }
        let is_read = one.actions.contains(&Action::Read);
        if one.actions.contains(&Action::Probe(name("lb2"))) {
            one.probed(probe);
        }
        if one.election.role() != role {
            return;
        }
        if is_read {
            one.handle(Event::Read(Ok(known.clone())));
        }
        if one.election.role() != role {
            return;
        }
    }
}

fn told(one: &One) -> String {
    let mut words = Vec::new();
    for action in &one.actions {
        words.push(match action {
            Action::Forget(node) => format!("forget {node}"),
            Action::Probe(_) | Action::Send(_) => continue,
            Action::Publish(claim) => format!("publish term {} {}", claim.term, claim.holder),
            Action::Read => "read".to_owned(),
            Action::Refuse(refusal) => format!("refuse: {refusal}"),
            Action::Tell(it) => format!("{:?} ({})", it.to, it.why.as_str()),
            Action::Write { new, .. } => {
                format!(
                    "write term {} {} beat {}",
                    new.claim.term, new.claim.holder, new.beat
                )
            }
        });
    }
    if words.is_empty() {
        "-".to_owned()
    } else {
        words.join(", ")
    }
}

fn table() -> String {
    let mut text = String::new();
    let modes = [("embedded", Mode::Embedded), ("cas", Mode::Cas)];
    for (word, mode) in modes {
        for role in ROLES {
            if One::into_role(mode, role).is_none() {
                continue;
            }
            writeln!(text, "{word}, {role:?}").unwrap();
            for (event, run) in EVENTS {
                let is_of_register = event.starts_with("Read") || event.starts_with("Wrote");
                if is_of_register && mode == Mode::Embedded {
                    continue;
                }
                let mut one = One::into_role(mode, role).unwrap();
                one.actions.clear();
                run(&mut one);
                writeln!(text, "  {event:<46}{}", told(&one)).unwrap();
            }
            text.push('\n');
        }
    }
    text
}

#[test]
fn roles_and_events_are_as_written_down() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/roles.txt");
    let table = table();
    if env::var_os("UPDATE").is_some() {
        fs::write(&path, &table).unwrap();
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == table,
        "the table has changed; UPDATE=1 writes it anew:\n{table}"
    );
}
