//! Listeners on unix sockets.

use std::fs;
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::Signal;
use tempfile::TempDir;

use crate::kit::nginx::Nginx;
use crate::kit::tandem::{Lb, Tandem};
use crate::kit::{SOON, eventually, output, said, wait_until, work_dir};

fn curl(socket: &Path, path: &str) -> String {
    let mut command = Command::new("curl");
    command.args(["-sS", "--max-time", "20", "--unix-socket"]);
    command.arg(socket).arg(format!("http://web.example{path}"));
    said(&output(&mut command, "curl"))
}

/// A client that stays, over HTTP/1.1.
struct Client(UnixStream);

impl Client {
    fn come(socket: &Path) -> Self {
        let stream = UnixStream::connect(socket).expect("somebody listens");
        stream.set_read_timeout(Some(SOON)).expect("it is open");
        Self(stream)
    }

    /// Asks nginx for `/`, whose body is `a\n`.
    fn is_served(&mut self) -> bool {
        let sent = self.0.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        let mut seen = Vec::new();
        let mut byte = [0];
        while sent.is_ok() && !seen.ends_with(b"\r\n\r\na\n") {
            match self.0.read(&mut byte) {
                Ok(1) => seen.push(byte[0]),
                Ok(_) | Err(_) => return false,
            }
        }
        sent.is_ok()
    }
}

fn place() -> (TempDir, PathBuf) {
    let dir = work_dir();
    let path = dir.path().join("web.sock");
    (dir, path)
}

fn lb(nginx: &Nginx, listener: &str) -> Lb {
    let mut lb = Lb::bare()
        .backend(&nginx.name, nginx.address)
        .pool("probe: http /healthz");
    for setting in listener.split("; ").filter(|it| !it.is_empty()) {
        lb = lb.listener(setting);
    }
    lb
}

/// Mode and owner of the file, and which file it is.
fn file(path: &Path) -> (String, (u32, u32), u64) {
    let found = fs::symlink_metadata(path).expect("the socket's file");
    let mode = format!("{:o}", found.mode() & 0o7777);
    (mode, (found.uid(), found.gid()), found.ino())
}

#[test]
fn curl_over_a_unix_socket_is_served_by_nginx() {
    let nginx = Nginx::start("a");
    let (_dir, path) = place();
    let shown = format!("unix:{}", path.display());
    let lb = lb(&nginx, "");
    let bind = format!("bind: [\"{}\", \"{shown}\"]", lb.address);
    let lb = lb.listener(&bind).listener("unix_mode: 666");
    let mut tandem = lb.start();
    tandem.wait_state("a", "up");
    nginx.put("big", &"x".repeat(3_000_000));
    assert_eq!(curl(&path, "/"), "a\n");
    assert_eq!(curl(&path, "/files/big").len(), 3_000_000);
    assert_eq!(crate::kit::http::get(lb.address, "/").body, "a\n");
    assert_eq!(file(&path).0, "666");
    let binds = tandem.status()["listeners"][0]["binds"].clone();
    assert_eq!(binds[1]["address"], shown, "{binds}");
    let by_path = || {
        let lines = tandem.events("conn").into_iter();
        lines.filter(|it| it["client"] == shown.as_str()).count()
    };
    wait_until("two lines name the path", SOON, || by_path() == 2);
    assert!(tandem.stop(SOON).success());
    assert!(!path.exists(), "the file goes with tandem");
}

