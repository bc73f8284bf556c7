//! Servers on unix sockets.

use std::fs;

use tempfile::TempDir;

use crate::kit::mariadb::{self, Mariadb};
use crate::kit::nginx::Nginx;
use crate::kit::tandem::Lb;
use crate::kit::{SOON, http, said, wait_until};

/// A socket in a directory that a server of another user may enter.
fn socket(dir: &TempDir, name: &str) -> String {
    dir.path().join(name).display().to_string()
}

#[test]
fn an_nginx_on_a_unix_socket_is_probed_and_serves() {
    let dir = tempfile::tempdir().unwrap();
    let path = socket(&dir, "nginx.sock");
    let mut nginx = Nginx::start_with("a", &format!("; listen unix:{path}"));
    let lb = Lb::bare()
        .backend_as("a", &format!("\"unix:{path}\""))
        .pool("probe: { type: http, path: /healthz, interval: 200ms, timeout: 150ms, fall: 2, rise: 2, fast_interval: 100ms, down_interval: 200ms }");
    let tandem = lb.start();
    tandem.wait_state("a", "up");
    nginx.put("big", &"x".repeat(3_000_000));
    assert_eq!(http::get(lb.address, "/").body, "a\n");
    assert_eq!(http::get(lb.address, "/files/big").body.len(), 3_000_000);
    let shown = tandem.backend("web", "a")["address"].clone();
    assert_eq!(shown, format!("unix:{path}"));
    let lines = tandem.events("conn");
    assert!(
        lines
            .iter()
            .all(|it| it["backend_addr"] == format!("unix:{path}"))
    );
    // Its file stays behind, and nobody listens.
    nginx.kill();
    tandem.wait_state("a", "down");
    assert_eq!(http::get(lb.address, "/").status, 503);
    fs::remove_file(&path).unwrap();
    nginx.revive();
    tandem.wait_state("a", "up");
    assert_eq!(http::get(lb.address, "/").body, "a\n");
}

#[test]
fn an_nginx_on_a_unix_socket_learns_the_clients_address() {
    let dir = tempfile::tempdir().unwrap();
    for version in ["v1", "v2"] {
        let path = socket(&dir, &format!("{version}.sock"));
        let _nginx = Nginx::start_with("a", &format!("; listen unix:{path} proxy_protocol"));
        let lb = Lb::bare()
            .backend_as("a", &format!("\"unix:{path}\""))
            .pool("probe: http /healthz")
            .pool(&format!("send_proxy: {version}"));
        let _tandem = lb.start();
        assert_eq!(http::get(lb.address, "/address").body, "127.0.0.1\n");
    }
}

#[test]
fn a_mariadb_is_reached_over_its_own_socket() {
    let server = Mariadb::start(&[]);
    for login in ["", "user: tandem, password: secret, "] {
        let lb = Lb::bare()
            .backend_as("db1", &format!("\"unix:{}\"", server.socket()))
            .pool("protocol: mysql")
            .pool(&format!(
                "probe: {{ type: mysql, {login}interval: 200ms, timeout: 500ms }}"
            ));
        let tandem = lb.start();
        tandem.wait_state("db1", "up");
        let before = server.counter("Aborted_connects");
        let answer = mariadb::ask(lb.address, "SELECT 6 * 7; SELECT REPEAT('x', 1000000)");
        let text = said(&answer);
        assert!(text.starts_with("42\n"), "{text:.200}");
        assert_eq!(text.trim().len(), 1_000_003);
        let passed = || tandem.metric("tandem_probe_success_total", &[]);
        let enough = passed() + 5.0;
        wait_until("five more probes", SOON, || passed() >= enough);
        // Without an account each probe counts, as over TCP; see
        // health/probe/mysql.rs.
        if !login.is_empty() {
            assert_eq!(server.counter("Aborted_connects"), before, "{login}");
        }
    }
}
