//! Large streams under everything that can happen to them.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::integrity::both_ways;
use crate::kit::load::{Load, Plan};
use crate::kit::pattern::Pattern;
use crate::kit::proc::{Proc, is_root};
use crate::kit::tandem::{Lb, PROGRAM};
use crate::kit::{Backend, SOON, figure, ms, pass, wait_until, work_dir};

const MIB: usize = 1024 * 1024;
/// Somebody without privileges.
const NOBODY: u32 = 65534;

/// What came of one stream: every byte that came was the right one.
#[derive(Default)]
struct Streams {
    whole: AtomicU64,
    cut: AtomicU64,
    bytes: AtomicU64,
}

impl Streams {
    /// Takes a stream in; panics if a byte is wrong.
    fn take(&self, address: SocketAddr, seed: u64, count: usize) {
        let Ok(mut stream) = TcpStream::connect(address) else {
            self.cut.fetch_add(1, Ordering::Relaxed);
            return;
        };
        stream.set_read_timeout(Some(SOON)).unwrap();
        let order = format!("SOURCE {count} {seed}\n");
        let mut pattern = Pattern::new(seed);
        let mut wanted = vec![0; 64 * 1024];
        let mut got = vec![0; 64 * 1024];
        let mut left = count;
        let mut is_whole = stream.write_all(order.as_bytes()).is_ok();
        while is_whole && left > 0 {
            let part = left.min(got.len());
            pattern.fill(&mut wanted[..part]);
            is_whole = self.fill(&mut stream, &mut got[..part], &wanted[..part]);
            left -= part;
        }
        if is_whole {
            let _closed = stream.shutdown(Shutdown::Write);
            // A server that dies now has said everything already.
            is_whole = stream.read(&mut [0]).is_ok_and(|it| it == 0);
        }
        let counter = if is_whole { &self.whole } else { &self.cut };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Reads `got` full; says whether that came about.
    fn fill(&self, stream: &mut TcpStream, got: &mut [u8], wanted: &[u8]) -> bool {
        let mut at = 0;
        while at < got.len() {
            match stream.read(&mut got[at..]) {
                // The kernel of a killed server says FIN, or RST if it had
                // something left to read: either is an early end.
                Ok(0) | Err(_) => return false,
                Ok(more) => {
                    assert!(got[at..at + more] == wanted[at..at + more], "a wrong byte");
                    at += more;
                    self.bytes.fetch_add(more as u64, Ordering::Relaxed);
                }
            }
        }
        true
    }
}

/// SOAK_SECONDS makes it longer: 600 for a release.
#[test]
fn mixed_traffic_survives_deaths_and_reloads() {
    let seconds = std::env::var("SOAK_SECONDS").ok();
    let seconds = seconds.and_then(|it| it.parse().ok()).unwrap_or(30);
    let mut backends = Backend::several(3);
    let lb = Lb::new(&backends, "tcp").pool("protocol: tcp");
    let tandem = lb.start();
    let load = Load::start(Plan::usual(lb.address));
    pass(ms(2000));
    let (fds, before) = (tandem.proc.fds(), tandem.proc.rss_kib());
    let streams = Streams::default();
    let is_over = AtomicBool::new(false);
    let (most, deaths) = thread::scope(|scope| {
        for worker in 0..4 {
            let (streams, is_over, address) = (&streams, &is_over, lb.address);
            scope.spawn(move || {
                let mut chance = Pattern::new(worker);
                while !is_over.load(Ordering::Relaxed) {
                    let count = 1 + chance.below(24 * MIB);
                    streams.take(address, chance.next() % 1_000_000, count);
                    // Loud on purpose, but not all of the machine.
                    pass(ms(20));
                }
            });
        }
        let (start, mut most, mut turn) = (Instant::now(), 0, 0);
        while start.elapsed() < Duration::from_secs(seconds) {
            let victim = turn % backends.len();
            backends[victim].kill();
            pass(ms(700));
            backends[victim].revive();
            tandem.reload(
                &lb.clone()
                    .weight(&backends[victim], 50 + 10 * (turn % 7) as u32)
                    .yaml(),
            );
            pass(ms(1300));
            most = most.max(tandem.proc.rss_kib());
            turn += 1;
        }
        is_over.store(true, Ordering::Relaxed);
        (most, turn as u64)
    });
    let tally = load.stop();
    tally.report("soak");
    let count = |it: &AtomicU64| it.load(Ordering::Relaxed);
    figure("soak.seconds", seconds);
    figure("soak.streams_whole", count(&streams.whole));
    figure("soak.streams_cut_by_deaths", count(&streams.cut));
    figure(
        "soak.gib",
        format!("{:.1}", count(&streams.bytes) as f64 / (1u64 << 30) as f64),
    );
    figure("soak.corrupt_bytes", 0);
    figure("soak.rss_kib_before_most", format!("{before} {most}"));
    assert!(count(&streams.whole) > 20, "streams went through");
    // Each death cuts the streams that the dead one served, of four, and may
    // meet each of them again at its next try.
    assert!(count(&streams.cut) <= 8 * deaths, "{deaths} deaths");
    assert!(most < before + 8 * 1024, "{before} -> {most} KiB");
    wait_until("descriptors are back", SOON, || {
        tandem.proc.fds() <= fds + 8
    });
    figure(
        "soak.fds_before_after",
        format!("{fds} {}", tandem.proc.fds()),
    );
}

/// The pages that one user may have in pipes are used up: whoever gets no
/// large pipe copies.
#[test]
fn without_pipes_streams_are_copied() {
    assert!(is_root(), "run it as root: it becomes somebody else");
    let mut hog = Command::new("setpriv");
    hog.args([&format!("--reuid={NOBODY}"), "--clear-groups", "perl", "-e"])
        .arg(
            "my @held; while (pipe(my $r, my $w)) { push @held, $r, $w; \
             last unless fcntl($w, 1031, 1 << 20) } print scalar(@held), \"\\n\"; \
             $| = 1; print \"\"; sleep 600",
        )
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    let mut hog = hog.spawn().expect("install util-linux and perl");
    let mut said = [0; 16];
    let read = hog.stdout.as_mut().unwrap().read(&mut said).unwrap();
    let held = String::from_utf8_lossy(&said[..read]).trim().to_owned();
    figure("pipes.held_by_others", held);

    let backends = Backend::several(1);
    let dir = work_dir();
    let lb = Lb::new(&backends, "tcp")
        .pool("protocol: tcp")
        .tail("admin: { bind: off, socket: off }\nlog: { format: json }\n");
    let file = dir.path().join("lb.yaml");
    fs::write(&file, lb.yaml()).unwrap();
    let mut command = Command::new("setpriv");
    command
        .args([
            &format!("--reuid={NOBODY}"),
            "--clear-groups",
            PROGRAM,
            "run",
            "-c",
        ])
        .arg(&file)
        .stdin(Stdio::null())
        .stderr(Stdio::null());
    let tandem = Proc::spawn(&mut command, "util-linux");
    wait_until("it serves", SOON, || {
        let streams = Streams::default();
        streams.take(lb.address, 1, 1000);
        streams.whole.load(Ordering::Relaxed) == 1
    });
    let fds = tandem.fds();
    for seed in 0..4 {
        both_ways(lb.address, seed, 24 * MIB);
    }
    wait_until("descriptors are back", SOON, || tandem.fds() <= fds + 4);
    // Killed by its pid, with all that it holds.
    hog.kill().unwrap();
    hog.wait().unwrap();
}

/// 200 pools of ten backends each are read anew under full load.
#[test]
fn a_large_file_is_reloaded_without_a_dip() {
    let backends = Backend::several(2);
    let mut pools = String::new();
    for pool in 0..200 {
        pools.push_str(&format!("  p{pool}:\n    backends: ["));
        for backend in 1..=10 {
            pools.push_str(&format!("\"127.0.{pool}.{backend}:9\", "));
        }
        pools.push_str("]\n    protocol: tcp\n    probe: { type: tcp, interval: 1h }\n");
    }
    let lb = Lb::new(&backends, "tcp").pool("protocol: tcp").tail(&pools);
    let tandem = lb.start();
    let load = Load::start(Plan::usual(lb.address));
    pass(ms(3000));
    let quiet = load.take();
    let mut times = Vec::new();
    for turn in 0..10 {
        let start = Instant::now();
        tandem.reload(&lb.clone().weight(&backends[0], 50 + turn).yaml());
        times.push(start.elapsed().as_millis());
        pass(ms(300));
    }
    let busy = load.stop();
    busy.report("reload_2000_backends");
    times.sort_unstable();
    figure("reload_2000_backends.ms_all", format!("{times:?}"));
    figure("reload_2000_backends.ms_median", times[times.len() / 2]);
    let p99 = |tally: &crate::kit::load::Tally| format!("{:?}", tally.quantile(0.99));
    figure("reload_2000_backends.p99_before", p99(&quiet));
    figure("reload_2000_backends.p99_during", p99(&busy));
    busy.assert_clean();
}

/// What a reader that stops reading costs, where the kernel's limits are those
/// that Linux comes with.
#[test]
fn a_reader_that_stalls_in_full_flight_costs_little_and_is_seen() {
    let backends = Backend::several(1);
    let lb = Lb::new(&backends, "tcp").pool("protocol: tcp");
    let tandem = lb.start();
    let mut stream = TcpStream::connect(lb.address).unwrap();
    let count = 1 << 30;
    stream
        .write_all(format!("SOURCE {count} 3\n").as_bytes())
        .unwrap();
    let mut chunk = vec![0; MIB];
    let mut read = 0;
    while read < 256 * MIB {
        read += stream.read(&mut chunk).unwrap();
    }
    let moved = || tandem.metric("tandem_backend_bytes_total", &["direction=\"out\""]);
    let mut before = moved();
    wait_until("it stands still", SOON, || {
        pass(ms(300));
        let now = moved();
        std::mem::replace(&mut before, now) >= now
    });
    let stalled = || tandem.metric("tandem_listener_stalled_connections", &[]);
    wait_until("it is counted", SOON, || stalled() == 1.0);
    figure(
        "streams.stalled_passed_on_mib",
        (moved() as usize - read) / MIB,
    );
    // And it goes on where it stopped.
    while read < 300 * MIB {
        read += stream.read(&mut chunk).unwrap();
    }
    drop(stream);
    wait_until("it is gone", SOON, || stalled() == 0.0);
}