#[test]
fn a_reload_keeps_a_unix_socket_and_its_clients_and_changes_mode_and_owner() {
    let nginx = Nginx::start("a");
    let (_dir, path) = place();
    let bind = format!("bind: \"unix:{}\"", path.display());
    let first = lb(&nginx, &format!("{bind}; unix_mode: 600"));
    let tandem = first.start();
    tandem.wait_state("a", "up");
    let own = file(&path);
    assert_eq!(own.0, "600");
    let mut client = Client::come(&path);
    assert!(client.is_served());
    // Another mode and owner, and another name of the listener.
    let second = first
        .clone()
        .listener("unix_mode: 0666")
        .listener("unix_owner: \"65534:65533\"");
    let renamed = second
        .yaml()
        .replace("listeners:\n  web:", "listeners:\n  other:");
    tandem.reload(&renamed);
    assert_eq!(file(&path), ("666".to_owned(), (65534, 65533), own.2));
    assert!(client.is_served(), "the client has not noticed");
    assert!(Client::come(&path).is_served());
    // One that cannot be put in force changes nothing of it.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("it is bound");
    let also = format!("bind: [\"unix:{}\", \"{address}\"]", path.display());
    tandem.write(&first.clone().listener(&also).yaml());
    let refused = tandem.command(&["reload"]);
    assert!(
        said(&refused).contains("another process"),
        "{}",
        said(&refused)
    );
    assert_eq!(file(&path).0, "666");
    // Without an owner it is its maker's again.
    tandem.reload(&first.yaml());
    assert_eq!(file(&path), own);
    assert!(client.is_served());
    // Whoever takes the file away is made good for by the next reload.
    fs::remove_file(&path).expect("ours");
    tandem.reload(&first.yaml());
    assert!(Client::come(&path).is_served());
    assert!(client.is_served());
    // And a path that is not wanted any more goes, its clients not.
    tandem.reload(&lb(&nginx, "").yaml());
    wait_until("its file goes", SOON, || !path.exists());
    assert!(client.is_served());
}

/// `/a/b.sock` as `/a/./b.sock` and with more slashes.
fn spelled(path: &Path) -> String {
    let (dir, name) = (path.parent().unwrap(), path.file_name().unwrap());
    let name = name.to_string_lossy();
    format!("unix:/{}/.//{name}", dir.display())
}

#[test]
fn a_reload_that_only_respells_a_path_keeps_the_socket_and_its_clients() {
    let nginx = Nginx::start("a");
    let (_dir, path) = place();
    let bind = |text: &str| lb(&nginx, &format!("bind: \"{text}\""));
    let plain = format!("unix:{}", path.display());
    let tandem = bind(&plain).start();
    tandem.wait_state("a", "up");
    let own = file(&path);
    let mut clients: Vec<_> = (0..20).map(|_| Client::come(&path)).collect();
    assert!(clients.iter_mut().all(Client::is_served));
    // Those have been served and are silent; these never said a word.
    clients.extend((0..20).map(|_| Client::come(&path)));
    for text in [spelled(&path), plain.clone(), spelled(&path)] {
        tandem.reload(&bind(&text).yaml());
        assert_eq!(file(&path), own, "the same file");
    }
    let shown = tandem.status()["listeners"][0]["binds"][0]["address"].clone();
    assert_eq!(shown, plain);
    let served = clients
        .iter_mut()
        .filter_map(|it| it.is_served().then_some(()));
    assert_eq!(served.count(), 40);
    assert_eq!(tandem.events("listening").len(), 1);
    // The same path twice is refused, however it is spelled.
    let twice = lb(
        &nginx,
        &format!("bind: [\"{plain}\", \"{}\"]", spelled(&path)),
    );
    tandem.write(&twice.yaml());
    let refused = said(&tandem.command(&["reload"]));
    let why = "is taken by listeners.web.bind";
    assert!(refused.contains(why), "{refused}");
    assert_eq!(file(&path), own);
    assert_eq!(curl(&path, "/"), "a\n");
}

