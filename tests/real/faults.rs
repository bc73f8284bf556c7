//! What must survive: the rows of the reliability table, scaled to a test.
//! Row 15 (the wall clock jumps) has no test here: `tests/tidy.rs` sees to it
//! that only the monotonic clock decides anything.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use socket2::SockRef;

use crate::kit::load::{Fault, Load, Plan, Tally};
use crate::kit::proc::Proc;
use crate::kit::tandem::{Lb, Tandem};
use crate::kit::{Backend, SOON, figure, ms, pass, wait_until};

fn stand(count: u8, probe: &str) -> (Vec<Backend>, Lb) {
    let backends = Backend::several(count);
    let lb = Lb::new(&backends, probe).pool("protocol: tcp");
    (backends, lb)
}

/// Nothing failed but what a backend's death alone explains: a connection
/// that was on it.
fn assert_only_cut(tally: &Tally) {
    assert!(tally.unconnected.is_empty(), "{:?}", tally.unconnected);
    assert!(tally.failed_twice.is_empty(), "{:?}", tally.failed_twice);
    for failure in tally.fresh_failed.iter().chain(&tally.broken) {
        assert!(matches!(failure.fault, Fault::Cut(_)), "{failure:?}");
    }
}

/// Row 1.
#[test]
fn steady_load_fails_nowhere() {
    let (_backends, lb) = stand(3, "tcp");
    let _tandem = lb.start();
    let load = Load::start(Plan::usual(lb.address));
    load.go_on(ms(3000));
    let tally = load.stop();
    tally.report("row1");
    tally.assert_clean();
}

/// Row 2.
#[test]
fn a_killed_backend_breaks_only_its_own_connections() {
    let (mut backends, lb) = stand(3, "tcp");
    let tandem = lb.start();
    let load = Load::start(Plan::usual(lb.address));
    load.go_on(ms(1500));
    load.take().assert_clean();
    backends[0].kill();
    tandem.wait_state("a", "down");
    load.go_on(ms(500));
    let killed = load.take();
    killed.report("row2.killed");
    assert_only_cut(&killed);
    assert!(killed.broken.len() < 40, "a third of 50, not all");
    let strange = killed
        .broken
        .iter()
        .find(|it| it.backend.as_deref() != Some("a"));
    assert!(strange.is_none(), "{strange:?}");
    backends[0].revive();
    tandem.wait_state("a", "up");
    load.go_on(ms(500));
    let back = load.stop();
    back.report("row2.back");
    back.assert_clean();
    assert!(back.from("a") > 0);
}

/// Row 3.
#[test]
fn a_frozen_backend_is_left_within_moments() {
    let (backends, lb) = stand(3, "http");
    let tandem = lb.start();
    let load = Load::start(Plan {
        patience: ms(1000),
        ..Plan::usual(lb.address)
    });
    load.go_on(ms(1500));
    load.take().assert_clean();
    let start = Instant::now();
    backends[0].freeze();
    tandem.wait_state("a", "down");
    figure("row3.out_ms", start.elapsed().as_millis());
    load.go_on(ms(1500));
    let frozen = load.take();
    frozen.report("row3.frozen");
    // Goal: 30. A busy machine may see the fault a little later.
    assert!(
        frozen.fresh_failed.len() <= 60,
        "{}",
        frozen.fresh_failed.len()
    );
    assert!(frozen.unconnected.is_empty(), "{:?}", frozen.unconnected);
    load.go_on(ms(500));
    let quiet = load.take();
    assert!(quiet.fresh_failed.is_empty(), "{:?}", quiet.fresh_failed);
    let start = Instant::now();
    backends[0].thaw();
    tandem.wait_state("a", "up");
    figure("row3.back_ms", start.elapsed().as_millis());
    load.stop();
}

/// Row 4.
#[test]
fn a_server_with_a_full_backlog_is_tried_and_then_avoided() {
    let (_backends, lb) = stand(2, "tcp");
    // Probes that are too rare to see what happens.
    let lb = lb
        .pool("connect_timeout: 500ms")
        .pool("connect_budget: 3s")
        .pool("probe: { type: tcp, interval: 20s }");
    let full = Backend::start("full");
    let tandem = lb.clone().weight(&full, 0).start();
    let load = Load::start(Plan::usual(lb.address));
    load.go_on(ms(1000));
    // It lives, gets no traffic yet, and its backlog is full: now it gets some.
    full.freeze();
    let _fillers = fill_backlog(full.address);
    tandem.reload(&lb.clone().weight(&full, 100).yaml());
    load.go_on(ms(2000));
    let met = load.take();
    met.report("row4.met");
    met.assert_clean();
    load.go_on(ms(1500));
    let after = load.stop();
    after.report("row4.after");
    after.assert_clean();
    assert!(after.quantile(0.5) < ms(500), "most avoid it");
}

