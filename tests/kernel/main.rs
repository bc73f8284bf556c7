//! The kernel plane on a real kernel: namespaces for client, balancer and
//! backends, nftables between them. Needs root, iproute2 and nftables.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

mod figures;
mod kit;
mod lacks;
mod lasting;
mod ports;
mod starting;

use std::io::ErrorKind;

use kit::{Backend, Net, Tandem, figure, must, wait_until};

/// One listener of the kernel at port 80, for backends with these weights.
pub fn config(net: &Net, weights: &[u32]) -> String {
    let backends = (1..).zip(weights).map(|(at, weight)| {
        let address = net.backend(at);
        format!("      b{at}: {{ address: \"{address}\", weight: {weight} }}\n")
    });
    let backends: String = backends.collect();
    format!(
        "listeners:\n  web: {{ bind: \"{}:80\", pool: web, plane: kernel }}\n\
         pools:\n  web:\n    backends:\n{backends}    \
         probe: {{ type: tcp, interval: 200ms, fast_interval: 100ms, down_interval: 200ms }}\n    \
         on_dead: keep\n",
        net.lb()
    )
}

#[test]
fn weights_are_kept_and_counted() {
    let net = Net::new(1, 3);
    let _backends = Backend::all(&net);
    let tandem = Tandem::start(&net, &config(&net, &[100, 300, 0]));
    let served = net.survey(80, 2000);
    figure("kernel.share_of_three_quarters", served["b2"]);
    // Six standard deviations: 1500 +- 116.
    assert!((1384..=1616).contains(&served["b2"]), "{served:?}");
    assert!(!served.contains_key("b3"), "weight 0: {served:?}");
    // A client on the balancer itself is sent on, too.
    let local = net.connect_from("l", (net.lb(), 80).into()).unwrap().ask();
    assert!(["b1", "b2"].contains(&local.unwrap().as_str()));
    wait_until("the kernel's counts are on the page", || {
        tandem.metric("tandem_listener_connections_total{listener=\"web\"}") == Some(2001.0)
    });
    let of = |it: &str| {
        let labels = format!("{{pool=\"web\",backend=\"{it}\"}}");
        tandem
            .metric(&format!("tandem_backend_connections_total{labels}"))
            .unwrap()
    };
    assert_eq!(of("b1") + of("b2"), 2001.0);
    assert_eq!(of("b3"), 0.0);
    assert!(of("b2") - served["b2"] as f64 <= 1.0, "the local one");
    for absent in [
        "tandem_bytes_total{listener=\"web\",direction=\"in\"}",
        "tandem_backend_bytes_total{pool=\"web\",backend=\"b1\",direction=\"in\"}",
        "tandem_backend_retries_total{pool=\"web\"}",
        "tandem_connection_duration_seconds_count{listener=\"web\"}",
    ] {
        assert_eq!(tandem.metric(absent), None, "absent, not 0: {absent}");
    }
}

#[test]
fn ipv6_is_sent_on_as_well() {
    let net = Net::new(4, 1);
    let set = |host: &str, words: &str| must(&format!("ip -n {} {words}", net.space(host)));
    set("c", "addr add fd91::2/64 dev eth0 nodad");
    set("l", "addr add fd91::1/64 dev c nodad");
    set("l", "addr add fd92::1/64 dev br0 nodad");
    set("b1", "addr add fd92::11/64 dev eth0 nodad");
    let address = "[fd92::11]:8080".parse().unwrap();
    let _backend = Backend::start_at(&net, 1, address);
    let text = config(&net, &[100]);
    let text = text.replace(&net.backend(1).to_string(), "[fd92::11]:8080");
    let text = text.replace(&format!("{}:80", net.lb()), "[::]:80");
    let tandem = Tandem::start(&net, &text);
    assert!(tandem.log().contains("net.ipv6.conf.all.forwarding is off"));
    let lb = net.space("l");
    must(&format!(
        "ip netns exec {lb} sysctl -qw net.ipv6.conf.all.forwarding=1"
    ));
    let mut held = net
        .connect_from("c", "[fd91::1]:80".parse().unwrap())
        .unwrap();
    assert_eq!(held.ask().unwrap(), "b1");
    wait_until("the open one is on the page", || {
        tandem.metric("tandem_listener_connections{listener=\"web\"}") == Some(1.0)
    });
}

#[test]
fn a_dead_backend_gets_nothing_new_and_keeps_what_it_has() {
    let net = Net::new(2, 2);
    let mut backends = Backend::all(&net);
    let tandem = Tandem::start(&net, &config(&net, &[100, 100]));
    let mut held = std::iter::repeat_with(|| net.connect(80).unwrap())
        .find_map(|mut it| (it.ask().unwrap() == "b1").then_some(it))
        .unwrap();
    backends[0].down();
    wait_until("b1 is down", || tandem.state("b1") == "down");
    let took = wait_until("the rules follow", || {
        net.nft("list ruleset")
            .lines()
            .all(|it| !it.contains("numgen"))
    });
    figure("kernel.down_to_new_rules_ms", took.as_millis());
    assert_eq!(
        net.survey(80, 200).into_iter().collect::<Vec<_>>(),
        [("b2".to_owned(), 200)]
    );
    assert_eq!(held.ask().unwrap(), "b1", "established is established");
    wait_until("the open one is on the page", || {
        tandem.metric("tandem_backend_connections{pool=\"web\",backend=\"b1\"}") == Some(1.0)
    });
    backends[1].down();
    wait_until("b2 is down", || tandem.state("b2") == "down");
    wait_until("clients are refused", || {
        let refused = net.connect(80).err();
        refused.is_some_and(|it| it.kind() == ErrorKind::ConnectionRefused)
    });
    assert_eq!(held.ask().unwrap(), "b1");
    backends[0].up();
    wait_until("b1 serves again", || {
        net.connect(80)
            .and_then(|mut it| it.ask())
            .is_ok_and(|it| it == "b1")
    });
    assert_eq!(held.ask().unwrap(), "b1");
}

#[test]
fn a_reload_moves_weights_and_no_connection() {
    let net = Net::new(3, 2);
    let _backends = Backend::all(&net);
    let tandem = Tandem::start(&net, &config(&net, &[0, 100]));
    let mut held = net.connect(80).unwrap();
    assert_eq!(held.ask().unwrap(), "b2");
    tandem.write(&config(&net, &[100, 0]));
    assert!(tandem.reload().0);
    wait_until("b1 gets the new ones", || {
        net.connect(80).unwrap().ask().unwrap() == "b1"
    });
    assert_eq!(net.survey(80, 100).len(), 1);
    assert_eq!(held.ask().unwrap(), "b2", "weight 0 drains");
    // Its backend is taken out of the file altogether.
    tandem.write(&config(&net, &[100]));
    assert!(tandem.reload().0);
    wait_until("b2 is forgotten", || {
        !net.nft("list ruleset")
            .contains(&net.backend(2).ip().to_string())
    });
    assert_eq!(held.ask().unwrap(), "b2");
    let user = config(&net, &[100]).replace(", plane: kernel", "");
    tandem.write(&user);
    let (is_ok, said) = tandem.reload();
    assert!(
        !is_ok && said.contains("its plane changes with a restart only"),
        "{said}"
    );
    assert_eq!(held.ask().unwrap(), "b2");
}
