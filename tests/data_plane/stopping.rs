use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use tandem::clock;
use tandem::net::listen;
use tandem::pool::Protocol;
use tandem::proxy::GateId;
use tandem::types::Reason;

use super::kit::{Plan, Plane, echo, eventually, greeter, read_all, read_some};

#[test]
fn the_sessions_of_a_dead_backend_are_reset_and_the_others_go_on() {
    let mut plan = Plan::new(Protocol::Tcp, &[greeter("a"), greeter("b")]);
    plan.pool.policy = tandem::pool::Policy::RoundRobin;
    plan.workers = 1;
    let mut plane = Plane::start(plan);
    let mut clients: Vec<_> = (0..20).map(|_| plane.connect()).collect();
    let names: Vec<String> = clients.iter_mut().map(|it| read_some(it, 1)).collect();
    plane.lose(0);
    eventually("they are gone", || plane.active(0) == 0);
    for (client, name) in clients.iter_mut().zip(&names) {
        if name == "a" {
            assert_eq!(read_all(client), (vec![], true));
        }
    }
    assert_eq!(plane.finished(Reason::BackendDown), 10);
    assert_eq!(plane.active(1), 10);
}

/// Clients come while a backend is lost: each is on the other one in the end,
/// or was reset.
#[test]
fn nobody_stays_on_a_backend_that_was_lost_while_they_came() {
    let mut plan = Plan::new(Protocol::Tcp, &[echo(), echo()]);
    plan.listener.client_first = true;
    let mut plane = Plane::start(plan);
    for round in 0..200u32 {
        let front = plane.front;
        let comers = [(); 3].map(|()| {
            std::thread::spawn(move || {
                (0..8)
                    .map(|_| {
                        let mut client = TcpStream::connect(front).unwrap();
                        client.write_all(b"x").unwrap();
                        client
                    })
                    .collect::<Vec<_>>()
            })
        });
        // At another moment each time.
        for _ in 0..round * 20 {
            std::hint::spin_loop();
        }
        plane.lose(0);
        let clients = comers.map(|it| it.join().unwrap());
        eventually("all are elsewhere or were reset", || {
            plane.accepted() == u64::from(round + 1) * 24 && plane.open() == plane.active(1)
        });
        assert_eq!(plane.active(0), 0);
        drop(clients);
        eventually("all have gone", || plane.open() == 0);
        plane.set_state(0, tandem::pool::BackendState::Up { ramp_from: None });
    }
}

#[test]
fn a_drained_backend_keeps_its_sessions_until_the_deadline() {
    let plane = Plane::start(Plan::new(Protocol::Tcp, &[echo()]));
    let mut client = plane.connect();
    client.write_all(b"x").unwrap();
    assert_eq!(read_some(&mut client, 1), "x");
    let at = clock::now() + Duration::from_millis(300);
    plane.workers.drain(plane.ids[0], at).unwrap();
    client.write_all(b"y").unwrap();
    assert_eq!(read_some(&mut client, 1), "y");
    assert_eq!(read_all(&mut client), (vec![], true));
    assert!(clock::now() >= at);
    assert_eq!(plane.finished(Reason::Drained), 1);
}

#[test]
fn who_waits_for_a_connect_at_the_end_of_a_drain_is_served_elsewhere() {
    let (deaf, _queue) = deaf();
    let mut plan = Plan::new(Protocol::Tcp, &[deaf, echo()]);
    plan.pool.policy = tandem::pool::Policy::RoundRobin;
    plan.pool.connect_timeout = Duration::from_secs(60);
    plan.pool.connect_budget = Duration::from_secs(60);
    plan.workers = 1;
    let plane = Plane::start(plan);
    let mut clients = [plane.connect(), plane.connect()];
    eventually("one of them dials", || plane.active(0) == 1);
    let at = clock::now() + Duration::from_millis(200);
    plane.workers.drain(plane.ids[0], at).unwrap();
    for client in &mut clients {
        client.write_all(b"x").unwrap();
        assert_eq!(read_some(client, 1), "x");
    }
    assert!(clock::now() >= at);
    assert_eq!(plane.finished(Reason::Drained), 0);
}

/// A port whose queue is full: who connects waits.
fn deaf() -> (SocketAddr, (TcpListener, Vec<TcpStream>)) {
    let listener = listen::shared("127.0.0.1:0".parse().unwrap(), 0).unwrap();
    let address = listener.local_addr().unwrap();
    let mut queue = Vec::new();
    for _ in 0..16 {
        match TcpStream::connect_timeout(&address, Duration::from_millis(200)) {
            Ok(stream) => queue.push(stream),
            Err(_) => return (address, (listener, queue)),
        }
    }
    panic!("a queue of no length takes everybody");
}

#[test]
fn a_stop_accepts_no_more_and_lets_sessions_finish() {
    let plane = Plane::start(Plan::new(Protocol::Tcp, &[echo()]));
    let mut client = plane.connect();
    client.write_all(b"x").unwrap();
    assert_eq!(read_some(&mut client, 1), "x");
    plane
        .workers
        .shutdown(clock::now() + Duration::from_secs(60))
        .unwrap();
    eventually("nobody accepts", || {
        TcpStream::connect(plane.front).is_err()
    });
    client.write_all(b"y").unwrap();
    assert_eq!(read_some(&mut client, 1), "y");
    drop(client);
    assert_eq!(plane.workers.join(), 0);
}

