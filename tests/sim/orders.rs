//! What people order, and what takes long: each in a world without faults
//! but its own.

use std::time::Duration;

use tandem::pair::{Failback, Hold, Memory, Role, Rules};
use tandem::types::Term;

use crate::world::{Fault, Kind, Link, SECOND, World};

const KINDS: [Kind; 4] = [Kind::Embedded, Kind::Cas2, Kind::Cas3, Kind::Lease];

fn settled(kind: Kind) -> World {
    let mut world = World::new(kind, 1, Rules::default(), false);
    for node in 0..world.nodes.len() {
        world.at(0, Fault::Boot(node));
    }
    world.run_until(5 * SECOND).unwrap();
    assert_eq!(world.disagreement(), None);
    assert_eq!(holder(&world), "lb1");
    world
}

fn holder(world: &World) -> &str {
    world.checks.holder().unwrap().as_str()
}

#[test]
fn a_held_pair_moves_by_order_only() {
    for kind in KINDS {
        let mut world = settled(kind);
        let last = world.nodes.len() - 1;
        world.at(world.now, Fault::Hold(last, true));
        world.at(world.now + SECOND, Fault::Backends(0, false));
        world.run_until(world.now + 5 * SECOND).unwrap();
        assert_eq!(holder(&world), "lb1", "{kind:?}: unfit, and held");
        world.at(world.now, Fault::HandOver(0, 1));
        world.run_until(world.now + SECOND).unwrap();
        assert_eq!(holder(&world), "lb2", "{kind:?}: ordered");
        world.at(world.now, Fault::Backends(0, true));
        world.at(world.now, Fault::Kill(1));
        world.run_until(world.now + 5 * SECOND).unwrap();
        assert_eq!(holder(&world), "lb2", "{kind:?}: dead, and held");
        world.at(world.now, Fault::Hold(0, false));
        world.run_until(world.now + 10 * SECOND).unwrap();
        assert_eq!(holder(&world), "lb1", "{kind:?}: released");
        world.at(world.now, Fault::Boot(1));
        world.run_until(world.now + 5 * SECOND).unwrap();
        for node in &world.nodes {
            let view = node.election.as_ref().unwrap().view(node.local(world.now));
            assert!(!view.memory.hold.is_on, "{kind:?}: {} has heard", node.name);
        }
    }
}

#[test]
fn the_name_goes_back_to_the_preferred_node_after_a_while() {
    for kind in KINDS {
        let mut world = settled(kind);
        world.at(world.now, Fault::Kill(0));
        world.run_until(world.now + 5 * SECOND).unwrap();
        assert_eq!(holder(&world), "lb2");
        let node = world.nodes[0].name.clone();
        let after = Duration::from_secs(60);
        let prefer = Failback::Prefer { node, after };
        world.nodes[1]
            .election
            .as_mut()
            .unwrap()
            .set_failback(prefer);
        world.at(world.now, Fault::Boot(0));
        world.run_until(world.now + 59 * SECOND).unwrap();
        assert_eq!(holder(&world), "lb2", "{kind:?}: too early");
        world.run_until(world.now + 3 * SECOND).unwrap();
        assert_eq!(holder(&world), "lb1", "{kind:?}: well for a minute");
        assert_eq!(world.checks.moves, 2);
    }
}

#[test]
fn the_record_of_a_node_goes_when_it_is_dead_for_long() {
    for kind in KINDS {
        let mut world = settled(kind);
        world.at(world.now, Fault::HostDown(1));
        world.run_until(world.now + 590 * SECOND).unwrap();
        assert_eq!(world.forgotten, 0);
        world.run_until(world.now + 60 * SECOND).unwrap();
        assert_eq!(world.forgotten, 1, "{kind:?}");
    }
}

#[test]
fn a_lonely_holder_beats_less_after_a_while_and_keeps_the_name() {
    for kind in [Kind::Cas2, Kind::Cas3] {
        let mut world = settled(kind);
        let cut = Link {
            is_cut: true,
            ..Link::default()
        };
        for node in 1..world.nodes.len() {
            world.at(world.now, Fault::Link(0, node, cut));
            world.at(world.now, Fault::Link(node, 0, cut));
        }
        world.run_until(world.now + 200 * SECOND).unwrap();
        let writes = world.writes;
        world.run_until(world.now + 100 * SECOND).unwrap();
        assert!(world.writes - writes < 60, "{kind:?}: a beat each 2 s");
        assert_eq!(world.checks.moves, 0, "{kind:?}: beats are life");
    }
}

#[test]
fn a_hand_over_to_the_dead_is_refused() {
    for kind in KINDS {
        let mut world = settled(kind);
        world.at(world.now, Fault::HostDown(1));
        world.at(world.now + SECOND, Fault::HandOver(0, 1));
        world.run_until(world.now + 3 * SECOND).unwrap();
        assert_eq!(holder(&world), "lb1", "{kind:?}");
    }
}

