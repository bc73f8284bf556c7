//! Streams that are too much to copy: through pipes, without pipes, and from
//! one to the other.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::mpsc::channel;
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use tandem::net::tune;
use tandem::pool::Protocol;
use tandem::types::Reason;

use super::kit::{PATIENCE, Plan, Plane, eventually, read_all, server};

/// What stands at `at` in the stream number `id`.
fn byte(id: u64, at: u64) -> u8 {
    let mixed = (at ^ (id << 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> 56) as u8
}

/// Sends `length` bytes in pieces of every size, with pauses, then a FIN.
fn send(mut stream: &TcpStream, id: u64, length: u64, seed: u64) {
    let mut rng = SmallRng::seed_from_u64(seed);
    let mut at = 0;
    while at < length {
        let size = match rng.random_range(0..4) {
            0 => rng.random_range(1..100),
            1 => rng.random_range(1..20_000),
            _ => rng.random_range(1..400_000),
        };
        let size = size.min(length - at);
        let piece: Vec<u8> = (at..at + size).map(|at| byte(id, at)).collect();
        stream.write_all(&piece).unwrap();
        at += size;
        if rng.random_range(0..20) == 0 {
            std::thread::park_timeout(Duration::from_millis(rng.random_range(0..15)));
        }
    }
    stream.shutdown(Shutdown::Write).unwrap();
}

/// Reads to the end, with pauses, and says how much was right.
fn receive(mut stream: &TcpStream, id: u64, seed: u64) -> u64 {
    let mut rng = SmallRng::seed_from_u64(seed);
    let mut buffer = vec![0; 300_000];
    let mut at = 0;
    loop {
        let most = rng.random_range(1..buffer.len());
        let got = stream.read(&mut buffer[..most]).unwrap();
        if got == 0 {
            return at;
        }
        for (byte_here, place) in buffer[..got].iter().zip(at..) {
            assert_eq!(*byte_here, byte(id, place), "stream {id}, byte {place}");
        }
        at += got as u64;
        if rng.random_range(0..30) == 0 {
            std::thread::park_timeout(Duration::from_millis(rng.random_range(0..15)));
        }
    }
}

fn both_ways(stream: &TcpStream, up: (u64, u64), down: (u64, u64), seed: u64) {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| send(stream, up.0, up.1, seed));
        assert_eq!(receive(stream, down.0, seed + 1), down.1);
    });
}

/// Sends as much as it was told to, and checks what it gets.
fn peer() -> SocketAddr {
    server(|stream| {
        let mut order = [0; 24];
        (&stream).read_exact(&mut order).unwrap();
        let [id, up, down] =
            [0, 8, 16].map(|at| u64::from_le_bytes(order[at..at + 8].try_into().unwrap()));
        both_ways(&stream, (id + 1, down), (id, up), id + 7);
    })
}

fn transfer(plane: &Plane, id: u64, up: u64, down: u64) {
    let stream = plane.connect();
    for number in [id, up, down] {
        (&stream).write_all(&number.to_le_bytes()).unwrap();
    }
    both_ways(&stream, (id, up), (id + 1, down), id + 3);
}

#[test]
fn streams_arrive_whole_with_many_pipes_few_and_none() {
    const MIB: u64 = 1 << 20;
    for pipes in [0, 1, 8] {
        let mut plan = Plan::new(Protocol::Tcp, &[peer()]);
        plan.pipes = pipes;
        let plane = Plane::start(plan);
        std::thread::scope(|scope| {
            for (number, (up, down)) in [
                (6 * MIB, 0),
                (0, 6 * MIB),
                (4 * MIB, 4 * MIB + 13),
                (3 * MIB + 1, 5 * MIB),
                (70_000, 2 * MIB),
                (2 * MIB, 1),
            ]
            .into_iter()
            .enumerate()
            {
                let plane = &plane;
                scope.spawn(move || transfer(plane, 10 * number as u64, up, down));
            }
        });
        eventually("all end in order", || {
            plane.finished(Reason::ClientClosed) + plane.finished(Reason::ServerClosed) == 6
        });
    }
}

#[test]
fn a_stream_cut_in_the_middle_leaves_nothing_for_the_next() {
    let mut plan = Plan::new(Protocol::Tcp, &[peer()]);
    plan.pipes = 1;
    plan.workers = 1;
    let plane = Plane::start(plan);
    for round in 0..10_u64 {
        // Asks for much, reads a little, and goes: the pipe has bytes in it.
        let mut stream = plane.connect();
        for number in [round, 0, 64 << 20] {
            stream.write_all(&number.to_le_bytes()).unwrap();
        }
        let mut some = vec![0; 500_000];
        stream.read_exact(&mut some).unwrap();
        std::thread::park_timeout(Duration::from_millis(30));
        drop(stream);
        transfer(&plane, 1000 + round, 300_000, 2_000_000);
    }
    eventually("all have ended", || plane.open() == 0);
}

/// A stream that is reset in full flight must not look whole, whoever resets
/// it, copied or not.
#[test]
fn a_reset_in_full_flight_is_no_end() {
    for pipes in [0, 8] {
        for client_resets in [false, true] {
            let (told, tell) = channel();
            let address = server(move |stream| {
                if client_resets {
                    let mut sink = vec![0; 100_000];
                    let end = loop {
                        match (&stream).read(&mut sink) {
                            Ok(0) => break false,
                            Ok(_) => {}
                            Err(_) => break true,
                        }
                    };
                    told.send(end).unwrap();
                } else {
                    (&stream).write_all(&vec![7; 8 << 20]).unwrap();
                    tune::reset_on_close(&stream).unwrap();
                }
            });
            let mut plan = Plan::new(Protocol::Tcp, &[address]);
            plan.pipes = pipes;
            let plane = Plane::start(plan);
            let mut client = plane.connect();
            if client_resets {
                client.write_all(&vec![7; 8 << 20]).unwrap();
                tune::reset_on_close(&client).unwrap();
                drop(client);
                assert!(tell.recv_timeout(PATIENCE).unwrap(), "{pipes} pipes");
                eventually("it has ended", || plane.finished(Reason::ClientReset) == 1);
            } else {
                client.write_all(b"go").unwrap();
                let (_, was_reset) = read_all(&mut client);
                assert!(was_reset, "{pipes} pipes");
                eventually("it has ended", || plane.finished(Reason::ServerReset) == 1);
            }
        }
    }
}
