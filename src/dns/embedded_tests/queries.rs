//! What is asked wrongly, oddly or not at all.

use super::*;

#[test]
fn only_queries_are_understood() {
    let rig = Rig::new();
    // Inverse query, status, unassigned, notify, update, DSO, the last one.
    for opcode in [1, 2, 3, 4, 5, 6, 15] {
        let mut raw = query(ZONE, SOA, IN, &[OPT]);
        raw[2] = opcode << 3;
        let reply = rig.send(&raw);
        assert_eq!(rcode(&reply), 4);
        assert_eq!(reply[2] >> 3 & 0x0f, opcode);
        assert_eq!(reply[11], 1, "EDNS is answered with EDNS");
    }
    // A dynamic update that would delete the name.
    let mut update = query(ZONE, SOA, IN, &[]);
    (update[2], update[9]) = (5 << 3, 2);
    update.extend([&question(ZONE, A, 255)[..], &[0; 6]].concat().repeat(2));
    assert_eq!(rcode(&rig.send(&update)), 4);
    assert_eq!(rig.dns.counts().of("notimp"), 8);
    assert_eq!(texts(&rig.ask(ZONE, A).answers).len(), 1, "nothing changed");
}

#[test]
fn edns_is_answered_and_its_future_declined() {
    let rig = Rig::new();
    let ask = |opt: &[u8]| {
        let reply = rig.send(&query(ZONE, A, IN, &[opt]));
        Message::from_vec(&reply).unwrap()
    };
    let reply = ask(OPT);
    let edns = reply.edns.as_ref().unwrap();
    assert_eq!((edns.version(), edns.max_payload()), (0, 1232));
    assert!(!edns.flags().dnssec_ok && edns.options().as_ref().is_empty());
    assert_eq!(reply.answers.len(), 1);

    let reply = ask(&[0, 0, 41, 16, 0, 0, 0, 0x80, 0, 0, 0]);
    assert!(reply.edns.as_ref().unwrap().flags().dnssec_ok, "DO is kept");

    let reply = ask(&[0, 0, 41, 16, 0, 0, 1, 0, 0, 0, 0]);
    // BADVERS, which shares its number with BADSIG.
    assert_eq!(u16::from(reply.metadata.response_code), 16);
    assert_eq!(reply.edns.as_ref().unwrap().version(), 0);
    assert!(reply.answers.is_empty() && reply.authorities.is_empty());

    // NSID, a cookie, and one that nobody knows.
    let options: &[u8] = &[
        0, 3, 0, 0, 0, 10, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8, 0xff, 0, 0, 1, 9,
    ];
    let length = u8::try_from(options.len()).unwrap();
    let reply = ask(&[&[0, 0, 41, 16, 0, 0, 0, 0, 0, 0, length], options].concat());
    assert_eq!(reply.metadata.response_code, ResponseCode::NoError);
    assert!(reply.edns.unwrap().options().as_ref().is_empty());

    let mut nothing = rig.send(&query("nobody.lb.example.com", A, IN, &[OPT]));
    assert!(Message::from_vec(&nothing).unwrap().edns.is_some());
    nothing = rig.send(&query("example.org", A, IN, &[OPT]));
    assert!(Message::from_vec(&nothing).unwrap().edns.is_some());
}