#[test]
fn the_name_waits_for_a_twin_that_has_not_found_its_backends_yet() {
    for kind in [Kind::Embedded, Kind::Cas2, Kind::Lease] {
        let mut world = settled(kind);
        world.at(world.now, Fault::Backends(1, false));
        world.at(world.now + SECOND, Fault::HandOver(0, 1));
        world.run_until(world.now + 2 * SECOND).unwrap();
        assert_eq!(holder(&world), "lb1", "{kind:?}: an order is refused");
        world.at(world.now, Fault::Shutdown(0));
        world.run_until(world.now + SECOND / 2).unwrap();
        assert_eq!(holder(&world), "lb1", "{kind:?}: it serves on");
        let election = world.nodes[0].election.as_ref().unwrap();
        let view = election.view(world.nodes[0].local(world.now));
        assert_eq!(view.answer.as_str(), "lb1", "{kind:?}: and says so");
        world.at(world.now, Fault::Backends(1, true));
        world.run_until(world.now + SECOND / 2).unwrap();
        assert_eq!(holder(&world), "lb2", "{kind:?}: now it can");

        let mut world = settled(kind);
        world.at(world.now, Fault::Backends(1, false));
        world.at(world.now + SECOND, Fault::Shutdown(0));
        world.run_until(world.now + 3 * SECOND).unwrap();
        assert_eq!(holder(&world), "lb2", "{kind:?}: better than nobody");
    }
}

#[test]
fn who_has_lost_the_first_claim_may_take_the_name_at_once() {
    for apart in 0..20 {
        let mut world = World::new(Kind::Cas2, 1, Rules::default(), false);
        for node in 0..2 {
            world.at(0, Fault::Backends(node, false));
            world.at(0, Fault::Boot(node));
            // Their first probes pass at about the same time, and both claim.
            let at = SECOND + apart * 5_000 * u64::from(node == 0);
            world.at(at, Fault::Backends(node, true));
        }
        world.run_until(2 * SECOND).unwrap();
        let first = holder(&world).to_owned();
        world.at(world.now, Fault::Kill(usize::from(first == "lb2")));
        world.run_until(world.now + SECOND).unwrap();
        assert_ne!(holder(&world), first, "{apart} times 5 ms");
    }
}

#[test]
fn whoever_ends_alone_keeps_the_name() {
    for kind in KINDS {
        let mut world = settled(kind);
        for node in 1..world.nodes.len() {
            world.at(world.now, Fault::HostDown(node));
        }
        world.at(world.now + SECOND, Fault::Shutdown(0));
        world.run_until(world.now + 3 * SECOND).unwrap();
        let election = world.nodes[0].election.as_ref().unwrap();
        assert_eq!(election.role(), Role::Draining);
        assert!(election.may_end(), "{kind:?}: nobody could take it");
        assert_eq!(holder(&world), "lb1", "{kind:?}: the last record stays");
    }
}

#[test]
fn both_answer_with_the_holder_and_with_themselves_when_alone() {
    let mut world = settled(Kind::Embedded);
    let answers = |world: &World| -> Vec<String> {
        let nodes = world.nodes.iter();
        let views = nodes.map(|it| it.election.as_ref().unwrap().view(it.local(world.now)));
        views.map(|it| it.answer.as_str().to_owned()).collect()
    };
    assert_eq!(answers(&world), ["lb1", "lb1"]);
    let cut = Link {
        is_cut: true,
        ..Link::default()
    };
    world.at(world.now, Fault::Link(0, 1, cut));
    world.at(world.now, Fault::Link(1, 0, cut));
    world.run_until(world.now + 400_000).unwrap();
    assert_eq!(
        answers(&world),
        ["lb1", "lb2"],
        "whoever is asked is reached"
    );
}

#[test]
fn terms_go_on_after_all_have_started_anew() {
    let mut world = World::new(Kind::Embedded, 1, Rules::default(), false);
    world.at(0, Fault::Boot(0));
    world.run_until(1).unwrap();
    let election = world.nodes[0].election.as_mut().unwrap();
    let hold = Hold {
        version: 3,
        is_on: true,
    };
    election.resume(Memory {
        term: Term(41),
        hold,
    });
    world.run_until(5 * SECOND).unwrap();
    let election = world.nodes[0].election.as_ref().unwrap();
    let claim = election.claim().expect("what nobody holds is claimed");
    assert_eq!(claim.term, Term(42));
    let view = election.view(world.nodes[0].local(world.now));
    assert_eq!(view.memory.hold, hold, "an order outlives the process");
}

#[test]
fn a_register_that_was_put_back_is_claimed_anew() {
    for kind in [Kind::Cas2, Kind::Cas3, Kind::Lease] {
        let mut world = settled(kind);
        let old = world.register.clone();
        world.at(world.now, Fault::HandOver(0, 1));
        world.run_until(world.now + 3 * SECOND).unwrap();
        assert_eq!(holder(&world), "lb2");
        for put_back in [old, None] {
            let newest = world.register.as_ref().unwrap().claim.term;
            world.register = put_back;
            world.run_until(world.now + 15 * SECOND).unwrap();
            assert_eq!(world.disagreement(), None, "{kind:?}");
            let found = world.register.as_ref().unwrap();
            assert!(found.claim.term > newest, "{kind:?}: terms never go back");
            assert_eq!(found.claim.holder.as_str(), "lb2", "{kind:?}: no move");
        }
    }
}
