//! Backends by host name, where the name has more than one address.

use std::fs;
use std::net::SocketAddr;

use crate::kit::backend::Backend;
use crate::kit::tandem::{Lb, Tandem};
use crate::kit::{eventually_or, http, ms, ports};

const PROBE: &str = "probe: { type: tcp, interval: 200ms, timeout: 150ms, fall: 2, rise: 1, fast_interval: 100ms, down_interval: 200ms }";

/// A tandem whose machine knows these names by its hosts file.
fn with_hosts(lb: &Lb, hosts: &str) -> Tandem {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("hosts");
    fs::write(&file, hosts).unwrap();
    let mount = "mount --bind \"$1\" /etc/hosts; shift; exec \"$@\"";
    let file = file.display().to_string();
    let prefix = ["unshare", "-m", "sh", "-ec", mount, "sh", &file];
    let tandem = Tandem::launch_as(&lb.yaml(), &prefix, |_| {});
    // The mount is there by then, and stays.
    tandem.wait_ready();
    tandem
}

fn of_family(name: &str, is_ipv6: bool) -> Backend {
    let port = ports::free().port();
    let address = if is_ipv6 {
        SocketAddr::from((std::net::Ipv6Addr::LOCALHOST, port))
    } else {
        SocketAddr::from((std::net::Ipv4Addr::LOCALHOST, port))
    };
    let mut backend = Backend::elsewhere(name, address);
    backend.revive();
    backend
}

/// Each server listens at one of the name's addresses, and one of the two at
/// that which the resolver gives second, whichever that is here.
#[test]
fn a_server_that_listens_at_one_of_its_names_addresses_is_up() {
    let [four, six] = [of_family("a", false), of_family("b", true)];
    let mut lb = Lb::bare().pool(PROBE);
    for server in [&four, &six] {
        let at = format!("\"db.test:{}\"", server.address.port());
        lb = lb.backend_as(&server.name, &at);
    }
    let mut tandem = with_hosts(&lb, "::1 db.test\n127.0.0.1 db.test localhost\n");
    for server in [&four, &six] {
        tandem.wait_state(&server.name, "up");
        let shown = tandem.backend("web", &server.name)["address"].clone();
        assert_eq!(shown, server.address.to_string());
    }
    for _ in 0..20 {
        let said = http::get(lb.address, "/").body;
        assert!(["a /", "b /"].contains(&said.trim()), "{said:?}");
    }
    // It comes back at its other address, and a lookup later it is found there.
    let mut moved = four;
    moved.kill();
    tandem.wait_state("a", "down");
    moved.address.set_ip(std::net::Ipv6Addr::LOCALHOST.into());
    moved.revive();
    let back = eventually_or(ms(60_000), || {
        (tandem.backend("web", "a")["state"] == "up").then_some(())
    });
    assert!(back.is_some(), "{}", tandem.log());
    let status = tandem.stop(ms(60_000));
    assert!(status.success(), "{status}");
}
