//! A real MariaDB behind tandem.

use std::net::{IpAddr, SocketAddr};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::kit::mariadb::{self, Mariadb};
use crate::kit::proc::Proc;
use crate::kit::tandem::{Lb, Tandem};
use crate::kit::{Backend, SOON, figure, ms, output, ports, said, wait_until};

const LOGIN: &str = "user: tandem, password: secret, ";
const TIMES: &str = "interval: 200ms, timeout: 500ms, fall: 2, rise: 2, \
                     fast_interval: 100ms, down_interval: 200ms";

fn lb_for(server: &Mariadb, login: &str) -> Lb {
    Lb::bare()
        .backend("db1", server.address)
        .pool("protocol: mysql")
        .pool("slow_start: off")
        .pool(&format!("probe: {{ type: mysql, {login}{TIMES} }}"))
}

/// Two pools with the same server, one probed with and one without a login.
fn both_probes(server: &Mariadb) -> String {
    let pool = |login: &str| {
        format!(
            "protocol: mysql, slow_start: off, backends: {{ db1: \"{}\" }}, \
             probe: {{ type: mysql, {login}{TIMES} }}",
            server.address
        )
    };
    format!(
        "listeners:\n  one: {{ bind: \"{}\", pool: login }}\n  two: {{ bind: \"{}\", pool: bare }}\n\
         pools:\n  login: {{ {} }}\n  bare: {{ {} }}\n",
        ports::free(),
        ports::free(),
        pool(LOGIN),
        pool("")
    )
}

fn sysbench(address: SocketAddr, action: &str) -> String {
    let mut command = Command::new("sysbench");
    command
        .args(["oltp_read_write", "--tables=2", "--table-size=2000"])
        .args(["--threads=4", "--time=5", "--mysql-user=app"])
        .args(["--mysql-password=secret", "--mysql-db=app"])
        .arg(format!("--mysql-host={}", address.ip()))
        .arg(format!("--mysql-port={}", address.port()))
        .arg(action);
    let done = output(&mut command, "sysbench");
    assert!(done.status.success(), "{action}: {}", said(&done));
    said(&done)
}

#[test]
fn clients_work_through_it_unchanged() {
    let server = Mariadb::start(&[]);
    let lb = lb_for(&server, LOGIN);
    let before = server.counter("Aborted_connects");
    let tandem = lb.start();
    let answer = mariadb::ask(lb.address, "SELECT 6 * 7; SELECT REPEAT('x', 1000000)");
    let text = said(&answer);
    assert!(
        answer.status.success() && text.starts_with("42\n"),
        "{text:.200}"
    );
    assert_eq!(text.trim().len(), 1_000_003, "a long row arrives whole");
    let wrong = mariadb::ask(lb.address, "SELECT nothing");
    assert!(said(&wrong).contains("1054"), "errors are the server's own");

    sysbench(lb.address, "prepare");
    let report = sysbench(lb.address, "run");
    for line in report.lines() {
        let Some((key, value)) = line.split_once(':') else {
            continue;
        };
        if ["transactions", "ignored errors", "reconnects"].contains(&key.trim()) {
            figure(&format!("mysql.sysbench.{}", key.trim()), value.trim());
        }
    }
    let reconnects = report.lines().find(|it| it.contains("reconnects:"));
    assert!(reconnects.is_some_and(|it| it.contains(" 0 ")), "{report}");
    sysbench(lb.address, "cleanup");
    assert_eq!(server.counter("Aborted_connects"), before);
    assert_eq!(tandem.backend("web", "db1")["state"], "up");
}

#[test]
fn ten_thousand_probes_with_a_login_leave_no_trace() {
    probes_leave_no_trace("login", LOGIN);
}

#[test]
fn ten_thousand_probes_without_a_login_leave_no_trace() {
    probes_leave_no_trace("bare", "");
}

fn probes_leave_no_trace(name: &str, login: &str) {
    const PROBES: f64 = 10_000.0;
    let options = ["--max-connect-errors=10", "--performance-schema=ON"];
    let server = Mariadb::start_on(ports::own_address(), &options);
    let times = "interval: 5ms, timeout: 2s, fall: 3, rise: 1, fast_interval: 5ms";
    let front = ports::free();
    let mut text = format!("listeners:\n  db: {{ bind: \"{front}\", pool: db0 }}\npools:\n");
    // Twenty pools, each with a prober of its own.
    for at in 0..20 {
        let pool = format!(
            "backends: {{ db: \"{}\" }}, probe: {{ type: mysql, {login}{times} }}",
            server.address
        );
        text.push_str(&format!("  db{at}: {{ {pool} }}\n"));
    }
    let before = server.counter("Aborted_connects");
    let start = Instant::now();
    let tandem = Tandem::launch(&text, None, None);
    tandem.wait_alive();
    let passed = || tandem.metric("tandem_probe_success_total", &[]);
    wait_until("10,000 probes", SOON * 5, || passed() >= PROBES);
    let took = start.elapsed();
    figure(&format!("mysql.probes.{name}.seconds"), took.as_secs_f32());
    figure(&format!("mysql.probes.{name}.passed"), passed());
    let failed = tandem.metric("tandem_probe_failures_total", &[]);
    let aborted = server.counter("Aborted_connects") - before;
    let errors = server.connect_errors();
    let clients = server.counter("Aborted_clients");
    figure(&format!("mysql.probes.{name}.failed"), failed);
    figure(&format!("mysql.probes.{name}.aborted_connects"), aborted);
    figure(&format!("mysql.probes.{name}.aborted_clients"), clients);
    figure(&format!("mysql.probes.{name}.sum_connect_errors"), errors);
    assert_eq!(errors, 0, "SUM_CONNECT_ERRORS");
    // Without an account there is no conversation past the greeting that
    // MariaDB does not count as aborted; see health/probe/mysql.rs.
    if !login.is_empty() {
        assert_eq!(aborted, 0, "Aborted_connects");
    }
    let answer = mariadb::ask(front, "SELECT 1");
    assert_eq!(said(&answer).trim(), "1", "nobody is blocked");
}

