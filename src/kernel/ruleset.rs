//! Which rules the kernel is to follow, and the transaction that says so. Pure.
//!
//! ```text
//! prerouting, output ─► pick ─► l7_4 ─► b3 (count, dnat)
//!                       (bind)  (draw)  b4
//! postrouting: masquerade what was sent on by these rules
//! ```
//!
//! Only a SYN is picked: the kernel remembers where each connection went, so
//! new rules never touch an old connection.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Write as _};
use std::net::{IpAddr, SocketAddr};

use crate::pool::{BackendView, ListenerView, Plane, PoolView, Snapshot};
use crate::types::Endpoint;

/// The kernel draws from that many parts at the most.
const MOST_PARTS: u64 = u32::MAX as u64;

/// A SYN, and no other packet: with `pick` in mid-stream a connection that the
/// kernel has forgotten would be sent to another server.
const SYN: &str = "tcp flags & (fin|syn|rst|ack) == syn";

/// Decides nothing, for only first packets come here. The kernel follows
/// connections as long as any rule asks about them: without one, those of a
/// listener that is gone would lose their way.
const FOLLOW: &str = "ct state established accept\n";

/// What the kernel is to do, as plain data.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ruleset {
    services: Vec<Service>,
    /// Every backend of every service, by its number.
    backends: BTreeMap<u64, SocketAddr>,
}

/// A listener of the kernel plane.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Service {
    listener: u64,
    binds: Vec<SocketAddr>,
    /// Everybody who may still have connections.
    members: Vec<u64>,
    /// Who gets new ones, each with a weight.
    targets: Vec<(u64, u32)>,
}

impl Ruleset {
    /// The rules for the listeners of `snapshot` that are the kernel's.
    pub fn of(snapshot: &Snapshot) -> Self {
        let mut backends = BTreeMap::new();
        let is_ours = |view: &&ListenerView| view.door.listener.plane == Plane::Kernel;
        let views = snapshot.listeners.iter().filter(is_ours);
        let services = views.map(|view| {
            let binds = &view.door.listener.binds;
            let members = view.pool.backends.iter().map(|it| &it.backend);
            // Others are refused by the configuration's checks.
            let members = members.filter_map(|it| Some((it.id.0, it.tcp()?)));
            backends.extend(members.clone());
            Service {
                listener: view.door.id.0,
                binds: binds.iter().filter_map(Endpoint::tcp).collect(),
                members: members.map(|(id, _)| id).collect(),
                targets: targets(&view.pool),
            }
        });
        Self {
            services: services.collect(),
            backends,
        }
    }

    /// The same with nobody to serve: new connections are refused, old ones
    /// live.
    #[must_use]
    pub fn closed(&self) -> Self {
        let mut closed = self.clone();
        for service in &mut closed.services {
            service.targets.clear();
        }
        closed
    }

    /// Whether the kernel has nothing to do.
    pub fn is_empty(&self) -> bool {
        self.services.is_empty()
    }

    /// Whether any listener is bound to an address of IPv4, or of IPv6.
    pub(super) fn has_family(&self, is_v4: bool) -> bool {
        let mut binds = self.services.iter().flat_map(|it| &it.binds);
        binds.any(|it| it.is_ipv4() == is_v4)
    }

    /// Whose connection it is that went to `to` and is answered by `from`:
    /// the listener, and the backend if it is still known.
    pub(super) fn owner(&self, to: SocketAddr, from: SocketAddr) -> Option<(u64, Option<u64>)> {
        if to == from {
            // A worker serves it, or another program.
            return None;
        }
        let is_bound = |bind: &SocketAddr| {
            bind.port() == to.port()
                && bind.is_ipv4() == to.is_ipv4()
                && (bind.ip().is_unspecified() || bind.ip() == to.ip())
        };
        let mut services = self.services.iter();
        let service = services.find(|it| it.binds.iter().any(is_bound))?;
        let mut members = service.members.iter();
        let member = members.find(|it| self.backends.get(it) == Some(&from));
        Some((service.listener, member.copied()))
    }

    /// The transaction that makes `table` say this and nothing else, whatever
    /// it said before.
    pub fn replace(&self, table: &str) -> String {
        format!(
            "add table inet {table}\ndelete table inet {table}\n{}",
            self.body(table)
        )
    }