#[test]
fn a_stop_cuts_what_has_not_finished_by_the_deadline() {
    let plane = Plane::start(Plan::new(Protocol::Tcp, &[greeter("a")]));
    let mut client = plane.connect();
    assert_eq!(read_some(&mut client, 1), "a");
    let at = clock::now() + Duration::from_millis(200);
    plane.workers.shutdown(at).unwrap();
    assert_eq!(plane.workers.join(), 1);
    assert_eq!(read_all(&mut client), (vec![], true));
    assert_eq!(plane.finished(Reason::Shutdown), 1);
}

#[test]
fn who_is_in_the_accept_queue_when_the_stop_comes_is_still_served() {
    for _ in 0..20 {
        let plane = Plane::start(Plan::new(Protocol::Tcp, &[greeter("hello")]));
        let mut clients: Vec<_> = (0..20).map(|_| plane.connect()).collect();
        plane
            .workers
            .shutdown(clock::now() + Duration::from_secs(60))
            .unwrap();
        for client in &mut clients {
            assert_eq!(read_some(client, 5), "hello");
        }
        drop(clients);
        plane.workers.join();
    }
}

/// What may be asked of the workers while they stop or drain, in which order,
/// and what ends the session then. Each pair is one deadline that is near and
/// one that is so far off that only a hang would wait for it.
#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn deadlines_only_come_nearer_whoever_sets_them_last() {
    const NEAR: Duration = Duration::from_millis(200);
    const FAR: Duration = Duration::from_secs(3600);
    type Deed = fn(&Plane, Duration);
    let stop: Deed = |plane, after| plane.workers.shutdown(clock::now() + after).unwrap();
    let drain: Deed = |plane, after| {
        let at = clock::now() + after;
        plane.workers.drain(plane.ids[0], at).unwrap();
    };
    let kill: Deed = |plane, _| {
        let shown = plane.snapshot.load_full();
        plane.workers.show(shown, &plane.ids[..1]).unwrap();
    };
    let table = [
        (
            "a drain during a stop",
            stop,
            NEAR,
            drain,
            FAR,
            Reason::Shutdown,
        ),
        (
            "a stop during a drain",
            drain,
            NEAR,
            stop,
            FAR,
            Reason::Drained,
        ),
        ("a longer drain", drain, NEAR, drain, FAR, Reason::Drained),
        ("a longer stop", stop, NEAR, stop, FAR, Reason::Shutdown),
        ("a shorter drain", drain, FAR, drain, NEAR, Reason::Drained),
        ("a shorter stop", stop, FAR, stop, NEAR, Reason::Shutdown),
        (
            "a near drain during a stop",
            stop,
            FAR,
            drain,
            NEAR,
            Reason::Drained,
        ),
        (
            "a near stop during a drain",
            drain,
            FAR,
            stop,
            NEAR,
            Reason::Shutdown,
        ),
        (
            "a death during a stop",
            stop,
            FAR,
            kill,
            FAR,
            Reason::BackendDown,
        ),
        (
            "a death during a drain",
            drain,
            FAR,
            kill,
            FAR,
            Reason::BackendDown,
        ),
        (
            "a drain after a death",
            kill,
            FAR,
            drain,
            FAR,
            Reason::BackendDown,
        ),
    ];
    for (what, first, after, second, later, reason) in table {
        let mut plan = Plan::new(Protocol::Tcp, &[greeter("a")]);
        plan.workers = 1;
        let plane = Plane::start(plan);
        let mut client = plane.connect();
        assert_eq!(read_some(&mut client, 1), "a");
        first(&plane, after);
        second(&plane, later);
        assert_eq!(read_all(&mut client), (vec![], true), "{what}");
        assert_eq!(plane.finished(reason), 1, "{what}");
    }
}

#[test]
fn a_worker_that_stops_ends_although_a_listener_comes() {
    let mut plan = Plan::new(Protocol::Tcp, &[echo()]);
    plan.workers = 1;
    let plane = Plane::start(plan);
    let mut client = plane.connect();
    client.write_all(b"x").unwrap();
    assert_eq!(read_some(&mut client, 1), "x");
    // The session keeps the worker there until the listener has come.
    let far = clock::now() + Duration::from_secs(3600);
    plane.workers.shutdown(far).unwrap();
    let late = listen::shared("127.0.0.1:0".parse().unwrap(), 16).unwrap();
    let address = late.local_addr().unwrap();
    let place = plane.snapshot.load().listeners[0]
        .door
        .listener
        .places()
        .next();
    let sockets = vec![tandem::net::listening::Listening::Tcp(late)];
    plane
        .workers
        .listen(GateId(2), &place.unwrap(), sockets)
        .unwrap();
    eventually("nobody listens there", || {
        TcpStream::connect(address).is_err()
    });
    drop(client);
    assert_eq!(plane.workers.join(), 0);
}
