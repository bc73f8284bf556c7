//! unbound on the clients' host; it knows the parent zone's server, and learns
//! of the pair from the delegation there.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use super::client::{resolve, resolve_name};
use super::net::{Net, within};
use super::pair::NAME;
use super::wait_until;
use crate::server::ZONE;

/// A running unbound; it ends with this value.
pub struct Unbound {
    pub address: SocketAddr,
    child: Child,
    _dir: TempDir,
}

impl Unbound {
    /// Starts one at `port` of the host `c`.
    pub fn start(net: &Net, parent: IpAddr, port: u16) -> Self {
        let dir = TempDir::new().unwrap();
        let address = SocketAddr::from((net.address("c"), port));
        let text = format!(
            "server:\n  interface: {0}@{4}\n  access-control: 10.0.0.0/8 allow\n  \
             do-daemonize: no\n  username: \"\"\n  chroot: \"\"\n  directory: \"{1}\"\n  \
             pidfile: \"{1}/pid\"\n  use-syslog: no\n  module-config: \"iterator\"\n  do-ip6: no\n  \
             local-zone: \"test.\" nodefault\n\
             remote-control:\n  control-enable: no\n\
             stub-zone:\n  name: \"{2}\"\n  stub-addr: {3}\n",
            address.ip(),
            dir.path().display(),
            ZONE,
            parent,
            port,
        );
        let file = dir.path().join("unbound.conf");
        fs::write(&file, text).unwrap();
        let prefix = net.prefix("c");
        let child = Command::new(&prefix[0])
            .args(&prefix[1..])
            .args(["unbound", "-c"])
            .arg(&file)
            .stderr(Stdio::null())
            .spawn()
            .expect("install unbound");
        let unbound = Self {
            address,
            child,
            _dir: dir,
        };
        within(&net.space("c"), || unbound.warm_up());
        unbound
    }

    /// Asks what nobody has asked before, so that it gets to know both nodes,
    /// as a resolver does that is in use: its guess of 376 ms for a server
    /// that it does not know shrinks with every answer.
    fn warm_up(&self) {
        wait_until("unbound answers", || resolve(self.address).is_some());
        for turn in 0..60 {
            resolve_name(self.address, &format!("x{turn}.{NAME}"));
        }
    }
}

impl Drop for Unbound {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}
