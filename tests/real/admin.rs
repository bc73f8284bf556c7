//! What tandem says of itself, to whom, and what it makes of nonsense.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::Instant;

use socket2::{Domain, Socket, Type};

use crate::kit::http::{self, Reply};
use crate::kit::pattern::Pattern;
use crate::kit::tandem::{Lb, Tandem};
use crate::kit::{Backend, Load, Plan, SOON, figure, ms, said, wait_until};

const ADMIN: &str = "admin: { bind: \"127.0.0.1:0\", socket: \"@SOCKET\" }\n";

fn stand() -> (Vec<Backend>, Lb) {
    let backends = Backend::several(2);
    let lb = Lb::new(&backends, "http").pool("protocol: http");
    (backends, lb)
}

#[test]
fn secrets_are_never_shown() {
    let (_backends, lb) = stand();
    let lb = lb
        .pool("protocol: mysql")
        .pool("probe: { type: mysql, user: tandem, password: hush-probe }")
        .tail(
            "admin: { bind: \"127.0.0.1:0\", socket: \"@SOCKET\", token: hush-hush-hush-token }\n",
        );
    let tandem = Tandem::launch(&lb.yaml(), None, None);
    tandem.wait_alive();
    let shown = tandem.admin("GET", "/v1/config");
    assert_eq!(shown.status, 200);
    assert!(shown.body.contains("***"), "{}", shown.body);
    let path = tandem.config().display().to_string();
    let printed = crate::kit::tandem::run(&["check", "-c", &path, "--print"]);
    let status = tandem.admin("GET", "/v1/status").body;
    for text in [shown.body, status, said(&printed), tandem.log()] {
        assert!(!text.contains("hush"), "{text}");
    }
}

fn assert_problem(reply: &Reply, status: u16) {
    assert_eq!(reply.status, status, "{} {}", reply.head, reply.body);
    let kind = reply.header("content-type").unwrap_or_default();
    assert!(kind.starts_with("application/problem+json"), "{kind}");
    let problem = reply.json();
    assert_eq!(problem["status"], status);
    assert!(problem["title"].is_string(), "{problem}");
}

#[test]
fn errors_are_problems_and_writes_need_a_right() {
    let (_backends, lb) = stand();
    let tandem = lb.start();
    assert_problem(&tandem.admin("GET", "/nothing"), 404);
    assert_problem(&tandem.admin("GET", "/v1/pools/nobody"), 404);
    assert_problem(&tandem.admin("GET", "/v1/reload"), 405);
    let open = tandem.admin_tcp();
    let refused = http::tcp(open, "POST", "/v1/reload", "").unwrap();
    assert_problem(&refused, 403);
    assert_eq!(tandem.admin("POST", "/v1/reload").status, 200);

    drop(tandem);
    let guarded = lb
        .tail(&ADMIN.replace(" }\n", ", token: s3cret-s3cret-s3cret }\n"))
        .start();
    let address = guarded.admin_tcp();
    let post = |headers: &str| http::tcp(address, "POST", "/v1/reload", headers).unwrap();
    assert!([401, 403].contains(&post("").status));
    assert!([401, 403].contains(&post("Authorization: Bearer wrong\r\n").status));
    assert_eq!(
        post("Authorization: Bearer s3cret-s3cret-s3cret\r\n").status,
        200
    );
    assert_eq!(
        http::get(address, "/v1/status").status,
        200,
        "reading is free"
    );
}

/// Row 27.
#[test]
fn garbage_leaves_the_admin_interface_alive() {
    let (_backends, lb) = stand();
    let tandem = lb.start();
    let address = tandem.admin_tcp();
    let fds = tandem.proc.fds();
    let mut chance = Pattern::new(27);
    for round in 0..3000 {
        let bytes = garbage(&mut chance);
        if round % 2 == 0 {
            let mut stream = TcpStream::connect(address).unwrap();
            // It may hang up on us half-way.
            let _refused = stream.write_all(&bytes);
        } else {
            let mut stream = UnixStream::connect(tandem.socket()).unwrap();
            let _refused = stream.write_all(&bytes);
        }
    }
    assert_eq!(http::get(address, "/healthz").status, 200);
    assert_eq!(tandem.admin("GET", "/healthz").status, 200);
    wait_until("descriptors are back", SOON, || {
        tandem.proc.fds() <= fds + 4
    });
    assert_eq!(http::get(lb.address, "/").status, 200, "and traffic flows");
    assert!(!tandem.log().contains("panicked"), "{}", tandem.log());
}

