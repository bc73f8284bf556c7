//! Serving the admin interface, within bounds.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};

use super::gate::Gate;
use super::open::{self, OnDisk, OpenError};
use super::places::{Places, Pulse};
use super::routes::{At, Via, router};
use super::watched::Watched;
use super::{AdminSettings, Node};
use crate::event::{Event, Sink};

/// Admin connections at the same time.
pub const MAX_CONNECTIONS: usize = 2 * MOST_PER_DOOR;
/// Over TCP, and as many over the unix socket: whoever floods the one does not
/// shut the other.
const MOST_PER_DOOR: usize = 32;
/// Of these, from one address.
const MOST_PER_SOURCE: usize = 8;
/// How long a client may take to read an answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
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
    unix: Option<(UnixListener, OnDisk)>,
    router: Router,
    sink: Sink,
}

/// What this machine calls itself, in full and in short.
fn host_names() -> Vec<String> {
    let name = rustix::system::uname();
    let name = name.nodename().to_string_lossy().into_owned();
    let short = name.split('.').next().unwrap_or_default().to_owned();
    vec![name, short]
}

impl Server {
    /// Opens the sockets that `settings` ask for. Over TCP the node answers to
    /// `names`, and to those of the settings and of this machine.
    pub async fn open(
        settings: &AdminSettings,
        names: Vec<String>,
        node: Arc<dyn Node>,
        sink: Sink,
    ) -> Result<Self, OpenError> {
        let tcp = match settings.bind {
            Some(address) => Some(open::tcp(address).await?),
            None => None,
        };
        let unix = match &settings.socket {
            Some(path) => Some(open::unix(path)?),
            None => None,
        };
        let gate = Gate::new(
            settings
                .hosts
                .iter()
                .cloned()
                .chain(names)
                .chain(host_names()),
        );
        Ok(Self {
            tcp,
            unix,
            router: router(node, settings.token.clone(), gate),
            sink,
        })
    }

    /// The TCP address, with the port that was given.
    pub fn bind(&self) -> Option<SocketAddr> {
        self.tcp.as_ref()?.local_addr().ok()
    }

    /// Answers from now on.
    pub fn start(self) {
        if let Some(listener) = self.tcp {
            let router = self.router.clone().layer(Extension(Via::Tcp));
            let door = Door::new(router, MOST_PER_SOURCE, self.sink.clone());
            tokio::spawn(async move {
                loop {
                    let (accepted, at) = match listener.accept().await {
                        Ok((stream, source)) => {
                            let local = stream.local_addr().ok();
                            let source = Some(source);
                            (Ok(stream), At { source, local })
                        }
                        Err(error) => (Err(error), At::default()),
                    };
                    door.take(accepted, at).await;
                }
            });
        }
        if let Some((listener, on_disk)) = self.unix {
            let router = self.router.layer(Extension(Via::Unix));
            let door = Door::new(router, MOST_PER_DOOR, self.sink);
            tokio::spawn(async move {
                // It goes when the process ends in order.
                let _on_disk = on_disk;
                loop {
                    let accepted = listener.accept().await.map(|(stream, _)| stream);
                    door.take(accepted, At::default()).await;
                }
            });
        }
    }
}

/// The places of one door, and what ends whoever holds one.
type Shared = Arc<Mutex<Places<AbortHandle>>>;

/// One way in: its connections never take the places of another way's.
struct Door {
    router: Router,
    places: Shared,
    sink: Sink,
}

impl Door {
    fn new(router: Router, most_per_source: usize, sink: Sink) -> Self {
        Self {
            router,
            places: Arc::new(Mutex::new(Places::new(MOST_PER_DOOR, most_per_source))),
            sink,
        }
    }

    /// Answers one connection in a task of its own, or rests after a failure.
    async fn take<S>(&self, accepted: io::Result<S>, at: At)
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let stream = match accepted {
            Ok(stream) => stream,
            Err(error) => {
                self.sink.say(Event::AdminTrouble {
                    what: format!("accept: {error}"),
                });
                return sleep(REST).await;
            }
        };
        let pulse = Pulse::default();
        let stream = Watched::new(stream, pulse.clone(), ANSWER_TIMEOUT);
        let service = self.router.clone().layer(Extension(at));
        let service = TowerToHyperService::new(service);
        let source = at.source.map(|it| it.ip());
        // Held until the place is taken: a connection that ends at once waits
        // for it to give the place back.
        let mut places = lock(&self.places);
        let id = places.number();
        let leave = Leave(Arc::clone(&self.places), id);
        let task = tokio::spawn(async move {
            let _leave = leave;
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_TIMEOUT)
                .max_buf_size(16 * 1024)
                .serve_connection(TokioIo::new(stream), service);
            // Garbage, resets and time-outs are the client's business.
            let _theirs = timeout(LIFETIME, connection).await;
        });
        let stalest = places.take(id, source, pulse, task.abort_handle());
        drop(places);
        if let Some(stalest) = stalest {
            stalest.abort();
        }
    }
}

/// Gives a place back when its connection ends, in whatever way.
struct Leave(Shared, u64);

impl Drop for Leave {
    fn drop(&mut self) {
        lock(&self.0).leave(self.1);
    }
}

fn lock(places: &Shared) -> MutexGuard<'_, Places<AbortHandle>> {
    // Nothing that panics happens under the lock.
    places.lock().unwrap_or_else(PoisonError::into_inner)
}
