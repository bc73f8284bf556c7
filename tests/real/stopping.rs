//! The end of the process: it comes, whatever hangs, and nothing begins again
//! meanwhile.

use std::fs::{self, File};
use std::io::{ErrorKind, PipeReader, PipeWriter, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{SocketAddr as UnixAddr, UnixDatagram};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::kit::tandem::{Lb, Tandem};
use crate::kit::{Backend, SOON, figure, http, output, pass, ports, said, wait_until};
use crate::reloads::{SILENT, answered, silents};

/// Far beyond what an end takes on a busy machine, and far below what those
/// wait for who hang.
const ENDS: Duration = Duration::from_secs(25);

fn stand(grace: &str) -> (Vec<Backend>, Lb) {
    let backends = Backend::several(1);
    let lb = Lb::new(&backends, "tcp").pool("protocol: tcp");
    (backends, lb.process(&format!("shutdown_grace: {grace}")))
}

/// A session that works and goes on.
fn session(to: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(to).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    stream.write_all(b"ECHO\n").unwrap();
    assert!(works(&mut stream));
    stream
}

fn works(stream: &mut TcpStream) -> bool {
    let mut got = [0; 4];
    let sent = stream.write_all(b"ping");
    sent.and_then(|()| stream.read_exact(&mut got)).is_ok() && &got == b"ping"
}

fn refuses(address: SocketAddr) -> bool {
    TcpStream::connect(address).is_err_and(|it| it.kind() == ErrorKind::ConnectionRefused)
}

/// SIGTERM; waits until no new client is taken.
fn begin_stop(tandem: &Tandem, front: SocketAddr) {
    tandem.proc.signal(Signal::TERM);
    wait_until("nobody is accepted any more", SOON, || refuses(front));
}

/// A pipe that takes not one byte more.
fn full_pipe() -> (PipeReader, PipeWriter) {
    let (reader, mut writer) = std::io::pipe().unwrap();
    rustix::io::ioctl_fionbio(&writer, true).unwrap();
    for size in [65_536, 1] {
        let bytes = vec![b'x'; size];
        while writer.write(&bytes).is_ok() {}
    }
    rustix::io::ioctl_fionbio(&writer, false).unwrap();
    (reader, writer)
}

fn launch_unread(lb: &Lb, writer: PipeWriter) -> Tandem {
    let tandem = Tandem::launch_as(&lb.yaml(), &[], |command| {
        command.stderr(writer);
    });
    tandem.wait_ready();
    tandem
}

#[test]
fn a_log_that_nobody_reads_does_not_keep_it() {
    let (_backends, lb) = stand("1s");
    let (_reader, writer) = full_pipe();
    let mut tandem = launch_unread(&lb, writer);
    let _session = session(lb.address);
    let start = Instant::now();
    assert_eq!(tandem.stop(ENDS).code(), Some(0));
    figure(
        "stopping.full_pipe_ms (grace 1 s)",
        start.elapsed().as_millis(),
    );
}

#[test]
fn who_asks_twice_gets_the_end_at_once_whether_or_not_the_log_is_read() {
    for is_read in [true, false] {
        let (_backends, lb) = stand("1h");
        let pipe = full_pipe();
        let mut tandem = if is_read {
            lb.start()
        } else {
            launch_unread(&lb, pipe.1)
        };
        let mut session = session(lb.address);
        begin_stop(&tandem, lb.address);
        assert!(works(&mut session), "it has an hour");
        assert!(tandem.proc.is_running());
        let start = Instant::now();
        assert_eq!(tandem.stop(ENDS).code(), Some(0), "in order");
        let took = start.elapsed().as_millis();
        figure(
            &format!("stopping.second_signal_ms (read: {is_read})"),
            took,
        );
        assert!(!works(&mut session));
    }
}

/// The kernel keeps a silent client of an HTTP listener to itself, and hands it
/// over 7 s after it came at the latest.
#[test]
fn clients_who_are_silent_when_it_is_told_to_end_are_served() {
    for workers in [1, 2] {
        let backends = Backend::several(1);
        let lb = Lb::new(&backends, "http").process("shutdown_grace: 60s");
        let lb = lb.process(&format!("workers: {workers}"));
        let mut tandem = lb.start();
        let (early, late) = (silents(lb.address), silents(lb.address));
        begin_stop(&tandem, lb.address);
        let early = answered(early);
        assert!(tandem.proc.is_running(), "somebody is silent still");
        pass(Duration::from_secs(8));
        let late = answered(late);
        figure(
            &format!("stopping.silent_answered (workers: {workers})"),
            format!("{early} at once, {late} after 8 s, of {SILENT} each"),
        );
        assert_eq!((early, late), (SILENT, SILENT));
        let ended = tandem.proc.wait(ENDS).and_then(|it| it.code());
        assert_eq!(ended, Some(0), "{}", tandem.log());
        assert!(tandem.events("stopped").iter().all(|it| it["cut"] == 0));
    }
}

/// A reload, one that was under way, a dry run, SIGHUP, and the command.
#[test]
fn nothing_opens_and_no_order_is_taken_while_it_stops() {
    let backends = Backend::several(1);
    // Only a question tells the frozen from the living.
    let lb = Lb::new(&backends, "http").process("shutdown_grace: 1h");
    let lb = lb.pool("protocol: tcp").pool("on_dead: reset");
    let mut tandem = lb.start();
    let mut session = session(lb.address);
    let more = ports::free();
    let both = format!("bind: [\"{}\", \"{more}\"]", lb.address);
    tandem.write(&lb.clone().listener(&both).yaml());
    begin_stop(&tandem, lb.address);
    for path in ["/v1/reload", "/v1/reload?dry_run=1"] {
        let reply = tandem.admin("POST", path);
        assert_eq!(reply.status, 409, "{path}: {}", reply.body);
        let detail = reply.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.starts_with("stopping: "), "{detail}");
    }
    let command = tandem.command(&["reload"]);
    assert_eq!(command.status.code(), Some(1), "{}", said(&command));
    assert!(said(&command).contains("stopping: "), "{}", said(&command));
    tandem.proc.signal(Signal::HUP);
    wait_until("the log has four refusals", SOON, || {
        tandem.events("reload_failed").len() == 4
    });
    assert!(refuses(more) && refuses(lb.address), "nobody listens");
    assert!(works(&mut session), "who is served is served on");
    // What the probes say still counts: who is on a dead backend learns it.
    backends[0].freeze();
    assert!(!works(&mut session));
    let ended = tandem.proc.wait(ENDS);
    backends[0].thaw();
    assert_eq!(ended.and_then(|it| it.code()), Some(0), "{}", tandem.log());
    let reasons = tandem.events("conn");
    assert!(reasons.iter().any(|it| it["reason"] == "backend_down"));
}

