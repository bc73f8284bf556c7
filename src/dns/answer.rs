//! From a query to its answer: a function of the zone and the bytes.

use std::collections::HashMap;
use std::net::SocketAddr;

use hickory_server::net::xfer::Protocol;
use hickory_server::proto::ProtoError;
use hickory_server::proto::op::{Edns, LowerQuery, Metadata, OpCode, ResponseCode};
use hickory_server::proto::rr::rdata::{A, AAAA, NS, SOA, TXT};
use hickory_server::proto::rr::{self, DNSClass, LowerName, RData, RecordType};
use hickory_server::proto::serialize::binary::BinEncoder;
use hickory_server::server::{Request, ResponseInfo};
use hickory_server::zone_handler::MessageResponseBuilder;

use super::gate::{Gate, bare, gate, question};
use super::limiter::Transport;
use super::records::{Data, Record, Zone};
use crate::types::Fqdn;

/// What fits through every path without fragments (DNS flag day 2020).
const PAYLOAD: u16 = 1232;
/// What RFC 1035 lets a message without EDNS have.
const PLAIN_PAYLOAD: u16 = 512;

/// A zone, laid out for answering.
#[derive(Debug)]
pub struct Table {
    zone: Zone,
    apex: LowerName,
    soa: Option<rr::Record>,
    /// Every name that exists; one that only has names below it has no sets.
    names: HashMap<LowerName, Vec<Set>>,
}

/// All records of one name and type.
#[derive(Debug)]
struct Set {
    kind: RecordType,
    records: Vec<rr::Record>,
    /// The addresses of the name servers among them.
    glue: Vec<rr::Record>,
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// As it is sent.
    pub bytes: Vec<u8>,
    /// What it says.
    pub code: ResponseCode,
}

/// What the zone says to a question.
#[derive(Clone, Copy, Debug)]
struct Found<'a> {
    code: ResponseCode,
    set: Option<&'a Set>,
    /// The SOA, where there is nothing.
    nothing: Option<&'a rr::Record>,
}

/// The answer of `table` to `raw`, which came from `from`; none to what is no
/// query. `turn` grows from answer to answer and decides which of several
/// addresses comes first. Without a table every question is a failure of ours.
pub fn answer(
    table: Option<&Table>,
    raw: &[u8],
    from: SocketAddr,
    transport: Transport,
    turn: usize,
) -> Option<Reply> {
    let refuse = |code| {
        let bytes = bare(raw, code)?;
        Some(Reply { bytes, code })
    };
    match gate(raw) {
        Gate::Drop => return None,
        Gate::Refuse(code) => return refuse(code),
        Gate::Parse => {}
    }
    // The question goes back as it came, so it must mean the same there: a
    // pointer could only lead into the header, which differs.
    if question(raw).is_none() {
        return refuse(ResponseCode::FormErr);
    }
    let protocol = match transport {
        Transport::Tcp => Protocol::Tcp,
        Transport::Udp => Protocol::Udp,
    };
    let Ok(request) = Request::from_bytes(raw.to_vec(), from, protocol) else {
        return refuse(ResponseCode::FormErr);
    };
    let Some(query) = request.queries.queries().first() else {
        return refuse(ResponseCode::FormErr);
    };
    let found = if request.version() > 0 {
        Found::code(ResponseCode::BADVERS)
    } else if request.metadata.op_code != OpCode::Query {
        Found::code(ResponseCode::NotImp)
    } else if let Some(table) = table {
        table.find(query)
    } else {
        Found::code(ResponseCode::ServFail)
    };
    let limit = match transport {
        Transport::Tcp => u16::MAX,
        Transport::Udp if request.edns.is_some() => {
            request.max_payload().clamp(PLAIN_PAYLOAD, PAYLOAD)
        }
        Transport::Udp => PLAIN_PAYLOAD,
    };
    let code = found.code;
    match found.reply(&request, limit, turn) {
        Ok(bytes) => Some(Reply { bytes, code }),
        Err(_) => refuse(ResponseCode::ServFail),
    }
}

impl Table {
    /// Lays `zone` out.
    pub fn new(zone: Zone) -> Self {
        let mut names = HashMap::<LowerName, Vec<Set>>::new();
        let apex = labels(zone.apex());
        for record in zone.records() {
            let mut above = record.name.parent();
            // What lies between a name and the apex exists, too.
            while let Some(name) = above.filter(|it| it != zone.apex() && is_below(it, &zone)) {
                names.entry(LowerName::from(labels(&name))).or_default();
                above = name.parent();
            }
            let record = wire(record);
            let sets = names.entry(LowerName::from(&record.name)).or_default();
            let kind = record.record_type();
            match sets.iter_mut().find(|set| set.kind == kind) {
                Some(set) => set.records.push(record),
                None => sets.push(Set {
                    kind,
                    records: vec![record],
                    glue: Vec::new(),
                }),
            }
        }
        let apex = LowerName::from(apex);
        let glue = glue(&names, &apex);
        let mut soa = None;
        for set in names.get_mut(&apex).into_iter().flatten() {
            if set.kind == RecordType::NS {
                set.glue.clone_from(&glue);
            }
            if set.kind == RecordType::SOA {
                soa = set.records.first().cloned();
            }
        }
        for sets in names.values_mut() {
            // The answer to "anything" is the first: one that people can use.
            sets.sort_by_key(|set| u16::from(set.kind));
        }
        Self {
            zone,
            apex,
            soa,
            names,
        }
    }

