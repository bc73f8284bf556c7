//! What `dig`, `kdig`, `nsupdate` and raw packets get from the embedded name
//! server of a running pair: one line for each case.

use std::net::SocketAddr;
use std::process::Command;

use super::kit::figure;
use super::kit::pair::{NAME, Pair};
use super::kit::said::Said;
use super::packets::{NOTIMP, Table, flood_cases, header, question, raw_cases};

type Check = fn(&Said) -> bool;

/// What each is called, what is asked, and what must be said. The server and
/// its port are added.
const CASES: &[(&str, &str, Check)] = &[
    ("A has the holder alone", "dig NAME A", |it| {
        it.is("NOERROR") && it.has("aa") && it.answer.len() == 1 && it.answer[0].contains(" A 127.")
    }),
    ("A has the TTL of the file", "dig NAME A", |it| {
        it.answer[0].contains("test. 1 IN A")
    }),
    (
        "AAAA is NODATA with the SOA",
        "dig NAME AAAA",
        Said::is_nodata,
    ),
    ("MX is NODATA with the SOA", "dig NAME MX", Said::is_nodata),
    ("DS at the apex is NODATA", "dig NAME DS", Said::is_nodata),
    (
        "an unknown type is NODATA",
        "dig NAME TYPE65280",
        Said::is_nodata,
    ),
    (
        "no such name: NXDOMAIN with the SOA",
        "dig nobody.NAME A",
        Said::is_nxdomain,
    ),
    (
        "below a node: NXDOMAIN",
        "dig x.lb2.NAME A",
        Said::is_nxdomain,
    ),
    (
        "an empty non-terminal is NODATA",
        "dig b.NAME A",
        Said::is_nodata,
    ),
    ("what is below it exists", "dig a.b.NAME A", |it| {
        it.is("NOERROR") && it.answer.len() == 1
    }),
    ("NS has both nodes", "dig NAME NS", |it| {
        it.is("NOERROR") && it.answer.len() == 2
    }),
    ("NS has their addresses beside it", "dig NAME NS", |it| {
        it.additional.len() == 2
    }),
    ("SOA", "dig NAME SOA", |it| {
        it.answer.len() == 1 && it.answer[0].ends_with(" 60 10 3600 1")
    }),
    ("TXT has the term", "dig _tandem.NAME TXT", |it| {
        it.answer[0].contains("\"term=")
    }),
    ("ANY has one set of records", "dig +notcp NAME ANY", |it| {
        it.is("NOERROR") && it.answer.len() == 1
    }),
    (
        "the parent zone is refused",
        "dig example.test A",
        Said::is_refused,
    ),
    (
        "another zone is refused",
        "dig www.example.org A",
        Said::is_refused,
    ),
    ("the root is refused", "dig . NS", Said::is_refused),
    (
        "a longer label is another zone",
        "dig xlb.example.test A",
        Said::is_refused,
    ),
    (
        "version.bind is refused",
        "dig version.bind CH TXT",
        Said::is_refused,
    ),
    (
        "version.server is refused",
        "dig version.server CH TXT",
        Said::is_refused,
    ),
    (
        "hostname.bind is refused",
        "dig hostname.bind CH TXT",
        Said::is_refused,
    ),
    (
        "id.server is refused",
        "dig id.server CH TXT",
        Said::is_refused,
    ),
    (
        "our name in class CH is refused",
        "dig NAME CH A",
        Said::is_refused,
    ),
    ("AXFR is refused", "dig NAME AXFR", |it| {
        it.text.contains("Transfer failed")
    }),
    ("AXFR is refused, says kdig", "kdig NAME AXFR", |it| {
        it.text.contains("REFUSED")
    }),
    ("IXFR is refused, says kdig", "kdig NAME IXFR=1", |it| {
        it.text.contains("REFUSED")
    }),
    (
        "opcode IQUERY",
        "dig +opcode=1 NAME A",
        Said::is_not_implemented,
    ),
    (
        "opcode STATUS",
        "dig +opcode=2 NAME A",
        Said::is_not_implemented,
    ),
    ("opcode 3", "dig +opcode=3 NAME A", Said::is_not_implemented),
    (
        "opcode NOTIFY",
        "dig +opcode=4 NAME SOA",
        Said::is_not_implemented,
    ),
    (
        "opcode UPDATE",
        "dig +opcode=5 NAME SOA",
        Said::is_not_implemented,
    ),
    (
        "opcode DSO",
        "dig +opcode=6 NAME A",
        Said::is_not_implemented,
    ),
    (
        "opcode 15",
        "dig +opcode=15 NAME A",
        Said::is_not_implemented,
    ),
    (
        "EDNS version 1 is BADVERS",
        "dig +edns=1 +noednsneg NAME A",
        |it| it.is("BADVERS"),
    ),
    (
        "an unknown EDNS option is ignored",
        "dig +ednsopt=65001:abcd NAME A",
        |it| it.is("NOERROR") && it.answer.len() == 1 && !it.text.contains("OPT=65001"),
    ),
    (
        "an unknown EDNS flag is ignored",
        "dig +ednsflags=0x0001 NAME A",
        |it| it.is("NOERROR") && it.text.contains("flags:; udp"),
    ),
    ("NSID says nothing of the host", "dig +nsid NAME A", |it| {
        it.is("NOERROR") && !it.text.contains("NSID")
    }),
    ("a cookie is ignored", "dig +cookie NAME A", |it| {
        it.is("NOERROR") && it.answer.len() == 1
    }),
    (
        "a client subnet is ignored",
        "dig +subnet=192.0.2.0/24 NAME A",
        |it| it.is("NOERROR") && !it.text.contains("CLIENT-SUBNET"),
    ),
    ("the DO bit comes back", "dig +dnssec NAME A", |it| {
        it.is("NOERROR") && it.text.contains("flags: do") && it.answer.len() == 1
    }),
    ("OPT for OPT, with 1232 bytes", "dig +edns=0 NAME A", |it| {
        it.text.contains("udp: 1232")
    }),
    ("no OPT without OPT", "dig +noedns NAME A", |it| {
        !it.text.contains("OPT PSEUDO")
    }),
    (
        "no OPT without OPT in NXDOMAIN",
        "dig +noedns x.NAME A",
        |it| it.is_nxdomain() && !it.text.contains("OPT PSEUDO"),
    ),
    ("TCP", "dig +tcp NAME A", |it| {
        it.is("NOERROR") && it.answer.len() == 1
    }),
    (
        "TCP, kept open for a second question",
        "dig +tcp +keepopen NAME A NAME SOA",
        |it| it.text.matches("status: NOERROR").count() == 2,
    ),
    ("the letters' case is kept", "dig lB.eXamPle.TesT A", |it| {
        it.text.contains(";lB.eXamPle.TesT.") && it.answer.len() == 1
    }),
    ("RD is copied, RA is not set", "dig +rec NAME A", |it| {
        it.has("rd") && !it.has("ra")
    }),
    ("without RD, too", "dig +norec NAME A", |it| {
        !it.has("rd") && it.answer.len() == 1
    }),
    ("CD and AD do not confuse it", "dig +cd +ad NAME A", |it| {
        it.answer.len() == 1 && !it.has("ad")
    }),
    ("kdig reads A", "kdig NAME A", |it| {
        it.is("NOERROR") && it.has("aa") && it.answer.len() == 1
    }),
    ("kdig reads AAAA", "kdig NAME AAAA", Said::is_nodata),
    ("kdig reads NXDOMAIN", "kdig x.NAME A", Said::is_nxdomain),
    ("kdig reads TCP", "kdig +tcp NAME NS", |it| {
        it.answer.len() == 2
    }),
    (
        "kdig's padding is ignored",
        "kdig +padding=128 NAME A",
        |it| it.answer.len() == 1,
    ),
];