/// A FIFO that nobody writes stands for a disk that does not answer.
fn fifo(path: &Path) {
    let done = output(Command::new("mkfifo").arg(path), "coreutils");
    assert!(done.status.success(), "{}", said(&done));
}

#[test]
fn a_reload_that_reads_for_ever_does_not_keep_it() {
    let (_backends, lb) = stand("1s");
    let mut tandem = lb.start();
    fs::remove_file(tandem.config()).unwrap();
    fifo(&tandem.config());
    tandem.proc.signal(Signal::HUP);
    // It reads: the other end can be opened without waiting.
    let writer = wait_for_reader(&tandem.config());
    let ended = tandem.stop(ENDS);
    assert_eq!(ended.code(), Some(0), "{}", tandem.log());
    drop(writer);
}

fn wait_for_reader(path: &Path) -> File {
    use std::os::unix::fs::OpenOptionsExt as _;
    let nonblock = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let mut options = fs::OpenOptions::new();
    options.write(true).custom_flags(nonblock);
    crate::kit::eventually("somebody reads", SOON, || options.open(path).ok())
}

/// A pair of which the other node is not there; `dns` is what stands under
/// `pair.dns`.
fn alone(lb: &Lb, dns: &str) -> String {
    let heartbeat = ports::free().port();
    let pair = format!(
        "pair:\n  name: lb.example.test\n  nodes: {{ lb1: 127.0.0.1, lb2: 127.0.0.77 }}\n  \
         me: lb1\n  secret: 0123456789abcdef0123456789abcdef\n  \
         heartbeat: {{ port: {heartbeat} }}\n  dns: {dns}\n"
    );
    lb.clone().tail(&pair).yaml()
}

