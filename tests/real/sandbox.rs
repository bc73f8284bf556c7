//! The shipped unit under a real systemd: its user, its capabilities and all of
//! its sandbox, over a whole life.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::MetadataExt as _;
use std::process::{Command, Stdio};

use crate::kit::backend::HELPER;
use crate::kit::pattern::sum_of;
use crate::kit::proc::Proc;
use crate::kit::systemd::Systemd;
use crate::kit::{Backend, SOON, http, output, said, wait_until};

const UNIT: &str = include_str!("../../deploy/tandem.service");
const PAIR: &str = include_str!("../../deploy/pair.conf");
const KERNEL: &str = include_str!("../../deploy/kernel-plane.conf");

/// There is no journal; and nobody waits for a node that will not start.
const RIG: &str = "[Service]\nStandardOutput=append:/out/log\nStandardError=append:/out/log\n\
                   Restart=no\nTimeoutStartSec=60\n";

/// So that the socket may be given to that group.
const GROUP: &str = "[Service]\nSupplementaryGroups=web\n";

const KEY: &str = "0123456789abcdef0123456789abcdef\n";

const FRONT: &str = "127.0.0.92:80";
const SOCKET: &str = "/run/tandem/web.sock";

/// A system with the unit as it is shipped, and with `more` in files beside it.
fn installed(lb: &str, more: &[(&str, &str)]) -> Systemd {
    install(Systemd::boot(), lb, more)
}

fn install(systemd: Systemd, lb: &str, more: &[(&str, &str)]) -> Systemd {
    let folder = "/etc/systemd/system/tandem.service";
    systemd.write(folder, UNIT);
    for (name, text) in [&[("rig.conf", RIG)], more].concat() {
        systemd.write(&format!("{folder}.d/{name}"), text);
    }
    systemd.write("/etc/tandem/lb.yaml", lb);
    systemd.order(&["daemon-reload"]);
    systemd
}

/// Whatever the unit must be able to do for the documented pair.
fn lb(backend: &Backend, weight: u32) -> String {
    // Passes where the sandbox is as the unit says.
    let look = "touch /tmp/x && touch \"$STATE_DIRECTORY/x\" && test ! -e /home/seen && test ! -e \
                /proc/1 && test ! -e /dev/kmsg && ! unshare --user true && ! chrt --rr 1 true";
    format!(
        "pair:\n  name: lb.example.test\n  nodes: {{ lb1: 127.0.0.92, lb2: 127.0.0.93 }}\n  me: \
         lb1\n  secret_file: ${{CREDENTIALS_DIRECTORY}}/pair.key\n  heartbeat: {{ start_grace: \
         500ms }}\nadmin: {{ bind: off }}\nlisteners:\n  web: {{ bind: [\"self:80\", \
         \"unix:{SOCKET}\"], unix_owner: \":web\", pool: web }}\npools:\n  web: {{ backends: {{ a: {{ \
         address: \"{}\", weight: {weight} }} }}, probe: http /healthz }}\n  name: {{ backends: \
         [\"localhost:{}\"], probe: http /healthz }}\n  look: {{ backends: [\"{}\"], probe: {{ \
         type: exec, timeout: 5s, command: [sh, -c, {look:?}] }} }}\n",
        backend.address,
        backend.address.port(),
        backend.address,
    )
}

/// Whether `group` and nobody else of its user is let in at the unix socket.
fn is_let_in(systemd: &Systemd, group: u32) -> bool {
    let mut command = systemd.command("setpriv");
    let ids = ["--reuid=64002".to_owned(), format!("--regid={group}")];
    command.args(ids).args(["--clear-groups", "curl", "-sS"]);
    command.args(["--max-time", "20", "--unix-socket", SOCKET, "http://web/"]);
    said(&output(&mut command, "util-linux, curl")) == "a /\n"
}

