//! Listeners that are renamed, moved, widened, narrowed and removed while
//! clients come, and while some are there that have said nothing yet.

use std::fs;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

use super::kit::{Backend, Load, Plan, SOON, Tandem, figure, ms, pass, ports, wait_until};

/// How many clients are silent when the file changes.
pub(crate) const SILENT: usize = 20;

/// A file: listeners and pools as they stand in it.
struct File {
    workers: u8,
    server: SocketAddr,
}

impl File {
    /// `listeners` are a name, what it binds, and its pool.
    fn yaml(&self, listeners: &[(&str, &str, &str)], pools: &[&str]) -> String {
        let mut text = format!("process: {{ workers: {} }}\nlisteners:\n", self.workers);
        for (name, bind, pool) in listeners {
            text += &format!("  {name}: {{ bind: [{bind}], pool: {pool} }}\n");
        }
        text += "pools:\n";
        for pool in pools {
            text += &format!(
                "  {pool}:\n    backends: {{ a: \"{}\" }}\n    probe: {{ type: http, path: \
                 /healthz, interval: 200ms, timeout: 150ms }}\n",
                self.server
            );
        }
        text
    }
}

fn setting(workers: u8) -> (Backend, File) {
    let backend = Backend::start("a");
    let server = backend.address;
    (backend, File { workers, server })
}

fn quoted(address: SocketAddr) -> String {
    format!("\"{address}\"")
}

/// A client that has connected, and says nothing.
fn silent(to: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(to).expect("somebody listens");
    stream.set_read_timeout(Some(SOON)).expect("an option");
    stream
}

pub(crate) fn silents(to: SocketAddr) -> Vec<TcpStream> {
    (0..SILENT).map(|_| silent(to)).collect()
}

/// Clients that have begun to speak; `answered()` says the rest.
fn half_said(to: SocketAddr) -> Vec<TcpStream> {
    let mut clients = silents(to);
    for client in &mut clients {
        let start = client.write_all(b"GET / HTTP/1.1\r\nX-Rest: ");
        start.expect("it listens");
    }
    clients
}

/// How many of them are answered when they speak.
pub(crate) fn answered(clients: Vec<TcpStream>) -> usize {
    let speak = |mut it: TcpStream| {
        it.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        it.read_to_string(&mut answer)?;
        Ok::<_, std::io::Error>(answer)
    };
    let answers = clients.into_iter().map(speak);
    answers
        .filter(|it| it.as_ref().is_ok_and(|it| it.starts_with("HTTP/1.1 200")))
        .count()
}

/// A load of many short connections.
fn load(target: SocketAddr) -> Load {
    Load::start(Plan {
        fresh: 20,
        fresh_every: ms(10),
        ..Plan::usual(target)
    })
}

/// Whether any socket of this machine listens on `port`.
fn is_listened_on(port: u16) -> bool {
    ["/proc/net/tcp", "/proc/net/tcp6"].iter().any(|file| {
        let text = fs::read_to_string(file).expect("Linux has it");
        let local = format!(":{port:04X}");
        text.lines().skip(1).any(|line| {
            let mut words = line.split_whitespace().skip(1);
            words.next().is_some_and(|it| it.ends_with(&local)) && words.nth(1) == Some("0A")
        })
    })
}

/// Says what came of it, and that nobody has lost anything.
fn judge(test: &str, clients: Vec<TcpStream>, load: Load) {
    let answered = answered(clients);
    figure(&format!("reloads.{test}.silent_answered"), answered);
    let tally = load.stop();
    tally.report(&format!("reloads.{test}"));
    tally.assert_clean();
    assert_eq!(answered, SILENT);
}

#[test]
fn a_listener_that_is_renamed_keeps_its_socket_and_its_silent_clients() {
    let (_backend, file) = setting(2);
    let at = ports::free();
    let named = |name| file.yaml(&[(name, &quoted(at), "web")], &["web"]);
    let tandem = Tandem::start(&named("before"));
    let (clients, load) = (silents(at), load(at));
    tandem.reload(&named("after"));
    load.go_on(ms(500));
    assert_eq!(tandem.addresses("after"), [at]);
    judge("renamed", clients, load);
    assert_eq!(tandem.events("listening").len(), 1, "one socket for all");
}