/// Connects until the kernel takes no more.
fn fill_backlog(address: SocketAddr) -> Vec<TcpStream> {
    let mut held = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&address, ms(300)) {
        held.push(stream);
        assert!(held.len() < 5000, "a backlog has an end");
    }
    held
}

/// Row 5.
#[test]
fn a_flapping_backend_hurts_nobody_else() {
    let (mut backends, lb) = stand(3, "tcp");
    let _tandem = lb.start();
    let load = Load::start(Plan {
        held: 0,
        ..Plan::usual(lb.address)
    });
    for _ in 0..5 {
        backends[0].kill();
        load.go_on(ms(500));
        backends[0].revive();
        load.go_on(ms(500));
    }
    let tally = load.stop();
    tally.report("row5");
    assert_only_cut(&tally);
    assert!(tally.fresh_failed.len() <= 10, "{:?}", tally.fresh_failed);
}

/// Row 6.
#[test]
fn sixty_reloads_of_the_same_file_cut_nothing() {
    let (_backends, lb) = stand(3, "tcp");
    let tandem = lb.start();
    let load = Load::start(Plan::usual(lb.address));
    load.go_on(ms(1500));
    tandem.reload(&lb.yaml());
    let (rss, fds) = (tandem.proc.rss_kib(), tandem.proc.fds());
    for _ in 0..60 {
        tandem.hang_up();
        load.go_on(ms(100));
    }
    assert_eq!(tandem.proc.children(), 0, "one process");
    let grown = tandem.proc.rss_kib().saturating_sub(rss);
    let tally = load.stop();
    tally.report("row6");
    tally.assert_clean();
    figure("row6.rss_growth_kib", grown);
    figure(
        "row6.fds_before_after",
        format!("{fds} {}", tandem.proc.fds()),
    );
    assert!(grown < 1024, "{grown} KiB");
    let ok = tandem.metric("tandem_config_last_reload_successful", &[]);
    assert!((ok - 1.0).abs() < 0.1);
}

/// Row 7.
#[test]
fn reloads_that_change_weights_and_servers_cut_nothing() {
    let (backends, lb) = stand(4, "tcp");
    let tandem = lb.start();
    let load = Load::start(Plan::usual(lb.address));
    load.go_on(ms(1500));
    for round in 0..20_u32 {
        let some = &backends[round as usize % 3];
        let changed = if round % 2 == 0 {
            lb.clone().without(&some.name)
        } else {
            lb.clone().weight(some, 10 + round)
        };
        tandem.reload(&changed.yaml());
        load.go_on(ms(150));
    }
    let tally = load.stop();
    tally.report("row7");
    tally.assert_clean();
}

/// Row 8.
#[test]
fn running_out_of_descriptors_hurts_only_newcomers() {
    let (_backends, lb) = stand(3, "tcp");
    let tandem = Tandem::launch(&lb.yaml(), Some(1024), None);
    tandem.wait_ready();
    let load = Load::start(Plan {
        held: 30,
        patience: ms(2000),
        ..Plan::usual(lb.address)
    });
    load.go_on(ms(1000));
    load.take().assert_clean();
    let cpu = tandem.proc.cpu_seconds();
    let idle: Vec<_> = (0..1500)
        .filter_map(|_| TcpStream::connect(lb.address).ok())
        .collect();
    load.go_on(ms(3000));
    let used = tandem.proc.cpu_seconds() - cpu;
    figure("row8.cpu_seconds_in_3s", format!("{used:.2}"));
    figure("row8.fds", tandem.proc.fds());
    let full = load.take();
    full.report("row8.full");
    assert!(full.broken.is_empty(), "held: {:?}", full.broken);
    assert!(used < 0.6, "no spin: {used} s");
    drop(idle);
    let start = Instant::now();
    wait_until("newcomers are served again", SOON, || {
        load.take().fresh_ok > 0
    });
    figure("row8.recovery_ms", start.elapsed().as_millis());
    load.go_on(ms(500));
    load.take();
    load.go_on(ms(500));
    load.stop().assert_clean();
}

