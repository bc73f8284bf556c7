//! Three real nginx behind tandem, under a load that never stops.

use std::collections::HashMap;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use crate::kit::http;
use crate::kit::load::{Failure, Load, Plan};
use crate::kit::nginx::{Nginx, is_probe};
use crate::kit::tandem::{Lb, Tandem};
use crate::kit::{Backend, SOON, figure, ms, pass};

fn three() -> Vec<Nginx> {
    ["a", "b", "c"].map(Nginx::start).into()
}

fn lb_for(servers: &[Nginx]) -> Lb {
    let backends: Vec<Backend> = servers.iter().map(Backend::from).collect();
    Lb::new(&backends, "http").pool("protocol: http")
}

/// As many requests as two cores give, beside connections that stay.
fn full_tilt(lb: &Lb) -> Plan {
    Plan {
        held: 20,
        held_every: ms(20),
        fresh: 4,
        fresh_every: ms(0),
        ..Plan::usual(lb.address)
    }
}

/// Every failure was on a connection that tandem had given to `backend`.
fn assert_only_on(backend: &str, failures: &[Failure], given: &HashMap<String, Vec<String>>) {
    for failure in failures {
        let own = failure.backend.as_deref() == Some(backend);
        let client = failure.client.map(|it| it.to_string()).unwrap_or_default();
        let logged = given.get(&client);
        let was_given = logged.is_some_and(|it| it.iter().any(|it| it == backend));
        assert!(
            own || was_given,
            "not on {backend}, but on {logged:?}: {failure:?}"
        );
    }
}

#[test]
fn nothing_fails_while_servers_die_return_and_change_weight() {
    let mut servers = three();
    let lb = lb_for(&servers);
    let tandem = lb.start();
    let load = Load::start(full_tilt(&lb));
    load.go_on(ms(1000));
    let steady = load.take();
    steady.report("web.steady");
    steady.assert_clean();

    servers[0].kill();
    tandem.wait_state("a", "down");
    load.go_on(ms(500));
    let killed = load.take();
    killed.report("web.kill");
    assert!(killed.unconnected.is_empty(), "{:?}", killed.unconnected);
    assert!(killed.failed_twice.is_empty(), "{:?}", killed.failed_twice);

    servers[0].clear_log();
    servers[0].revive();
    tandem.wait_state("a", "up");
    load.go_on(ms(500));
    assert_probed_first(&servers[0]);
    let back = load.take();
    back.report("web.back");
    back.assert_clean();
    assert!(back.from("a") > 0, "the returned server gets its share");

    reload_fifty_times(&tandem, &lb, &servers);
    let reloads = load.take();
    reloads.report("web.reload50");
    reloads.assert_clean();

    tandem.reload(&lb.clone().backend_as("b", &servers[1].weighing(0)).yaml());
    load.go_on(ms(200));
    load.take();
    load.go_on(ms(700));
    let without = load.take();
    assert_eq!(without.from("b"), 0, "weight 0 gets nothing new");
    without.assert_clean();
    tandem.reload(&lb.yaml());
    load.go_on(ms(500));
    let last = load.stop();
    last.assert_clean();
    assert!(last.from("b") > 0, "weight 100 gets its share again");

    let given = tandem.backends_by_client();
    assert_only_on("a", &killed.fresh_failed, &given);
    assert_only_on("a", &killed.broken, &given);
}

/// The first client came only after `rise` (2) probes had passed.
fn assert_probed_first(server: &Nginx) {
    let log = server.log();
    let probes = log.lines().take_while(|it| is_probe(it)).count();
    let first: Vec<&str> = log.lines().take(4).collect();
    assert!(
        probes >= 2,
        "{probes} probes before the first client: {first:?}"
    );
    assert!(server.requests() > 0, "clients came");
    figure("web.probes_before_first_client", probes);
}

fn reload_fifty_times(tandem: &Tandem, lb: &Lb, servers: &[Nginx]) {
    for round in 0..50_u32 {
        let weight = 50 + round * 3;
        let server = &servers[round as usize % servers.len()];
        let changed = lb
            .clone()
            .backend_as(&server.name, &server.weighing(weight));
        tandem.reload(&changed.yaml());
    }
    tandem.reload(&lb.yaml());
}

