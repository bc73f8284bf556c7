//! A query to the embedded name server.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::OnceLock;

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{DNSClass, Name as Labels, RecordType};
use tandem::dns::{Mode, Node, ServeSettings, Table, Transport, Zone, answer, truncated};
use tandem::types::{Claim, Fqdn, Name, Term};

/// Without EDNS (RFC 1035).
const PLAIN: usize = 512;
/// What the server sends at the most over UDP.
const MOST: usize = 1232;
const APEX: &str = "lb.example.com";

/// One node with one address; two with both families; eight with six
/// addresses each, all of them in the answer, which fits nowhere.
fn tables() -> &'static [Table] {
    static TABLES: OnceLock<Vec<Table>> = OnceLock::new();
    TABLES.get_or_init(|| {
        let [one, two, many] = [(1, 1), (2, 2), (8, 6)];
        [one, two, many]
            .map(|(nodes, each)| table(nodes, each))
            .into()
    })
}

fn table(nodes: u8, each: u8) -> Table {
    let zone = Fqdn::parse(APEX).unwrap();
    let names: Vec<_> = (0..nodes)
        .map(|at| Name::new(&format!("lb{at}.rack")).unwrap())
        .collect();
    let address = |node, at: u8| -> IpAddr {
        match at % 2 {
            0 => Ipv4Addr::new(192, 0, node, at).into(),
            _ => Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, node.into(), at.into()).into(),
        }
    };
    let all = names.iter().zip(0..nodes).map(|(name, node)| {
        let addresses = (0..each).map(|at| address(node, at)).collect();
        Node::new(&zone, name.clone(), addresses).unwrap()
    });
    let settings = ServeSettings::new(zone.clone(), all.collect(), Vec::new());
    let claim = Claim {
        term: Term(1),
        holder: names[0].clone(),
        nonce: 0,
    };
    let mode = Mode::ActiveActive { functional: names };
    Table::new(Zone::of(&settings, &claim, &mode, 0))
}

/// The first byte says which zone, over what, and whose turn it is.
pub(crate) fn check(data: &[u8]) {
    let Some((how, raw)) = data.split_first() else {
        return;
    };
    let table = tables().get(usize::from(how >> 1 & 3));
    let transport = if how & 1 == 0 {
        Transport::Udp
    } else {
        Transport::Tcp
    };
    let from = SocketAddr::from(([192, 0, 2, 9], 5353));
    let is_answer = raw.get(2).is_none_or(|it| it & 0x80 != 0) || raw.len() < 12;
    let reply = answer(table, raw, from, transport, usize::from(how >> 3));
    assert_eq!(
        reply.is_none(),
        is_answer,
        "queries are answered, answers are not"
    );
    let Some(reply) = reply else { return };
    let bytes = &reply.bytes;
    assert_eq!(bytes[..2], raw[..2], "the id");
    assert_eq!(
        bytes[2] & 0xf9,
        raw[2] & 0x79 | 0x80,
        "QR, the opcode and RD"
    );
    let asked = Message::from_vec(raw).ok();
    assert!(
        bytes.len() <= limit(asked.as_ref(), transport),
        "{} bytes",
        bytes.len()
    );
    let said = Message::from_vec(bytes).expect("an answer can be read");
    consistent(&said, reply.code, table.is_some());
    if transport == Transport::Tcp {
        assert!(!said.metadata.truncation, "there is room in TCP");
    }
    if let Some(asked) = &asked
        && !said.queries.is_empty()
    {
        assert_eq!(said.queries, asked.queries, "the question comes back");
    }
    // Two servers never keep each other busy.
    assert_eq!(answer(table, bytes, from, transport, 0), None);
    told_to_use_tcp(raw);
}

fn limit(asked: Option<&Message>, transport: Transport) -> usize {
    match (transport, asked.and_then(|it| it.edns.as_ref())) {
        (Transport::Tcp, _) => 65_535,
        (Transport::Udp, None) => PLAIN,
        (Transport::Udp, Some(edns)) => usize::from(edns.max_payload()).clamp(PLAIN, MOST),
    }
}

fn consistent(said: &Message, code: ResponseCode, has_zone: bool) {
    assert_eq!(said.metadata.message_type, MessageType::Response);
    assert!(!said.metadata.recursion_available, "no resolver");
    let allowed = [
        ResponseCode::NoError,
        ResponseCode::NXDomain,
        ResponseCode::FormErr,
        ResponseCode::NotImp,
        ResponseCode::Refused,
        ResponseCode::BADVERS,
    ];
    let is_fault = code == ResponseCode::ServFail;
    assert!(allowed.contains(&code) || is_fault && !has_zone, "{code}");
    // By number: 16 has two names.
    assert_eq!(u16::from(said.metadata.response_code), u16::from(code));
    let has_records = !said.answers.is_empty() || !said.authorities.is_empty();
    assert!(!has_records || said.metadata.authoritative, "what is ours");
    let is_answered = !said.answers.is_empty();
    assert!(
        !is_answered || code == ResponseCode::NoError,
        "{code} with an answer"
    );
    let ours = Labels::from_ascii(format!("{APEX}.")).unwrap();
    for record in said.all_sections() {
        assert!(ours.zone_of(&record.name), "{record}");
    }
}

/// What a source over its rate hears.
fn told_to_use_tcp(raw: &[u8]) {
    if let Some(slip) = truncated(raw) {
        assert!(slip.len() <= raw.len(), "no amplifier");
        assert_eq!(slip[..2], raw[..2]);
        assert_eq!(slip[2] & 0x82, 0x82, "an answer, and cut");
        assert_eq!(slip[12..], raw[12..slip.len()], "the question as it came");
    }
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let names = [
        APEX,
        "lb0.rack.lb.example.com",
        "rack.lb.example.com",
        "x.lb.example.com",
        "com",
    ];
    let kinds = [
        RecordType::A,
        RecordType::AAAA,
        RecordType::NS,
        RecordType::SOA,
        RecordType::TXT,
        RecordType::ANY,
        RecordType::AXFR,
    ];
    let mut seeds = vec![vec![0; 13], [&[4], &[0xff; 16][..]].concat()];
    let all = names.iter().flat_map(|name| kinds.map(|kind| (name, kind)));
    for ((name, kind), at) in all.zip(0_u16..) {
        let mut message = Message::query();
        message.metadata.id = at;
        message.metadata.recursion_desired = at % 2 == 0;
        if at % 11 == 10 {
            message.metadata.op_code = OpCode::Notify;
        }
        let mut query = Query::query(Labels::from_ascii(format!("{name}.")).unwrap(), kind);
        if at % 13 == 12 {
            query.set_query_class(DNSClass::CH);
        }
        message.add_query(query);
        if at % 3 != 0 {
            let mut edns = Edns::new();
            edns.set_max_payload(at * 100)
                .set_version(u8::from(at % 7 == 6));
            edns.set_dnssec_ok(at % 2 == 0);
            message.edns = Some(edns);
        }
        let how = u8::try_from(at).unwrap();
        seeds.push([&[how], message.to_vec().unwrap().as_slice()].concat());
    }
    seeds
}