fn wait_for_claim(tandem: &Tandem) {
    wait_until("it claims the name", SOON, || {
        let role = tandem.admin("GET", "/v1/pair").json()["role"].clone();
        role == "holder" || role == "claiming"
    });
}

#[test]
fn a_hook_that_hangs_does_not_keep_it_and_ends_with_it() {
    let (_backends, lb) = stand("1s");
    let dir = crate::kit::work_dir();
    let mark = dir.path().join("pid");
    let hook = dir.path().join("hook");
    let text = format!("#!/bin/sh\necho $$ > {}\nexec sleep 3600\n", mark.display());
    fs::write(&hook, text).unwrap();
    fs::set_permissions(&hook, fs::Permissions::from_mode(0o755)).unwrap();
    let dns = format!(
        "{{ serve: {{ bind: \"{}\" }}, exec: {{ command: [{}], timeout: 1h }} }}",
        ports::free(),
        hook.display()
    );
    let mut tandem = Tandem::start(&alone(&lb, &dns));
    wait_until("the hook runs", SOON, || mark.exists());
    assert_eq!(tandem.stop(ENDS).code(), Some(0), "{}", tandem.log());
    let pid = fs::read_to_string(&mark).unwrap();
    wait_until("the hook has ended", SOON, || {
        let stat = fs::read_to_string(format!("/proc/{}/stat", pid.trim()));
        stat.is_ok_and(|it| it.contains(") Z ")) || !Path::new("/proc").join(pid.trim()).exists()
    });
}

#[test]
fn a_register_that_never_answers_does_not_keep_it() {
    let (_backends, lb) = stand("1s");
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let server = silent.local_addr().unwrap();
    let dns = format!(
        "{{ ttl: 1s, rfc2136: {{ server: \"{server}\", zone: example.test, key: k, \
         secret: \"MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=\" }} }}"
    );
    let mut tandem = Tandem::start(&alone(&lb, &dns));
    silent.set_read_timeout(Some(SOON)).unwrap();
    silent.recv(&mut [0; 512]).unwrap();
    assert_eq!(tandem.stop(ENDS).code(), Some(0), "{}", tandem.log());
}

#[test]
fn a_disk_that_takes_nothing_does_not_keep_it() {
    let (_backends, lb) = stand("1s");
    let state = crate::kit::work_dir();
    fifo(&state.path().join("pair-lb1.new"));
    let lb = lb.process(&format!("state_dir: \"{}\"", state.path().display()));
    let dns = format!(
        "{{ ttl: 1s, serve: {{ bind: \"{}\" }}, exec: {{ command: [/bin/true] }} }}",
        ports::free()
    );
    let mut tandem = Tandem::start(&alone(&lb, &dns));
    wait_for_claim(&tandem);
    assert_eq!(tandem.stop(ENDS).code(), Some(0), "{}", tandem.log());
}

/// A name server that gives every name the address `given`, and counts how
/// often it has given which last octet.
fn name_server(given: &Arc<AtomicU8>) -> (IpAddr, Arc<[AtomicU32; 256]>) {
    let socket = UdpSocket::bind("127.0.0.94:53").expect("a port that takes root");
    let at = socket.local_addr().unwrap().ip();
    let counts = Arc::new([const { AtomicU32::new(0) }; 256]);
    let (given, counted) = (Arc::clone(given), Arc::clone(&counts));
    std::thread::spawn(move || {
        let mut query = [0; 512];
        while let Ok((length, asker)) = socket.recv_from(&mut query) {
            // A header, a name of labels, a type, a class; no more is read.
            let mut end = 12;
            while query[end] != 0 && end < length {
                end += usize::from(query[end]) + 1;
            }
            let octet = given.load(Ordering::SeqCst);
            let has_address = query[end + 1..end + 3] == [0, 1];
            let mut answer = query[..end + 5].to_vec();
            answer[2..12].copy_from_slice(&[0x81, 0x80, 0, 1, 0, has_address.into(), 0, 0, 0, 0]);
            if has_address {
                answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4, 127, 0, 0, octet]);
            }
            let _gone = socket.send_to(&answer, asker);
            counted[usize::from(octet)].fetch_add(has_address.into(), Ordering::SeqCst);
        }
    });
    (at, counts)
}