#[test]
fn the_shipped_unit_lives_a_whole_life_in_its_sandbox() {
    let backend = Backend::start("a");
    let systemd = installed(
        &lb(&backend, 1),
        &[("pair.conf", PAIR), ("group.conf", GROUP)],
    );
    systemd.write("/etc/tandem/pair.key", KEY);
    systemd.write("/home/seen", "");
    systemd.order(&["start", "tandem"]);
    // It is what the unit says.
    let main = systemd.main_process("tandem");
    let about = |what: &str| fs::read_to_string(format!("/proc/{main}/{what}")).unwrap();
    let (status, mounts) = (about("status"), about("mountinfo"));
    let field = |name: &str| {
        let line = status.lines().find_map(|it| it.strip_prefix(name));
        line.unwrap().split_whitespace().next().unwrap().to_owned()
    };
    assert!(field("Uid:").parse::<u32>().unwrap() >= 61_184, "{status}");
    // CAP_NET_BIND_SERVICE is number 10.
    for name in ["CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"] {
        assert_eq!(field(name), "0000000000000400", "{name} {status}");
    }
    assert_eq!(
        (field("NoNewPrivs:"), field("Seccomp:")),
        ("1".into(), "2".into())
    );
    assert!(mounts.contains(" / / ro,"), "{mounts}");
    // It serves: a page, a stream that goes through pipes, a unix socket.
    let admin = systemd.path("/run/tandem/admin.sock");
    let ask = |path: &str| http::unix(&admin, "GET", path).unwrap();
    wait_until("all pools are up", SOON, || ask("/readyz").status == 200);
    let pools = ask("/v1/status").json()["pools"].clone();
    for pool in pools.as_array().unwrap() {
        assert_eq!(
            pool["backends"][0]["state"],
            "up",
            "{pool}\n{}",
            systemd.log()
        );
    }
    let front: SocketAddr = FRONT.parse().unwrap();
    assert_eq!(http::get(front, "/").body, "a /\n");
    let mut stream = TcpStream::connect(front).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    stream.write_all(b"SOURCE 3000000 7\n").unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    assert_eq!(bytes.len(), 3_000_000);
    let mut sum = crate::kit::pattern::Sum::new();
    sum.add(&bytes);
    assert_eq!(sum.finish(), sum_of(7, 3_000_000));
    assert!(is_let_in(&systemd, 64_001), "the group of unix_owner");
    assert!(!is_let_in(&systemd, 64_003), "another group");
    // The pair: it claims the name and answers for it.
    wait_until("the name server answers", SOON, || {
        let mut dig = Command::new("dig");
        dig.args(["+short", "+time=1", "+tries=1", "@127.0.0.92"]);
        let answer = output(dig.args(["lb.example.test", "A"]), "bind9-dnsutils");
        said(&answer).trim() == "127.0.0.92"
    });
    // What the kernel says of ports is seen, too.
    let metrics = ask("/metrics").body;
    for name in [
        "tandem_backend_source_ports_max{",
        "process_resident_memory_bytes ",
        "process_open_fds ",
    ] {
        assert!(metrics.contains(&format!("\n{name}")), "{name} is there");
    }
    // A reload, by the unit's user.
    systemd.write("/etc/tandem/lb.yaml", &lb(&backend, 7));
    systemd.order(&["reload", "tandem"]);
    assert_eq!(
        ask("/v1/status").json()["pools"][0]["backends"][0]["weight"],
        7
    );
    assert_eq!(http::get(front, "/").body, "a /\n");
    systemd.order(&["stop", "tandem"]);
    let end = ["Result", "ExecMainStatus", "ActiveState"].map(|it| systemd.show("tandem", it));
    assert_eq!(end, ["success", "0", "inactive"], "{}", systemd.log());
    // And once more, from the state that it has left.
    systemd.order(&["start", "tandem"]);
    assert_eq!(systemd.show("tandem", "ActiveState"), "active");
}

/// Each of these is what a unit with a mistake in it looks like: the whole life
/// above would end at its start.
#[test]
fn a_unit_that_lacks_what_tandem_needs_does_not_start() {
    let backend = Backend::start("a");
    let systemd = installed(
        &lb(&backend, 1),
        &[("pair.conf", PAIR), ("group.conf", GROUP)],
    );
    systemd.write("/etc/tandem/pair.key", KEY);
    assert!(starts_with(&systemd, ""), "{}", systemd.log());
    for mistake in [
        "SystemCallFilter=~listen",
        "SystemCallFilter=~prlimit64",
        "SystemCallFilter=~@chown",
        "AmbientCapabilities=\nCapabilityBoundingSet=",
        "RestrictAddressFamilies=\nRestrictAddressFamilies=AF_INET AF_INET6 AF_NETLINK",
        "LoadCredential=",
        "RuntimeDirectory=",
    ] {
        let is_missed = !starts_with(&systemd, mistake);
        assert!(is_missed, "{mistake}:\n{}", systemd.log());
    }
}

/// Whether the unit starts with `lines` in it, too; it stops if so.
fn starts_with(systemd: &Systemd, lines: &str) -> bool {
    systemd.write(
        "/etc/systemd/system/tandem.service.d/zz-more.conf",
        &format!("[Service]\n{lines}\n"),
    );
    systemd.order(&["daemon-reload"]);
    let done = systemd.systemctl(&["start", "tandem"]);
    let is_started = done.status.success();
    if is_started {
        systemd.order(&["stop", "tandem"]);
    }
    is_started
}

