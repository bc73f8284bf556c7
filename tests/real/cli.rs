//! The commands, as people and scripts run them.

use std::fs;
use std::io::Write as _;
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::Instant;

use rustix::process::Signal;

use crate::kit::pattern::Pattern;
use crate::kit::proc::Proc;
use crate::kit::tandem::{Lb, PROGRAM, Tandem, run, stays};
use crate::kit::{Backend, SOON, figure, http, ms, ports, said, wait_until, work_dir};

#[test]
fn check_shows_every_problem_at_once() {
    let dir = work_dir();
    let path = dir.path().join("lb.yaml");
    let text = "listeners:
  web: { bind: \"127.0.0.1:80\", pool: wbe }
pools:
  web:
    backends: [ \"127.0.0.1:1\" ]
    conect_timeout: 1s
    idle_timeout: 30
";
    fs::write(&path, text).unwrap();
    let file = path.display().to_string();
    let done = run(&["check", "-c", &file]);
    assert_eq!(done.status.code(), Some(2), "{}", said(&done));
    let told = said(&done);
    for part in [
        "wbe",
        "conect_timeout",
        "connect_timeout",
        "idle_timeout",
        "lb.yaml:2:",
        "lb.yaml:6:",
        "lb.yaml:7:",
    ] {
        assert!(told.contains(part), "{part} is missing:\n{told}");
    }
    assert_eq!(run(&["run", "-c", &file]).status.code(), Some(2));
    assert_eq!(
        run(&["check", "-c", "/nonexistent/lb.yaml"]).status.code(),
        Some(2)
    );
    assert_eq!(run(&["no-such-command"]).status.code(), Some(2));
}

#[test]
fn an_address_that_is_taken_is_said_and_nothing_is_left_running() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let dir = work_dir();
    let path = dir.path().join("lb.yaml");
    let text = format!(
        "listeners:\n  web: {{ bind: \"{}\", pool: web }}\n\
         pools:\n  web: {{ backends: [\"127.0.0.1:1\"] }}\n\
         admin: {{ bind: off, socket: {} }}\n",
        taken.local_addr().unwrap(),
        dir.path().join("admin.sock").display()
    );
    fs::write(&path, text).unwrap();
    let done = run(&["run", "-c", &path.display().to_string()]);
    assert_eq!(done.status.code(), Some(1), "{}", said(&done));
    assert!(
        said(&done).contains("another process listens"),
        "{}",
        said(&done)
    );
}

#[test]
fn what_init_prints_passes_check() {
    for kind in ["web", "mysql"] {
        let done = run(&["init", kind]);
        assert_eq!(done.status.code(), Some(0));
        let dir = work_dir();
        let path = dir.path().join("lb.yaml");
        fs::write(&path, &done.stdout).unwrap();
        let checked = run(&["check", "-c", &path.display().to_string()]);
        assert_eq!(checked.status.code(), Some(0), "{kind}: {}", said(&checked));
    }
}

/// Row 26, scaled: no file makes the check panic or hang.
#[test]
fn mutated_files_are_refused_in_words() {
    let dir = work_dir();
    let path = dir.path().join("lb.yaml");
    let file = path.display().to_string();
    let good = Lb::new(&[Backend::absent("a")], "http")
        .pool("protocol: http")
        .yaml();
    let mut chance = Pattern::new(26);
    let mut worst = ms(0);
    for _ in 0..200 {
        let mut bytes = good.clone().into_bytes();
        for _ in 0..=chance.below(4) {
            let at = chance.below(bytes.len());
            match chance.below(3) {
                0 => bytes[at] = u8::try_from(chance.below(256)).unwrap(),
                1 => drop(bytes.remove(at)),
                _ => bytes.insert(at, b"{}[]:,&*!\n\t #"[chance.below(13)]),
            }
        }
        fs::write(&path, &bytes).unwrap();
        let start = Instant::now();
        let done = run(&["check", "-c", &file]);
        worst = worst.max(start.elapsed());
        let text = String::from_utf8_lossy(&bytes).into_owned();
        match done.status.code() {
            Some(0) => {}
            Some(2) => assert!(said(&done).contains("lb.yaml:"), "{}\n{text}", said(&done)),
            other => panic!("{other:?}: {}\n{text}", said(&done)),
        }
    }
    figure("cli.check_worst_ms", worst.as_millis());
    fs::write(&path, alias_bomb()).unwrap();
    let start = Instant::now();
    assert_eq!(run(&["check", "-c", &file]).status.code(), Some(2));
    figure("cli.alias_bomb_ms", start.elapsed().as_millis());
    assert!(start.elapsed() < ms(5000), "the goal is 100 ms");
}

fn alias_bomb() -> String {
    let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
    for at in 1..12 {
        let before = vec![format!("*a{}", at - 1); 9].join(", ");
        text.push_str(&format!("a{at}: &a{at} [{before}]\n"));
    }
    text
}

#[test]
fn commands_say_when_nobody_is_there() {
    let dir = work_dir();
    let socket = dir.path().join("none.sock").display().to_string();
    for command in ["status", "reload"] {
        let done = run(&[command, "--socket", &socket]);
        assert_eq!(done.status.code(), Some(3), "{command}: {}", said(&done));
    }
}

#[test]
fn the_probe_command_answers_by_its_exit_code() {
    let mut backend = Backend::start("a");
    let address = backend.address.to_string();
    let http = ["probe", &address, "--http", "/healthz"];
    let tcp = ["probe", &address, "--tcp"];
    for args in [&http[..], &tcp[..]] {
        let done = run(args);
        assert_eq!(done.status.code(), Some(0), "{args:?}: {}", said(&done));
    }
    backend.freeze();
    assert_ne!(run(&http).status.code(), Some(0), "frozen");
    backend.thaw();
    backend.kill();
    for args in [&http[..], &tcp[..]] {
        assert_eq!(run(args).status.code(), Some(1), "{args:?}");
    }
}

#[test]
fn the_probe_command_probes_a_backend_of_the_file_as_its_pool_says() {
    let server = Backend::start("a");
    let port = server.address.port();
    let dir = work_dir();
    let path = dir.path().join("lb.yaml");
    let text = format!(
        "listeners: {{ web: {{ bind: \"{}\", pool: web }} }}\npools:\n  web:\n    backends: {{ a: \
         \"{}\", name: \"localhost:{port}\" }}\n    probe: {{ type: http, path: /healthz }}\n  \
         odd:\n    backends: {{ a: \"{}\" }}\n    probe: {{ type: http, path: /healthz, expect: \
         404 }}\n",
        ports::free(),
        server.address,
        server.address
    );
    fs::write(&path, text).unwrap();
    let (file, address) = (path.display().to_string(), server.address.to_string());
    // A name is tried at each of its addresses; the server has only one.
    for (what, code, told) in [
        ("web/a", 0, &["web/a 127", ": pass in "][..]),
        ("web", 0, &["web/a 127", "web/name localhost"]),
        ("odd/a", 1, &["odd/a 127", ": fail: ", "200"]),
        (&address, 1, &["web/a 127", "odd/a 127"]),
        ("web/b", 2, &["has no pool", "--tcp"]),
        ("127.0.0.1:1", 2, &["no address of a backend", "--tcp"]),
    ] {
        let done = run(&["probe", what, "-c", &file, "--timeout-ms", "10000"]);
        assert_eq!(done.status.code(), Some(code), "{what}: {}", said(&done));
        for part in told {
            assert!(said(&done).contains(part), "{what}: {}", said(&done));
        }
    }
    let none = run(&["probe", &address, "-c", "/nonexistent/lb.yaml"]);
    assert_eq!(none.status.code(), Some(2), "{}", said(&none));
    assert!(said(&none).contains("--tcp"), "{}", said(&none));
    // Without a word it waits as long as its pool does.
    server.freeze();
    for (timeout, words) in [("70ms", "within 70ms"), ("90ms", "within 90ms")] {
        let text = fs::read_to_string(&path).unwrap();
        let slow = text.replace(
            "path: /healthz }",
            &format!("path: /healthz, timeout: {timeout} }}"),
        );
        let other = dir.path().join("other.yaml");
        fs::write(&other, slow).unwrap();
        let done = run(&["probe", "web/a", "-c", &other.display().to_string()]);
        assert_eq!(done.status.code(), Some(1), "{}", said(&done));
        assert!(said(&done).contains(words), "{}", said(&done));
    }
}

#[test]
fn small_commands_say_something() {
    let version = run(&["version"]);
    assert!(said(&version).starts_with("tandem "), "{}", said(&version));
    for args in [&["man"][..], &["completions", "bash"][..], &["--help"][..]] {
        let done = run(args);
        assert_eq!(done.status.code(), Some(0), "{args:?}");
        assert!(said(&done).len() > 500 && said(&done).contains("tandem"));
    }
}

#[test]
fn the_demo_ends_without_a_failure() {
    let done = run(&["demo", "--seconds", "6"]);
    let told = said(&done);
    assert_eq!(done.status.code(), Some(0), "{told}");
    assert!(told.contains("0 fail"), "{told}");
    figure("cli.demo", told.lines().last().unwrap_or_default());
}

#[test]
fn quick_serves_without_a_file() {
    let backends = Backend::several(2);
    let bind = ports::free();
    let mut command = Command::new(PROGRAM);
    command
        .args(["quick", &bind.to_string()])
        .args(backends.iter().map(|it| it.address.to_string()))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let mut proc = Proc::spawn(&mut command, "nothing, cargo builds it");
    wait_until("it serves", SOON, || {
        http::tcp(bind, "GET", "/", "").is_ok_and(|it| it.status == 200)
    });
    proc.signal(Signal::TERM);
    let ended = proc.wait(SOON).expect("it ends");
    assert_eq!(ended.code(), Some(0));
}

#[test]
fn sigterm_lets_sessions_end_and_then_goes() {
    let backends = Backend::several(1);
    let lb = Lb::new(&backends, "tcp")
        .pool("protocol: tcp")
        .process("shutdown_grace: 20s");
    let mut tandem = lb.start();
    let mut stream = hold_echo(&lb);
    let start = Instant::now();
    tandem.proc.signal(Signal::TERM);
    wait_until("newcomers are refused", SOON, || {
        TcpStream::connect(lb.address).is_err()
    });
    assert!(tandem.proc.is_running(), "a session is open");
    assert!(echoes(&mut stream), "and works");
    drop(stream);
    let ended = tandem
        .proc
        .wait(SOON)
        .expect("it ends with its last session");
    assert_eq!(ended.code(), Some(0));
    assert!(start.elapsed() < ms(19_000), "before the grace is over");
}

#[test]
fn sigterm_waits_no_longer_than_its_grace() {
    let backends = Backend::several(1);
    let lb = Lb::new(&backends, "tcp")
        .pool("protocol: tcp")
        .process("shutdown_grace: 1s");
    let mut tandem = lb.start();
    let stream = hold_echo(&lb);
    let start = Instant::now();
    let ended = tandem.stop(SOON);
    figure("cli.shutdown_ms_at_grace_1s", start.elapsed().as_millis());
    assert_eq!(ended.code(), Some(0));
    assert!(start.elapsed() >= ms(700), "it did wait");
    assert_eq!(tandem.reason(stream.local_addr().unwrap()), "shutdown");
    assert!(!tandem.socket().exists(), "the socket's file is gone");
}

fn hold_echo(lb: &Lb) -> TcpStream {
    let mut stream = TcpStream::connect(lb.address).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    stream.write_all(b"ECHO\n").unwrap();
    assert!(echoes(&mut stream));
    stream
}

fn echoes(stream: &mut TcpStream) -> bool {
    use std::io::Read as _;
    let mut got = [0; 4];
    let sent = stream.write_all(b"ping");
    sent.and_then(|()| stream.read_exact(&mut got)).is_ok() && &got == b"ping"
}

#[test]
fn an_idle_tandem_does_nothing() {
    let backends = Backend::several(2);
    let lb = Lb::new(&backends, "http").pool("probe: { type: http, interval: 1s }");
    let tandem: Tandem = lb.start();
    let before = tandem.proc.cpu_seconds();
    assert!(stays(ms(4000), || tandem.proc.fds() > 0));
    let used = (tandem.proc.cpu_seconds() - before) / 4.0;
    figure("cli.idle_cpu_of_a_core", format!("{used:.3}"));
    assert!(used < 0.05, "{used} of a core");
}

#[test]
fn a_broken_file_still_says_which_tandem_is_meant() {
    let backend = Backend::start("a");
    let lb = Lb::bare().backend("a", backend.address);
    let tandem = lb.start();
    let config = tandem.config().display().to_string();
    let good = fs::read_to_string(tandem.config()).unwrap();
    fs::write(&config, good.replace("pools:", "polls:\n  x: 1\npools:")).unwrap();
    let status = run(&["status", "-c", &config]);
    assert_eq!(status.status.code(), Some(0), "{}", said(&status));
    let reload = run(&["reload", "-c", &config]);
    assert_eq!(reload.status.code(), Some(1), "{}", said(&reload));
    assert!(said(&reload).contains("lb.yaml:"), "{}", said(&reload));
    // What is no YAML names no socket: nobody else is asked instead.
    fs::write(&config, format!("{good}\n[")).unwrap();
    for word in ["status", "reload"] {
        let done = run(&[word, "-c", &config]);
        assert_eq!(done.status.code(), Some(2), "{}", said(&done));
        assert!(said(&done).contains("lb.yaml:"), "{}", said(&done));
    }
}

/// A backend that was taken out looked like any other but for a 0 among the
/// numbers, and nobody knew whether it could be stopped.
#[test]
fn who_is_taken_out_by_its_weight_is_told_with_what_it_still_has() {
    let backends = Backend::several(2);
    let lb = Lb::bare()
        .backend("a", backends[0].address)
        .pool("slow_start: off");
    let tandem = lb.start();
    tandem.wait_state("a", "up");
    let mut held = TcpStream::connect(lb.address).unwrap();
    held.write_all(b"HOLD\n").unwrap();
    wait_until("it is served", SOON, || {
        tandem.backend("web", "a")["connections"] == 1
    });
    let out = format!("{{ address: \"{}\", weight: 0 }}", backends[0].address);
    let lb = lb.without("a").backend_as("a", &out);
    tandem.reload(&lb.backend("b", backends[1].address).yaml());
    let told = said(&tandem.command(&["status"]));
    let line = told.lines().find(|it| it.trim_start().starts_with("a "));
    let words: Vec<&str> = line.unwrap().split_whitespace().collect();
    assert_eq!(words[2], "1", "{told}");
    assert!(line.unwrap().contains("out: weight 0"), "{told}");
    assert_eq!(tandem.backend("web", "a")["out"], "weight 0");
    drop(held);
}

/// Once the line of the reload had scrolled away nothing told that the process
/// was not as its file.
#[test]
fn what_waits_for_a_restart_is_told_until_it_comes() {
    let backend = Backend::start("a");
    let lb = Lb::bare().backend("a", backend.address);
    let tandem = lb.clone().process("workers: 1").start();
    let told = || said(&tandem.command(&["status"]));
    let waiting = || tandem.metric("tandem_config_waits_for_restart", &[]);
    assert!(!told().contains("restart") && waiting() < 0.5, "{}", told());
    tandem.reload(&lb.clone().process("workers: 2").yaml());
    // Another reload, of something else.
    let other = lb.clone().process("workers: 2").pool("policy: first");
    tandem.reload(&other.yaml());
    let line = "waits for a restart: process.workers: 1 -> 2";
    assert!(told().contains(line), "{}", told());
    assert!((waiting() - 1.0).abs() < 0.5);
    tandem.reload(&lb.clone().process("workers: 1").yaml());
    assert!(!told().contains("restart"), "{}", told());
}

/// The first start after `check --online` had said that all was well ended with
/// "address in use".
#[test]
fn check_online_sees_an_address_that_is_taken_by_another() {
    let backend = Backend::start("a");
    let lb = Lb::bare().backend("a", backend.address).pool("probe: tcp");
    let dir = work_dir();
    let file = dir.path().join("lb.yaml");
    let socket = dir.path().join("admin.sock");
    let admin = ports::free();
    let tail = format!(
        "admin: {{ bind: \"{admin}\", socket: {} }}\n",
        socket.display()
    );
    fs::write(&file, lb.tail(&tail).yaml()).unwrap();
    let file = file.display().to_string();
    let check = || {
        let done = run(&["check", "--online", "-c", &file]);
        (done.status.code(), said(&done))
    };
    let web = lb_address(&file);
    assert_eq!(check().0, Some(0), "{}", check().1);
    for (address, path) in [(web, "listeners.web"), (admin.to_string(), "admin.bind")] {
        let _another = std::net::TcpListener::bind(&address).unwrap();
        let (code, told) = check();
        assert_eq!(code, Some(1), "{told}");
        let line = format!("{path} {address}: fail: ");
        assert!(told.contains(&line) && told.contains("ss -lntup"), "{told}");
    }
    // The tandem of this very file is no stranger.
    let mut command = Command::new(PROGRAM);
    command.args(["run", "-c", &file]).stdin(Stdio::null());
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let _tandem = Proc::spawn(&mut command, "tandem");
    wait_until("it runs", SOON, || {
        http::unix(&socket, "GET", "/readyz").is_ok_and(|it| it.status == 200)
    });
    assert_eq!(check().0, Some(0), "{}", check().1);
}

/// Where the listener of the file at `path` is.
fn lb_address(path: &str) -> String {
    let text = fs::read_to_string(path).unwrap();
    let line = text.lines().find(|it| it.contains("bind:")).unwrap();
    let quoted = line.split('"').nth(1);
    quoted.unwrap().to_owned()
}