/// Whoever tries to change the zone changes nothing.
fn update_cases(table: &mut Table) {
    let keys = [
        ("an unsigned UPDATE", None),
        (
            "an UPDATE with a wrong key",
            Some("hmac-sha256:tandem-key:d3Jvbmcga2V5IG9mIHNvbWUgbGVuZ3Ro"),
        ),
    ];
    for (name, key) in keys {
        let dir = tempfile::TempDir::new().unwrap();
        let script = dir.path().join("script");
        let (ip, port) = (table.server.ip(), table.server.port());
        let text = format!(
            "server {ip} {port}\nzone {NAME}\nupdate add evil.{NAME} 5 A 192.0.2.66\nsend\n"
        );
        std::fs::write(&script, text).unwrap();
        let mut command = Command::new("nsupdate");
        command.args(key.iter().flat_map(|key| ["-y", key]));
        let done = command
            .arg(&script)
            .output()
            .expect("install bind9-dnsutils");
        let is_there = !Said::ask(table.server, "dig evil.NAME A").is("NXDOMAIN");
        table.case(name, !done.status.success() && !is_there);
    }
    let update = [header(0x2800, 1, 0), question()].concat();
    let codes = [table.code(&update), table.code(&update)];
    table.case("an UPDATE that is sent twice", codes == [NOTIMP; 2]);
}

#[test]
fn the_embedded_server_answers_as_it_must() {
    let mut pair = Pair::new(42, "{ ttl: 1s, serve: { bind: \":@DNS\" } }");
    pair.rename(0, "a.b");
    pair.start_both();
    let server = SocketAddr::from((pair.ips[0], pair.dns));
    let (ok, failed) = (0, Vec::new());
    let mut table = Table { server, ok, failed };
    for (name, question, check) in CASES {
        let said = Said::ask(server, question);
        let is_ok = !said.text.is_empty() && check(&said);
        table.case(name, is_ok);
        if !is_ok {
            eprintln!("{question} said:\n{}", said.text);
        }
    }
    raw_cases(&mut table);
    update_cases(&mut table);
    flood_cases(&mut table);
    assert_eq!(pair.answer(0), pair.answer(1), "both say the same");
    let count = table.ok + table.failed.len();
    figure(
        "rows.28 cases",
        format!("{} of {count} (goal: all)", table.ok),
    );
    assert!(table.failed.is_empty(), "{:#?}", table.failed);
}