#[test]
fn unix_owner_gives_the_socket_to_whom_the_unit_lets_it() {
    let backend = Backend::start("a");
    let lb = |owner: &str, mode: u32| {
        format!(
            "admin: {{ bind: off }}\nlisteners:\n  web: {{ bind: \"unix:{SOCKET}\", unix_owner: \
             \"{owner}\", unix_mode: {mode}, pool: web }}\npools:\n  web: {{ backends: [\"{}\"] \
             }}\n",
            backend.address
        )
    };
    let systemd = installed(&lb(":web", 660), &[]);
    // Its own group alone is its to give.
    assert!(!starts_with(&systemd, ""));
    let log = systemd.log();
    let why = "cannot set its owner: Operation not permitted";
    assert!(log.contains(why), "it says why: {log}");
    assert!(
        log.contains("SupplementaryGroups="),
        "and what to do: {log}"
    );
    assert!(!systemd.path(SOCKET).exists());
    // Any user and group are with CAP_CHOWN, at a start and in a reload.
    let chown = "AmbientCapabilities=CAP_CHOWN\nCapabilityBoundingSet=CAP_CHOWN";
    systemd.write("/etc/tandem/lb.yaml", &lb("64002:64003", 660));
    systemd.write(
        "/etc/systemd/system/tandem.service.d/zz-more.conf",
        &format!("[Service]\n{chown}\n"),
    );
    systemd.order(&["daemon-reload"]);
    systemd.order(&["start", "tandem"]);
    let access = || {
        let file = fs::metadata(systemd.path(SOCKET)).unwrap();
        (file.uid(), file.gid(), file.mode() & 0o7777)
    };
    assert_eq!(access(), (64_002, 64_003, 0o660));
    assert!(is_let_in(&systemd, 64_001), "the user");
    for (owner, mode, expected) in [
        ("64002:64003", 600, (64_002, 64_003, 0o600)),
        ("64004:64001", 660, (64_004, 64_001, 0o660)),
    ] {
        systemd.write("/etc/tandem/lb.yaml", &lb(owner, mode));
        systemd.order(&["reload", "tandem"]);
        assert_eq!(access(), expected, "{}", systemd.log());
    }
    assert!(is_let_in(&systemd, 64_001), "the group");
    systemd.order(&["stop", "tandem"]);
    assert!(!systemd.path(SOCKET).exists(), "it goes, whoever has it");
}

/// What `kernel-plane.conf` adds is enough for nft(8) and for the counters.
#[test]
fn the_kernel_plane_lives_in_the_sandbox_with_its_drop_in() {
    let lb = |weight: u32| {
        format!(
            "admin: {{ bind: off }}\nlisteners:\n  web: {{ bind: \"10.98.0.1:80\", plane: kernel, \
             pool: web }}\npools:\n  web: {{ on_dead: keep, backends: {{ a: {{ address: \
             \"10.98.0.2:8080\", weight: {weight} }} }} }}\n"
        )
    };
    let drop_in = ("kernel-plane.conf", KERNEL);
    let systemd = install(Systemd::boot_apart(), &lb(1), &[drop_in]);
    let within = |program: &str, arguments: &[&str]| {
        let done = output(
            systemd.command(program).args(arguments),
            "iproute2, nftables, curl",
        );
        said(&done)
    };
    for address in ["10.98.0.1/32", "10.98.0.2/32"] {
        let done = within("ip", &["address", "add", address, "dev", "lo"]);
        assert_eq!(done, "");
    }
    let mut server = systemd.in_its_network(&std::env::current_exe().unwrap());
    server.args(["--exact", HELPER, "--ignored", "--nocapture"]);
    server.envs([("RIG_NAME", "a"), ("RIG_ADDRESS", "10.98.0.2:8080")]);
    let _server = Proc::spawn(server.stdout(Stdio::null()), "util-linux");
    let tables = || within("nft", &["list", "tables"]);
    assert_eq!(tables(), "");
    systemd.order(&["start", "tandem"]);
    let admin = systemd.path("/run/tandem/admin.sock");
    let ask = |path: &str| http::unix(&admin, "GET", path).unwrap();
    let is_up = || ask("/v1/status").json()["pools"][0]["backends"][0]["state"] == "up";
    wait_until("the backend is up", SOON, is_up);
    let is_served = || within("curl", &["-sS", "--max-time", "5", "http://10.98.0.1/"]) == "a /\n";
    wait_until("the kernel forwards", SOON, is_served);
    let counted = "tandem_listener_connections_total{listener=\"web\"} ";
    let counts = || {
        let metrics = ask("/metrics").body;
        let line = metrics.lines().find_map(|it| it.strip_prefix(counted));
        line.is_some_and(|it| it.parse::<f64>().unwrap() >= 1.0)
    };
    wait_until("the kernel's counters are read", SOON, counts);
    let log = systemd.log();
    assert!(!log.contains("ip_forward is off"), "{log}");
    systemd.write("/etc/tandem/lb.yaml", &lb(7));
    systemd.order(&["reload", "tandem"]);
    wait_until("the kernel forwards on", SOON, is_served);
    systemd.order(&["stop", "tandem"]);
    assert_eq!(systemd.show("tandem", "Result"), "success");
    assert_eq!(tables(), "", "{}", systemd.log());
}
