//! What the zone says, and in how many bytes.

use super::*;

#[test]
fn the_name_has_the_holders_addresses() {
    let rig = Rig::new();
    let reply = rig.ask(ZONE, A);
    assert_eq!(reply.metadata.response_code, ResponseCode::NoError);
    assert!(reply.metadata.authoritative && reply.metadata.recursion_desired);
    assert!(!reply.metadata.recursion_available && !reply.metadata.truncation);
    assert_eq!(texts(&reply.answers), ["lb.example.com. 5 A 192.0.2.1"]);
    assert!(reply.authorities.is_empty() && reply.additionals.is_empty());
    assert!(reply.edns.is_none(), "no OPT without an OPT");
    let reply = rig.ask(ZONE, AAAA);
    assert_eq!(
        texts(&reply.answers),
        ["lb.example.com. 5 AAAA 2001:db8::1"]
    );
    let reply = rig.ask("lb2.east.lb.example.com", A);
    assert_eq!(
        texts(&reply.answers),
        ["lb2.east.lb.example.com. 3600 A 192.0.2.2"]
    );
    let reply = rig.ask("_tandem.lb.example.com", TXT);
    let RData::TXT(text) = &reply.answers[0].data else {
        panic!("{reply}");
    };
    let words = [&b"term=17"[..], b"holder=lb1"];
    assert!(text.txt_data.iter().map(|it| &it[..]).eq(words));
}

#[test]
fn a_publication_is_seen_by_the_next_query() {
    let rig = Rig::new();
    for term in 1..100 {
        let (holder, address) = match term % 2 {
            0 => ("lb1", "192.0.2.1"),
            _ => ("lb2.east", "192.0.2.2"),
        };
        rig.publish(term, holder, &Mode::Single);
        let reply = rig.ask(ZONE, A);
        assert!(texts(&reply.answers)[0].ends_with(address));
        let soa = rig.ask(ZONE, SOA);
        let serial = format!(" {} 60 10 3600 1", term << 8);
        assert!(texts(&soa.answers)[0].ends_with(&serial), "{soa}");
    }
    assert_eq!(rig.dns.show().unwrap().records().len(), 8);
}

#[test]
fn before_the_first_publication_resolvers_are_sent_on() {
    let settings = Rig::new().settings;
    let dns = Dns::start(&settings, Sink::nowhere()).unwrap();
    assert_eq!(dns.show(), None);
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    let query = query(ZONE, A, IN, &[OPT]);
    client.send_to(&query, dns.addresses()[0]).unwrap();
    let mut reply = [0; 512];
    let length = client.recv(&mut reply).unwrap();
    assert_eq!(rcode(&reply[..length]), 2);
    assert_eq!(reply[11], 1, "a resolver must not take it for EDNS trouble");
}

#[test]
fn active_active_gives_all_addresses_in_turn() {
    let rig = Rig::new();
    let names = ["lb1", "lb2.east"].map(|it| Name::new(it).unwrap());
    let functional = names.to_vec();
    rig.publish(1, "lb1", &Mode::ActiveActive { functional });
    let mut firsts = Vec::new();
    for _ in 0..4 {
        let reply = rig.ask(ZONE, A);
        assert_eq!(reply.answers.len(), 2);
        firsts.push(reply.answers[0].data.to_string());
    }
    assert_eq!(firsts[0], firsts[2]);
    assert_ne!(firsts[0], firsts[1]);
}

#[test]
fn what_is_not_there_is_denied_with_the_soa() {
    let rig = Rig::new();
    let soa = "lb.example.com. 1 SOA lb1.lb.example.com. \
               hostmaster.lb.example.com. 4352 60 10 3600 1";
    for (name, kind, code) in [
        (ZONE, TXT, ResponseCode::NoError),
        (ZONE, 65, ResponseCode::NoError),
        (ZONE, 43, ResponseCode::NoError),
        (ZONE, 65_280, ResponseCode::NoError),
        ("lb2.east.lb.example.com", AAAA, ResponseCode::NoError),
        // A name that exists only because there is one below it.
        ("east.lb.example.com", A, ResponseCode::NoError),
        ("east.lb.example.com", ANY, ResponseCode::NoError),
        ("nobody.lb.example.com", A, ResponseCode::NXDomain),
        ("x.lb1.lb.example.com", A, ResponseCode::NXDomain),
        ("*.lb.example.com", A, ResponseCode::NXDomain),
        ("nobody.lb.example.com", ANY, ResponseCode::NXDomain),
    ] {
        let reply = rig.ask(name, kind);
        assert_eq!(reply.metadata.response_code, code, "{name} {kind}");
        assert!(reply.metadata.authoritative);
        assert!(reply.answers.is_empty());
        assert_eq!(texts(&reply.authorities), [soa], "{name} {kind}");
    }
}

