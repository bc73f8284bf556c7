//! From who holds the name to what its zone says.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use super::settings::{LONGEST_TTL, Node, SHORTEST_TTL, ServeSettings};
use crate::types::{Claim, Fqdn, Name};

/// Who the name servers are and where changes only when an operator changes
/// it, so resolvers may keep that while the answer itself is short-lived.
const SERVER_TTL: u32 = 3600;
/// "There is no such record" must be forgotten at once: an address family or
/// a name may appear at any moment. RFC 2308 takes the lower of this and the
/// SOA's own TTL.
const NEGATIVE_TTL: u32 = 1;

/// Which nodes the public name points to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mode {
    /// To every node that can serve.
    ActiveActive {
        /// Those nodes. When there are none, the holder stays.
        functional: Vec<Name>,
    },
    /// To the holder.
    Single,
}

/// Everything that the public name's zone says, at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Zone {
    apex: Fqdn,
    records: Vec<Record>,
}

/// One record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// What it is about.
    pub name: Fqdn,
    /// For how many seconds it may be kept.
    pub ttl: u32,
    /// What it says.
    pub data: Data,
}

/// What a record says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Data {
    /// An IPv4 address.
    A(Ipv4Addr),
    /// An IPv6 address.
    Aaaa(Ipv6Addr),
    /// A name server.
    Ns(Fqdn),
    /// The start of the zone.
    Soa {
        /// Its first name server.
        primary: Fqdn,
        /// Whom to write to, `@` as a dot.
        contact: Fqdn,
        /// Grows with each change.
        serial: u32,
    },
    /// Text.
    Txt(Vec<String>),
}

impl Zone {
    /// What the zone says under `claim`. `change` numbers the changes within
    /// one term.
    ///
    /// The public name never comes out empty: a functional list without a node
    /// that we know falls back to the holder, and a holder that we do not know
    /// (the twin's configuration is newer) to all nodes.
    pub fn of(settings: &ServeSettings, claim: &Claim, mode: &Mode, change: u8) -> Self {
        let apex = &settings.zone;
        let ttl = seconds(settings.ttl);
        let mut records = Vec::new();
        let mut add = |name: &Fqdn, ttl, data| {
            let name = name.clone();
            records.push(Record { name, ttl, data });
        };
        if let Some(first) = settings.nodes.first() {
            let soa = Data::Soa {
                primary: first.host().clone(),
                contact: apex.child("hostmaster").unwrap_or_else(|_| apex.clone()),
                serial: serial(claim, change),
            };
            add(apex, NEGATIVE_TTL, soa);
        }
        for node in &settings.nodes {
            add(apex, SERVER_TTL, Data::Ns(node.host().clone()));
        }
        for node in entrances(&settings.nodes, claim, mode) {
            for address in node.addresses() {
                add(apex, ttl, Data::of(*address));
            }
        }
        for node in &settings.nodes {
            for address in node.addresses() {
                add(node.host(), SERVER_TTL, Data::of(*address));
            }
        }
        // A zone name too long for this child cannot have had room for a node.
        if let Ok(name) = apex.child("_tandem") {
            let term = format!("term={}", claim.term);
            let holder = format!("holder={}", claim.holder);
            add(&name, ttl, Data::Txt(vec![term, holder]));
        }
        dedup(&mut records);
        Self {
            apex: apex.clone(),
            records,
        }
    }

    /// The zone's name.
    pub const fn apex(&self) -> &Fqdn {
        &self.apex
    }

    /// All its records.
    pub fn records(&self) -> &[Record] {
        &self.records
    }
}

/// The lines that the parent zone needs so that the world asks the nodes.
pub fn delegation(settings: &ServeSettings) -> String {
    let mut records = Vec::new();
    let mut add = |name: &Fqdn, data| {
        records.push(Record {
            name: name.clone(),
            ttl: SERVER_TTL,
            data,
        });
    };
    for node in &settings.nodes {
        add(&settings.zone, Data::Ns(node.host().clone()));
    }
    for node in &settings.nodes {
        for address in node.addresses() {
            add(node.host(), Data::of(*address));
        }
    }
    dedup(&mut records);
    records.iter().map(|record| format!("{record}\n")).collect()
}

