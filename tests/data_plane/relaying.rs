use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Mutex;
use std::sync::atomic::Ordering;
use std::sync::mpsc::channel;
use std::time::Duration;

use tandem::net::tune;
use tandem::pool::Protocol;
use tandem::types::{Endpoint, Reason};

use super::kit::{
    PATIENCE, Plan, Plane, echo, eventually, greeter, nobody, read_all, read_some, server,
};

#[test]
fn bytes_arrive_whole_and_half_closes_reach_the_other_side() {
    let plane = Plane::start(Plan::new(Protocol::Tcp, &[echo()]));
    let mut client = plane.connect();
    let sent: Vec<u8> = (0..3_000_000u32).map(|i| (i * 7 % 251) as u8).collect();
    let mut writer = client.try_clone().unwrap();
    let bytes = sent.clone();
    let writing = std::thread::spawn(move || {
        writer.write_all(&bytes).unwrap();
        writer.shutdown(Shutdown::Write).unwrap();
    });
    let (got, was_reset) = read_all(&mut client);
    writing.join().unwrap();
    assert!(!was_reset);
    assert!(got == sent, "{} of {} bytes", got.len(), sent.len());
    eventually("the session ends", || {
        plane.finished(Reason::ClientClosed) == 1
    });
}

#[test]
fn a_server_that_closes_first_still_hears_the_client() {
    let (heard, hears) = channel();
    let address = server(move |mut stream| {
        stream.write_all(b"bye").unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut rest = String::new();
        stream.read_to_string(&mut rest).unwrap();
        heard.send(rest).unwrap();
    });
    let plane = Plane::start(Plan::new(Protocol::Tcp, &[address]));
    let mut client = plane.connect();
    assert_eq!(read_all(&mut client), (b"bye".to_vec(), false));
    client.write_all(b"and thanks").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(hears.recv_timeout(PATIENCE).unwrap(), "and thanks");
    eventually("the session ends", || {
        plane.finished(Reason::ServerClosed) == 1
    });
}

#[test]
fn a_reset_is_passed_on_as_a_reset() {
    let (told, tell) = channel();
    let address = server(move |mut stream| {
        let mut order = [0; 1];
        stream.read_exact(&mut order).unwrap();
        if order == *b"!" {
            tune::reset_on_close(&stream).unwrap();
            return;
        }
        stream.write_all(b".").unwrap();
        told.send(stream.read_to_end(&mut Vec::new()).is_err())
            .unwrap();
    });
    let plane = Plane::start(Plan::new(Protocol::Tcp, &[address]));
    let mut client = plane.connect();
    client.write_all(b"!").unwrap();
    assert_eq!(read_all(&mut client), (vec![], true));
    let mut client = plane.connect();
    client.write_all(b"?").unwrap();
    assert_eq!(read_some(&mut client, 1), ".", "the byte was relayed");
    tune::reset_on_close(&client).unwrap();
    drop(client);
    let saw_it = tell.recv_timeout(PATIENCE);
    assert!(saw_it.unwrap(), "the server sees the reset");
    eventually("both end", || {
        plane.finished(Reason::ServerReset) == 1 && plane.finished(Reason::ClientReset) == 1
    });
}

#[test]
fn what_a_server_said_before_it_closed_its_ears_is_told() {
    let address = server(|mut stream| {
        // Answers early, reads nothing, and closes with unread bytes: a reset.
        stream.write_all(b"too large").unwrap();
        std::thread::park_timeout(Duration::from_millis(100));
    });
    let plane = Plane::start(Plan::new(Protocol::Tcp, &[address]));
    let mut client = plane.connect();
    client.write_all(&[b'x'; 100_000]).unwrap();
    assert_eq!(read_some(&mut client, 9), "too large");
}

/// A client whose bytes fill every buffer on the way to a server that does not
/// read.
fn stuck(plane: &Plane) -> TcpStream {
    let client = plane.connect();
    client
        .set_write_timeout(Some(Duration::from_millis(500)))
        .unwrap();
    let piece = vec![b'x'; 1 << 20];
    // Bounded: no chain of buffers takes this much.
    for _ in 0..256 {
        if (&client).write_all(&piece).is_err() {
            return client;
        }
    }
    panic!("somebody reads");
}

#[test]
fn a_reset_in_the_middle_of_an_upload_is_passed_on_as_a_reset() {
    let (go, going) = channel::<()>();
    let going = Mutex::new(going);
    let address = server(move |mut stream| {
        stream.write_all(b"part").unwrap();
        going.lock().unwrap().recv_timeout(3 * PATIENCE).unwrap();
        tune::reset_on_close(&stream).unwrap();
    });
    let plane = Plane::start(Plan::new(Protocol::Tcp, &[address]));
    let mut client = stuck(&plane);
    go.send(()).unwrap();
    // Nothing is written any more: a write would take the reset for itself.
    assert_eq!(read_all(&mut client), (b"part".to_vec(), true));
    assert_eq!(plane.finished(Reason::ServerReset), 1);
}