#[test]
fn the_name_servers_come_with_their_addresses() {
    let rig = Rig::new();
    let reply = rig.ask(ZONE, NS);
    assert_eq!(
        texts(&reply.answers),
        [
            "lb.example.com. 3600 NS lb1.lb.example.com.",
            "lb.example.com. 3600 NS lb2.east.lb.example.com."
        ]
    );
    assert_eq!(
        texts(&reply.additionals),
        [
            "lb1.lb.example.com. 3600 A 192.0.2.1",
            "lb1.lb.example.com. 3600 AAAA 2001:db8::1",
            "lb2.east.lb.example.com. 3600 A 192.0.2.2"
        ]
    );
    assert!(reply.metadata.authoritative);
}

#[test]
fn any_is_answered_with_one_set() {
    let rig = Rig::new();
    let reply = rig.ask(ZONE, ANY);
    assert_eq!(texts(&reply.answers), ["lb.example.com. 5 A 192.0.2.1"]);
    assert!(reply.additionals.is_empty() && reply.authorities.is_empty());
}

#[test]
fn what_is_not_ours_is_refused() {
    let rig = Rig::new();
    for (name, kind, class, code) in [
        ("example.com", A, IN, 5),
        ("example.org", A, IN, 5),
        ("xlb.example.com", A, IN, 5),
        (".", NS, IN, 5),
        ("version.bind", TXT, 3, 5),
        (ZONE, A, 3, 5),
        (ZONE, A, 255, 5),
        (ZONE, 252, IN, 5),
        (ZONE, 251, IN, 5),
        (ZONE, 250, IN, 4),
        (ZONE, 249, IN, 4),
        (ZONE, 41, IN, 1),
    ] {
        let reply = rig.send(&query(name, kind, class, &[]));
        assert_eq!(rcode(&reply), code, "{name} {kind} {class}");
        assert_eq!(reply[2] & 0x04, 0, "not authoritative");
        assert_eq!(reply[6..12], [0; 6], "no records: {name} {kind} {class}");
    }
    let mut stream = rig.connect();
    let reply = exchange(&mut stream, &query(ZONE, 252, IN, &[]));
    assert_eq!(rcode(&reply.unwrap()), 5, "AXFR over TCP");
}

#[test]
fn the_case_of_the_question_comes_back() {
    let rig = Rig::new();
    let raw = query("Lb.eXAMPLE.cOM", A, IN, &[]);
    let reply = rig.send(&raw);
    assert_eq!(reply[12..raw.len()], raw[12..]);
    assert_eq!(rcode(&reply), 0);
    let reply = rig.send(&query("NOBODY.Lb.eXAMPLE.cOM", A, IN, &[]));
    assert_eq!(rcode(&reply), 3);
}

#[test]
fn an_answer_fits_what_the_client_can_take() {
    let rig = Rig::with(|settings| {
        settings.nodes = (1..=40_u8)
            .map(|n| {
                let name = Name::new(&format!("{}{n}", "node-".repeat(8))).unwrap();
                let addresses = (1..=2).map(|m| IpAddr::from([10, 0, m, n])).collect();
                Node::new(&settings.zone, name, addresses).unwrap()
            })
            .collect();
    });
    let truncated = |extra: &[&[u8]], most: usize, kind| {
        let reply = rig.send(&query(ZONE, kind, IN, extra));
        assert!(reply.len() <= most, "{} > {most}", reply.len());
        let message = Message::from_vec(&reply).unwrap();
        assert_eq!(message.edns.is_some(), !extra.is_empty(), "OPT is kept");
        message.metadata.truncation
    };
    assert!(truncated(&[], 512, NS));
    assert!(truncated(&[OPT], 1232, NS), "4096 is more than we send");
    let tiny = &[0, 0, 41, 0, 100, 0, 0, 0, 0, 0, 0];
    assert!(truncated(&[tiny], 512, A), "below 512 means 512");
    // 80 addresses of 30 bytes do not fit, and over TCP everything does.
    assert!(truncated(&[OPT], 1232, A));
    let mut stream = rig.connect();
    let reply = exchange(&mut stream, &query(ZONE, NS, IN, &[])).unwrap();
    let message = Message::from_vec(&reply).unwrap();
    assert!(!message.metadata.truncation);
    assert_eq!((message.answers.len(), message.additionals.len()), (40, 80));
}

#[test]
fn glue_that_does_not_fit_is_left_out_without_a_fuss() {
    let rig = Rig::with(|settings| {
        settings.nodes = (1..=8_u8)
            .map(|n| {
                let name = Name::new(&format!("node-{n}")).unwrap();
                let addresses = (1..=8).map(|m| IpAddr::from([10, 0, m, n])).collect();
                Node::new(&settings.zone, name, addresses).unwrap()
            })
            .collect();
    });
    let reply = rig.ask(ZONE, NS);
    assert!(!reply.metadata.truncation);
    assert_eq!((reply.answers.len(), reply.additionals.len()), (8, 0));
}