    /// The transaction that makes `table`, which says `before`, say this. What
    /// is counted goes on from where it was.
    pub fn rewrite(&self, table: &str, before: &Self) -> String {
        let mut out = format!("flush table inet {table}\n{}", self.body(table));
        let names = |kept: BTreeSet<String>, old: BTreeSet<String>| {
            old.into_iter().filter(move |name| !kept.contains(name))
        };
        for chain in names(self.chains(), before.chains()) {
            line(&mut out, format_args!("delete chain inet {table} {chain}"));
        }
        for counter in names(self.counters(), before.counters()) {
            line(
                &mut out,
                format_args!("delete counter inet {table} {counter}"),
            );
        }
        out
    }

    fn chains(&self) -> BTreeSet<String> {
        let services = self.services.iter();
        let services = services.flat_map(|it| it.families().map(|is_v4| service_chain(it, is_v4)));
        let members = self.reachable().map(|(id, _)| format!("b{id}"));
        services.chain(members).collect()
    }

    fn counters(&self) -> BTreeSet<String> {
        let services = self.services.iter().map(|it| format!("l{}", it.listener));
        let members = self.backends.keys().map(|id| format!("b{id}"));
        services.chain(members).collect()
    }

    fn reachable(&self) -> impl Iterator<Item = (u64, SocketAddr)> {
        let all = self.backends.iter().map(|(id, address)| (*id, *address));
        all.filter(|(_, address)| is_reachable(*address))
    }

    fn body(&self, table: &str) -> String {
        let mut out = format!("table inet {table} {{\n");
        for counter in self.counters() {
            line(&mut out, format_args!("counter {counter} {{ }}"));
        }
        for (id, address) in self.reachable() {
            let family = if address.is_ipv4() { "ip" } else { "ip6" };
            line(
                &mut out,
                format_args!(
                    "chain b{id} {{\ncounter name \"b{id}\"\n\
                     meta l4proto tcp dnat {family} to {address}\n}}"
                ),
            );
        }
        for service in &self.services {
            for is_v4 in service.families() {
                self.service(service, is_v4, &mut out);
            }
        }
        out.push_str("chain pick {\n");
        for service in &self.services {
            for bind in &service.binds {
                let (to, chain) = (destination(bind), service_chain(service, bind.is_ipv4()));
                let port = bind.port();
                line(
                    &mut out,
                    format_args!("{to} tcp dport {port} {SYN} goto {chain}"),
                );
            }
        }
        out.push_str("}\n");
        for (hook, priority) in [("prerouting", -100), ("output", -100), ("postrouting", 100)] {
            line(
                &mut out,
                format_args!(
                    "chain {hook} {{\ntype nat hook {hook} priority {priority}; policy accept;"
                ),
            );
            if hook == "postrouting" {
                out.push_str(FOLLOW);
                self.masquerade(&mut out);
            } else {
                out.push_str("meta l4proto tcp jump pick\n");
            }
            out.push_str("}\n");
        }
        out.push_str("}\n");
        out
    }

    /// Draws one of the targets of one family.
    fn service(&self, service: &Service, is_v4: bool, out: &mut String) {
        let chain = service_chain(service, is_v4);
        let is_ours = |id: &u64| {
            let address = self.backends.get(id);
            address.is_some_and(|it| it.is_ipv4() == is_v4 && is_reachable(*it))
        };
        let targets = service.targets.iter();
        let targets: Vec<(u64, u32)> = targets.filter(|(id, _)| is_ours(id)).copied().collect();
        let listener = service.listener;
        line(
            out,
            format_args!("chain {chain} {{\ncounter name \"l{listener}\""),
        );
        match targets.as_slice() {
            [] => out.push_str("meta l4proto tcp reject with tcp reset\n"),
            [(only, _)] => line(out, format_args!("goto b{only}")),
            several => {
                let parts = parts(several.iter().map(|(_, weight)| *weight));
                let total: u64 = parts.iter().sum();
                let mut from = 0;
                let ranges: Vec<String> = several
                    .iter()
                    .zip(parts)
                    .map(|((id, _), part)| {
                        let range = format!("{from}-{} : goto b{id}", from + part - 1);
                        from += part;
                        range
                    })
                    .collect();
                let ranges = ranges.join(", ");
                line(
                    out,
                    format_args!("numgen random mod {total} vmap {{ {ranges} }}"),
                );
            }
        }
        out.push_str("}\n");
    }