/// The kernel stops a read before urgent data, as if there were no more.
#[test]
fn what_stands_behind_urgent_data_arrives() {
    let mut plan = Plan::new(Protocol::Tcp, &[echo()]);
    plan.pool.backends[0].max_connections = Some(1);
    plan.pool.queue_timeout = 3 * PATIENCE;
    let plane = Plane::start(plan);
    let mut first = plane.connect();
    first.write_all(b"x").unwrap();
    assert_eq!(read_some(&mut first, 1), "x");
    let mut second = plane.connect();
    eventually("it waits", || plane.queued() == 1);
    second.write_all(b"abc").unwrap();
    let urgent = socket2::SockRef::from(&second).send_out_of_band(b"!");
    assert_eq!(urgent.unwrap(), 1);
    second.write_all(b"def").unwrap();
    // All of it is there, and no event comes later.
    std::thread::park_timeout(Duration::from_millis(50));
    drop(first);
    assert_eq!(read_some(&mut second, 7), "abc!def");
}

#[test]
fn a_client_that_resets_while_the_backend_is_stuck_has_reset() {
    let (go, going) = channel::<()>();
    let going = Mutex::new(going);
    let address = server(move |_stream| {
        let _over = going.lock().unwrap().recv_timeout(6 * PATIENCE);
    });
    let plane = Plane::start(Plan::new(Protocol::Tcp, &[address]));
    let client = stuck(&plane);
    tune::reset_on_close(&client).unwrap();
    drop(client);
    eventually("it has ended", || plane.finished(Reason::ClientReset) == 1);
    drop(go);
}

#[test]
fn a_dead_backend_is_never_the_clients_problem() {
    let plane = Plane::start(Plan::new(Protocol::Tcp, &[nobody(), greeter("hello")]));
    for _ in 0..50 {
        let mut client = plane.connect();
        assert_eq!(read_some(&mut client, 5), "hello");
    }
    let refused = plane.refused.load(Ordering::Relaxed);
    assert!(refused >= 1, "somebody met the dead one");
    assert!(refused <= 10, "and the others were spared: {refused}");
}

/// A listener whose accept queue is full: the kernel drops further SYNs, as a
/// firewall or a dead host does.
#[test]
fn a_silent_backend_costs_one_timeout_and_not_the_connection() {
    let full = TcpListener::bind("127.0.0.1:0").unwrap();
    rustix::net::listen(&full, 0).unwrap();
    let address = full.local_addr().unwrap();
    let filling: Vec<_> = (0..2)
        .map(|_| {
            let socket = socket2::Socket::new(
                socket2::Domain::IPV4,
                socket2::Type::STREAM.nonblocking(),
                None,
            );
            let socket = socket.unwrap();
            let _under_way = socket.connect(&address.into());
            socket
        })
        .collect();
    let mut plan = Plan::new(Protocol::Tcp, &[address, greeter("hello")]);
    plan.pool.policy = tandem::pool::Policy::First;
    plan.pool.connect_timeout = Duration::from_millis(150);
    let plane = Plane::start(plan);
    for _ in 0..5 {
        let mut client = plane.connect();
        assert_eq!(read_some(&mut client, 5), "hello");
    }
    let snapshot = plane.snapshot.load();
    let retries = snapshot.pools[0].live.cells.sum(|it| it.retries.get());
    assert!(
        (1..=4).contains(&retries),
        "the suspect is avoided: {retries}"
    );
    drop(filling);
}

#[test]
fn silence_has_an_end() {
    let mut plan = Plan::new(Protocol::Tcp, &[greeter("hello")]);
    plan.pool.idle_timeout = Some(Duration::from_millis(200));
    let plane = Plane::start(plan);
    let mut client = plane.connect();
    assert_eq!(read_all(&mut client), (b"hello".to_vec(), true));
    assert_eq!(plane.finished(Reason::Idle), 1);
}

#[test]
fn a_half_closed_session_that_falls_silent_has_an_end() {
    let address = server(|mut stream| {
        let mut all = Vec::new();
        stream.read_to_end(&mut all).unwrap();
        std::thread::park_timeout(Duration::from_secs(5));
    });
    let mut plan = Plan::new(Protocol::Tcp, &[address]);
    plan.pool.half_close_timeout = Some(Duration::from_millis(200));
    let plane = Plane::start(plan);
    let mut client = plane.connect();
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_all(&mut client), (vec![], true));
    assert_eq!(plane.finished(Reason::HalfCloseTimeout), 1);
}

/// Longer than the half-close limit of the two tests below, by little; their
/// answers take much less than the limit, on a busy machine, too.
const QUIET: Duration = Duration::from_millis(2100);
const LIMIT: Duration = Duration::from_secs(2);
const ANSWER: Duration = Duration::from_millis(300);

