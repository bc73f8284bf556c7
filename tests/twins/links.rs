//! Three nodes, of which two cannot reach each other.

use std::time::Duration;

use super::kit::crowd::Crowd;
use super::kit::net::Net;
use super::kit::{figure, now, pass, since, wait_until};

#[test]
fn a_cut_between_two_of_three_moves_nothing_and_a_death_is_seen() {
    let net = Net::new(40);
    let mut crowd = Crowd::new(&net);
    let all = [0, 1, 2];
    for node in all {
        crowd.write(node, &all, "");
        crowd.start(node);
    }
    let holder = crowd.settle(&all);
    let term = crowd.term(holder);
    let (host, cut) = (|node: usize| (node + 1).to_string(), (holder + 1) % 3);
    // Neither hears the other, then one of them hears the other.
    for both in [true, false] {
        net.deafen(&host(cut), net.address(&host(holder)).into());
        if both {
            net.deafen(&host(holder), net.address(&host(cut)).into());
        }
        pass(Duration::from_secs(if both { 30 } else { 10 }));
        let moves = crowd.term(holder) - term;
        figure(&format!("twins.three.cut_both_{both}_moves"), moves);
        assert_eq!((crowd.holders(), moves), (vec![holder], 0));
        net.mend(&host(cut));
        if both {
            net.mend(&host(holder));
        }
        assert_eq!(crowd.settle(&all), holder);
    }
    net.deafen(&host(cut), net.address(&host(holder)).into());
    pass(Duration::from_secs(2));
    let start = now();
    crowd.kill(holder);
    wait_until("another takes the name", || {
        crowd.holders().iter().any(|it| *it != holder)
    });
    figure("twins.three.kill_ms", since(start).as_millis());
    net.mend(&host(cut));
    let left: Vec<usize> = all.into_iter().filter(|it| *it != holder).collect();
    let last = crowd.settle(&left);
    assert_eq!(crowd.term(last), term + 1, "one move");
}