/// Names are looked up every 10 s, during a stop too.
#[test]
fn a_name_that_moves_while_it_stops_opens_nothing_and_it_ends() {
    let port = ports::free().port();
    let server = |name, octet| {
        let address = SocketAddr::from(([127, 0, 0, octet], port));
        let mut backend = Backend::elsewhere(name, address);
        backend.revive();
        backend
    };
    let _servers = [server("before", 95), server("after", 96)];
    let given = Arc::new(AtomicU8::new(95));
    let (resolver, counts) = name_server(&given);
    let lookups = |octet: usize| counts[octet].load(Ordering::SeqCst);
    let lb = Lb::bare().pool("probe: tcp").process("shutdown_grace: 1h");
    let lb = lb.backend_as("a", &format!("\"db.example.test:{port}\""));
    let mut tandem = asking(&lb, resolver);
    tandem.wait_alive();
    tandem.wait_state("a", "up");
    let mut session = session(lb.address);
    begin_stop(&tandem, lb.address);
    given.store(96, Ordering::SeqCst);
    // The second lookup begins when the first has been taken note of.
    wait_until("the name is looked up twice", 2 * SOON, || lookups(96) >= 2);
    assert!(refuses(lb.address), "nobody listens: {}", tandem.log());
    assert_eq!(tandem.events("listening").len(), 1, "{}", tandem.log());
    assert!(works(&mut session), "who is served is served on");
    assert!(tandem.proc.is_running());
    drop(session);
    let ended = tandem.proc.wait(ENDS);
    assert_eq!(ended.and_then(|it| it.code()), Some(0), "{}", tandem.log());
    let conns = tandem.events("conn");
    let at = format!("127.0.0.95:{port}");
    assert!(conns.iter().all(|it| it["backend_addr"] == at), "{conns:?}");
}

/// A tandem whose machine asks this name server, and is patient with it.
/// Another resolv.conf takes a mount namespace, and that takes root.
fn asking(lb: &Lb, resolver: IpAddr) -> Tandem {
    let text = format!("nameserver {resolver}\noptions timeout:30 attempts:5\n");
    let script = "f=$(mktemp) && echo \"$0\" >$f && mount --bind $f /etc/resolv.conf && rm $f && \
                  exec \"$@\"";
    let prefix = ["unshare", "-m", "sh", "-c", script, &text];
    Tandem::launch_as(&lb.yaml(), &prefix, |_| {})
}

#[test]
fn a_resolver_that_never_answers_does_not_keep_it() {
    let (_backends, lb) = stand("1s");
    let silent = UdpSocket::bind("127.0.0.53:53").or_else(|_| UdpSocket::bind("127.0.77.1:53"));
    let silent = silent.expect("port 53 of a loopback address (needs root)");
    let resolver = silent.local_addr().unwrap().ip();
    let lb = lb.backend_as("b", "nowhere.example.test:80");
    let mut tandem = asking(&lb, resolver);
    silent.set_read_timeout(Some(SOON)).unwrap();
    silent.recv(&mut [0; 512]).expect("it asks");
    tandem.wait_alive();
    let ended = tandem.stop(ENDS);
    assert_eq!(ended.code(), Some(0), "{}", tandem.log());
}

