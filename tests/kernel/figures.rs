//! The kernel plane beside the workers, and no balancer at all: CPU of
//! everything that takes part, pinned to one CPU, in rounds that interleave.
//!
//! Figures, not gates: only an absurd one fails. `cargo test --release --test
//! kernel figures -- --nocapture` is what to quote.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use rustix::thread::{CpuSet, sched_setaffinity};

use super::config;
use super::kit::{Net, Tandem, figure, now, since, wait_until, within};

/// Rounds; the median of them is shown.
const ROUNDS: usize = 5;
/// So few that no round has to search for a free port among those of the
/// rounds before: that would be the client's cost, whatever is in between.
const CONNECTIONS: u32 = 1000;
const MESSAGES: u32 = 5000;
const BULK: usize = 512 << 20;

/// What one load took.
#[derive(Clone, Copy, Debug, Default)]
struct Cost {
    /// CPU of everybody per unit, in microseconds.
    system: f64,
    /// CPU of tandem alone.
    tandem: f64,
    /// Median time of a unit.
    p50: f64,
}

/// CPU time of a process and of its threads that are alive, in nanoseconds.
fn spent(pid: u32) -> u64 {
    let tasks = fs::read_dir(format!("/proc/{pid}/task"));
    let tasks = tasks.into_iter().flatten().filter_map(Result::ok);
    let of = |path: std::path::PathBuf| -> Option<u64> {
        let text = fs::read_to_string(path.join("schedstat")).ok()?;
        text.split(' ').next()?.parse().ok()
    };
    tasks.filter_map(|it| of(it.path())).sum()
}

/// The kernel's thread for packets that nobody's turn has room for.
fn softirq(cpu: usize) -> Option<u32> {
    let processes = fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    let mut pids = processes.filter_map(|it| it.file_name().to_str()?.parse().ok());
    let name = format!("ksoftirqd/{cpu}\n");
    pids.find(|pid| fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|it| it == name))
}

struct Meter {
    softirq: Option<u32>,
    tandem: u32,
}

impl Meter {
    fn read(&self) -> (u64, u64) {
        let tandem = spent(self.tandem);
        let own = spent(std::process::id()) + self.softirq.map_or(0, spent);
        (own + tandem, tandem)
    }

