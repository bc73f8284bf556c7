//! Two nodes of two versions hear each other: the heartbeat as it was against
//! the heartbeat as it is, both ways.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

mod wire_0_1_0;

use std::time::Duration;

use tandem::clock::{Moment, Seed};
use tandem::pair::{
    Action, Boot, Election, Event, Fitness, Heard, Heartbeat, Hold, Key, Mode, More, READS_MORE,
    Role, Timing, decode, encode,
};
use tandem::types::{Name, Term};

const SECRET: &str = "0123456789abcdef0123456789abcdef";
const NAME: &str = "lb.example.com";

fn keys() -> (Key, wire_0_1_0::Key) {
    (Key::new(SECRET, NAME), wire_0_1_0::Key::new(SECRET, NAME))
}

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

/// All kinds of heartbeats, none with anything that 0.1.0 does not know.
fn old_heartbeats() -> Vec<wire_0_1_0::Heartbeat> {
    let bits = 0..32_u8;
    let all = bits.zip(Role::ALL.into_iter().cycle());
    all.map(|(bits, role)| wire_0_1_0::Heartbeat {
        from: name(&"a".repeat(usize::from(bits) * 2 + 1)),
        to: name("lb2"),
        boot: Boot(u64::MAX - u64::from(bits)),
        seq: bits.into(),
        role,
        term: Term(3),
        holder: (bits & 1 == 0).then(|| name(&"h".repeat(63))),
        nonce: 4,
        serving: bits & 2 == 0,
        has_backends: bits & 4 == 0,
        hears_you: bits & 8 == 0,
        complains: bits & 16 == 0,
        hold: Hold {
            version: 8,
            is_on: bits & 3 == 0,
        },
        echo: (Boot(5), 6),
        config: 7,
    })
    .collect()
}

/// The same as this version has it.
fn as_new(old: &wire_0_1_0::Heartbeat) -> Heartbeat {
    let old = old.clone();
    Heartbeat {
        from: old.from,
        to: old.to,
        boot: old.boot,
        seq: old.seq,
        role: old.role,
        term: old.term,
        holder: old.holder,
        nonce: old.nonce,
        serving: old.serving,
        has_backends: old.has_backends,
        hears_you: old.hears_you,
        complains: old.complains,
        hold: old.hold,
        echo: old.echo,
        config: old.config,
        more: None,
    }
}

#[test]
fn what_0_1_0_says_is_read() {
    let (new, old) = keys();
    for it in old_heartbeats() {
        let bytes = wire_0_1_0::encode(&it, &old);
        assert_eq!(decode(&bytes, &new), Ok(as_new(&it)));
    }
}

#[test]
fn without_an_extension_0_1_0_reads_every_byte() {
    let (new, old) = keys();
    for it in old_heartbeats() {
        let bytes = encode(&as_new(&it), &new);
        assert_eq!(bytes, wire_0_1_0::encode(&it, &old));
        assert_eq!(wire_0_1_0::decode(&bytes, &old), Ok(it));
    }
}

/// Why nobody is sent more before it has shown that it reads more.
#[test]
fn an_extension_is_nothing_to_0_1_0() {
    let (new, old) = keys();
    let mut heartbeat = as_new(&old_heartbeats()[0]);
    heartbeat.more = Some(More {
        version: name("0.2.0"),
        hears: vec![Heard {
            node: name("lb3"),
            misses: 0,
        }],
    });
    let bytes = encode(&heartbeat, &new);
    assert!(wire_0_1_0::decode(&bytes, &old).is_err());
    assert_eq!(decode(&bytes, &new), Ok(heartbeat));
}

/// A node whose heartbeats go through the codec of its version.
struct Node {
    election: Election,
    is_old: bool,
    /// Heartbeats that it could not read.
    unread: u32,
}

impl Node {
    fn start(me: &str, is_old: bool, seed: u64, now: Moment) -> Self {
        let members = vec![name("lb1"), name("lb2")];
        let timing = Timing::default();
        let seed = Seed(seed);
        let election = Election::new(name(me), members, Mode::Embedded, timing, seed, now);
        Self {
            election,
            is_old,
            unread: 0,
        }
    }