/// The kernel's rules are written by `nft`, which may hang behind a lock.
#[test]
fn an_nft_that_hangs_does_not_keep_it() {
    let (_backends, lb) = stand("1s");
    let dir = crate::kit::work_dir();
    let (hangs, nft) = (dir.path().join("hangs"), dir.path().join("nft"));
    let text = format!(
        "#!/bin/sh\n[ -e {} ] && exec sleep 3600\nPATH=/usr/sbin:/sbin:/usr/bin:/bin exec nft \"$@\"\n",
        hangs.display()
    );
    fs::write(&nft, text).unwrap();
    fs::set_permissions(&nft, fs::Permissions::from_mode(0o755)).unwrap();
    let lb = lb
        .listener("bind: \"10.99.0.1:3306\"")
        .listener("plane: kernel")
        .backend_as("a", "\"10.99.0.2:3306\"")
        .pool("on_dead: keep");
    let script = "ip link set lo up && ip addr add 10.99.0.1/24 dev lo && exec \"$0\" \"$@\"";
    let prefix = ["unshare", "-n", "sh", "-c", script];
    let path = format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", dir.path().display());
    let mut tandem = Tandem::launch_as(&lb.yaml(), &prefix, |command| {
        command.env("PATH", path);
    });
    tandem.wait_alive();
    wait_until("the rules are in force", SOON, || {
        tandem.log().contains("the kernel plane is table inet")
    });
    fs::write(&hangs, "").unwrap();
    let ended = tandem.stop(ENDS);
    assert_eq!(ended.code(), Some(0), "{}", tandem.log());
    assert!(tandem.log().contains("table stays"), "{}", tandem.log());
}

/// What systemd hears, by a path and by an abstract name.
#[test]
fn systemd_is_told_by_path_and_by_abstract_name() {
    let dir = crate::kit::work_dir();
    let path = dir.path().join("notify");
    let name = format!("tandem-real-{}", std::process::id());
    let abstract_name = UnixAddr::from_abstract_name(&name).unwrap();
    let doors = [
        (
            UnixDatagram::bind(&path).unwrap(),
            path.display().to_string(),
        ),
        (
            UnixDatagram::bind_addr(&abstract_name).unwrap(),
            format!("@{name}"),
        ),
    ];
    for (receiver, door) in doors {
        receiver.set_read_timeout(Some(SOON)).unwrap();
        let heard = || {
            let mut buffer = [0; 256];
            let length = receiver.recv(&mut buffer).unwrap_or(0);
            String::from_utf8_lossy(&buffer[..length]).into_owned()
        };
        let (_backends, lb) = stand("1h");
        let mut tandem = Tandem::launch_as(&lb.yaml(), &[], |command| {
            command.env("NOTIFY_SOCKET", &door);
        });
        assert_eq!(heard(), "READY=1", "{door}");
        tandem.wait_ready();
        let session = session(lb.address);
        tandem.proc.signal(Signal::TERM);
        assert_eq!(heard(), "STOPPING=1", "{door}");
        // Asked for again and again, as long as it lasts.
        for _ in 0..2 {
            let more = heard();
            let micros = more.strip_prefix("EXTEND_TIMEOUT_USEC=").unwrap();
            assert!(micros.parse::<u64>().unwrap() >= 10_000_000, "{more}");
        }
        drop(session);
        assert_eq!(tandem.proc.wait(ENDS).and_then(|it| it.code()), Some(0));
    }
}

#[test]
fn a_systemd_that_cannot_be_told_is_said() {
    let (_backends, lb) = stand("1s");
    let mut tandem = Tandem::launch_as(&lb.yaml(), &[], |command| {
        command.env("NOTIFY_SOCKET", "@nobody-listens-here");
    });
    tandem.wait_ready();
    wait_until("it is said", SOON, || {
        let mut troubles = tandem.events("trouble").into_iter();
        troubles.any(|it| {
            it["what"]
                .to_string()
                .contains("cannot tell systemd READY=1")
        })
    });
    assert_eq!(tandem.stop(ENDS).code(), Some(0));
    assert!(http::unix(&tandem.socket(), "GET", "/healthz").is_err());
}