#[test]
fn clients_hear_a_mysql_error_when_no_server_is_left() {
    let mut server = Mariadb::start(&[]);
    let lb = lb_for(&server, LOGIN);
    let tandem = lb.start();
    server.kill();
    tandem.wait_state("db1", "down");
    let start = Instant::now();
    let answer = mariadb::ask(lb.address, "SELECT 1");
    let took = start.elapsed();
    figure("mysql.refused_ms", took.as_millis());
    let text = said(&answer);
    assert!(!answer.status.success());
    // Clients that want TLS print it as 2002 with our code and text in it.
    assert!(text.contains("1040"), "{text}");
    assert!(text.contains("tandem") && text.contains("web"), "{text}");
    assert!(took < SOON / 6, "{took:?}");

    server.revive();
    tandem.wait_state("db1", "up");
    assert_eq!(said(&mariadb::ask(lb.address, "SELECT 1")).trim(), "1");
}

#[test]
fn a_dead_server_cuts_its_clients_at_once() {
    let mut server = Mariadb::start(&[]);
    let lb = lb_for(&server, LOGIN);
    let _tandem = lb.start();
    let address = lb.address;
    let query = std::thread::spawn(move || mariadb::ask(address, "SELECT SLEEP(60)"));
    wait_until("the query runs", SOON, || {
        server.sql("SHOW PROCESSLIST").contains("SLEEP(60)")
    });
    let start = Instant::now();
    server.kill();
    let answer = query.join().unwrap();
    figure("mysql.cut_ms", start.elapsed().as_millis());
    assert!(said(&answer).contains("2013"), "{}", said(&answer));
    assert!(start.elapsed() < SOON / 2);
}

/// Ten minutes scaled down: every bound that could cut it is a small part of
/// the query's silence, and the MySQL defaults do the rest.
#[test]
fn a_silent_query_is_not_cut() {
    let server = Mariadb::start(&[]);
    let lb = lb_for(&server, LOGIN)
        .pool("connect_timeout: 300ms")
        .pool("connect_budget: 600ms")
        .pool("half_close_timeout: 500ms")
        .pool("tcp_user_timeout: 1s")
        .pool("drain_timeout: 1s");
    let _tandem = lb.start();
    let answer = mariadb::ask(lb.address, "SELECT SLEEP(8) + 42");
    assert_eq!(said(&answer).trim(), "42");
}

#[test]
fn a_frozen_server_is_down_and_comes_back() {
    let server = Mariadb::start(&[]);
    let tandem = Tandem::start(&both_probes(&server));
    for pool in ["login", "bare"] {
        tandem.wait_state_of(pool, "db1", "up");
    }
    let start = Instant::now();
    server.freeze();
    for pool in ["login", "bare"] {
        tandem.wait_state_of(pool, "db1", "down");
        let took = start.elapsed().as_millis();
        figure(&format!("mysql.frozen_out_ms.{pool}"), took);
    }
    let start = Instant::now();
    server.thaw();
    for pool in ["login", "bare"] {
        tandem.wait_state_of(pool, "db1", "up");
        let took = start.elapsed().as_millis();
        figure(&format!("mysql.frozen_back_ms.{pool}"), took);
    }
}

#[test]
fn a_full_server_is_saturated_and_not_dead() {
    let server = Mariadb::start(&[TEN]);
    let mut held = fill(&server);
    let refused = said(&mariadb::ask(server.address, "SELECT 1"));
    assert!(refused.contains("1040"), "{refused}");
    let tandem = Tandem::launch(&both_probes(&server), None, None);
    tandem.wait_alive();
    tandem.wait_state_of("login", "db1", "saturated");
    // The server keeps one place for administrators and learns only from the
    // login who somebody is: a probe without an account may get that far.
    let bare = tandem.admin("GET", "/v1/pools/bare/db1").body;
    assert!(!bare.contains("\"down\""), "{bare}");
    for proc in &mut held {
        proc.kill();
    }
    for pool in ["login", "bare"] {
        tandem.wait_state_of(pool, "db1", "up");
    }
}