/// Row 8 with the settings that are meant against it: clients that never speak
/// are shown out, and newcomers find room.
#[test]
fn the_silent_are_shown_out_when_descriptors_are_short() {
    let (_backends, lb) = stand(3, "tcp");
    let lb = lb.listener("first_byte_timeout: 300ms");
    let tandem = Tandem::launch(&lb.yaml(), Some(1024), None);
    tandem.wait_ready();
    let load = Load::start(Plan {
        held: 30,
        patience: ms(2000),
        ..Plan::usual(lb.address)
    });
    load.go_on(ms(1000));
    load.take().assert_clean();
    let idle: Vec<_> = (0..1500)
        .filter_map(|_| TcpStream::connect(lb.address).ok())
        .collect();
    load.go_on(ms(4000));
    let full = load.stop();
    full.report("row8.shown_out");
    assert!(full.broken.is_empty(), "held: {:?}", full.broken);
    let failed = full.fresh_failed.len() as f64;
    let share = failed / (failed + full.fresh_ok as f64);
    figure("row8.shown_out.failed_share", format!("{share:.3}"));
    assert!(share <= 0.5, "the goal is 0.2");
    drop(idle);
}

/// Row 10.
#[test]
fn twenty_thousand_resets_leave_nothing_behind() {
    let (_backends, lb) = stand(2, "tcp");
    let tandem = lb.start();
    let load = Load::start(Plan {
        fresh: 2,
        ..Plan::usual(lb.address)
    });
    load.go_on(ms(1000));
    let fds = tandem.proc.fds();
    let start = Instant::now();
    for at in 0..20_000 {
        let mut stream = TcpStream::connect(lb.address).unwrap();
        if at % 2 == 0 {
            stream.write_all(b"ECHO\nsome bytes").unwrap();
        }
        SockRef::from(&stream)
            .set_linger(Some(Duration::ZERO))
            .unwrap();
    }
    figure(
        "row10.seconds",
        format!("{:.1}", start.elapsed().as_secs_f64()),
    );
    wait_until("descriptors are back", SOON, || {
        tandem.proc.fds() <= fds + 8
    });
    figure(
        "row10.fds_before_after",
        format!("{fds} {}", tandem.proc.fds()),
    );
    let tally = load.stop();
    tally.report("row10");
    tally.assert_clean();
}

/// Row 11.
#[test]
fn two_hundred_slow_readers_cost_little() {
    let (_backends, lb) = stand(2, "tcp");
    let tandem = lb.start();
    let load = Load::start(Plan {
        held: 10,
        ..Plan::usual(lb.address)
    });
    load.go_on(ms(700));
    let before = tandem.proc.pss_kib();
    let mut readers: Vec<_> = (0..200).map(|_| ask_for_much(lb.address)).collect();
    let start = Instant::now();
    let mut taken = [0; 32];
    while start.elapsed() < ms(4000) {
        for reader in &mut readers {
            reader.read_exact(&mut taken).unwrap();
        }
        load.go_on(ms(100));
    }
    let each = tandem.proc.pss_kib().saturating_sub(before) / 200;
    figure("row11.kib_each", each);
    let tally = load.stop();
    tally.report("row11");
    tally.assert_clean();
    // Less than one worker's scratch buffer, so that nobody gets one alone.
    assert!(each < 40, "{each} KiB each");
}

fn ask_for_much(address: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    stream
        .write_all(b"GET /big/67108864 HTTP/1.1\r\nConnection: close\r\n\r\n")
        .unwrap();
    stream
}

/// Row 12.
#[test]
fn slow_writers_hold_up_nobody() {
    let (_backends, lb) = stand(2, "tcp");
    let _tandem = lb.start();
    let load = Load::start(Plan::usual(lb.address));
    load.go_on(ms(500));
    let mut writers: Vec<_> = (0..1000)
        .map(|_| TcpStream::connect(lb.address).unwrap())
        .collect();
    for byte in b"GET /slow HTTP/1.1\r\nX: aaaaaaa" {
        for writer in &mut writers {
            writer.write_all(&[*byte]).unwrap();
        }
        load.go_on(ms(80));
    }
    let tally = load.stop();
    tally.report("row12");
    tally.assert_clean();
}

