//! Every byte arrives, every end arrives as what it was, and nothing is left
//! over.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use socket2::SockRef;

use crate::kit::pattern::{self, Pattern, Sum};
use crate::kit::tandem::{Lb, Tandem};
use crate::kit::{Backend, SOON, figure, ms, pass, ports, wait_until};

const MIB: usize = 1024 * 1024;

#[test]
fn a_gibibyte_each_way_arrives_as_it_was_sent() {
    const STREAMS: u64 = 8;
    const EACH: usize = 128 * MIB;
    let backends = Backend::several(2);
    let lb = Lb::new(&backends, "tcp").pool("protocol: tcp");
    let tandem = lb.start();
    let start = Instant::now();
    let address = lb.address;
    let streams: Vec<_> = (0..STREAMS)
        .map(|seed| thread::spawn(move || both_ways(address, seed, EACH)))
        .collect();
    for stream in streams {
        stream.join().unwrap();
    }
    let seconds = start.elapsed().as_secs_f64();
    figure(
        "integrity.gibibyte_each_way_seconds",
        format!("{seconds:.1}"),
    );
    let moved = tandem.metric("tandem_bytes_total", &["direction=\"in\""]);
    assert!(
        moved >= (EACH as f64) * STREAMS as f64,
        "{moved} bytes counted"
    );
}

/// Sends one pattern and takes in another, in odd pieces and with stalls.
pub(crate) fn both_ways(address: SocketAddr, seed: u64, count: usize) {
    let mut stream = TcpStream::connect(address).unwrap();
    let theirs = 1000 + seed;
    writeln!(stream, "BOTH {count} {theirs}").unwrap();
    let mut back = stream.try_clone().unwrap();
    let sender = thread::spawn(move || {
        send_in_pieces(&mut stream, seed, count);
        stream.shutdown(Shutdown::Write).unwrap();
    });
    let mut chance = Pattern::new(seed ^ 0xabcd);
    let mut chunk = vec![0; 256 * 1024];
    let mut sum = Sum::new();
    while sum.count < count as u64 {
        let left = usize::try_from(count as u64 - sum.count).unwrap();
        let most = (1 + chance.below(chunk.len())).min(left);
        let got = back.read(&mut chunk[..most]).unwrap();
        assert!(got > 0, "the end after {} bytes", sum.count);
        sum.add(&chunk[..got]);
        stall_sometimes(&mut chance);
    }
    assert_eq!(sum.finish(), pattern::sum_of(theirs, count));
    let mut trailer = String::new();
    back.read_to_string(&mut trailer).unwrap();
    sender.join().unwrap();
    assert_eq!(trailer, pattern::sum_of(seed, count));
}

fn send_in_pieces(stream: &mut TcpStream, seed: u64, count: usize) {
    let mut pattern = Pattern::new(seed);
    let mut chance = Pattern::new(seed ^ 0x1234);
    let mut chunk = vec![0; 256 * 1024];
    let mut left = count;
    while left > 0 {
        let part = left.min(chunk.len());
        pattern.fill(&mut chunk[..part]);
        let mut rest = &chunk[..part];
        while !rest.is_empty() {
            let (now, later) = rest.split_at((1 + chance.below(200_000)).min(rest.len()));
            stream.write_all(now).unwrap();
            rest = later;
            stall_sometimes(&mut chance);
        }
        left -= part;
    }
}

fn stall_sometimes(chance: &mut Pattern) {
    if chance.below(200) == 0 {
        pass(ms(chance.below(30) as u64));
    }
}

/// A tandem whose one backend is a listener of this test.
struct Between {
    tandem: Tandem,
    listener: TcpListener,
    address: SocketAddr,
}

impl Between {
    fn start() -> Self {
        Self::with(|lb| lb)
    }