#[test]
fn two_paths_that_lead_to_one_socket_are_told_and_its_file_stays() {
    let nginx = Nginx::start("a");
    let (dir, path) = place();
    let link = dir.path().join("link");
    std::os::unix::fs::symlink(dir.path(), &link).expect("our own directory");
    let (one, two) = (
        format!("unix:{}", path.display()),
        format!("unix:{}/web.sock", link.display()),
    );
    let bind = |text: &str| lb(&nginx, &format!("bind: {text}")).yaml();
    let whole = "a symbolic link leads there";
    let why = format!("cannot listen on {two}: tandem listens there already, as {one} (a symbolic");
    let both = bind(&format!("[\"{one}\", \"{two}\"]"));
    let never = Tandem::launch(&both, None, None);
    wait_until("it is refused", SOON, || never.log().contains(whole));
    assert!(!path.exists());
    let tandem = Tandem::start(&bind(&format!("\"{one}\"")));
    tandem.wait_state("a", "up");
    let own = file(&path);
    let mut client = Client::come(&path);
    assert!(client.is_served());
    // Its own clients in a circle, over a link of the file itself, too.
    let alias = dir.path().join("alias");
    std::os::unix::fs::symlink(&path, &alias).expect("our own directory");
    let circle = lb(&nginx, &format!("bind: \"{one}\""));
    let circle = circle.backend_as("a", &format!("\"unix:{}\"", alias.display()));
    for (yaml, why) in [
        (both, whole),
        (bind(&format!("\"{two}\"")), &*why),
        (circle.yaml(), "is our own listener web"),
    ] {
        tandem.write(&yaml);
        let refused = said(&tandem.command(&["reload"]));
        assert!(refused.contains(why), "{refused}");
        assert_eq!(file(&path), own);
        assert!(client.is_served() && Client::come(&path).is_served());
    }
}

#[test]
fn the_file_of_a_dead_process_is_replaced_and_that_of_a_living_one_is_not() {
    let nginx = Nginx::start("a");
    let (_dir, path) = place();
    let yaml = lb(&nginx, &format!("bind: \"unix:{}\"", path.display())).yaml();
    drop(UnixListener::bind(&path).expect("a path"));
    let mut first = Tandem::start(&yaml);
    first.wait_state("a", "up");
    assert_eq!(curl(&path, "/"), "a\n");
    let second = Tandem::launch(&yaml, None, None);
    let why = "another process listens there; `ss -lxp` shows which";
    wait_until("the second is refused", SOON, || second.log().contains(why));
    assert_eq!(curl(&path, "/"), "a\n", "and has done no harm");
    // Killed, it leaves its file behind, and a new one takes over.
    first.proc.kill();
    assert!(path.exists());
    let mut third = Tandem::start(&yaml);
    third.wait_state("a", "up");
    assert_eq!(curl(&path, "/"), "a\n");
    // A stop leaves alone what somebody else has put there meanwhile, and at
    // the admin socket, too.
    let admin = third.socket();
    for path in [&path, &admin] {
        fs::remove_file(path).expect("ours");
    }
    let successor = UnixListener::bind(&path).expect("the path is free");
    let _another = UnixListener::bind(&admin).expect("the path is free");
    assert!(third.stop(SOON).success());
    assert!(UnixStream::connect(&admin).is_ok());
    let come = UnixStream::connect(&path);
    assert!(come.is_ok() && successor.accept().is_ok());
    // What is no socket is nobody's to remove.
    fs::remove_file(&path).expect("ours");
    fs::write(&path, "precious").expect("a path");
    let fourth = Tandem::launch(&yaml, None, None);
    let why = "a file that is no socket is in its place";
    wait_until("it is refused", SOON, || fourth.log().contains(why));
    assert_eq!(fs::read_to_string(&path).expect("it is there"), "precious");
}

#[test]
fn a_stop_serves_who_has_come_over_a_unix_socket_and_refuses_newcomers() {
    let nginx = Nginx::start("a");
    let (_dir, path) = place();
    let lb = lb(&nginx, &format!("bind: \"unix:{}\"", path.display()));
    let mut tandem = lb.process("shutdown_grace: 20s").start();
    tandem.wait_state("a", "up");
    let mut client = Client::come(&path);
    assert!(client.is_served());
    tandem.proc.signal(Signal::TERM);
    let error = eventually("nobody is let in", SOON, || {
        UnixStream::connect(&path).err()
    });
    let refused = [ErrorKind::NotFound, ErrorKind::ConnectionRefused];
    assert!(refused.contains(&error.kind()), "{error}");
    assert!(client.is_served(), "who was there is served on");
    drop(client);
    let ended = tandem.proc.wait(SOON).expect("nobody is left");
    assert!(ended.success());
}