#[test]
fn a_client_that_closes_its_side_after_a_long_silence_still_gets_its_answer() {
    let address = server(|mut stream| {
        stream.write_all(b"hello").unwrap();
        stream.read_to_end(&mut Vec::new()).unwrap();
        std::thread::park_timeout(ANSWER);
        stream.write_all(b" and bye").unwrap();
    });
    let mut plan = Plan::new(Protocol::Tcp, &[address]);
    plan.pool.half_close_timeout = Some(LIMIT);
    let plane = Plane::start(plan);
    let mut client = plane.connect();
    assert_eq!(read_some(&mut client, 5), "hello");
    std::thread::park_timeout(QUIET);
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_all(&mut client), (b" and bye".to_vec(), false));
    eventually("it ends in order", || {
        plane.finished(Reason::ClientClosed) == 1
    });
}

#[test]
fn a_backend_that_closes_first_after_a_long_silence_still_hears_its_client() {
    let (heard, hears) = channel();
    let address = server(move |mut stream| {
        stream.write_all(b"hello").unwrap();
        std::thread::park_timeout(QUIET);
        stream.shutdown(Shutdown::Write).unwrap();
        let mut rest = String::new();
        let end = stream.read_to_string(&mut rest).map_err(|it| it.kind());
        heard.send((rest, end.err())).unwrap();
    });
    let mut plan = Plan::new(Protocol::Tcp, &[address]);
    plan.pool.half_close_timeout = Some(LIMIT);
    let plane = Plane::start(plan);
    let mut client = plane.connect();
    assert_eq!(read_all(&mut client), (b"hello".to_vec(), false));
    std::thread::park_timeout(ANSWER);
    client.write_all(b"thanks").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let heard = hears.recv_timeout(PATIENCE).unwrap();
    assert_eq!(heard, ("thanks".to_owned(), None));
    eventually("it ends in order", || {
        plane.finished(Reason::ServerClosed) == 1
    });
}

/// The limit is on silence, not on the answer.
#[test]
fn a_long_answer_after_a_half_close_is_not_cut() {
    const PIECES: usize = 25;
    let address = server(|mut stream| {
        stream.read_to_end(&mut Vec::new()).unwrap();
        for _ in 0..PIECES {
            stream.write_all(b".").unwrap();
            std::thread::park_timeout(Duration::from_millis(100));
        }
    });
    let mut plan = Plan::new(Protocol::Tcp, &[address]);
    plan.pool.half_close_timeout = Some(Duration::from_secs(1));
    let plane = Plane::start(plan);
    let mut client = plane.connect();
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_all(&mut client), (vec![b'.'; PIECES], false));
}

#[test]
fn a_slow_reader_gets_all_that_a_server_left_behind() {
    const LENGTH: usize = 400_000;
    let address = server(|mut stream| {
        stream.write_all(&vec![b'x'; LENGTH]).unwrap();
    });
    let mut plan = Plan::new(Protocol::Tcp, &[address]);
    plan.pool.half_close_timeout = Some(Duration::from_millis(200));
    let plane = Plane::start(plan);
    let mut client = plane.connect();
    eventually("the session is given up", || {
        plane.finished(Reason::HalfCloseTimeout) == 1
    });
    let (got, was_reset) = read_all(&mut client);
    assert_eq!((got.len(), was_reset), (LENGTH, false));
}

#[test]
fn a_client_that_never_speaks_has_an_end() {
    let mut plan = Plan::new(Protocol::Http, &[echo()]);
    plan.listener.first_byte_timeout = Some(Duration::from_millis(200));
    let plane = Plane::start(plan);
    let mut talker = plane.connect();
    talker.write_all(b"x").unwrap();
    let mut silent = plane.connect();
    assert_eq!(read_all(&mut silent), (vec![], true));
    assert_eq!(plane.finished(Reason::Idle), 1);
    assert_eq!(read_some(&mut talker, 1), "x");
    talker.write_all(b"y").unwrap();
    assert_eq!(read_some(&mut talker, 1), "y");
}

#[test]
fn ipv6_clients_and_backends_meet() {
    let listener = TcpListener::bind("[::1]:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(b"six").unwrap();
    });
    let mut plan = Plan::new(Protocol::Tcp, &[address]);
    plan.listener.binds = vec![Endpoint::Tcp("[::1]:0".parse().unwrap())];
    let plane = Plane::start(plan);
    assert!(plane.front.is_ipv6());
    assert_eq!(read_some(&mut plane.connect(), 3), "six");
}

#[test]
fn a_worker_that_stays_awake_serves_the_same() {
    let mut plan = Plan::new(Protocol::Tcp, &[echo()]);
    plan.busy_poll = Duration::from_micros(200);
    let plane = Plane::start(plan);
    let mut client = plane.connect();
    for pause in [0, 1, 0, 0, 20, 0, 0, 0] {
        std::thread::park_timeout(Duration::from_millis(pause));
        client.write_all(b"ping").unwrap();
        assert_eq!(read_some(&mut client, 4), "ping");
    }
}
