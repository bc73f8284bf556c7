//! Local ports: how many there are for connections to one server, and how many
//! are taken. Each connection to it needs another one of a source address.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};

use crate::net::source;
use crate::pool::{BackendView, Snapshot};
use crate::types::Sources;

/// Which ports the kernel gives out, IPv6 included.
const RANGE: &str = "/proc/sys/net/ipv4/ip_local_port_range";
/// Which of them it does not.
const RESERVED: &str = "/proc/sys/net/ipv4/ip_local_reserved_ports";

/// Backends of several pools may be the same server, and share its ports.
type Server<'s> = (SocketAddr, &'s Sources);

/// The ports that the connections of a snapshot take, by our own count: to ask
/// the kernel would be a walk through all its sockets.
#[derive(Debug)]
pub(super) struct LocalPorts<'s> {
    /// How many a source address has; `None`: the kernel does not say.
    each: Option<u64>,
    used: HashMap<Server<'s>, u64>,
    /// Addresses to connect from that are not on this machine now.
    absent: HashSet<IpAddr>,
}

impl<'s> LocalPorts<'s> {
    /// Those of `snapshot`, now.
    pub(super) fn of(snapshot: &'s Snapshot) -> Self {
        let range = std::fs::read_to_string(RANGE).ok();
        let reserved = std::fs::read_to_string(RESERVED).unwrap_or_default();
        let each = range.and_then(|it| given_out(&it, &reserved));
        Self::count(snapshot, each, source::is_here)
    }

    fn count(snapshot: &'s Snapshot, each: Option<u64>, is_here: fn(IpAddr) -> bool) -> Self {
        let mut used = HashMap::new();
        for view in snapshot.pools.iter().flat_map(|pool| &pool.backends) {
            if let Some(server) = server(view) {
                *used.entry(server).or_default() += u64::from(view.backend.live.active());
            }
        }
        let sources = used.keys().flat_map(|(_, sources)| sources.iter());
        let mut absent: HashSet<IpAddr> = sources.collect();
        absent.retain(|it| !is_here(*it));
        Self { each, used, absent }
    }

    /// How many connections to a backend take.
    pub(super) fn used(&self, view: &BackendView) -> u64 {
        server(view)
            .and_then(|it| self.used.get(&it))
            .copied()
            .unwrap_or(0)
    }

    /// How many there are.
    pub(super) fn most(&self, view: &BackendView) -> Option<u64> {
        // Where no source is named the kernel chooses one, always the same.
        view.backend.tcp()?;
        if view.sources.is_empty() {
            return self.each;
        }
        let here = view.sources.iter().filter(|it| !self.absent.contains(it));
        Some(self.each? * here.count() as u64)
    }
}

/// `None`: a unix socket, which takes no port.
fn server(view: &BackendView) -> Option<Server<'_>> {
    Some((view.backend.tcp()?, &view.sources))
}

/// How many ports lie in `range` ("32768 60999") and are not in `reserved`
/// ("8080,9000-9010").
fn given_out(range: &str, reserved: &str) -> Option<u64> {
    let mut bounds = range.split_whitespace().map(str::parse::<u64>);
    let (first, last) = (bounds.next()?.ok()?, bounds.next()?.ok()?);
    let within = |(from, to): (u64, u64)| (to.min(last) + 1).saturating_sub(from.max(first));
    let kept = reserved.trim().split(',').filter_map(|it| {
        let (from, to) = it.split_once('-').unwrap_or((it, it));
        Some(within((from.parse().ok()?, to.parse().ok()?)))
    });
    Some(within((first, last)).saturating_sub(kept.sum()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Moment;
    use crate::pool::{BackendSettings, Board, PoolSettings, Protocol, Wanted};
    use crate::types::{Address, Endpoint, Name};

    #[test]
    fn both_ends_of_the_range_are_given_out_and_the_reserved_are_not() {
        assert_eq!(given_out("32768\t60999\n", "\n"), Some(28_232));
        assert_eq!(given_out("5 5", ""), Some(1));
        assert_eq!(given_out("10 19", "1-10,12,19-70000,80\n"), Some(7));
        assert_eq!(given_out("10 19", "1-99"), Some(0));
        assert_eq!(given_out("", ""), None);
        let snapshot = Snapshot::default();
        assert!(LocalPorts::of(&snapshot).each.is_some(), "Linux says it");
    }

    #[test]
    fn pools_that_share_a_server_share_its_ports() {
        let address: SocketAddr = "10.0.0.1:80".parse().unwrap();
        let name = |text: &str| Name::new(text).unwrap();
        let pool = |text: &str, sources: &[&str]| {
            let backend = BackendSettings::new(name("a"), Address::Ip(address));
            let mut settings = PoolSettings::new(name(text), Protocol::Tcp, vec![backend]);
            settings.source = Sources::new(sources.iter().map(|it| it.parse().unwrap()).collect());
            Wanted {
                settings,
                addresses: vec![Some(Endpoint::Tcp(address))],
            }
        };
        let two = ["10.0.0.2", "10.0.0.3"];
        let mut board = Board::new(1);
        let pools = [pool("one", &[]), pool("two", &[]), pool("three", &two)];
        board.configure(&[], &pools, Moment::START);
        let snapshot = board.compose(Moment::START);
        let view = |at: usize| &snapshot.pools[at].backends[0];
        for at in [0, 0, 1, 2] {
            assert!(view(at).backend.live.places.acquire(None));
        }
        let ports = LocalPorts::count(&snapshot, Some(100), |_| true);
        let said = |at: usize| (ports.used(view(at)), ports.most(view(at)));
        assert_eq!(said(0), (3, Some(100)));
        assert_eq!(said(1), (3, Some(100)));
        assert_eq!(said(2), (1, Some(200)));
        let ports = LocalPorts::count(&snapshot, Some(100), |it| it.to_string() != "10.0.0.2");
        assert_eq!(ports.most(view(2)), Some(100), "one is at the twin now");
    }
}
