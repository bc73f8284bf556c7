//! Hosts: network namespaces behind a switch, whose links can be cut one by
//! one. `1` and `2` are the nodes, and `3` where there are three, `d` has the
//! name server, `c` the clients and the backend. Needs root.

use std::fs::File;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::AsFd as _;
use std::process::{Child, Command};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::pair::Pair;
use crate::server::{Kind, Server};

const HOSTS: [&str; 5] = ["1", "2", "c", "d", "3"];

/// The hosts; they end with this value.
pub struct Net {
    number: u8,
    tag: String,
    backend: Option<Child>,
}

fn root(words: &str) {
    let mut all = words.split(' ');
    let program = all.next().unwrap();
    let done = Command::new(program).args(all).output();
    let done = done.unwrap_or_else(|error| panic!("no {program} ({error}); install it"));
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(done.status.success(), "{words}: {said} (needs root)");
}

/// Moves this thread to a host, if one is given.
pub fn enter(space: Option<&str>) {
    if let Some(space) = space {
        let file = File::open(format!("/run/netns/{space}")).unwrap();
        move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
    }
}

/// Does something on a host.
pub fn within<T: Send>(space: &str, act: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            enter(Some(space));
            act()
        });
        thread.join().unwrap()
    })
}

impl Net {
    /// Hosts with addresses in `10.77.NUMBER.0/24`.
    pub fn new(number: u8) -> Self {
        let tag = format!("tdm{}n{number}", std::process::id() % 10_000);
        let mut net = Self {
            number,
            tag,
            backend: None,
        };
        let hub = net.space("h");
        root(&format!("ip netns add {hub}"));
        root(&format!("ip -n {hub} link add br0 type bridge"));
        root(&format!("ip -n {hub} link set br0 up"));
        for host in HOSTS {
            let (space, address) = (net.space(host), net.address(host));
            root(&format!("ip netns add {space}"));
            root(&format!(
                "ip -n {hub} link add p{host} type veth peer name eth0 netns {space}"
            ));
            root(&format!("ip -n {hub} link set p{host} master br0 up"));
            root(&format!("ip -n {space} addr add {address}/24 dev eth0"));
            root(&format!("ip -n {space} link set eth0 up"));
            root(&format!("ip -n {space} link set lo up"));
        }
        let backend = Command::new("ip")
            .args(["netns", "exec", &net.space("c")])
            .arg(env!("CARGO_BIN_EXE_tandem"))
            .args(["demo-backend", "a", &net.backend().to_string()])
            .spawn();
        net.backend = Some(backend.unwrap());
        net
    }

    /// A pair on the hosts `1` and `2`.
    pub fn pair(&self, publish: &str) -> Pair {
        let ips = ["1", "2"].map(|host| self.address(host));
        let prefix = ["1", "2"].map(|host| self.prefix(host));
        let ports = [8081, 53, 7946];
        Pair::at(ips, ports, self.backend(), prefix, publish)
    }

    /// A name server on the host `d`, with `more` in its zone.
    pub fn server(&self, kind: Kind, more: &str) -> Server {
        let address = (self.address("d"), 53).into();
        Server::start_at(kind, address, self.prefix("d"), more)
    }

    /// What the parent zone says of a pair that answers for itself.
    pub fn delegation(&self) -> String {
        let nodes = ["1", "2"].map(|host| {
            let address = self.address(host);
            format!("lb 3600 IN NS lb{host}.lb\nlb{host}.lb 3600 IN A {address}\n")
        });
        nodes.concat()
    }

    /// Where the backend is.
    pub fn backend(&self) -> SocketAddr {
        (self.address("c"), 8080).into()
    }

    pub fn address(&self, host: &str) -> Ipv4Addr {
        let at = HOSTS.iter().position(|it| *it == host).unwrap();
        Ipv4Addr::new(10, 77, self.number, u8::try_from(at).unwrap() + 1)
    }

    /// What a command begins with to run on a host.
    pub fn prefix(&self, host: &str) -> Vec<String> {
        let space = self.space(host);
        ["ip", "netns", "exec", &space].map(str::to_owned).to_vec()
    }

    /// The namespace of a host.
    pub fn space(&self, host: &str) -> String {
        format!("{}{host}", self.tag)
    }

    /// Takes the link of a node away, or gives it back.
    pub fn link(&self, node: usize, state: &str) {
        let space = self.node(node);
        root(&format!("ip -n {space} link set eth0 {state}"));
    }

    /// The namespace of a node.
    pub fn node(&self, node: usize) -> String {
        self.space(&(node + 1).to_string())
    }

    /// Lets `host` hear nothing from `from` any more.
    pub fn deafen(&self, host: &str, from: IpAddr) {
        self.rule(host, &format!("ip saddr {from} drop"));
    }

    /// Lets `host` lose every second packet, at random.
    pub fn lose_half(&self, host: &str) {
        self.rule(host, "numgen random mod 2 == 0 drop");
    }

    /// Lets `host` hear nothing at all.
    pub fn isolate(&self, host: &str) {
        self.rule(host, "drop");
    }

    fn rule(&self, host: &str, rule: &str) {
        let nft = format!("ip netns exec {} nft", self.space(host));
        root(&format!("{nft} add table ip cut"));
        root(&format!(
            "{nft} add chain ip cut hears {{ type filter hook input priority 0 ; }}"
        ));
        root(&format!("{nft} add rule ip cut hears {rule}"));
    }

    /// Ends what `deafen` and `lose_half` did to a host.
    pub fn mend(&self, host: &str) {
        let space = self.space(host);
        root(&format!("ip netns exec {space} nft delete table ip cut"));
    }

    /// Keeps the two nodes, and only them, from hearing each other.
    pub fn part(&self) {
        self.deafen("1", self.address("2").into());
        self.deafen("2", self.address("1").into());
    }

    /// Ends `part`.
    pub fn rejoin(&self) {
        self.mend("1");
        self.mend("2");
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        if let Some(mut backend) = self.backend.take() {
            let _gone = backend.kill();
            let _reaped = backend.wait();
        }
        for host in HOSTS.into_iter().chain(["h"]) {
            let space = self.space(host);
            let _gone = Command::new("ip").args(["netns", "del", &space]).output();
        }
    }
}
