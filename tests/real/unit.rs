//! The shipped unit's user and capabilities, as far as they can be had without
//! systemd: read from the unit, given by setpriv(1).

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::Path;
use std::process::{Command, Output};

use crate::kit::{output, said, work_dir};

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
    assert_eq!(value(UNIT, "DynamicUser"), "yes");
    assert_eq!(value(UNIT, "NoNewPrivileges"), "yes");
    assert!(value(UNIT, "ExecStartPre").starts_with("/usr/bin/tandem check --config "));
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
        .args(["check", "--config"])
        .arg(config)
        .env("CREDENTIALS_DIRECTORY", credentials);
    output(&mut command, "util-linux, and root")
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
