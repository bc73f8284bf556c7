//! What systemd is told of this process, over the socket that it names in
//! `NOTIFY_SOCKET`: see `sd_notify(3)`.

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use crate::event::{Event, Sink};

/// How long systemd is asked to wait on, each time.
const MORE: Duration = Duration::from_secs(30);
/// How often it is asked. Some of the requests may come late.
const EVERY: Duration = Duration::from_secs(5);

/// The process serves.
pub(super) const READY: &str = "READY=1";
/// It has been told to end.
pub(super) const STOPPING: &str = "STOPPING=1";

/// Tells systemd `state`. Without systemd there is nobody to tell; where there
/// is, and cannot be told, the log has it: systemd will take this process for
/// one that does not start, or does not end.
pub(super) fn tell(state: &str, sink: &Sink) {
    let Some(socket) = std::env::var_os("NOTIFY_SOCKET") else {
        return;
    };
    if let Err(error) = send(&socket, state) {
        sink.say(Event::Trouble {
            what: format!(
                "cannot tell systemd {state} at NOTIFY_SOCKET={}: {error}",
                socket.display()
            ),
        });
    }
}

/// Asks systemd for more time, again and again: `TimeoutStopSec` need not be
/// as long as the longest stop.
pub(super) async fn ask_for_time(sink: Sink) {
    let state = format!("EXTEND_TIMEOUT_USEC={}", MORE.as_micros());
    loop {
        tell(&state, &sink);
        tokio::time::sleep(EVERY).await;
    }
}

fn send(socket: &OsStr, state: &str) -> io::Result<()> {
    let sender = UnixDatagram::unbound()?;
    // Whoever does not read must not keep us from ending.
    sender.set_nonblocking(true)?;
    sender.connect_addr(&address(socket)?)?;
    sender.send(state.as_bytes())?;
    Ok(())
}

/// A path, or, after an `@`, a name in the abstract name space.
fn address(socket: &OsStr) -> io::Result<SocketAddr> {
    match socket.as_bytes().split_first() {
        Some((b'@', name)) => SocketAddr::from_abstract_name(name),
        Some((b'/', _)) => SocketAddr::from_pathname(socket),
        Some(_) | None => {
            let what = "it is neither a path nor @ and a name";
            Err(io::Error::new(io::ErrorKind::InvalidInput, what))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(receiver: &UnixDatagram) -> String {
        let mut buffer = [0; 64];
        let length = receiver.recv(&mut buffer).unwrap();
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    }

    #[test]
    fn a_path_and_an_abstract_name_are_told() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let receiver = UnixDatagram::bind(&path).unwrap();
        send(path.as_os_str(), READY).unwrap();
        assert_eq!(heard(&receiver), READY);

        let name = format!("tandem-test-{}", std::process::id());
        let abstract_name = SocketAddr::from_abstract_name(&name).unwrap();
        let receiver = UnixDatagram::bind_addr(&abstract_name).unwrap();
        send(OsStr::new(&format!("@{name}")), STOPPING).unwrap();
        assert_eq!(heard(&receiver), STOPPING);
    }

    #[test]
    fn who_does_not_listen_or_read_is_an_error_and_no_wait() {
        assert!(send(OsStr::new("/nonexistent/notify"), READY).is_err());
        assert!(send(OsStr::new("notify"), READY).is_err());
        assert!(send(OsStr::new(""), READY).is_err());
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let _deaf = UnixDatagram::bind(&path).unwrap();
        // The kernel keeps a few (net.unix.max_dgram_qlen), not thousands.
        let sent = (0..100_000).find_map(|_| send(path.as_os_str(), READY).err());
        assert_eq!(sent.unwrap().kind(), io::ErrorKind::WouldBlock);
    }
}