/// Noise, or a request with noise in its middle.
fn garbage(chance: &mut Pattern) -> Vec<u8> {
    let mut bytes = vec![0; 1 + chance.below(600)];
    chance.fill(&mut bytes);
    let starts: [&[u8]; 4] = [
        b"",
        b"GET /v1/",
        b"GET /metrics HTTP/1.1\r\nHost: ",
        b"POST /v1/reload HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n",
    ];
    let mut all = starts[chance.below(starts.len())].to_vec();
    all.extend(bytes);
    all
}

#[test]
fn a_broken_file_leaves_the_old_one_in_force() {
    let (_backends, lb) = stand();
    let tandem = lb.start();
    let hash = tandem.status()["config"]["hash"].clone();
    let ok = || tandem.metric("tandem_config_last_reload_successful", &[]);
    assert!(ok() > 0.5);
    tandem.write(&lb.yaml().replace("pool: web", "pool: wbe"));

    let done = tandem.command(&["reload"]);
    assert_eq!(done.status.code(), Some(1), "{}", said(&done));
    let told = said(&done);
    assert!(told.contains("lb.yaml:") && told.contains("pool"), "{told}");
    assert!(
        !told.contains("wbe"),
        "what the file says stays there: {told}"
    );
    assert!(ok() < 0.5, "the metric says so");
    wait_until("the log says so", SOON, || {
        !tandem.events("reload_failed").is_empty()
    });
    let refused = tandem.admin("POST", "/v1/reload");
    assert!(
        refused.status >= 400 && refused.status < 500,
        "{}",
        refused.head
    );
    assert_eq!(tandem.status()["config"]["hash"], hash);
    assert_eq!(http::get(lb.address, "/").status, 200, "traffic flows");

    tandem.write(&lb.clone().pool("policy: least").yaml());
    let done = tandem.command(&["reload"]);
    assert_eq!(done.status.code(), Some(0), "{}", said(&done));
    assert!(ok() > 0.5);
    assert_ne!(tandem.status()["config"]["hash"], hash);
    assert_eq!(tandem.status()["pools"][0]["policy"], "least");
}

#[test]
fn readyz_waits_for_the_first_round_of_probes() {
    let frozen = Backend::start("a");
    frozen.freeze();
    let lb = Lb::new(&[], "http")
        .backend("a", frozen.address)
        .pool("probe: { type: http, path: /healthz, timeout: 1500ms, interval: 2s }");
    let tandem = Tandem::launch(&lb.yaml(), None, None);
    tandem.wait_alive();
    assert_eq!(tandem.admin("GET", "/readyz").status, 503);
    tandem.wait_ready();
    frozen.thaw();
    tandem.wait_state("a", "up");
}

#[test]
fn the_status_has_the_shape_that_people_script_against() {
    let (_backends, lb) = stand();
    let tandem = lb.start();
    let status = tandem.status();
    let has = |at: &serde_json::Value, keys: &[&str]| {
        for key in keys {
            assert!(at.get(key).is_some(), "no {key} in {at}");
        }
    };
    let top = [
        "version",
        "ready",
        "workers",
        "connections",
        "config",
        "admin",
    ];
    has(&status, &top);
    has(
        &status,
        &["listeners", "pools", "max_connections", "started"],
    );
    has(
        &status["listeners"][0],
        &["name", "pool", "binds", "connections"],
    );
    let pool = &status["pools"][0];
    has(
        pool,
        &["name", "policy", "protocol", "usable", "panic", "backends"],
    );
    let keys = ["name", "address", "state", "weight", "effective_weight"];
    has(&pool["backends"][0], &keys);
    has(&pool["backends"][0], &["connections", "last_probe"]);
    let command = tandem.command(&["status", "--json"]);
    let same: serde_json::Value = serde_json::from_slice(&command.stdout).unwrap();
    assert_eq!(same["pools"][0]["name"], "web");
    let text = said(&tandem.command(&["status"]));
    assert!(text.contains("web") && text.contains("up"), "{text}");
}