/// Until the next probe every second client of two servers, of which one was
/// full, heard 1040.
#[test]
fn one_client_finds_out_that_a_server_is_full() {
    let servers = [Mariadb::start(&[TEN]), Mariadb::start(&[])];
    let lb = Lb::bare()
        .backend("db1", servers[0].address)
        .backend("db2", servers[1].address)
        .pool("policy: first")
        .pool("slow_start: off")
        // With an account it would take a place itself.
        .pool("probe: { type: mysql, interval: 60s }");
    let tandem = lb.start();
    for name in ["db1", "db2"] {
        tandem.wait_state(name, "up");
    }
    let mut held = fill(&servers[0]);
    let start = Instant::now();
    let answers = (0..20).map(|_| said(&mariadb::ask(lb.address, "SELECT 6 * 7")));
    let (served, refused): (Vec<_>, Vec<_>) = answers.partition(|it| it.trim() == "42");
    assert!(refused.iter().all(|it| it.contains("1040")), "{refused:?}");
    assert!(!served.is_empty() && !refused.is_empty(), "{refused:?}");
    // It is avoided for two seconds at a time.
    let most = start.elapsed().as_secs() / 2 + 1;
    assert!(refused.len() as u64 <= most, "{} of 20", refused.len());
    for proc in &mut held {
        proc.kill();
    }
}

/// The least that MariaDB takes.
const TEN: &str = "--max-connections=10";

/// Takes all places of a server that has `TEN`.
fn fill(server: &Mariadb) -> Vec<Proc> {
    let mut held: Vec<Proc> = (0..10).map(|_| hold(server)).collect();
    wait_until("the server is full", SOON, || {
        // One that came while we were looking was refused: it comes again.
        for proc in &mut held {
            if !proc.is_running() {
                *proc = hold(server);
            }
        }
        // Counted by the one more that an administrator may be; whoever comes
        // to be refused may be in that place for a moment.
        let query = "SELECT COUNT(*) FROM information_schema.processlist \
                     WHERE user = 'app' AND info LIKE 'SELECT SLEEP%'";
        server.try_sql(query).stdout.trim_ascii() == b"10"
    });
    held
}

fn hold(server: &Mariadb) -> Proc {
    let mut command = Command::new("mariadb");
    command
        .args(["--no-defaults", "-u", "app", "-psecret", "--protocol=TCP"])
        .arg(format!("--host={}", server.address.ip()))
        .arg(format!("--port={}", server.address.port()))
        .args(["-e", "SELECT SLEEP(100)"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    Proc::spawn(&mut command, "mariadb-client")
}

#[test]
fn the_probe_command_tells_a_living_server_from_a_dead_one() {
    use crate::kit::tandem::run;
    let mut server = Mariadb::start_on(IpAddr::from([127, 0, 0, 1]), &[]);
    let address = server.address.to_string();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "secret\n").unwrap();
    let password = file.path().display().to_string();
    let bare = ["probe", &address, "--mysql"];
    let login = [
        "probe",
        &address,
        "--mysql",
        "--user",
        "tandem",
        "--password-file",
        &password,
    ];
    for args in [&bare[..], &login[..]] {
        let done = run(args);
        assert_eq!(done.status.code(), Some(0), "{args:?}: {}", said(&done));
    }
    let wrong = [&login[..4], &["nobody", "--password-file", &password]].concat();
    assert_eq!(run(&wrong).status.code(), Some(1), "a refused login");
    server.kill();
    let start = Instant::now();
    for args in [&bare[..], &login[..]] {
        assert_eq!(run(args).status.code(), Some(1), "{args:?}");
    }
    assert!(start.elapsed() < Duration::from_secs(20) + ms(1));
}

/// A health check over HTTP at a port of its own says nothing of what clients
/// and server speak; and where it is said wrongly, a client that waits for the
/// server is connected all the same.
#[test]
fn a_server_that_speaks_first_is_heard_whatever_its_probe_speaks() {
    let server = Mariadb::start(&[]);
    let health = Backend::start("health");
    let probe = format!(
        "probe: {{ type: http, path: /healthz, port: {}, {TIMES} }}",
        health.address.port()
    );
    let lb = Lb::bare()
        .backend("db1", server.address)
        .pool("slow_start: off")
        .pool(&probe);
    for (protocol, client_first) in [(None, "auto"), (None, "on"), (Some("http"), "auto")] {
        let mut lb = lb
            .clone()
            .listener(&format!("client_first: {client_first}"));
        if let Some(protocol) = protocol {
            lb = lb.pool(&format!("protocol: {protocol}"));
        }
        let tandem = lb.start();
        tandem.wait_state("db1", "up");
        let start = Instant::now();
        let answer = mariadb::ask(lb.address, "SELECT 6 * 7");
        assert_eq!(said(&answer).trim(), "42", "{protocol:?} {client_first}");
        let took = start.elapsed().as_millis();
        figure(&format!("mysql.http_probe.{client_first}.ms"), took);
    }
}