fn entrances<'a>(nodes: &'a [Node], claim: &Claim, mode: &Mode) -> Vec<&'a Node> {
    let among = |names: &[Name]| -> Vec<&'a Node> {
        let is_named = |node: &&Node| names.contains(node.name());
        nodes.iter().filter(is_named).collect()
    };
    let holder = std::slice::from_ref(&claim.holder);
    let choices = match mode {
        Mode::ActiveActive { functional } => [among(functional), among(holder)],
        Mode::Single => [among(holder), Vec::new()],
    };
    let chosen = choices.into_iter().find(|nodes| !nodes.is_empty());
    chosen.unwrap_or_else(|| nodes.iter().collect())
}

/// The low bits of the term, then the change. RFC 1982 compares serials on a
/// circle, so the overflow after 16 million terms is an increment like others.
fn serial(claim: &Claim, change: u8) -> u32 {
    let term = u32::try_from(claim.term.0 & 0x00ff_ffff).unwrap_or(0);
    term << 8 | u32::from(change)
}

fn seconds(ttl: Duration) -> u32 {
    let whole = ttl.clamp(SHORTEST_TTL, LONGEST_TTL).as_secs();
    u32::try_from(whole).unwrap_or(u32::MAX)
}

/// A set of records has no member twice: two nodes behind one address, or an
/// address written twice.
fn dedup(records: &mut Vec<Record>) {
    let mut kept: Vec<Record> = Vec::with_capacity(records.len());
    for record in records.drain(..) {
        if !kept.contains(&record) {
            kept.push(record);
        }
    }
    *records = kept;
}

impl Data {
    const fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(ip) => Self::A(ip),
            IpAddr::V6(ip) => Self::Aaaa(ip),
        }
    }
}

/// A line of a zone file.
impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}. {} IN {}", self.name, self.ttl, self.data)
    }
}

impl fmt::Display for Data {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::A(ip) => write!(f, "A {ip}"),
            Self::Aaaa(ip) => write!(f, "AAAA {ip}"),
            Self::Ns(host) => write!(f, "NS {host}."),
            Self::Soa {
                primary,
                contact,
                serial,
            } => {
                let [refresh, retry, expire] = Self::SOA_TIMES;
                write!(
                    f,
                    "SOA {primary}. {contact}. {serial} {refresh} {retry} {expire} {NEGATIVE_TTL}"
                )
            }
            Self::Txt(texts) => {
                f.write_str("TXT")?;
                texts.iter().try_for_each(|text| write!(f, " {text:?}"))
            }
        }
    }
}

impl Data {
    /// Refresh, retry and expire: for secondaries, of which there are none.
    pub(super) const SOA_TIMES: [i32; 3] = [60, 10, 3600];
    /// The SOA's minimum: how long a negative answer may be kept.
    pub(super) const SOA_MINIMUM: u32 = NEGATIVE_TTL;
}