    fn with(change: impl FnOnce(Lb) -> Lb) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let lb = Lb::bare()
            .backend("a", listener.local_addr().unwrap())
            .pool("protocol: tcp")
            .pool("probe: { type: tcp, interval: 10s }");
        let lb = change(lb);
        Self {
            address: lb.address,
            tandem: lb.start(),
            listener,
        }
    }

    /// Both ends of one session. A mark tells it from the probes' visits.
    fn meet(&self) -> (TcpStream, TcpStream) {
        let mut client = TcpStream::connect(self.address).unwrap();
        client.write_all(b"#").unwrap();
        client.set_read_timeout(Some(SOON)).unwrap();
        loop {
            let mut server = ports::accept_soon(&self.listener);
            if server.read(&mut [0]).is_ok_and(|it| it == 1) {
                return (client, server);
            }
        }
    }

    fn reason(&self, client: &TcpStream) -> String {
        self.tandem.reason(client.local_addr().unwrap())
    }
}

fn drink(stream: &mut TcpStream) -> String {
    let mut sum = Sum::new();
    let mut chunk = vec![0; 64 * 1024];
    loop {
        match stream.read(&mut chunk).unwrap() {
            0 => return sum.finish(),
            got => sum.add(&chunk[..got]),
        }
    }
}

#[test]
fn a_half_close_from_either_side_delivers_everything() {
    const COUNT: usize = 5 * MIB + 3;
    let between = Between::start();
    for client_first in [true, false] {
        let (client, server) = between.meet();
        let own = client.try_clone().unwrap();
        let (mut first, mut second) = if client_first {
            (client, server)
        } else {
            (server, client)
        };
        send_and_close_in_thread(&first, 1, COUNT);
        assert_eq!(drink(&mut second), pattern::sum_of(1, COUNT));
        // The other direction is as open as before, for as long as it likes.
        pass(ms(300));
        send_and_close_in_thread(&second, 2, COUNT);
        assert_eq!(drink(&mut first), pattern::sum_of(2, COUNT));
        let expected = if client_first {
            "client_closed"
        } else {
            "server_closed"
        };
        assert_eq!(between.reason(&own), expected);
    }
}

fn send_and_close_in_thread(stream: &TcpStream, seed: u64, count: usize) {
    let mut stream = stream.try_clone().unwrap();
    thread::spawn(move || {
        send_in_pieces(&mut stream, seed, count);
        stream.shutdown(Shutdown::Write).unwrap();
    });
}

#[test]
fn a_reset_on_one_side_is_a_reset_on_the_other() {
    let between = Between::start();
    for client_resets in [true, false] {
        for bytes_before in [0, 100_000] {
            let (client, server) = between.meet();
            let address = client.local_addr().unwrap();
            let (mut first, mut second) = if client_resets {
                (client, server)
            } else {
                (server, client)
            };
            first.write_all(&vec![7; bytes_before]).unwrap();
            pass(ms(50));
            SockRef::from(&first)
                .set_linger(Some(Duration::ZERO))
                .unwrap();
            drop(first);
            let error = second.read_to_end(&mut Vec::new()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ConnectionReset);
            let reason = between.tandem.reason(address);
            let expected = if client_resets {
                "client_reset"
            } else {
                "server_reset"
            };
            assert_eq!(reason, expected);
        }
    }
}

#[test]
fn a_cut_answer_does_not_look_whole() {
    let backends = Backend::several(1);
    let lb = Lb::new(&backends, "tcp").pool("protocol: tcp");
    let _tandem = lb.start();
    for _ in 0..50 {
        let mut stream = TcpStream::connect(lb.address).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        stream.write_all(b"RESET 300000\n").unwrap();
        let ended = stream.read_to_end(&mut Vec::new());
        let error = ended.expect_err("the server reset it, so this is no clean end");
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    }
}

#[test]
fn silence_and_half_silence_end_with_their_reasons() {
    let between = Between::with(|lb| {
        lb.pool("idle_timeout: 400ms")
            .pool("half_close_timeout: 200ms")
    });
    let (mut client, _server) = between.meet();
    let start = Instant::now();
    // The end may come as a reset; that it comes is what counts.
    let _end = client.read(&mut [0]);
    figure("integrity.idle_cut_ms", start.elapsed().as_millis());
    assert!(start.elapsed() >= ms(300), "not before its time");
    assert_eq!(between.reason(&client), "idle");

    let (client, _server) = between.meet();
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(between.reason(&client), "half_close_timeout");
}

