//! Options of sockets that are open already.

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};

/// Makes close(2) send a reset instead of a FIN, and forget unsent data.
pub fn reset_on_close(socket: &impl AsFd) -> io::Result<()> {
    SockRef::from(socket).set_linger(Some(Duration::ZERO))
}

/// Asks the kernel to probe a silent peer: after `idle`, each `interval`, dead
/// after `count` unanswered probes.
pub fn keepalive(
    socket: &impl AsFd,
    idle: Duration,
    interval: Duration,
    count: u32,
) -> io::Result<()> {
    let settings = TcpKeepalive::new()
        .with_time(idle)
        .with_interval(interval)
        .with_retries(count);
    SockRef::from(socket).set_tcp_keepalive(&settings)
}

/// Bounds how long sent data may stay unacknowledged (TCP_USER_TIMEOUT).
pub fn user_timeout(socket: &impl AsFd, limit: Duration) -> io::Result<()> {
    SockRef::from(socket).set_tcp_user_timeout(Some(limit))
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn the_kernel_takes_every_option() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let second = Duration::from_secs(1);
        keepalive(&stream, second, second, 3).unwrap();
        user_timeout(&stream, second).unwrap();
        reset_on_close(&stream).unwrap();
    }
}
