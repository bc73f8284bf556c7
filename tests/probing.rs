//! Many probers at once: addresses that swallow everything must not delay the
//! verdict on the others.
#![allow(clippy::unwrap_used, missing_docs)]

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use tandem::clock::Seed;
use tandem::health::{Aim, Health, News, ProbeKind, ProbeSettings, Prober, Report, Target, Timing};
use tandem::pool::{BackendId, BackendState};
use tandem::types::Name;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

/// Black holes beside the living one.
const HOLES: u64 = 1000;
const TIMEOUT: Duration = Duration::from_millis(500);

/// A listener whose accept queue is full: further SYNs are dropped, as a
/// firewall or a dead host does.
fn black_hole() -> (SocketAddr, Vec<socket2::Socket>, TcpListener) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    rustix::net::listen(&listener, 0).unwrap();
    let address = listener.local_addr().unwrap();
    let fill = |_| {
        let socket = socket2::Socket::new(
            socket2::Domain::IPV4,
            socket2::Type::STREAM.nonblocking(),
            None,
        );
        let socket = socket.unwrap();
        let _under_way = socket.connect(&address.into());
        socket
    };
    (address, (0..2).map(fill).collect(), listener)
}

fn prober(id: u64, address: SocketAddr, reports: &mpsc::Sender<News>) -> Prober {
    let name = Name::new(&format!("b{id}")).unwrap();
    let target = Target {
        pool: name.clone(),
        backend: name,
        address: address.into(),
        is_clients_port: true,
        host: address.ip().to_string(),
        sources: tandem::types::Sources::default(),
        send_proxy: None,
    };
    let settings = ProbeSettings {
        kind: ProbeKind::Tcp,
        port: None,
        timing: Timing {
            interval: Duration::from_millis(100),
            timeout: TIMEOUT,
            ..Timing::default()
        },
        is_hushed: false,
    };
    let reports = reports.clone();
    Prober::start(
        BackendId(id),
        Aim::Target(target),
        settings,
        Health::new(true),
        Seed(id),
        (Arc::default(), reports),
    )
}

async fn next_report(inbox: &mut mpsc::Receiver<News>) -> Report {
    let news = timeout(Duration::from_secs(20), inbox.recv()).await;
    match news.expect("a verdict on everybody").unwrap() {
        News::State(report) => report,
        news @ (News::Blind { .. } | News::Seeing { .. }) => panic!("{news:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_black_holes_delay_nobody() {
    let (hole, _filling, _listener) = black_hole();
    let alive = TcpListener::bind("127.0.0.1:0").unwrap();
    let (reports, mut inbox) = mpsc::channel(4096);
    let living = prober(0, alive.local_addr().unwrap(), &reports);
    let holes: Vec<Prober> = (1..=HOLES).map(|id| prober(id, hole, &reports)).collect();
    drop(reports);
    let mut down = 0;
    let mut up = 0;
    while down < HOLES || up < 1 {
        let report = next_report(&mut inbox).await;
        match report.state {
            BackendState::Up { .. } => up += 1,
            BackendState::Down => down += 1,
            state @ (BackendState::Starting
            | BackendState::Unknown
            | BackendState::Drain
            | BackendState::Saturated) => {
                panic!("{state:?}")
            }
        }
    }
    let before = living.cells().passes();
    sleep(Duration::from_secs(2)).await;
    let passes = living.cells().passes() - before;
    // Twenty would be right; only a hang leaves fewer than five.
    assert!(passes >= 5, "{passes} probes of the living one in 2 s");
    let took = holes
        .iter()
        .filter_map(|it| it.cells().last())
        .map(|it| it.took);
    let worst = took.max().unwrap();
    eprintln!(
        "figure: probe of a black hole, worst of 1,000: {worst:?} at a timeout of {TIMEOUT:?}"
    );
    eprintln!("figure: probes of the living one beside them: {passes} in 2 s at 10 a second");
    assert!(worst >= TIMEOUT);
    assert!(worst < TIMEOUT * 6, "{worst:?}");
    assert_eq!(
        living
            .cells()
            .failures()
            .map(|(_, count)| count)
            .sum::<u64>(),
        0
    );
}

/// A server that no longer listens may be finishing its work; one that does
/// not answer leaves its clients waiting.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_refuses_is_down_and_only_who_does_not_answer_is_lost() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap();
    let (hole, _filling, _listener) = black_hole();
    let (reports, mut inbox) = mpsc::channel(64);
    let first = prober(1, closed.local_addr().unwrap(), &reports);
    let report = next_report(&mut inbox).await;
    assert!(matches!(report.state, BackendState::Up { .. }));
    drop(closed);
    // What a client has met decides nothing; it brings the next probe forward.
    for _ in 0..100 {
        first.refused();
    }
    let report = next_report(&mut inbox).await;
    assert_eq!((report.state, report.is_lost), (BackendState::Down, false));
    let refused = first.cells().failures().map(|(_, count)| count);
    assert_eq!(refused.sum::<u64>(), 3, "three probes, not three clients");
    let _second = prober(2, hole, &reports);
    let mut states = Vec::new();
    while states.last() != Some(&(BackendState::Down, true)) {
        let report = next_report(&mut inbox).await;
        states.push((report.state, report.is_lost));
    }
}