    fn tick(&mut self, now: Moment) -> Vec<Vec<u8>> {
        let (new, old) = keys();
        let serving = true;
        let has_backends = true;
        let fitness = Fitness {
            serving,
            has_backends,
        };
        self.election.handle(now, Event::Fitness(fitness));
        self.election.handle(now, Event::Tick);
        let mut said = Vec::new();
        while let Some(action) = self.election.poll_action() {
            let Action::Send(it) = action else { continue };
            said.push(if self.is_old {
                wire_0_1_0::encode(&as_old(it), &old)
            } else {
                encode(&it, &new)
            });
        }
        said
    }

    fn hear(&mut self, now: Moment, bytes: &[u8]) {
        let (new, old) = keys();
        let heard = if self.is_old {
            wire_0_1_0::decode(bytes, &old).ok().map(|it| as_new(&it))
        } else {
            decode(bytes, &new).ok()
        };
        match heard {
            Some(it) => self.election.handle(now, Event::Heard(it)),
            None => self.unread += 1,
        }
    }

    fn hears_twin(&self, now: Moment) -> bool {
        self.election.view(now).twins[0].is_up
    }

    fn version_of_twin(&self, now: Moment) -> Option<String> {
        let view = self.election.view(now);
        view.twins[0].version.as_ref().map(ToString::to_string)
    }
}

/// What a node of 0.1.0 would have said.
fn as_old(it: Heartbeat) -> wire_0_1_0::Heartbeat {
    wire_0_1_0::Heartbeat {
        // It knows of no other echo than its last one.
        echo: if it.echo == READS_MORE {
            (Boot(0), 0)
        } else {
            it.echo
        },
        from: it.from,
        to: it.to,
        boot: it.boot,
        seq: it.seq,
        role: it.role,
        term: it.term,
        holder: it.holder,
        nonce: it.nonce,
        serving: it.serving,
        has_backends: it.has_backends,
        hears_you: it.hears_you,
        complains: it.complains,
        hold: it.hold,
        config: it.config,
    }
}

/// Lets the two talk for `beats` heartbeats; the answer is in how many of
/// those both heard each other.
fn talk(nodes: &mut [Node; 2], now: &mut Moment, beats: u32) -> u32 {
    let mut both = 0;
    for _ in 0..beats {
        *now = *now + Duration::from_millis(51);
        for at in 0..2 {
            for bytes in nodes[at].tick(*now) {
                nodes[1 - at].hear(*now, &bytes);
            }
        }
        both += u32::from(nodes.iter().all(|it| it.hears_twin(*now)));
    }
    both
}

#[test]
fn two_versions_hear_each_other_through_an_upgrade_and_back() {
    let mut now = Moment::START;
    let mut nodes = [
        Node::start("lb1", true, 1, now),
        Node::start("lb2", true, 2, now),
    ];
    assert!(talk(&mut nodes, &mut now, 40) >= 30);
    // Each step replaces one node by another version. A node that is started
    // anew is heard as soon as it has proved itself.
    let steps = [(1, false), (0, false), (1, true), (0, true), (1, false)];
    for (turn, (at, is_old)) in steps.into_iter().enumerate() {
        let me = ["lb1", "lb2"][at];
        nodes[at] = Node::start(me, is_old, 10 + turn as u64, now);
        for it in &mut nodes {
            it.unread = 0;
        }
        let both = talk(&mut nodes, &mut now, 100);
        assert!(both >= 80, "{both} of 100 beats after step {turn}");
        for (one, other) in [(0, 1), (1, 0)] {
            let knows = !nodes[one].is_old && !nodes[other].is_old;
            let version = nodes[one].version_of_twin(now);
            assert_eq!(version.is_some(), knows, "step {turn}: {version:?}");
        }
        let unread: u32 = nodes.iter().map(|it| it.unread).sum();
        // Only while a node does not know yet that its twin was downgraded.
        let most = if is_old { 15 } else { 0 };
        assert!(unread <= most, "{unread} unread after step {turn}");
    }
}