    /// The zone that it answers from.
    pub(super) const fn zone(&self) -> &Zone {
        &self.zone
    }

    fn find(&self, query: &LowerQuery) -> Found<'_> {
        let nothing = |code| Found {
            code,
            set: None,
            nothing: self.soa.as_ref(),
        };
        if query.query_class() != DNSClass::IN || !self.apex.zone_of(query.name()) {
            return Found::code(ResponseCode::Refused);
        }
        let kind = query.query_type();
        match u16::from(kind) {
            // OPT is no question.
            41 => return Found::code(ResponseCode::FormErr),
            // IXFR and AXFR.
            251 | 252 => return Found::code(ResponseCode::Refused),
            // ANY.
            255 => {}
            // The other meta types.
            128..=254 => return Found::code(ResponseCode::NotImp),
            _ => {}
        }
        let Some(sets) = self.names.get(query.name()) else {
            return nothing(ResponseCode::NXDomain);
        };
        let set = sets
            .iter()
            .find(|set| kind == RecordType::ANY || set.kind == kind);
        match set {
            Some(_) => Found {
                code: ResponseCode::NoError,
                set,
                nothing: None,
            },
            None => nothing(ResponseCode::NoError),
        }
    }
}

impl Found<'_> {
    const fn code(code: ResponseCode) -> Self {
        Self {
            code,
            set: None,
            nothing: None,
        }
    }

    /// The whole answer if it fits; else without the glue, which nobody asked
    /// for; else nothing but "ask over TCP".
    fn reply(&self, request: &Request, limit: u16, turn: usize) -> Result<Vec<u8>, ProtoError> {
        let edns = request.edns.as_ref().map(|asked| {
            let mut edns = Edns::new();
            edns.set_max_payload(PAYLOAD)
                .set_version(0)
                .set_dnssec_ok(asked.flags().dnssec_ok);
            edns
        });
        let mut metadata = Metadata::response_from_request(&request.metadata);
        metadata.response_code = self.code;
        metadata.authoritative = self.set.is_some() || self.nothing.is_some();
        let answers = self.set.map_or(&[][..], |set| &set.records);
        let glue = self.set.map_or(&[][..], |set| &set.glue);
        let first = turn.checked_rem(answers.len()).unwrap_or(0);
        let (late, early) = answers.split_at(first);
        for (answers, glue) in [(true, glue), (true, &[]), (false, &[])] {
            metadata.truncation = !answers;
            let (early, late) = if answers {
                (early, late)
            } else {
                Default::default()
            };
            let response = MessageResponseBuilder::new(&request.queries, edns.as_ref()).build(
                metadata,
                early.iter().chain(late),
                [],
                self.nothing,
                glue,
            );
            let mut bytes = Vec::with_capacity(usize::from(PLAIN_PAYLOAD));
            let mut encoder = BinEncoder::new(&mut bytes);
            encoder.set_max_size(limit);
            let info: ResponseInfo = response.destructive_emit(&mut encoder)?;
            if !info.truncation || !answers {
                return Ok(bytes);
            }
        }
        Err(ProtoError::from("an answer without records does not fit"))
    }
}

fn is_below(name: &Fqdn, zone: &Zone) -> bool {
    let above = name.as_str().strip_suffix(zone.apex().as_str());
    above.is_some_and(|above| above.ends_with('.'))
}

fn glue(names: &HashMap<LowerName, Vec<Set>>, apex: &LowerName) -> Vec<rr::Record> {
    let at_apex = names.get(apex).into_iter().flatten();
    let servers = at_apex.filter(|set| set.kind == RecordType::NS);
    let hosts = servers.flat_map(|set| &set.records).filter_map(|record| {
        let RData::NS(NS(host)) = &record.data else {
            return None;
        };
        names.get(&LowerName::from(host))
    });
    let addresses = hosts
        .flatten()
        .filter(|set| matches!(set.kind, RecordType::A | RecordType::AAAA));
    addresses.flat_map(|set| &set.records).cloned().collect()
}

