//! The end of the process: it comes, whatever hangs, and nothing begins again
//! meanwhile.

use std::fs::{self, File};
use std::io::{ErrorKind, PipeReader, PipeWriter, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{SocketAddr as UnixAddr, UnixDatagram};
use std::path::Path;
use std::process::Command;
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

/// Another resolv.conf takes a mount namespace, and that takes root.
#[test]
fn a_resolver_that_never_answers_does_not_keep_it() {
    let (_backends, lb) = stand("1s");
    let silent = UdpSocket::bind("127.0.0.53:53").or_else(|_| UdpSocket::bind("127.0.77.1:53"));
    let silent = silent.expect("port 53 of a loopback address (needs root)");
    let resolver = silent.local_addr().unwrap().ip();
    let dir = crate::kit::work_dir();
    let file = dir.path().join("resolv.conf");
    let text = format!("nameserver {resolver}\noptions timeout:30 attempts:5\n");
    fs::write(&file, text).unwrap();
    let lb = lb.backend_as("b", "nowhere.example.test:80");
    let script = format!(
        "mount --bind {} /etc/resolv.conf && exec \"$0\" \"$@\"",
        file.display()
    );
    let prefix = ["unshare", "-m", "sh", "-c", &script];
    let mut tandem = Tandem::launch_as(&lb.yaml(), &prefix, |_| {});
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