/// A scraper that never stops takes nothing from the traffic.
#[test]
fn scraping_hard_hurts_no_traffic() {
    let (_backends, lb) = stand();
    let tandem = lb.start();
    let load = Load::start(Plan::usual(lb.address));
    let start = Instant::now();
    let mut scrapes = 0;
    while start.elapsed() < ms(2000) {
        assert_eq!(tandem.admin("GET", "/metrics").status, 200);
        scrapes += 1;
    }
    figure("admin.scrapes_in_2s", scrapes);
    load.stop().assert_clean();
}

/// Clients that ask for /metrics over and over and read nothing: with so many
/// at once every command timed out.
#[test]
fn who_never_reads_keeps_nobody_from_asking() {
    let (_backends, lb) = stand();
    let tandem = lb.clone().tail(ADMIN).start();
    let address = tandem.admin_tcp();
    let fds = tandem.proc.fds();
    let request = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(2000);
    // From one source, and then from many.
    let mut held = Vec::new();
    for sources in [1, 20] {
        for i in 0..40 {
            let source: SocketAddr = format!("127.0.0.{}:0", 10 + i % sources).parse().unwrap();
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
            socket.set_recv_buffer_size(4096).unwrap();
            socket.bind(&source.into()).unwrap();
            socket.connect(&address.into()).unwrap();
            socket.set_nonblocking(true).unwrap();
            let mut stream = TcpStream::from(socket);
            // What the kernel does not take is not sent.
            let _some = stream.write(&request);
            held.push(stream);
        }
        for _ in 0..10 {
            let done = tandem.command(&["status"]);
            assert_eq!(done.status.code(), Some(0), "{}", said(&done));
            assert_eq!(
                http::get(address, "/metrics").status,
                200,
                "of {sources} sources"
            );
        }
        let open = tandem.proc.fds();
        assert!(open <= fds + 36, "{open} descriptors, {fds} before");
    }
    // Nobody waits for them for ever: an answer has a deadline.
    wait_until("they are let go", SOON, || tandem.proc.fds() <= fds + 4);
    drop(held);
}

/// The answer to a request as it stands here.
fn ask_raw(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.lines().next().unwrap_or_default().to_owned()
}

#[test]
fn a_page_whose_name_is_pointed_here_is_refused() {
    let (_backends, lb) = stand();
    let admin =
        "admin: { bind: \"127.0.0.1:0\", socket: \"@SOCKET\", hosts: [lb.alias.example] }\n";
    let tandem = lb.clone().tail(admin).start();
    let address = tandem.admin_tcp();
    let port = address.port();
    let ask = |host: &str, more: &str| {
        let head = format!("GET /v1/status HTTP/1.1\r\nHost: {host}\r\n{more}");
        ask_raw(address, &format!("{head}Connection: close\r\n\r\n"))
    };
    let name = rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned();
    for host in ["127.0.0.1", "localhost", &name, "LB.alias.example"] {
        assert_eq!(
            ask(&format!("{host}:{port}"), ""),
            "HTTP/1.1 200 OK",
            "{host}"
        );
        assert_eq!(ask(host, ""), "HTTP/1.1 200 OK", "{host}");
    }
    for host in ["evil.example", "203.0.113.9", "localhost.evil.example"] {
        let refused = ask(&format!("{host}:{port}"), "");
        assert_eq!(refused, "HTTP/1.1 421 Misdirected Request", "{host}");
    }
    let here = format!("localhost:{port}");
    let foreign = ask(&here, "Origin: http://evil.example\r\n");
    assert_eq!(foreign, "HTTP/1.1 403 Forbidden");
    let own = ask(&here, &format!("Origin: http://{here}\r\n"));
    assert_eq!(own, "HTTP/1.1 200 OK");
    // Health checks of other programs have no name for us.
    assert_eq!(
        ask_raw(address, "GET /healthz HTTP/1.0\r\n\r\n"),
        "HTTP/1.0 200 OK"
    );
    assert_eq!(
        tandem.admin("GET", "/v1/status").status,
        200,
        "the socket takes any"
    );
}