fn wire(record: &Record) -> rr::Record {
    let data = match &record.data {
        Data::A(ip) => RData::A(A(*ip)),
        Data::Aaaa(ip) => RData::AAAA(AAAA(*ip)),
        Data::Ns(host) => RData::NS(NS(labels(host))),
        Data::Soa {
            primary,
            contact,
            serial,
        } => {
            let [refresh, retry, expire] = Data::SOA_TIMES;
            let (primary, contact) = (labels(primary), labels(contact));
            let minimum = Data::SOA_MINIMUM;
            RData::SOA(SOA::new(
                primary, contact, *serial, refresh, retry, expire, minimum,
            ))
        }
        Data::Txt(texts) => RData::TXT(TXT::new(texts.clone())),
    };
    rr::Record::from_rdata(labels(&record.name), record.ttl, data)
}

fn labels(name: &Fqdn) -> rr::Name {
    let labels = name.as_str().split('.').map(str::as_bytes);
    // An Fqdn holds what DNS can carry and nothing else.
    let mut name = rr::Name::from_labels(labels).expect("an Fqdn is a domain name");
    name.set_fqdn(true);
    name
}

#[cfg(test)]
mod tests {
    use rand::RngExt;

    use super::*;
    use crate::clock::Seed;
    use crate::dns::{Mode, Node, ServeSettings};
    use crate::types::{Claim, Name, Term};

    fn table() -> Table {
        let zone = Fqdn::parse("lb.example.com").unwrap();
        let holder = Name::new("a.b.c").unwrap();
        let addresses = vec![[192, 0, 2, 1].into(), [192, 0, 2, 2].into()];
        let node = Node::new(&zone, holder.clone(), addresses).unwrap();
        let settings = ServeSettings::new(zone, vec![node], Vec::new());
        let (term, nonce) = (Term(1), 0);
        let claim = Claim {
            term,
            holder,
            nonce,
        };
        Table::new(Zone::of(&settings, &claim, &Mode::Single, 0))
    }

    fn from() -> SocketAddr {
        SocketAddr::from(([192, 0, 2, 9], 5353))
    }

    #[test]
    fn a_question_that_points_into_the_header_is_refused() {
        let raw = b"\x1b\0\0\0\0\x01\0\0\0\0\0\0\x01x\xc0\x02\0\x01\0\x01";
        let reply = answer(Some(&table()), raw, from(), Transport::Udp, 0);
        let reply = reply.expect("a query is answered");
        assert_eq!(reply.code, ResponseCode::FormErr);
        assert_eq!(reply.bytes[4..], [0; 8], "no question comes back");
    }

    #[test]
    fn every_name_between_a_record_and_the_apex_exists() {
        let table = table();
        let mut names: Vec<_> = table.names.keys().map(ToString::to_string).collect();
        names.sort();
        let expected = [
            "_tandem.lb.example.com.",
            "a.b.c.lb.example.com.",
            "b.c.lb.example.com.",
            "c.lb.example.com.",
            "lb.example.com.",
        ];
        assert_eq!(names, expected);
    }

    #[test]
    fn whatever_comes_in_the_answer_is_small_and_is_an_answer() {
        let table = table();
        let mut rng = Seed(28).rng();
        let good = b"\xbe\xef\x01\0\0\x01\0\0\0\0\0\x01\x01a\x01b\x01c\x02lb\x07example\x03com\0\0\x01\0\x01\
            \0\0\x29\x10\0\0\0\0\0\0\x0c\0\x0a\0\x08abcdefgh";
        let mut codes = [0; 16];
        for turn in 0..100_000 {
            let mut raw = good.to_vec();
            match turn % 3 {
                0 => raw.truncate(rng.random_range(0..=good.len())),
                1 => {
                    raw.truncate(12);
                    let length = rng.random_range(0..100);
                    raw.extend((0..length).map(|_| rng.random::<u8>()));
                }
                _ => {}
            }
            for _ in 0..rng.random_range(0..4) {
                let at = rng.random_range(0..raw.len().max(1));
                if let Some(byte) = raw.get_mut(at) {
                    *byte = rng.random();
                }
            }
            let Some(reply) = answer(Some(&table), &raw, from(), Transport::Udp, turn) else {
                assert!(raw.len() < 12 || raw[2] & 0x80 != 0, "{raw:?}");
                continue;
            };
            let bytes = reply.bytes;
            assert_eq!(bytes[..2], raw[..2]);
            assert_eq!(bytes[2] & 0xf8, raw[2] & 0x78 | 0x80);
            assert!(bytes.len() <= 512, "{raw:?}");
            assert!(bytes.len() <= raw.len() + 130, "no amplifier: {raw:?}");
            codes[usize::from(bytes[3] & 0x0f)] += 1;
        }
        // The noise has reached every outcome: NOERROR, FORMERR, NXDOMAIN,
        // NOTIMP, REFUSED.
        assert!(
            [0, 1, 3, 4, 5].iter().all(|it| codes[*it] > 100),
            "{codes:?}"
        );
        assert_eq!(codes[2], 0, "{codes:?}");
    }
}