/// Row 13.
#[test]
fn a_frozen_tandem_goes_on_where_it_was() {
    let (_backends, lb) = stand(3, "tcp");
    let tandem = lb.start();
    let load = Load::start(Plan::usual(lb.address));
    load.go_on(ms(1000));
    tandem.proc.signal(Signal::STOP);
    load.go_on(ms(3000));
    tandem.proc.signal(Signal::CONT);
    load.go_on(ms(1500));
    let tally = load.stop();
    tally.report("row13");
    tally.assert_clean();
}

/// Row 14.
#[test]
fn everybody_comes_back_when_all_backends_do() {
    let (mut backends, lb) = stand(3, "tcp");
    let tandem = lb.start();
    let load = Load::start(Plan {
        held: 300,
        ..Plan::usual(lb.address)
    });
    load.go_on(ms(2000));
    for backend in &mut backends {
        backend.kill();
    }
    for name in ["a", "b", "c"] {
        tandem.wait_state(name, "down");
    }
    load.go_on(ms(1500));
    load.take();
    for backend in &mut backends {
        backend.revive();
    }
    let start = Instant::now();
    for name in ["a", "b", "c"] {
        tandem.wait_state(name, "up");
    }
    figure("row14.up_ms", start.elapsed().as_millis());
    wait_until("the full rate", SOON, || {
        load.go_on(ms(90));
        load.take().fresh_ok >= 7
    });
    figure("row14.full_rate_ms", start.elapsed().as_millis());
    load.go_on(ms(500));
    load.take();
    load.go_on(ms(1000));
    let tally = load.stop();
    tally.report("row14");
    tally.assert_clean();
    let shares = ["a", "b", "c"].map(|it| tally.from(it));
    figure("row14.shares", format!("{shares:?}"));
    let all: u64 = shares.iter().sum();
    assert!(shares.iter().all(|&it| it * 3 <= all * 2), "{shares:?}");
}

/// Row 16.
#[test]
fn a_full_disk_under_the_log_stops_nothing() {
    let (mut backends, lb) = stand(3, "tcp");
    let tandem = Tandem::launch(&lb.yaml(), None, Some("/dev/full"));
    tandem.wait_ready();
    let load = Load::start(Plan::usual(lb.address));
    load.go_on(ms(1000));
    load.take().assert_clean();
    backends[0].kill();
    tandem.wait_state("a", "down");
    load.go_on(ms(700));
    let tally = load.stop();
    tally.report("row16");
    assert_only_cut(&tally);
    let dropped = tandem.metric("tandem_log_dropped_total", &[]);
    figure("row16.log_lines_dropped", dropped);
    assert!(dropped > 0.0, "lost lines are counted");
}

/// Row 17.
#[test]
fn busy_neighbours_bring_no_false_alarms() {
    let backends = Backend::several(3);
    let lb = Lb::new(&backends, "tcp")
        .pool("protocol: tcp")
        .pool("probe: { type: http, path: /healthz, interval: 300ms }");
    let tandem = lb.start();
    let _busy: Vec<_> = (0..8).map(|_| busy_loop()).collect();
    let load = Load::start(Plan::usual(lb.address));
    load.go_on(ms(6000));
    let tally = load.stop();
    tally.report("row17");
    tally.assert_clean();
    let failed = tandem.metric("tandem_probe_failures_total", &[]);
    figure("row17.failed_probes", failed);
    for backend in &backends {
        assert_eq!(tandem.backend("web", &backend.name)["state"], "up");
    }
}

fn busy_loop() -> Proc {
    Proc::spawn(
        Command::new("sh").args(["-c", "while :; do :; done"]),
        "a shell",
    )
}

/// A connection that on_dead: keep spares is still there afterwards.
#[test]
fn sessions_of_a_dead_backend_are_kept_where_the_pool_says_so() {
    for (on_dead, survives) in [("keep", true), ("reset", false)] {
        let (backends, lb) = stand(1, "http");
        let lb = lb.pool(&format!("on_dead: {on_dead}"));
        let tandem = lb.start();
        let mut stream = TcpStream::connect(lb.address).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        stream.write_all(b"ECHO\n1").unwrap();
        stream.read_exact(&mut [0]).unwrap();
        backends[0].freeze();
        tandem.wait_state("a", "down");
        pass(ms(200));
        backends[0].thaw();
        let sent = stream.write_all(b"2");
        let got = sent.and_then(|()| stream.read_exact(&mut [0]));
        assert_eq!(got.is_ok(), survives, "{on_dead}: {got:?}");
        if !survives {
            assert_eq!(tandem.reason(stream.local_addr().unwrap()), "backend_down");
        }
    }
}