/// A Redis of sorts that repeats what it was sent, as servers do in errors.
fn parrot() -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    // It ends with the test's process.
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { continue };
            let mut bytes = [0; 256];
            let Ok(length) = stream.read(&mut bytes) else {
                continue;
            };
            let said = String::from_utf8_lossy(&bytes[..length]).into_owned();
            let answer = format!("-ERR what is {:?}?\r\n", said.trim_end());
            // A prober that has heard enough is gone.
            let _gone = stream.write_all(answer.as_bytes());
        }
    });
    address
}

#[test]
fn a_password_from_the_environment_is_told_to_nobody() {
    const PASSWORD: &str = "hunter2-geheim";
    let send = "probe: { type: send_expect, send: \"AUTH ${REDIS_PW}\\r\\n\", expect: +OK, \
                interval: 200ms, timeout: 150ms, fall: 1, down_interval: 200ms }";
    let lb = Lb::bare().backend("a", parrot()).pool(send).tail(ADMIN);
    let tandem = Tandem::launch_as(&lb.yaml(), &[], |it| {
        it.env("REDIS_PW", PASSWORD);
    });
    tandem.wait_alive();
    tandem.wait_state("a", "down");
    let told = |what: &str| {
        let shown = tandem.admin("GET", what).body;
        assert!(!shown.contains("hunter2"), "{what}: {shown}");
        shown
    };
    assert!(told("/v1/config").contains("AUTH ${REDIS_PW}"));
    let detail = told("/v1/status");
    assert!(detail.contains("${REDIS_PW}"), "it was repeated: {detail}");
    assert!(told("/v1/events").contains("${REDIS_PW}"));

    // A slip beside a password, and one with a password in it.
    for (from, to) in [
        ("fall: 1", "fall: hunter2-slip"),
        ("fall: 1", "hunter2-slip: 1"),
        ("fall: 1", "fall: 1, ${REDIS_PW}: 1"),
        ("fall: 1", "fall: \"${REDIS_PW}\""),
        ("fall: 1", "fall: [\"hunter2"),
        ("expect: +OK", "pasword: hunter2-slip, expect: +OK"),
    ] {
        tandem.write(&lb.yaml().replace(from, to));
        for path in ["/v1/reload?dry_run=1", "/v1/reload"] {
            let refused = tandem.admin("POST", path);
            assert!((400..500).contains(&refused.status), "{}", refused.head);
            assert!(refused.body.contains("lb.yaml:"), "{}", refused.body);
            assert!(!refused.body.contains("hunter2"), "{}", refused.body);
        }
        let _shown = told("/v1/status");
    }
    // The lines are for who may read the file.
    let config = tandem.config().display().to_string();
    let checked = crate::kit::tandem::run(&["check", "-c", &config]);
    assert!(said(&checked).contains("hunter2"), "{}", said(&checked));
    let started = crate::kit::tandem::run(&["run", "-c", &config]);
    assert_eq!(started.status.code(), Some(2));
    assert!(!said(&started).contains("hunter2"), "{}", said(&started));

    tandem.write(&lb.clone().pool("connect_tries: 2").yaml());
    assert_eq!(tandem.admin("POST", "/v1/reload").status, 200);
    let _shown = told("/v1/events");
    assert!(!tandem.log().contains("hunter2"), "{}", tandem.log());
}
