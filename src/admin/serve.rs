//! Serving the admin interface, within bounds.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

use super::open::{self, OpenError};
use super::routes::{Via, router};
use super::{AdminSettings, Node};
use crate::event::{Event, Sink};

/// Admin connections at the same time; more wait in the accept queue.
pub const MAX_CONNECTIONS: usize = 32;
/// How long a client may take to send a request's head, or stay idle between
/// requests.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a connection may last at all: scrapers reconnect.
const LIFETIME: Duration = Duration::from_secs(600);
/// How long to rest when accept(2) fails.
const REST: Duration = Duration::from_millis(100);

/// The admin interface, open and not yet answering.
pub struct Server {
    tcp: Option<TcpListener>,
    unix: Option<(UnixListener, PathBuf)>,
    router: Router,
    sink: Sink,
}

/// Takes the socket's file away when the process ends in order.
struct Unlink(PathBuf);

impl Drop for Unlink {
    fn drop(&mut self) {
        // Somebody may have taken it away already.
        let _gone = std::fs::remove_file(&self.0);
    }
}

impl Server {
    /// Opens the sockets that `settings` ask for.
    pub async fn open(
        settings: &AdminSettings,
        node: Arc<dyn Node>,
        sink: Sink,
    ) -> Result<Self, OpenError> {
        let tcp = match settings.bind {
            Some(address) => Some(open::tcp(address).await?),
            None => None,
        };
        let unix = match &settings.socket {
            Some(path) => Some((open::unix(path)?, path.clone())),
            None => None,
        };
        Ok(Self {
            tcp,
            unix,
            router: router(node, settings.token.clone()),
            sink,
        })
    }

    /// The TCP address, with the port that was given.
    pub fn bind(&self) -> Option<SocketAddr> {
        self.tcp.as_ref()?.local_addr().ok()
    }

    /// Answers from now on.
    pub fn start(self) {
        let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        if let Some(listener) = self.tcp {
            let router = self.router.clone().layer(Extension(Via::Tcp));
            let (places, sink) = (Arc::clone(&places), self.sink.clone());
            tokio::spawn(async move {
                loop {
                    let accepted = listener.accept().await.map(|(stream, _)| stream);
                    take(accepted, &router, &places, &sink).await;
                }
            });
        }
        if let Some((listener, path)) = self.unix {
            let router = self.router.layer(Extension(Via::Unix));
            tokio::spawn(async move {
                let _unlink = Unlink(path);
                loop {
                    let accepted = listener.accept().await.map(|(stream, _)| stream);
                    take(accepted, &router, &places, &self.sink).await;
                }
            });
        }
    }
}

/// Answers one connection in a task of its own, or rests after a failure.
async fn take<S>(accepted: io::Result<S>, router: &Router, places: &Arc<Semaphore>, sink: &Sink)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let stream = match accepted {
        Ok(stream) => stream,
        Err(error) => {
            sink.say(Event::AdminTrouble {
                what: format!("accept: {error}"),
            });
            return sleep(REST).await;
        }
    };
    // The semaphore is never closed.
    let Ok(place) = Arc::clone(places).acquire_owned().await else {
        return;
    };
    let service = TowerToHyperService::new(router.clone());
    tokio::spawn(async move {
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .max_buf_size(16 * 1024)
            .serve_connection(TokioIo::new(stream), service);
        // Garbage, resets and time-outs are the client's business.
        let _theirs = timeout(LIFETIME, connection).await;
        drop(place);
    });
}
