//! The way of datagrams into the election, and of everything else that a node
//! is told: whatever a twin with the key says, in whatever order, one packet
//! never ends a node.

use std::sync::OnceLock;
use std::time::Duration;

use tandem::clock::{Moment, Seed};
use tandem::pair::{
    Action, Boot, Election, Event, Failback, Fitness, Heartbeat, Hold, Key, Mode, Order, Probe,
    ReadError, Role, Timing, Wrote, decode, encode,
};
use tandem::types::{Claim, Name, Registered, Term};

use crate::bytes::Bytes;

/// What one event may cause: a heartbeat to each twin, a probe of each, one
/// question to the register, a change of role and of claim or two.
const MOST_ACTIONS: usize = 16;

fn key() -> &'static Key {
    static KEY: OnceLock<Key> = OnceLock::new();
    KEY.get_or_init(|| Key::new("0123456789abcdef0123456789abcdef", "lb.example.com"))
}

/// lb1 to lb3 are members, lb4 is a stranger with the key.
fn name(at: u8) -> Name {
    Name::new(["lb1", "lb2", "lb3", "lb4"][usize::from(at % 4)]).unwrap()
}

struct World {
    election: Election,
    now: Moment,
    /// The newest life and number that the election has told of itself.
    mine: (Boot, u64),
    /// The number of the next heartbeat that the twins send.
    seq: u64,
    /// What the register holds, as far as a claim was written.
    register: Option<Registered>,
    /// The highest term that anybody has named.
    named: Term,
}

pub(crate) fn check(data: &[u8]) {
    let mut bytes = Bytes(data);
    let mut world = World::new(&mut bytes);
    while !bytes.is_empty() {
        let event = world.event(&mut bytes);
        world.step(event);
    }
}

impl World {
    fn new(bytes: &mut Bytes<'_>) -> Self {
        let how = bytes.byte();
        let mode = match how & 3 {
            0 | 1 => Mode::Embedded,
            2 => Mode::Cas,
            _ => Mode::Lease {
                ttl: Duration::from_secs(6),
                margin: Duration::from_secs(1),
            },
        };
        let members = (0..2 + (how >> 2 & 1)).map(name).collect();
        let me = name(how >> 3 & 1);
        let now = Moment::from_micros(1_000_000);
        let timing = Timing::default();
        let mut election = Election::new(me, members, mode, timing, Seed(how.into()), now);
        if how & 16 != 0 {
            let node = name(how >> 5);
            let after = Duration::from_secs(1);
            election.set_failback(Failback::Prefer { node, after });
        }
        election.set_config(7);
        Self {
            election,
            now,
            mine: (Boot(0), 0),
            seq: 0,
            register: None,
            named: Term::NONE,
        }
    }

    /// What the next bytes say that happens.
    fn event(&mut self, bytes: &mut Bytes<'_>) -> Event {
        match bytes.byte() % 16 {
            // As the driver does: at the deadline, and sometimes late.
            0..=5 => {
                let late = Duration::from_millis(bytes.byte().into());
                self.now = self.now.max(self.election.deadline()) + late;
                Event::Tick
            }
            6..=9 => self.heard(bytes),
            10 => Event::Probed {
                node: name(bytes.byte()),
                probe: match bytes.byte() % 3 {
                    0 => Probe::Ok,
                    1 => Probe::Refused,
                    _ => Probe::TimedOut,
                },
            },
            11 => self.read(bytes),
            12 => {
                let wrote = match bytes.byte() % 3 {
                    0 => Wrote::Lost,
                    1 => Wrote::Unknown,
                    _ => Wrote::Won,
                };
                Event::Wrote(wrote)
            }
            13 => Event::Fitness(Fitness {
                serving: !bytes.flag(),
                has_backends: !bytes.flag(),
            }),
            14 => match bytes.byte() % 8 {
                0 => Event::Shutdown,
                1 => Event::Order(Order::Hold(true)),
                2 => Event::Order(Order::Hold(false)),
                other => Event::Order(Order::Handover { to: name(other) }),
            },
            // A long pause, without and with what came meanwhile.
            _ => {
                self.now = self.now + Duration::from_millis(bytes.number() >> 16);
                Event::Tick
            }
        }
    }

