//! TCP, and how much anybody may ask.

use super::*;

#[test]
fn tcp_answers_one_question_after_the_other() {
    let rig = Rig::new();
    let mut stream = rig.connect();
    for kind in [A, AAAA, SOA, NS] {
        let reply = exchange(&mut stream, &query(ZONE, kind, IN, &[])).unwrap();
        assert_eq!(rcode(&reply), 0);
    }
    // Two at once, and one byte at a time.
    let one = query(ZONE, A, IN, &[OPT]);
    let length = u16::try_from(one.len()).unwrap().to_be_bytes();
    let message = [&length[..], &one].concat();
    stream
        .write_all(&[&message[..], &message].concat())
        .unwrap();
    read_reply(&mut stream).unwrap();
    read_reply(&mut stream).unwrap();
    stream.set_nodelay(true).unwrap();
    for byte in message {
        stream.write_all(&[byte]).unwrap();
    }
    read_reply(&mut stream).unwrap();
}

#[test]
fn tcp_clients_have_a_number_and_a_deadline() {
    let rig = Rig::with(|settings| {
        settings.tcp_clients = 8;
        settings.tcp_idle = Duration::from_secs(1);
    });
    let mut held: Vec<_> = (0..2).map(|_| rig.connect()).collect();
    for stream in &mut held {
        exchange(stream, &query(ZONE, A, IN, &[])).unwrap();
    }
    assert_eq!(rig.dns.counts().tcp_clients, 2);
    // The third from this network is one too many.
    let mut third = rig.connect();
    assert!(exchange(&mut third, &query(ZONE, A, IN, &[])).is_err());
    assert_eq!(rig.dns.counts().of("tcp_limit"), 1);
    // A half-sent message holds a place no longer than silence.
    held[0].write_all(&[0, 30, 1]).unwrap();
    for stream in &mut held {
        assert_eq!(stream.read(&mut [0; 1]).unwrap_or(0), 0, "closed");
    }
    eventually("the places come back", || rig.dns.counts().tcp_clients == 0);
    let mut fourth = rig.connect();
    exchange(&mut fourth, &query(ZONE, A, IN, &[])).unwrap();
    // A message that claims to be longer than any query is not waited for.
    fourth.write_all(&[0xff, 0xff, 0]).unwrap();
    assert_eq!(fourth.read(&mut [0; 1]).unwrap_or(0), 0, "closed");
    assert_eq!(rcode(&rig.send(&query(ZONE, A, IN, &[]))), 0);
}

#[test]
fn a_source_over_its_rate_is_limited_and_recovers() {
    let rig = Rig::with(|settings| settings.per_source_qps = 20);
    let query = query(ZONE, A, IN, &[OPT]);
    for _ in 0..200 {
        rig.client.send(&query).unwrap();
    }
    let counted = || {
        let counts = rig.dns.counts();
        ["noerror", "source_limit", "told_tcp"].map(|it| counts.of(it))
    };
    eventually("200 are counted", || counted().iter().sum::<u64>() == 200);
    let [answered, dropped, told] = counted();
    assert!((20..=120).contains(&answered), "{answered}");
    assert!(told.abs_diff(dropped / 3) <= 1, "{told} of {dropped}");
    // What comes back is either a full answer or "use TCP".
    let mut reply = [0; 512];
    let mut truncated = 0;
    for _ in 0..answered + told {
        let length = rig.client.recv(&mut reply).unwrap();
        if reply[2] & 0x02 != 0 {
            truncated += 1;
            assert!(length < query.len());
        }
    }
    assert_eq!(truncated, told);
    // TCP has a rate of its own, and the rate comes back.
    exchange(&mut rig.connect(), &query).unwrap();
    rig.client.set_read_timeout(Some(SILENCE)).unwrap();
    eventually("the rate comes back", || {
        rig.client.send(&query).unwrap();
        let received = rig.client.recv(&mut reply);
        received.is_ok() && reply[2] & 0x02 == 0
    });
}

#[test]
fn everybody_together_is_limited() {
    let rig = Rig::with(|settings| settings.global_qps = 10);
    let query = query(ZONE, A, IN, &[]);
    for _ in 0..100 {
        rig.client.send(&query).unwrap();
    }
    let counts = || rig.dns.counts();
    eventually("100 are counted", || {
        counts().of("noerror") + counts().of("global_limit") == 100
    });
    assert!(counts().of("noerror") <= 60, "{:?}", counts());
}
