//! A probe without an account meets whatever accounts a server has: MariaDB
//! plays one of them for a user that it does not know.

use crate::kit::mariadb::Mariadb;
use crate::kit::tandem::{Lb, Tandem};
use crate::kit::{SOON, eventually_or, figure, ports};

const TIMES: &str = "interval: 20ms, timeout: 800ms, fall: 2, rise: 1, fast_interval: 20ms";

/// A server that blocks a host after ten connect errors, seen from an address
/// whose errors it counts, with accounts of root's alone.
fn server() -> Mariadb {
    let options = ["--max-connect-errors=10", "--performance-schema=ON"];
    let server = Mariadb::start_on(ports::own_address(), &options);
    server.sql("DROP USER app@'%', tandem@'%'");
    server
}

fn start(server: &Mariadb) -> Tandem {
    let lb = Lb::bare()
        .backend("db1", server.address)
        .pool("protocol: mysql")
        .pool(&format!("probe: {{ type: mysql, {TIMES} }}"));
    lb.start()
}

/// So many probes more, none of which fails or is held against us.
fn all_pass(server: &Mariadb, tandem: &Tandem, what: &str, probes: f64) {
    let passed = || tandem.metric("tandem_probe_success_total", &[]);
    let before = passed();
    let done = eventually_or(SOON, || (passed() >= before + probes).then_some(()));
    assert!(done.is_some(), "{what}: {}", tandem.backend("web", "db1"));
    let failed = tandem.metric("tandem_probe_failures_total", &[]);
    let errors = server.connect_errors();
    figure(&format!("mysql.accounts.{what}.failed"), failed);
    figure(&format!("mysql.accounts.{what}.connect_errors"), errors);
    assert_eq!(failed, 0.0, "{what}: {}", tandem.backend("web", "db1"));
    assert_eq!(errors, 0, "{what}: these block a host");
    assert_eq!(tandem.backend("web", "db1")["state"], "up");
}

#[test]
fn a_server_whose_accounts_come_over_its_socket_is_alive() {
    let server = server();
    // As `mariadb-install-db` makes them; what a client hears is 1698.
    server.sql("ALTER USER root@localhost IDENTIFIED VIA unix_socket");
    let tandem = start(&server);
    tandem.wait_state("db1", "up");
    all_pass(&server, &tandem, "socket", 100.0);
}

#[test]
fn create_user_on_a_live_server_changes_no_verdict() {
    let server = server();
    let tandem = start(&server);
    tandem.wait_state("db1", "up");
    server.sql("INSTALL SONAME 'auth_ed25519'; INSTALL SONAME 'auth_pam'");
    for (name, way, probes) in [(
        "native",
        "mysql_native_password USING PASSWORD('secret')",
        100.0,
    )] {
        // So many that the one that is played for a stranger is one of them.
        let users: Vec<String> = (0..40).map(|at| format!("u{at}@'%'")).collect();
        let each = users.iter().map(|it| format!("{it} IDENTIFIED VIA {way}"));
        let each: Vec<String> = each.collect();
        server.sql(&format!("CREATE USER {}", each.join(", ")));
        all_pass(&server, &tandem, name, probes);
        server.sql(&format!("DROP USER {}", users.join(", ")));
    }
    let downs = tandem.events("backend");
    let downs = downs.iter().filter(|it| it["to"] == "down").count();
    assert_eq!(downs, 0);
}
