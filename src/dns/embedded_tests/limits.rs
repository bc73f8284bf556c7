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
    // The third from this network gets the place of the longest idle.
    let mut third = rig.connect();
    exchange(&mut third, &query(ZONE, A, IN, &[])).unwrap();
    assert_eq!(held[0].read(&mut [0; 1]).unwrap_or(0), 0, "closed");
    assert_eq!(rig.dns.counts().of("tcp_limit"), 1);
    held[0] = third;
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

/// Connections from so many networks, `each` from one host of each.
fn idlers(rig: &Rig, networks: std::ops::Range<u8>, each: usize) -> Vec<TcpStream> {
    let all = networks.flat_map(|network| (0..each).map(move |_| network));
    all.map(|network| from(rig, [127, 0, network, 1])).collect()
}

fn from(rig: &Rig, source: [u8; 4]) -> TcpStream {
    use socket2::{Domain, Socket, Type};
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((source, 0)).into()).unwrap();
    socket.connect(&rig.dns.addresses()[0].into()).unwrap();
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

fn answered(stream: &mut TcpStream) -> bool {
    exchange(stream, &query(ZONE, A, IN, &[])).is_ok_and(|it| rcode(&it) == 0)
}

#[test]
fn five_hundred_idle_connections_keep_nobody_out() {
    let rig = Rig::with(|settings| settings.tcp_idle = Duration::from_secs(3600));
    let mut held = idlers(&rig, 100..110, 50);
    for stream in held.iter_mut().step_by(2) {
        // Half a query is none.
        stream.write_all(&[0, 30, 1, 2]).unwrap();
    }
    let mut kept = from(&rig, [127, 0, 200, 1]);
    for round in 0..100_u8 {
        let own = [127, 0, 100 + round % 10, 2];
        for source in [[127, 0, 201, round], own] {
            assert!(answered(&mut from(&rig, source)), "{source:?}");
        }
        assert!(answered(&mut kept), "who asks is not idle");
        assert_eq!(rcode(&rig.send(&query(ZONE, A, IN, &[]))), 0, "UDP");
        // Those who had to go come again.
        held.push(from(&rig, [127, 0, 100 + round % 10, 1]));
    }
    assert!(rig.dns.counts().tcp_clients <= 128);
}

#[test]
fn a_flood_of_connections_that_goes_on_keeps_nobody_out() {
    use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
    let rig = Rig::with(|settings| settings.tcp_idle = Duration::from_secs(3600));
    let (is_over, count) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for flood in 0..4 {
            let (rig, is_over, count) = (&rig, &is_over, &count);
            scope.spawn(move || {
                // No more at once than there are descriptors for.
                let mut held = std::collections::VecDeque::new();
                while !is_over.load(Ordering::Relaxed) {
                    held.push_back(from(rig, [127, 0, 100 + flood, 1]));
                    count.fetch_add(1, Ordering::Relaxed);
                    if held.len() > 100 {
                        held.pop_front();
                    }
                }
            });
        }
        let results = (0..100_u8).map(|round| {
            let is_served = answered(&mut from(&rig, [127, 0, 201, round]));
            is_served && rcode(&rig.send(&query(ZONE, A, IN, &[]))) == 0
        });
        let served = results.filter(|it| *it).count();
        is_over.store(true, Ordering::Relaxed);
        assert_eq!(served, 100);
    });
    assert!(count.load(Ordering::Relaxed) > 500, "it was a flood");
}

#[test]
fn who_must_go_with_a_whole_query_under_way_is_answered() {
    let rig = Rig::with(|settings| settings.tcp_clients = 4);
    let message = query(ZONE, A, IN, &[]);
    let length = u16::try_from(message.len()).unwrap().to_be_bytes();
    for _ in 0..200 {
        let mut first = rig.connect();
        first.write_all(&[&length[..], &message].concat()).unwrap();
        // One place for each network: this one needs it.
        let _second = rig.connect();
        assert_eq!(rcode(&read_reply(&mut first).unwrap()), 0);
    }
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