#[test]
fn an_address_that_moves_to_another_listener_keeps_its_silent_clients() {
    let (_backend, file) = setting(2);
    let [one, two] = [ports::free(), ports::free()].map(quoted);
    let both = format!("{one}, {two}");
    let at = two.trim_matches('"').parse().expect("an address");
    let pools = ["old", "new"];
    let tandem = Tandem::start(&file.yaml(&[("x", &both, "old")], &pools));
    let (clients, load) = (silents(at), load(at));
    let moved = file.yaml(&[("x", &one, "old"), ("y", &two, "new")], &pools);
    tandem.reload(&moved);
    load.go_on(ms(300));
    // And all that is left of the old one goes.
    tandem.reload(&file.yaml(&[("y", &format!("{two}, {one}"), "new")], &["new"]));
    load.go_on(ms(300));
    judge("moved", clients, load);
    assert_eq!(tandem.events("listening").len(), 2, "no socket is new");
}

#[test]
fn a_listener_that_is_removed_refuses_newcomers_and_serves_those_before_them() {
    let (_backend, file) = setting(2);
    let [stays, goes] = [ports::free(), ports::free()];
    let [stay, go] = [stays, goes].map(quoted);
    let pools = ["web", "other"];
    let tandem = Tandem::start(&file.yaml(&[("x", &stay, "web"), ("y", &go, "other")], &pools));
    let (mut clients, load) = (silents(goes), load(stays));
    tandem.reload(&file.yaml(&[("x", &stay, "web")], &["web"]));
    let newcomer = TcpStream::connect(goes).expect_err("it is gone");
    assert_eq!(newcomer.kind(), ErrorKind::ConnectionRefused);
    // Some speak at once, and some only when the sockets have closed.
    let early = clients.split_off(SILENT / 2);
    let early_count = answered(early);
    assert!(is_listened_on(goes.port()), "the others are waited for");
    wait_until("the sockets close", SOON, || !is_listened_on(goes.port()));
    let late_count = answered(clients);
    figure("reloads.removed.silent_answered", early_count + late_count);
    assert_eq!((early_count, late_count), (SILENT / 2, SILENT / 2));
    load.stop().assert_clean();

    // Where nobody waits, the port is free for others at once.
    let free = file.yaml(&[("z", &go, "web")], &["web"]);
    tandem.reload(&free);
    tandem.reload(&file.yaml(&[("x", &stay, "web")], &["web"]));
    let closed = || !is_listened_on(goes.port());
    let soon = super::kit::eventually_or(ms(3000), || closed().then_some(()));
    assert!(soon.is_some(), "nobody is waited for");
}

/// From `before` to `after` and back, ten times, with clients at `at`.
fn back_and_forth(test: &str, workers: u8, at: SocketAddr, before: &str, after: &str) {
    let (_backend, file) = setting(workers);
    let bound = |bind| file.yaml(&[("web", bind, "web")], &["web"]);
    let tandem = Tandem::start(&bound(before));
    let (mut clients, load) = (Vec::new(), load(at));
    for bind in [after, before].into_iter().cycle().take(SILENT) {
        clients.push(silent(at));
        tandem.reload(&bound(bind));
        load.go_on(ms(30));
    }
    judge(test, clients, load);
    let failed = tandem.events("reload_failed");
    assert!(failed.is_empty(), "{failed:?}");
}

#[test]
fn an_address_is_narrowed_and_widened_and_nobody_is_refused() {
    let at = ports::free();
    let port = at.port();
    let every = format!("\":{port}\"");
    back_and_forth("narrowed", 2, at, &every, &quoted(at));
}

#[test]
fn an_address_of_one_family_is_widened_and_narrowed_by_four_workers() {
    let at = ports::free();
    let wide = format!("\"0.0.0.0:{}\"", at.port());
    back_and_forth("widened", 4, at, &quoted(at), &wide);
}

#[test]
fn the_same_over_ipv6() {
    let port = ports::free().port();
    let at = SocketAddr::from((std::net::Ipv6Addr::LOCALHOST, port));
    let wide = format!("\"[::]:{port}\"");
    back_and_forth("ipv6", 2, at, &wide, &quoted(at));
}