#[test]
fn traffic_follows_the_weights() {
    let servers = three();
    let lb = lb_for(&servers)
        .backend_as("a", &servers[0].weighing(100))
        .backend_as("b", &servers[1].weighing(300))
        .backend_as("c", &servers[2].weighing(0));
    let tandem = lb.start();
    let load = Load::start(Plan {
        held: 0,
        ..full_tilt(&lb)
    });
    load.go_on(ms(2000));
    let tally = load.stop();
    tally.assert_clean();
    let [a, b, c] = ["a", "b", "c"].map(|it| tally.from(it));
    figure("web.weights_100_300_0", format!("{a} {b} {c}"));
    assert_eq!(c, 0);
    assert_eq!(servers[2].requests(), 0);
    assert!(a + b > 200, "{tally:?}");
    assert!(
        b * 10 > a * 22 && b * 10 < a * 40,
        "1 : 3 and not {a} : {b}"
    );
    let total = tandem.metric("tandem_backend_connections_total", &["backend=\"b\""]);
    assert!(total >= b as f64 * 0.99, "{total} connections, {b} answers");
}

#[test]
fn a_file_arrives_whole() {
    let servers = three();
    let lb = lb_for(&servers);
    let _tandem = lb.start();
    let body: String = (0..400_000).map(|it| format!("{it:09}\n")).collect();
    for server in &servers {
        server.put("big", &body);
    }
    for _ in 0..6 {
        let reply = http::get(lb.address, "/files/big");
        assert_eq!(reply.status, 200);
        assert!(reply.body == body, "{} bytes arrived", reply.body.len());
    }
}

#[test]
fn a_frozen_nginx_is_out_and_comes_back() {
    let servers = three();
    let lb = lb_for(&servers);
    let tandem = lb.start();
    let start = std::time::Instant::now();
    servers[1].freeze();
    tandem.wait_state("b", "down");
    figure("web.frozen_out_ms", start.elapsed().as_millis());
    for _ in 0..30 {
        assert_eq!(http::get(lb.address, "/").status, 200);
    }
    let start = std::time::Instant::now();
    servers[1].thaw();
    tandem.wait_state("b", "up");
    figure("web.frozen_back_ms", start.elapsed().as_millis());
}

#[test]
fn clients_hear_503_when_no_server_is_left() {
    let mut servers = three();
    let lb = lb_for(&servers);
    let tandem = lb.start();
    for server in &mut servers {
        server.kill();
    }
    for name in ["a", "b", "c"] {
        tandem.wait_state(name, "down");
    }
    let start = std::time::Instant::now();
    let reply = http::get(lb.address, "/");
    figure("web.refused_ms", start.elapsed().as_millis());
    assert_eq!(reply.status, 503);
    assert!(reply.header("retry-after").is_some(), "{}", reply.head);
    assert!(start.elapsed() < ms(5000));
    for server in &mut servers {
        server.revive();
    }
    tandem.wait_state("a", "up");
    assert_eq!(http::get(lb.address, "/").status, 200);
}

/// A rolling deploy: the old server closes its listening socket, finishes its
/// answers and ends.
#[test]
fn a_server_that_stops_listening_finishes_its_answers() {
    // More than all buffers on the way hold: nginx is far from its end when it
    // is told to quit.
    const LENGTH: usize = 32 << 20;
    let servers = three();
    servers[0].put("long", &"x".repeat(LENGTH));
    let lb = lb_for(&servers).pool("policy: first");
    let tandem = lb.start();
    let mut answers: Vec<TcpStream> = (0..4)
        .map(|_| {
            let mut stream = TcpStream::connect(lb.address).unwrap();
            stream.set_read_timeout(Some(SOON)).unwrap();
            let request = "GET /files/long HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
            stream.write_all(request.as_bytes()).unwrap();
            // It has begun.
            stream.read_exact(&mut [0; 1000]).unwrap();
            stream
        })
        .collect();
    servers[0].quit();
    tandem.wait_state("a", "down");
    // Longer than any verdict on it takes to be carried out.
    pass(ms(500));
    for _ in 0..20 {
        assert_eq!(http::get(lb.address, "/").body.trim(), "b");
    }
    for stream in &mut answers {
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).unwrap();
        assert!(rest.len() + 1000 > LENGTH, "{} of {LENGTH}", rest.len());
    }
    let refused = tandem.metric(
        "tandem_backend_connect_errors_total",
        &["reason=\"refused\""],
    );
    figure("web.deploy.refused_connects", refused);
    for stream in answers {
        let client = stream.local_addr().unwrap();
        drop(stream);
        assert_eq!(tandem.reason(client), "server_closed");
    }
}
