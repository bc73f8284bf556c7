//! The shipped unit's user and capabilities, as far as they can be had without
//! systemd: read from the unit, given by setpriv(1).

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::Path;
use std::process::{Command, Output};

use rustix::process::Signal;

use crate::kit::proc::Proc;
use crate::kit::tandem::run;
use crate::kit::{Backend, SOON, eventually_or, http, output, said, work_dir};

const UNIT: &str = include_str!("../../deploy/tandem.service");
const PAIR: &str = include_str!("../../deploy/pair.conf");

/// Some user that owns nothing, as systemd makes one for `DynamicUser=yes`.
const USER: u32 = 64_999;

fn value(text: &'static str, key: &str) -> &'static str {
    let pairs = text.lines().filter_map(|line| line.split_once('='));
    let mut values = pairs.filter(|(it, _)| *it == key);
    values.next().expect("the unit has it").1
}

/// `CAP_A CAP_B` as setpriv wants it.
fn capabilities(key: &str) -> String {
    let names = value(UNIT, key).split_whitespace();
    let names = names.map(|it| format!(",+{}", it.trim_start_matches("CAP_").to_lowercase()));
    format!("-all{}", names.collect::<String>())
}

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// The unit's `ExecStartPre`, by the unit's user.
fn check(config: &Path, credentials: &Path) -> Output {
    assert!(value(UNIT, "ExecStartPre").starts_with("/usr/bin/tandem check --config "));
    let mut command = as_unit(config, "check");
    command.env("CREDENTIALS_DIRECTORY", credentials);
    output(&mut command, "util-linux, and root")
}

/// The copy of tandem beside `config`, with the unit's user and capabilities.
fn as_unit(config: &Path, word: &str) -> Command {
    assert_eq!(value(UNIT, "DynamicUser"), "yes");
    assert_eq!(value(UNIT, "NoNewPrivileges"), "yes");
    let (bounding, ambient) = (
        capabilities("CapabilityBoundingSet"),
        capabilities("AmbientCapabilities"),
    );
    let mut command = Command::new("setpriv");
    command
        .arg(format!("--reuid={USER}"))
        .arg(format!("--regid={USER}"))
        .args(["--clear-groups", "--no-new-privs"])
        .args(["--bounding-set", &bounding])
        .args(["--inh-caps", &ambient, "--ambient-caps", &ambient])
        .args([config.with_file_name("tandem").as_os_str()])
        .args([word, "--config"])
        .arg(config);
    command
}

#[test]
fn the_units_user_reads_the_pairs_secret_as_a_credential_and_no_other_way() {
    let dir = work_dir();
    mode(dir.path(), 0o755);
    fs::copy(env!("CARGO_BIN_EXE_tandem"), dir.path().join("tandem")).unwrap();
    let (name, file) = value(PAIR, "LoadCredential").split_once(':').unwrap();
    assert_eq!(file, "/etc/tandem/pair.key");
    let secret = dir.path().join("secret");
    fs::write(&secret, "0123456789abcdef0123456789abcdef\n").unwrap();
    // As systemd hands it over: for the unit's user alone.
    let credentials = dir.path().join("credentials");
    fs::create_dir(&credentials).unwrap();
    fs::copy(&secret, credentials.join(name)).unwrap();
    mode(&credentials.join(name), 0o400);
    mode(&credentials, 0o500);
    for path in [credentials.join(name), credentials.clone()] {
        chown(path, Some(USER), Some(USER)).unwrap();
    }
    let config = dir.path().join("lb.yaml");
    let told = PAIR.lines().find_map(|line| line.strip_prefix("#   "));
    let told = told
        .expect("pair.conf says what goes into lb.yaml")
        .to_owned();
    let from_disk = format!("secret_file: \"{}\"", secret.display());
    let cases = [
        (&told, 0o600, None),
        (&from_disk, 0o640, Some("Permission denied")),
        (
            &from_disk,
            0o644,
            Some("everybody on this machine may read"),
        ),
    ];
    for (line, bits, fault) in cases {
        mode(&secret, bits);
        let text = format!(
            "pair:\n  name: lb.example.test\n  nodes: {{ lb1: 127.0.0.1, lb2: 127.0.0.77 }}\n  \
             me: lb1\n  {line}\nlisteners:\n  web: {{ bind: \"self:80\", pool: web }}\npools:\n  \
             web: {{ backends: [127.0.0.1:8080] }}\n"
        );
        fs::write(&config, text).unwrap();
        mode(&config, 0o644);
        let done = check(&config, &credentials);
        let words = said(&done);
        match fault {
            None => assert_eq!(done.status.code(), Some(0), "{line}: {words}"),
            Some(fault) => {
                assert_eq!(done.status.code(), Some(2), "{line}: {words}");
                assert!(words.contains(fault), "{line}: {words}");
            }
        }
    }
}

/// What the unit starts, and not only its check: it binds a privileged port,
/// serves, reads its file again and ends, with nothing but what the unit gives.
#[test]
fn the_units_user_serves_a_privileged_port_reloads_and_stops() {
    assert!(value(UNIT, "ExecStart").starts_with("/usr/bin/tandem run --config "));
    let dir = work_dir();
    mode(dir.path(), 0o755);
    fs::copy(env!("CARGO_BIN_EXE_tandem"), dir.path().join("tandem")).unwrap();
    // As `RuntimeDirectory` and `StateDirectory` make them.
    let (runtime, state) = (dir.path().join("run"), dir.path().join("state"));
    for path in [&runtime, &state] {
        fs::create_dir(path).unwrap();
        chown(path, Some(USER), Some(USER)).unwrap();
    }
    mode(&runtime, 0o755);
    mode(&state, 0o700);
    let backend = Backend::start("a");
    let front = SocketAddr::from(([127, 0, 0, 91], 80));
    let (config, socket) = (dir.path().join("lb.yaml"), runtime.join("admin.sock"));
    let text = |weight: u32| {
        format!(
            "process: {{ state_dir: {} }}\nadmin: {{ bind: off, socket: {} }}\n\
             listeners:\n  web: {{ bind: \"{front}\", pool: web }}\n\
             pools:\n  web: {{ backends: {{ a: {{ address: \"{}\", weight: {weight} }} }} }}\n",
            state.display(),
            socket.display(),
            backend.address
        )
    };
    fs::write(&config, text(1)).unwrap();
    mode(&config, 0o644);
    let mut start = as_unit(&config, "run");
    let log = dir.path().join("log");
    start.stderr(fs::File::create(&log).unwrap());
    let mut unit = Proc::spawn(&mut start, "util-linux, and root");
    let log = || fs::read_to_string(&log).unwrap();
    let served = eventually_or(SOON, || {
        let answer = http::unix(&socket, "GET", "/readyz").ok()?;
        (answer.status == 200).then_some(())
    });
    assert!(served.is_some(), "{}", log());
    let who = fs::read_to_string(format!("/proc/{}/status", unit.id())).unwrap();
    assert!(
        who.contains(&format!("Uid:\t{USER}\t{USER}\t{USER}\t{USER}")),
        "{who}"
    );
    assert_eq!(http::get(front, "/").body, "a /\n");
    fs::write(&config, text(7)).unwrap();
    let mut reload = as_unit(&config, "reload");
    let reloaded = output(&mut reload, "util-linux, and root");
    assert_eq!(reloaded.status.code(), Some(0), "{}", said(&reloaded));
    assert_eq!(http::get(front, "/").body, "a /\n");
    unit.signal(Signal::TERM);
    let ended = unit.wait(SOON);
    assert!(ended.is_some_and(|it| it.success()), "{}", log());
}

#[test]
fn a_secret_in_a_file_that_everybody_may_read_is_said() {
    let dir = work_dir();
    let config = dir.path().join("lb.yaml");
    let text = "pair:\n  name: lb.example.test\n  nodes: { lb1: 127.0.0.1, lb2: 127.0.0.77 }\n  \
                me: lb1\n  secret: 0123456789abcdef0123456789abcdef\nlisteners:\n  web: { bind: \
                \"self:80\", pool: web }\npools:\n  web: { backends: [127.0.0.1:8080] }\n";
    fs::write(&config, text).unwrap();
    let file = config.display().to_string();
    for (bits, is_said) in [(0o644, true), (0o640, false)] {
        mode(&config, bits);
        let done = run(&["check", "--config", &file]);
        let words = said(&done);
        assert_eq!(done.status.code(), Some(0), "{words}");
        let warning = format!("warning: {file}:5:11: pair.secret: everybody on this machine");
        assert_eq!(words.contains(&warning), is_said, "{words}");
        assert!(!words.contains("0123456789abcdef"), "{words}");
    }
}