#[test]
fn listeners_that_swap_their_names_and_pools_theirs_lose_nobody() {
    for workers in [2, 4] {
        let (_one, file) = setting(workers);
        let [first, second] = [ports::free(), ports::free()];
        let [one, two] = [first, second].map(quoted);
        let pools = ["p", "q"];
        let tandem = Tandem::start(&file.yaml(&[("x", &one, "p"), ("y", &two, "q")], &pools));
        let (clients, load) = (silents(first), load(first));
        for round in 0..20 {
            let (x, y) = if round % 2 == 0 {
                (&two, &one)
            } else {
                (&one, &two)
            };
            let (p, q) = if round % 4 < 2 {
                ("q", "p")
            } else {
                ("p", "q")
            };
            tandem.reload(&file.yaml(&[("x", x, p), ("y", y, q)], &pools));
            load.go_on(ms(20));
        }
        judge(&format!("swapped_by_{workers}"), clients, load);
        assert_eq!(tandem.events("listening").len(), 2, "no socket is new");
    }
}

/// With no queue to wait in for a first probe.
#[test]
fn a_pool_that_is_renamed_refuses_nobody() {
    let (_backend, file) = setting(2);
    let at = ports::free();
    let named = |pool: &str| {
        let text = file.yaml(&[("web", &quoted(at), pool)], &[pool]);
        let text = text.replace(
            "    probe:",
            "    queue: off\n    slow_start: off\n    probe:",
        );
        // Under each name, it is the reload that comes first, and no probe.
        text.replace("interval: 200ms", "interval: 60s")
    };
    let tandem = Tandem::start(&named("p0"));
    let load = load(at);
    for round in 1..=20 {
        tandem.reload(&named(&format!("p{round}")));
        load.go_on(ms(30));
    }
    let tally = load.stop();
    tally.report("reloads.pool_renamed");
    tally.assert_clean();
}

/// The connections of a pool, or a server, that has another name now are those
/// of the server: they go on, they count, and they end when it goes.
#[test]
fn the_connections_of_what_is_renamed_go_on() {
    let (_backend, file) = setting(2);
    let at = ports::free();
    let named = |pool: &str, server: &str, more: &str| {
        let text = file.yaml(&[("web", &quoted(at), pool)], &[pool]);
        text.replace("{ a: ", &format!("{{ {server}: ")).replace(
            "    probe:",
            &format!("    drain_timeout: 500ms\n{more}    probe:"),
        )
    };
    let tandem = Tandem::start(&named("p0", "a", ""));
    let clients = half_said(at);
    let connections =
        |pool: &str, server: &str| tandem.backend(pool, server)["connections"].clone();
    wait_until("they are all there", SOON, || {
        connections("p0", "a") == SILENT
    });
    tandem.reload(&named("p1", "a", ""));
    tandem.reload(&named("p1", "b", ""));
    let server = format!("\"{}\"", file.server);
    let full = format!("{{ address: {server}, max_connections: {SILENT} }}");
    tandem.reload(&named("p2", "c", "    queue: off\n").replace(&server, &full));
    assert_eq!(
        connections("p2", "c"),
        SILENT,
        "they count, whatever its name"
    );
    let refused = answered(vec![silent(at)]);
    assert_eq!(refused, 0, "and keep their places");
    pass(ms(1500));
    assert_eq!(answered(clients), SILENT);
    let last = half_said(at);
    wait_until("others are there", SOON, || {
        connections("p2", "c") == SILENT
    });
    // Another server takes the name: the one that had it is gone.
    let other = Backend::start("z");
    let (from, to) = (file.server.to_string(), other.address.to_string());
    tandem.reload(&named("p2", "c", "").replace(&from, &to));
    pass(ms(1500));
    assert_eq!(answered(last), 0, "drained when their server goes");
}

#[test]
fn settings_of_a_socket_change_under_its_clients() {
    let (_backend, file) = setting(2);
    let at = ports::free();
    let bind = |more: &str| {
        let text = file.yaml(&[("web", &quoted(at), "web")], &["web"]);
        text.replace("pool: web }", &format!("pool: web, {more} }}"))
    };
    let tandem = Tandem::start(&bind("client_first: on, backlog: 4096"));
    let (mut clients, load) = (Vec::new(), load(at));
    for round in 0..SILENT {
        clients.push(silent(at));
        let wait = if round % 2 == 0 { "off" } else { "on" };
        let backlog = 1024 << (round % 3);
        tandem.reload(&bind(&format!("client_first: {wait}, backlog: {backlog}")));
        load.go_on(ms(20));
    }
    pass(ms(200));
    judge("settings", clients, load);
}
