//! What a client behind a real resolver sees of a takeover.

use std::fs;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use super::kit::{NAME, Pair, figure, now, pass, since, wait_until};

struct Unbound {
    address: SocketAddr,
    child: Child,
    _dir: TempDir,
}

impl Unbound {
    fn start(pair: &Pair) -> Self {
        let dir = TempDir::new().unwrap();
        let port = {
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            socket.local_addr().unwrap().port()
        };
        let text = format!(
            "server:\n  interface: 127.0.0.1@{port}\n  do-daemonize: no\n  username: \"\"\n  \
             chroot: \"\"\n  directory: \"{0}\"\n  pidfile: \"{0}/pid\"\n  use-syslog: no\n  \
             do-not-query-localhost: no\n  module-config: \"iterator\"\n  \
             local-zone: \"test.\" nodefault\n\
             remote-control:\n  control-enable: no\n\
             stub-zone:\n  name: \"{NAME}\"\n  stub-addr: {1}@{3}\n  stub-addr: {2}@{3}\n",
            dir.path().display(),
            pair.ips[0],
            pair.ips[1],
            pair.dns
        );
        let file = dir.path().join("unbound.conf");
        fs::write(&file, text).unwrap();
        let child = Command::new("unbound")
            .arg("-c")
            .arg(&file)
            .stderr(Stdio::null())
            .spawn()
            .expect("install unbound");
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let unbound = Self {
            address,
            child,
            _dir: dir,
        };
        wait_until("unbound answers", || resolve(unbound.address).is_some());
        unbound
    }
}

impl Drop for Unbound {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// What `dig` says the name is, as a stub resolver asks.
fn resolve(server: SocketAddr) -> Option<IpAddr> {
    let done = Command::new("dig")
        .args(["+short", "+time=1", "+tries=1", NAME, "A"])
        .arg(format!("@{}", server.ip()))
        .args(["-p", &server.port().to_string()])
        .output()
        .expect("install bind9-dnsutils");
    let text = String::from_utf8_lossy(&done.stdout).into_owned();
    text.lines().find_map(|it| it.parse().ok())
}

#[test]
fn a_client_of_unbound_is_back_soon_after_the_ttl() {
    let mut pair = Pair::embedded(15);
    pair.start_both();
    let unbound = Unbound::start(&pair);
    for _ in 0..3 {
        let holder = pair.settle();
        let here = IpAddr::V4(pair.ips[holder]);
        let there = IpAddr::V4(pair.ips[1 - holder]);
        wait_until("it knows the holder", || {
            resolve(unbound.address) == Some(here)
        });
        let start = now();
        pair.kill(holder);
        wait_until("it knows the survivor", || {
            resolve(unbound.address) == Some(there)
        });
        let took = since(start);
        figure("twins.unbound_ttl_1s_ms", took.as_millis());
        assert!(took < Duration::from_secs(15), "the goal is TTL + 1.5 s");
        pair.start(holder);
        pair.settle();
        pass(Duration::from_millis(3500));
    }
}
