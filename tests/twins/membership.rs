//! Nodes that come and go, and files that do not name all of them, in the order
//! of deploy/PAIR.md and in others.

use std::time::Duration;

use super::kit::crowd::Crowd;
use super::kit::net::Net;
use super::kit::{figure, now, pass, since, wait_until};

const ALL: [usize; 3] = [0, 1, 2];

/// Gives a node another file, as by `systemctl restart`.
fn restart(crowd: &mut Crowd<'_>, node: usize, members: &[usize]) {
    crowd.write(node, members, "");
    crowd.end(node);
    crowd.start(node);
}

#[test]
fn a_node_is_added_and_removed_and_the_name_moves_by_order_only() {
    let net = Net::new(41);
    let mut crowd = Crowd::new(&net);
    let two = [0, 1];
    for node in two {
        crowd.write(node, &two, "");
        crowd.start(node);
    }
    let holder = crowd.settle(&two);
    let (standby, term) = (1 - holder, crowd.term(holder));
    // The standby first, then, after a hand-over, the holder, then the new one.
    restart(&mut crowd, standby, &ALL);
    crowd.settle(&two);
    crowd.hand_over(holder, standby);
    restart(&mut crowd, holder, &ALL);
    assert_eq!(crowd.settle(&two), standby);
    crowd.write(2, &ALL, "");
    crowd.start(2);
    assert_eq!(crowd.settle(&ALL), standby);
    assert_eq!(crowd.term(standby), term + 1, "one hand-over");

    // Away again: the name first, if that node has it, then the node, then the
    // files of those that stay.
    crowd.hand_over(standby, 2);
    let term = crowd.term(2);
    crowd.hand_over(2, standby);
    crowd.end(2);
    restart(&mut crowd, holder, &two);
    crowd.settle(&two);
    crowd.hand_over(standby, holder);
    restart(&mut crowd, standby, &two);
    assert_eq!(crowd.settle(&two), holder);
    assert_eq!(crowd.term(holder), term + 2, "two hand-overs");
}

#[test]
fn a_node_whose_file_lacks_the_holder_stands_by_and_says_so() {
    let net = Net::new(42);
    let mut crowd = Crowd::new(&net);
    // lb3 starts alone with the new file, and holds the name.
    crowd.write(2, &ALL, "");
    crowd.start(2);
    wait_until("it is alone", || crowd.holders() == [2]);
    let term = crowd.term(2);
    for node in [0, 1] {
        crowd.write(node, &[0, 1], "");
        crowd.start(node);
    }
    wait_until("they hear of it", || {
        (0..2).all(|node| crowd.pair(node)["holder"] == "lb3")
    });
    pass(Duration::from_secs(5));
    assert_eq!((crowd.holders(), crowd.term(2)), (vec![2], term));
    for node in [0, 1] {
        let pair = crowd.pair(node);
        assert_eq!(pair["strangers"][0], "lb3", "{pair}");
        assert_eq!(pair["role"], "standby");
        let said = crowd.log(node);
        assert!(said.contains("not in this node's lb.yaml"), "{said}");
    }
    assert!((crowd.metric(0, "tandem_pair_term") - 1.0).abs() < 0.1);

    // Nobody knows its port, so its silence must last.
    let start = now();
    crowd.kill(2);
    wait_until("one of the two takes the name", || {
        crowd.holders().iter().any(|it| *it < 2)
    });
    figure("twins.stranger_dies_ms", since(start).as_millis());
    let holder = crowd.settle(&[0, 1]);
    crowd.start(2);
    wait_until("it comes back as a standby", || {
        crowd.pair(2)["role"] == "standby"
    });
    pass(Duration::from_secs(2));
    assert_eq!(crowd.holders(), [holder]);

    // One that has been removed, and goes on with the old file.
    restart(&mut crowd, 0, &ALL);
    restart(&mut crowd, 1, &ALL);
    crowd.settle(&ALL);
    let holder = crowd.holders()[0];
    if holder != 2 {
        crowd.hand_over(holder, 2);
    }
    restart(&mut crowd, 0, &[0, 1]);
    wait_until("it stands by", || crowd.pair(0)["holder"] == "lb3");
    pass(Duration::from_secs(3));
    assert_eq!(crowd.holders(), [2]);
}
