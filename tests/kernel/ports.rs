//! Local ports on a host that has few of them.

use std::fs;

use super::config;
use super::kit::{Backend, Net, Talk, Tandem, figure, wait_until, within};

const USED: &str = "tandem_backend_source_ports_used{pool=\"web\",backend=\"b1\"}";
const MOST: &str = "tandem_backend_source_ports_max{pool=\"web\",backend=\"b1\"}";

/// A balancer that has the ports from 40000 on for its connections.
fn few_ports(net: &Net, range: &str, reserved: &str) {
    within(&net.space("l"), || {
        let set = |what: &str, value: &str| {
            fs::write(format!("/proc/sys/net/ipv4/ip_local_{what}"), value).unwrap();
        };
        set("port_range", range);
        set("reserved_ports", reserved);
    });
}

/// Workers move the bytes, and no probe takes a port after the first one.
fn served_by_workers(net: &Net) -> String {
    config(net, &[100]).replace(", plane: kernel", "").replace(
        "interval: 200ms, fast_interval: 100ms",
        "interval: 60s, fast_interval: 60s",
    )
}

/// What the alert needs: with 12 ports the page says 12, and how many are
/// taken, while clients are still served; the one after the last is not.
#[test]
fn the_page_says_that_ports_run_out_before_a_client_is_refused() {
    let net = Net::new(61, 1);
    few_ports(&net, "40000 40015", "40001,40005-40007");
    let _backends = Backend::all(&net);
    let tandem = Tandem::start(&net, &served_by_workers(&net));
    assert_eq!(tandem.metric(MOST), Some(12.0));
    assert_eq!(tandem.metric(USED), Some(0.0));
    let mut held: Vec<Talk> = Vec::new();
    for at in 1..=10 {
        let mut talk = net.connect(80).unwrap();
        assert_eq!(talk.ask().unwrap(), "b1", "client {at}");
        held.push(talk);
        assert_eq!(tandem.metric(USED), Some(f64::from(at)));
    }
    let share = tandem.metric(USED).unwrap() / tandem.metric(MOST).unwrap();
    assert!(share > 0.8, "the alert is due, and everybody is served");
    // The first probe may hold a port in TIME-WAIT: at most 12 are served.
    let refused_after = (10..=12).find(|_| {
        let mut talk = net.connect(80).unwrap();
        let is_refused = talk.ask().is_err();
        held.push(talk);
        is_refused
    });
    let served = refused_after.expect("a port for each of them, and 12 of them");
    figure("ports.served_of_12", served);
    assert_eq!(
        tandem.metric(USED),
        Some(f64::from(served)),
        "who is refused takes none"
    );
    drop(held);
    wait_until("the ports come back", || tandem.metric(USED) == Some(0.0));
}