    fn measure(&self, units: u32, load: impl FnOnce() -> Vec<u64>) -> Cost {
        let before = self.read();
        let mut times = load();
        let after = self.read();
        times.sort_unstable();
        let micros =
            |from: u64, to: u64| to.saturating_sub(from) as f64 / 1000.0 / f64::from(units);
        Cost {
            system: micros(before.0, after.0),
            tandem: micros(before.1, after.1),
            p50: times[times.len() / 2] as f64 / 1000.0,
        }
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap()
}

fn connect(to: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect_timeout(&to, Duration::from_secs(5)).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// One request of 64 bytes per connection.
fn short(to: SocketAddr) -> Vec<u64> {
    let one = |_| {
        let start = now();
        let mut stream = connect(to);
        stream.write_all(&[b'r'; 64]).unwrap();
        stream.read_exact(&mut [0; 64]).unwrap();
        drop(stream);
        nanos(since(start))
    };
    (0..CONNECTIONS).map(one).collect()
}

/// 64 bytes there and back, again and again.
fn pings(to: SocketAddr) -> Vec<u64> {
    let mut stream = connect(to);
    let mut one = |_| {
        let start = now();
        stream.write_all(&[b'r'; 64]).unwrap();
        stream.read_exact(&mut [0; 64]).unwrap();
        nanos(since(start))
    };
    (0..MESSAGES).map(&mut one).collect()
}

/// Bytes from the server to the client.
fn bulk(to: SocketAddr) -> Vec<u64> {
    let mut stream = connect(to);
    stream.write_all(&[b'b'; 64]).unwrap();
    let mut buffer = vec![0; 256 << 10];
    let start = now();
    let mut got = 0;
    while got < BULK {
        let count = stream.read(&mut buffer).unwrap();
        assert!(count > 0, "the answer ends after {got} bytes");
        got += count;
    }
    vec![nanos(since(start))]
}

/// Answers requests of 64 bytes on threads that stay, so that their CPU time
/// stays to be read: one for the load, the others for probes meanwhile.
fn server(net: &Net) {
    let address = net.backend(1);
    let listener = within(&net.space("b1"), || TcpListener::bind(address)).unwrap();
    for _ in 0..3 {
        let listener = listener.try_clone().unwrap();
        std::thread::spawn(move || {
            let chunk = vec![7; 256 << 10];
            while let Ok((mut stream, _)) = listener.accept() {
                let _fine = stream.set_nodelay(true);
                let mut request = [0; 64];
                while stream.read_exact(&mut request).is_ok() {
                    if request[0] == b'r' {
                        let _gone = stream.write_all(&request);
                        continue;
                    }
                    for _ in 0..BULK / chunk.len() {
                        if stream.write_all(&chunk).is_err() {
                            break;
                        }
                    }
                }
            }
        });
    }
}

fn all(net: &Net, to: SocketAddr, meter: &Meter) -> [Cost; 3] {
    within(&net.space("c"), || {
        // Once for nothing, to warm up.
        pings(to).truncate(0);
        let gib = u32::try_from((1 << 30) / BULK).unwrap();
        let mut moved = meter.measure(1, || bulk(to));
        moved.system *= f64::from(gib) / 1e6;
        moved.tandem *= f64::from(gib) / 1e6;
        [
            meter.measure(CONNECTIONS, || short(to)),
            meter.measure(MESSAGES, || pings(to)),
            moved,
        ]
    })
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

#[test]
fn what_each_plane_costs() {
    let cpu = 1;
    let mut one = CpuSet::new();
    one.set(cpu);
    // Threads and processes started from here on inherit it.
    sched_setaffinity(None, &one).unwrap();
    let net = Net::new(31, 1);
    net.widen_ports();
    server(&net);
    let kernel = config(&net, &[100]);
    let user = kernel.replace(", plane: kernel", "");
    let planes = [("direct", &user), ("user", &user), ("kernel", &kernel)];
    let mut costs: [Vec<[Cost; 3]>; 3] = Default::default();
    for round in 0..ROUNDS {
        for turn in 0..3 {
            let at = (round + turn) % 3;
            let (name, text) = planes[at];
            let mut tandem = Tandem::start(&net, text);
            let to = match name {
                "direct" => net.backend(1),
                _ => (net.lb(), 80).into(),
            };
            wait_until("it serves", || net.connect_from("c", to).is_ok());
            let meter = Meter {
                softirq: softirq(cpu),
                tandem: tandem.pid(),
            };
            costs[at].push(all(&net, to, &meter));
            tandem.stop();
        }
    }
    let shown = |plane: usize, load: usize, field: fn(&Cost) -> f64| {
        median(costs[plane].iter().map(|it| field(&it[load])).collect())
    };
    let loads = ["short_us", "ping_us", "bulk_s_per_gib"];
    for (load, unit) in loads.iter().enumerate() {
        for (plane, (name, _)) in planes.iter().enumerate() {
            let line = |what: &str, value: f64| {
                figure(
                    &format!("kernel.{name}.{unit}.{what}"),
                    format_args!("{value:.3}"),
                );
            };
            line("system_cpu", shown(plane, load, |it| it.system));
            line("tandem_cpu", shown(plane, load, |it| it.tandem));
            if load < 2 {
                line("p50", shown(plane, load, |it| it.p50));
            }
        }
        let ratios = costs[2].iter().zip(&costs[1]);
        let ratio = median(
            ratios
                .map(|(k, u)| k[load].system / u[load].system)
                .collect(),
        );
        figure(
            &format!("kernel.over_user.{unit}"),
            format_args!("{ratio:.2}"),
        );
        assert!(ratio < 1.5, "the kernel plane is no gain at all: {ratio}");
    }
    let added = shown(2, 1, |it| it.p50) - shown(0, 1, |it| it.p50);
    figure("kernel.ping_us_added", format_args!("{added:.1}"));
    let added = shown(1, 1, |it| it.p50) - shown(0, 1, |it| it.p50);
    figure("kernel.user_ping_us_added", format_args!("{added:.1}"));
}