    /// Answers must come back through us: what was sent on gets our address.
    fn masquerade(&self, out: &mut String) {
        for service in &self.services {
            for bind in &service.binds {
                let family = if bind.is_ipv4() { "ip" } else { "ip6" };
                let members = service
                    .members
                    .iter()
                    .filter_map(|id| self.backends.get(id));
                let members =
                    members.filter(|it| it.is_ipv4() == bind.is_ipv4() && is_reachable(**it));
                let members: BTreeSet<String> = members
                    .map(|it| format!("{} . {}", it.ip(), it.port()))
                    .collect();
                if members.is_empty() {
                    continue;
                }
                let members = members.into_iter().collect::<Vec<_>>().join(", ");
                let mut original = String::new();
                if !bind.ip().is_unspecified() {
                    let _infallible = write!(original, "ct original {family} daddr {} ", bind.ip());
                }
                line(
                    out,
                    format_args!(
                        "ct status dnat meta l4proto tcp {original}ct original proto-dst {} \
                         {family} daddr . tcp dport {{ {members} }} masquerade",
                        bind.port()
                    ),
                );
            }
        }
    }
}

impl Service {
    /// Which of IPv4 (true) and IPv6 it is bound to.
    fn families(&self) -> impl Iterator<Item = bool> {
        let has = |is_v4: bool| self.binds.iter().any(|it| it.is_ipv4() == is_v4);
        let families = [true, false].map(|is_v4| has(is_v4).then_some(is_v4));
        families.into_iter().flatten()
    }
}

/// The transaction that takes `table` away, if it is there.
pub fn removal(table: &str) -> String {
    format!("add table inet {table}\ndelete table inet {table}\n")
}

/// Those of the first tier that has anybody to choose.
fn targets(pool: &PoolView) -> Vec<(u64, u32)> {
    let is_usable = |it: &&BackendView| it.effective > 0;
    let is_last_choice = |it: &&BackendView| it.is_last_choice();
    let of = |fits: &dyn Fn(&&BackendView) -> bool| {
        let tier = pool.backends.iter().filter(fits).map(|it| it.tier).min();
        let members = pool.backends.iter().filter(fits);
        let members = members.filter(|it| Some(it.tier) == tier);
        let targets = members.map(|it| (it.backend.id.0, it.share()));
        targets.collect::<Vec<_>>()
    };
    let targets = of(&is_usable);
    if targets.is_empty() {
        of(&is_last_choice)
    } else {
        targets
    }
}

/// A host name that could not be resolved yet has no port; one that turned out
/// to be a loopback address cannot be sent to.
fn is_reachable(address: SocketAddr) -> bool {
    address.port() != 0 && !address.ip().is_loopback()
}

/// Weights in their smallest whole numbers: 100,000 and 200,000 are 1 and 2.
fn parts(weights: impl Iterator<Item = u32> + Clone) -> Vec<u64> {
    let divisor = u64::from(weights.clone().fold(0, gcd).max(1));
    let parts: Vec<u64> = weights.map(|it| u64::from(it) / divisor).collect();
    let total: u64 = parts.iter().sum();
    // Thousands of backends with odd weights: a hair less exact.
    let shrink = total / MOST_PARTS * 2 + 1;
    parts.into_iter().map(|it| (it / shrink).max(1)).collect()
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// `:80` is every address of this machine but those of loopback, which cannot
/// be sent on.
fn destination(bind: &SocketAddr) -> String {
    match bind.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => {
            "fib daddr type local ip daddr != 127.0.0.0/8".to_owned()
        }
        IpAddr::V6(ip) if ip.is_unspecified() => "fib daddr type local ip6 daddr != ::1".to_owned(),
        IpAddr::V4(ip) => format!("ip daddr {ip}"),
        IpAddr::V6(ip) => format!("ip6 daddr {ip}"),
    }
}

fn service_chain(service: &Service, is_v4: bool) -> String {
    let family = if is_v4 { 4 } else { 6 };
    format!("l{}_{family}", service.listener)
}

fn line(out: &mut String, text: fmt::Arguments<'_>) {
    let _infallible = writeln!(out, "{text}");
}

#[cfg(test)]
#[path = "ruleset_tests.rs"]
mod tests;