#[test]
fn stalled_readers_cost_bounded_memory() {
    const SESSIONS: usize = 50;
    let between = Between::start();
    let before = between.tandem.proc.pss_kib();
    let mut held = Vec::new();
    let mut sent = 0;
    for _ in 0..SESSIONS {
        let (client, mut server) = between.meet();
        server.set_nonblocking(true).unwrap();
        sent += fill(&mut server);
        held.push((client, server));
    }
    let grown = between.tandem.proc.pss_kib().saturating_sub(before);
    figure("integrity.stalled_kib_each", grown / SESSIONS as u64);
    figure("integrity.stalled_sent_mib", sent / MIB);
    assert!(grown / (SESSIONS as u64) < 40, "{grown} KiB for {SESSIONS}");
    // And every byte is still on its way.
    let (client, server) = held.pop().unwrap();
    drop(server);
    let mut client = client;
    let mut got = Vec::new();
    client.read_to_end(&mut got).unwrap();
    assert!(got.len() > MIB, "{} bytes of a clean end", got.len());
}

/// Writes until nothing more is taken for a while.
fn fill(stream: &mut TcpStream) -> usize {
    let chunk = vec![0; MIB];
    let mut sent = 0;
    let mut patience = 0;
    while patience < 5 && sent < 64 * MIB {
        match stream.write(&chunk) {
            Ok(count) => {
                sent += count;
                patience = 0;
            }
            Err(_) => {
                patience += 1;
                pass(ms(10));
            }
        }
    }
    sent
}

#[test]
fn ten_thousand_idle_connections_are_held_and_given_back() {
    crate::kit::backend::raise_nofile();
    let backends = Backend::several(2);
    let lb = Lb::new(&backends, "tcp").pool("protocol: tcp");
    let tandem = lb.start();
    let most = tandem.status()["max_connections"].as_u64().unwrap();
    let count = usize::try_from(most.saturating_sub(20))
        .unwrap()
        .min(10_000);
    wait_until("probes are over", SOON, || tandem.proc.fds() > 0);
    let fds = tandem.proc.fds();
    let before = tandem.proc.pss_kib();
    let start = Instant::now();
    let mut held = Vec::with_capacity(count);
    for _ in 0..count {
        let mut stream = TcpStream::connect(lb.address).unwrap();
        stream.write_all(b"HOLD\n").unwrap();
        held.push(stream);
    }
    let open = || tandem.metric("tandem_listener_connections", &[]);
    wait_until("all are open", SOON, || open() >= count as f64);
    figure("integrity.idle_connections", count);
    figure("integrity.idle_opened_ms", start.elapsed().as_millis());
    let grown = tandem.proc.pss_kib().saturating_sub(before);
    let each = grown as f64 / count as f64;
    figure("integrity.idle_kib_each", format!("{each:.2}"));
    // README: 447 bytes, measured in a release build with more connections.
    assert!(each < 0.45, "{each} KiB each");
    let mut one = TcpStream::connect(lb.address).unwrap();
    writeln!(one, "SOURCE 1000 5").unwrap();
    one.shutdown(Shutdown::Write).unwrap();
    assert_eq!(drink(&mut one), pattern::sum_of(5, 1000));
    drop(held);
    wait_until("all are closed", SOON, || open() == 0.0);
    wait_until("descriptors are back", SOON, || {
        tandem.proc.fds() <= fds + 5
    });
    figure(
        "integrity.idle_fds_before_after",
        format!("{fds} {}", tandem.proc.fds()),
    );
    let after = tandem.proc.pss_kib();
    figure(
        "integrity.idle_kib_before_after",
        format!("{before} {after}"),
    );
}