    /// A heartbeat that goes through the codec, as from the network.
    fn heard(&mut self, bytes: &mut Bytes<'_>) -> Event {
        let how = bytes.byte();
        let flags = bytes.byte();
        self.seq = if how & 1 == 0 {
            self.seq.saturating_add(1)
        } else {
            bytes.number()
        };
        let boot = Boot(if how & 2 == 0 { 1 } else { bytes.number() });
        let echo = if how & 4 == 0 {
            self.mine
        } else {
            (Boot(bytes.number()), bytes.number())
        };
        let claim = (how & 8 != 0).then(|| self.claim(bytes));
        let heartbeat = Heartbeat {
            from: name(how >> 4),
            to: name(how >> 6),
            boot,
            seq: self.seq,
            role: Role::ALL[usize::from(flags >> 4) % Role::ALL.len()],
            term: claim.as_ref().map_or(Term::NONE, |it| it.term),
            holder: claim.as_ref().map(|it| it.holder.clone()),
            nonce: claim.map_or(0, |it| it.nonce),
            serving: flags & 1 == 0,
            has_backends: flags & 2 == 0,
            hears_you: flags & 4 == 0,
            complains: flags & 8 != 0,
            hold: Hold {
                version: u64::from(how >> 5),
                is_on: flags & 32 != 0,
            },
            echo,
            config: 7,
            more: None,
        };
        let datagram = encode(&heartbeat, key());
        let heard = decode(&datagram, key());
        assert_eq!(heard.as_ref(), Ok(&heartbeat));
        Event::Heard(heartbeat)
    }

    fn claim(&mut self, bytes: &mut Bytes<'_>) -> Claim {
        let claim = Claim {
            term: Term(bytes.number()),
            holder: name(bytes.byte()),
            nonce: bytes.number(),
        };
        self.named = self.named.max(claim.term);
        claim
    }

    fn read(&mut self, bytes: &mut Bytes<'_>) -> Event {
        let found = match bytes.byte() % 4 {
            0 => Err(ReadError),
            1 => Ok(self.register.clone()),
            2 => Ok(None),
            _ => {
                let mut claim = self.claim(bytes);
                // The register's codec refuses a claim without a term.
                claim.term = claim.term.max(Term(1));
                let beat = bytes.number();
                Ok(Some(Registered { claim, beat }))
            }
        };
        Event::Read(found)
    }

    fn step(&mut self, event: Event) {
        let before = self.election.view(self.now).term;
        let was_tick = event == Event::Tick;
        self.election.handle(self.now, event);
        let mut count = 0;
        while let Some(action) = self.election.poll_action() {
            count += 1;
            self.look_at(action);
        }
        assert!(count <= MOST_ACTIONS, "{count} actions after one event");
        if was_tick {
            assert!(self.election.deadline() > self.now, "time goes on");
        }
        let view = self.election.view(self.now);
        assert!(view.term >= before, "terms never go back");
        assert_eq!(view.role, self.election.role());
        assert!(view.exclusive_until.is_none() || view.role == Role::Holder);
    }

    fn look_at(&mut self, action: Action) {
        match action {
            Action::Send(heartbeat) => {
                let bytes = encode(&heartbeat, key());
                assert_eq!(decode(&bytes, key()).as_ref(), Ok(&heartbeat));
                let (boot, seq) = self.mine;
                assert!(
                    boot != heartbeat.boot || seq <= heartbeat.seq,
                    "numbers grow"
                );
                self.mine = (heartbeat.boot, heartbeat.seq);
            }
            Action::Write { new, .. } => {
                self.named = self.named.max(new.claim.term);
                self.register = Some(new);
            }
            Action::Publish(claim) => assert!(claim.term > Term::NONE),
            Action::Forget(node) | Action::Probe(node) => assert_ne!(node, name(3)),
            Action::Read | Action::Refuse(_) | Action::Tell(_) => {}
        }
    }
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    // Each way to begin, fit and ready: steps, heartbeats of lb1 to lb2 and
    // the other way, answered probes, reads and writes.
    let beats = [0x46, 6, 0x40, 0x40, 6, 0x10, 0x40, 10, 1, 0, 10, 0, 0];
    let mut seeds = Vec::new();
    for how in [0_u8, 8, 2, 10, 3, 11, 4, 6, 7, 16, 0x38] {
        let mut seed = vec![how, 13, 0, 0];
        for turn in 0..24 {
            seed.extend([0, turn % 3]);
            seed.extend_from_slice(&beats[1..]);
            seed.extend([11, 1, 12, turn % 3]);
        }
        seed.extend([14, 4, 0, 0, 15, 0, 0, 0, 0xff, 0xff, 0, 14, 0]);
        // A twin that names the last term there is.
        seed.extend([6, 0x18, 0x40, 1, 0, 1, 2, 9, 0, 0, 14, 4, 0, 0]);
        seeds.push(seed);
    }
    seeds
}
