//! Looking at a twin's data plane: the second kind of evidence.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::Probe;

/// Asks the twin's workers for a sign of life. The kernel accepts connections
/// for a process that stands still; only a worker that turns answers.
pub(super) async fn reach(address: SocketAddr, limit: Duration) -> Probe {
    match timeout(limit, ask(address)).await {
        Ok(Ok(())) => Probe::Ok,
        Ok(Err(ErrorKind::ConnectionRefused | ErrorKind::ConnectionReset)) => Probe::Refused,
        // No route, or no answer: neither says that the process is gone.
        Ok(Err(_)) | Err(_) => Probe::TimedOut,
    }
}

async fn ask(address: SocketAddr) -> Result<(), ErrorKind> {
    let stream = TcpStream::connect(address).await;
    let mut stream = stream.map_err(|error| error.kind())?;
    let mut sign = [0];
    match stream.read(&mut sign).await {
        Ok(1) => Ok(()),
        Ok(_) => Err(ErrorKind::UnexpectedEof),
        Err(error) => Err(error.kind()),
    }
}