#[test]
fn broken_queries_get_formerr() {
    let rig = Rig::new();
    let with_count = |count: u16| {
        let mut raw = query(ZONE, A, IN, &[]);
        raw[4..6].copy_from_slice(&count.to_be_bytes());
        raw
    };
    let mut two = with_count(2);
    two.extend(question(ZONE, AAAA, IN));
    let header = query(ZONE, A, IN, &[])[..12].to_vec();
    let with_name = |name: &[u8]| [&header, name, &[0, 1, 0, 1]].concat();
    let mut cut = query(ZONE, A, IN, &[]);
    cut.pop();
    let mut missing_opt = query(ZONE, A, IN, &[]);
    missing_opt[11] = 1;
    for (what, raw) in [
        ("no question", with_count(0)),
        ("two questions", two),
        ("65,535 questions", with_count(65_535)),
        ("only a header", header.clone()),
        ("a name that is its own end", with_name(&[0xc0, 12])),
        ("a name that points ahead", with_name(&[0xc0, 40])),
        ("a loop of two names", with_name(&[1, b'a', 0xc0, 12])),
        ("an unknown label type", with_name(&[0x80, 1, 0])),
        ("a long name", with_name(&[&[63; 64][..]; 4].concat())),
        ("a cut question", cut),
        ("an OPT that is not there", missing_opt),
        ("two OPTs", query(ZONE, A, IN, &[OPT, OPT])),
        ("four additional records", query(ZONE, A, IN, &[OPT; 4])),
    ] {
        let reply = rig.send(&raw);
        assert_eq!(rcode(&reply), 1, "{what}");
        assert!(reply.len() <= raw.len(), "{what}: no amplifier");
    }
}

#[test]
fn answers_and_fragments_are_met_with_silence() {
    let rig = Rig::new();
    let mut answer = query(ZONE, A, IN, &[]);
    answer[2] |= 0x80;
    let own = rig.send(&query(ZONE, A, IN, &[]));
    let failure = [0xab, 0xcd, 0x80, 1, 0, 0, 0, 0, 0, 0, 0, 0];
    let garbage = [0xff; 300];
    rig.assert_silent(&[&answer, &own, &failure, &garbage]);
    let short = query(ZONE, A, IN, &[]);
    rig.assert_silent(&[&short[..11], &short[..2], &short[..1], &[]]);
    assert_eq!(rig.dns.counts().of("no_query"), 8);

    let mut stream = rig.connect();
    let silence = exchange(&mut stream, &answer).unwrap_err();
    assert_eq!(silence.kind(), io::ErrorKind::UnexpectedEof, "TCP: closed");
}

#[test]
fn two_servers_do_not_talk_to_each_other() {
    let rig = Rig::new();
    let twin = Rig::new();
    // A query that claims to come from the twin's server port.
    let forger = &rig.client;
    let own = rig.dns.addresses()[0];
    drop(twin.dns);
    let spoofed = UdpSocket::bind(twin.client.peer_addr().unwrap()).unwrap();
    spoofed.set_read_timeout(Some(PATIENCE)).unwrap();
    spoofed.send_to(&query("x.", A, IN, &[]), own).unwrap();
    let mut reply = [0; 512];
    let length = spoofed.recv(&mut reply).unwrap();
    // The twin would get this; sent back, it ends here.
    forger.send(&reply[..length]).unwrap();
    rig.assert_silent(&[&reply[..length]]);
}

#[test]
fn noise_does_not_kill_it() {
    let rig = Rig::new();
    let mut rng = Seed(4).rng();
    let good = query(ZONE, A, IN, &[OPT]);
    let other = UdpSocket::bind("127.0.0.1:0").unwrap();
    other.connect(rig.dns.addresses()[0]).unwrap();
    other.set_read_timeout(Some(PATIENCE)).unwrap();
    let answers = || {
        other.send(&good).unwrap();
        other.recv(&mut [0; 512]).unwrap();
    };
    for round in 0..10_000 {
        let mut raw = good.clone();
        if round % 2 == 0 {
            for _ in 0..rng.random_range(1..6) {
                let at = rng.random_range(0..raw.len());
                raw[at] = rng.random();
            }
        } else {
            // Noise behind a header that passes the gate.
            raw.truncate(12);
            raw[11] = rng.random_range(0..4);
            let length = rng.random_range(0..600);
            raw.extend((0..length).map(|_| rng.random::<u8>()));
        }
        rig.client.send(&raw).unwrap();
        if round % 100 == 0 {
            // Every byte of it has been looked at, and it still answers.
            answers();
            assert_eq!(rig.dns.counts().of("fault"), 0, "round {round}");
        }
    }
    let mut stream = rig.connect();
    let noise: Vec<u8> = (0..100_000).map(|_| rng.random()).collect();
    // The server may close before it has read all of it.
    let _written = stream.write_all(&noise);
    answers();
    assert_eq!(rig.dns.counts().of("fault"), 0);
}