/// A zone file.
impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut records = self.records.iter();
        records.try_for_each(|record| writeln!(f, "{record}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Term;

    fn name(text: &str) -> Name {
        Name::new(text).unwrap()
    }

    fn settings() -> ServeSettings {
        let zone = Fqdn::parse("lb.example.com").unwrap();
        let node = |label: &str, addresses: &[&str]| {
            let addresses = addresses.iter().map(|it| it.parse().unwrap()).collect();
            Node::new(&zone, name(label), addresses).unwrap()
        };
        let nodes = vec![
            node("lb1", &["192.0.2.1", "2001:db8::1"]),
            node("lb2", &["192.0.2.2"]),
        ];
        ServeSettings::new(zone, nodes, Vec::new())
    }

    fn claim(term: u64, holder: &str) -> Claim {
        Claim {
            term: Term(term),
            holder: name(holder),
            nonce: 7,
        }
    }

    fn entrances(zone: &Zone) -> Vec<String> {
        let of_apex = zone.records().iter().filter(|it| it.name == *zone.apex());
        let addresses = of_apex.filter(|it| matches!(it.data, Data::A(_) | Data::Aaaa(_)));
        addresses.map(|it| it.data.to_string()).collect()
    }

    #[test]
    fn the_zone_of_a_holder() {
        let zone = Zone::of(&settings(), &claim(17, "lb1"), &Mode::Single, 3);
        assert_eq!(
            zone.to_string(),
            "lb.example.com. 1 IN SOA lb1.lb.example.com. hostmaster.lb.example.com. 4355 60 10 3600 1\n\
             lb.example.com. 3600 IN NS lb1.lb.example.com.\n\
             lb.example.com. 3600 IN NS lb2.lb.example.com.\n\
             lb.example.com. 5 IN A 192.0.2.1\n\
             lb.example.com. 5 IN AAAA 2001:db8::1\n\
             lb1.lb.example.com. 3600 IN A 192.0.2.1\n\
             lb1.lb.example.com. 3600 IN AAAA 2001:db8::1\n\
             lb2.lb.example.com. 3600 IN A 192.0.2.2\n\
             _tandem.lb.example.com. 5 IN TXT \"term=17\" \"holder=lb1\"\n"
        );
    }

    #[test]
    fn active_active_names_the_functional_and_never_nobody() {
        let both = |functional: &[&str], holder| {
            let functional = functional.iter().map(|it| name(it)).collect();
            let mode = Mode::ActiveActive { functional };
            entrances(&Zone::of(&settings(), &claim(1, holder), &mode, 0))
        };
        let all = ["A 192.0.2.1", "AAAA 2001:db8::1", "A 192.0.2.2"];
        assert_eq!(both(&["lb2", "lb1"], "lb1"), all);
        assert_eq!(both(&["lb2"], "lb1"), ["A 192.0.2.2"]);
        assert_eq!(both(&[], "lb2"), ["A 192.0.2.2"]);
        assert_eq!(both(&["gone"], "lb2"), ["A 192.0.2.2"]);
        assert_eq!(both(&[], "gone"), all);
    }

    #[test]
    fn an_unknown_holder_empties_nothing() {
        let zone = Zone::of(&settings(), &claim(1, "gone"), &Mode::Single, 0);
        assert_eq!(entrances(&zone).len(), 3);
    }

    #[test]
    fn serials_grow_on_a_circle() {
        let at = |term, change| serial(&claim(term, "lb1"), change);
        assert_eq!(at(0, 0), 0);
        assert!(at(1, 255) < at(2, 0));
        let last = at(0x00ff_ffff, 255);
        assert_eq!(at(0x0100_0000, 0).wrapping_sub(last), 1);
    }

    #[test]
    fn the_parent_needs_servers_and_glue() {
        assert_eq!(
            delegation(&settings()),
            "lb.example.com. 3600 IN NS lb1.lb.example.com.\n\
             lb.example.com. 3600 IN NS lb2.lb.example.com.\n\
             lb1.lb.example.com. 3600 IN A 192.0.2.1\n\
             lb1.lb.example.com. 3600 IN AAAA 2001:db8::1\n\
             lb2.lb.example.com. 3600 IN A 192.0.2.2\n"
        );
    }

    #[test]
    fn the_ttl_stays_within_reason_and_no_record_comes_twice() {
        let mut settings = settings();
        settings.nodes[1] = Node::new(
            &settings.zone,
            name("lb2"),
            vec!["192.0.2.1".parse().unwrap(); 2],
        )
        .unwrap();
        let functional = vec![name("lb1"), name("lb2")];
        let mode = Mode::ActiveActive { functional };
        for (ttl, expected) in [(0, 1), (7, 7), (86_400, 300)] {
            settings.ttl = Duration::from_secs(ttl);
            let zone = Zone::of(&settings, &claim(1, "lb1"), &mode, 0);
            assert_eq!(entrances(&zone), ["A 192.0.2.1", "AAAA 2001:db8::1"]);
            let is_address = |it: &&Record| it.name == settings.zone && it.data.is_address();
            let ttls = zone.records().iter().filter(is_address).map(|it| it.ttl);
            assert!(ttls.eq([expected; 2]));
        }
    }

    #[test]
    fn a_node_needs_a_dns_name_and_an_address() {
        let zone = Fqdn::parse("lb.example.com").unwrap();
        let good: IpAddr = "192.0.2.1".parse().unwrap();
        let any: IpAddr = "0.0.0.0".parse().unwrap();
        assert!(Node::new(&zone, name("a..b"), vec![good]).is_err());
        assert!(Node::new(&zone, name("a"), vec![]).is_err());
        assert!(Node::new(&zone, name("a"), vec![any]).is_err());
        assert!(Node::new(&zone, name("a.b"), vec![good]).is_ok());
    }

    impl Data {
        fn is_address(&self) -> bool {
            matches!(self, Self::A(_) | Self::Aaaa(_))
        }
    }
}
