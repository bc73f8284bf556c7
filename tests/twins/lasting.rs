//! What outlives one node, both nodes, and what people see of it all.

use std::time::Duration;

use super::kit::pair::Pair;
use super::kit::{figure, pass, wait_until};

#[test]
fn terms_and_an_order_to_hold_outlive_both_nodes() {
    let mut pair = Pair::embedded(16);
    pair.start_both();
    let holder = pair.settle();
    let other = 1 - holder;
    // Ordered on the standby: it holds for both.
    assert_eq!(pair.admin(other, "POST", "/v1/pair/hold")["ordered"], true);
    wait_until("the holder has heard of it", || {
        pair.pair(holder)["held"] == true
    });
    for _ in 0..3 {
        let answer = pair.admin(pair.settle(), "POST", "/v1/pair/handover");
        assert_eq!(answer["ordered"], true, "{answer}");
        pass(Duration::from_millis(200));
    }
    let term = pair.term(pair.settle());
    assert_eq!(term, 4, "one claim, three hand-overs");
    let remembered = |pair: &Pair, node: usize| pair.state(node)["term"].as_u64() == Some(term);
    wait_until("both have written it down", || {
        remembered(&pair, 0) && remembered(&pair, 1)
    });
    pair.kill(0);
    pair.kill(1);
    pair.start_both();
    let holder = pair.settle();
    figure("twins.term_after_both_died", pair.term(holder));
    assert_eq!(pair.term(holder), term + 1, "terms go on");
    assert_eq!(pair.pair(holder)["held"], true, "and so does the hold");

    pair.kill(holder);
    pass(Duration::from_secs(2));
    assert!(!pair.is_holder(1 - holder), "on hold nothing moves");
    let release = "/v1/pair/hold?off=1";
    assert_eq!(pair.admin(1 - holder, "POST", release)["ordered"], true);
    wait_until("then it does", || pair.is_holder(1 - holder));
    pair.start(holder);
    pair.settle();
    assert_eq!(pair.pair(holder)["held"], false, "the newest order counts");
}

#[test]
fn people_see_what_happened_and_what_the_world_is_told() {
    let mut pair = Pair::embedded(17);
    pair.start_both();
    let holder = pair.settle();
    let other = 1 - holder;
    pair.kill(holder);
    wait_until("the other takes the name", || pair.is_holder(other));
    let events = pair.admin(other, "GET", "/v1/events?after=0");
    let events = events["events"].as_array().unwrap();
    let is_claim = |it: &&serde_json::Value| it["event"] == "pair" && it["to"] == "holder";
    let claim = events.iter().find(is_claim).expect("the takeover is told");
    assert_eq!(claim["why"], "twin_refuses", "{claim}");
    let seq = claim["seq"].as_u64().unwrap();
    let later = pair.admin(other, "GET", &format!("/v1/events?after={seq}"));
    let later = later["events"].as_array().unwrap();
    assert!(later.iter().all(|it| it["seq"].as_u64() > Some(seq)));

    let own = pair.ips[other].to_string();
    let of = |server: &str| {
        let dns = pair.admin(other, "GET", "/v1/dns");
        let observed = dns["observed"].as_array().cloned().unwrap_or_default();
        let mut all = observed.into_iter();
        all.find(|it| {
            it["server"]
                .as_str()
                .is_some_and(|it| it.starts_with(server))
        })
    };
    wait_until("it asks its own server", || {
        of(&own).is_some_and(|it| it["matches"] == true && it["addresses"][0] == own.as_str())
    });
    let dead = of(&pair.ips[holder].to_string()).unwrap();
    assert_eq!(dead["matches"], false, "{dead}");
    assert!(dead["error"].is_string(), "{dead}");
}

#[test]
fn drift_comes_with_the_reload_of_one_node_and_goes_with_that_of_the_other() {
    let mut pair = Pair::embedded(19);
    pair.start_both();
    pair.settle();
    let drift = |pair: &Pair| [0, 1].map(|node| pair.metric(node, "tandem_pair_config_drift"));
    let reload = |pair: &Pair, node: usize| {
        let answer = pair.admin(node, "POST", "/v1/reload");
        assert!(answer["changes"].is_array(), "{answer}");
    };
    assert_eq!(drift(&pair), [0.0, 0.0]);
    for (from, to) in [("200ms", "250ms"), ("250ms", "300ms")] {
        pair.edit(from, to);
        reload(&pair, 0);
        wait_until("both see it", || drift(&pair) == [1.0, 1.0]);
        reload(&pair, 1);
        wait_until("both see that it is over", || drift(&pair) == [0.0, 0.0]);
    }
    let said = "has another configuration";
    for node in 0..2 {
        let log = pair.log(node);
        assert!(log.matches(said).count() >= 2, "each time: {log}");
    }
}
