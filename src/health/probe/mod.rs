//! One probe of one backend: connect, converse, judge.

mod certificate;
mod der;
mod exec;
mod http;
mod mysql;
mod outcome;
mod send_expect;
mod stream;
mod tcp;
mod tls;
mod tls_words;
mod untrusted;

use std::time::Duration;

use tokio::time::timeout;

use crate::types::{Endpoint, Name, ProxyVersion, Sources};

use super::{ProbeKind, ProbeSettings, SendExpect};

use outcome::Stop;
pub use outcome::{Blindness, Failure, FailureReason, Outcome};
use stream::Stage;

/// Whom to probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The backend's pool.
    pub pool: Name,
    /// The backend.
    pub backend: Name,
    /// Where to connect to; the probe's own port is already in it.
    pub address: Endpoint,
    /// Whether clients are sent to that port, too.
    pub is_clients_port: bool,
    /// The configured host name, or the address without its port: the Host
    /// header and the name in the certificate.
    pub host: String,
    /// Where to connect from, in turn.
    pub sources: Sources,
    /// Begin with a PROXY header that says: this connection is our own.
    pub send_proxy: Option<ProxyVersion>,
}

/// Whom a prober asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Aim {
    /// The backend where it is.
    Target(Target),
    /// Nobody: this host name has never been found.
    Nowhere(String),
}

/// How one backend is probed, and what lasts from one probe to the next.
#[derive(Debug)]
pub struct Probe {
    timeout: Duration,
    /// See [`ProbeSettings::is_hushed`].
    is_hushed: bool,
    kind: Kind,
    /// How many have run: sources are used in turn.
    turn: usize,
}

#[derive(Debug)]
enum Kind {
    Exec(Vec<String>),
    Http(http::Http),
    Mysql(mysql::Mysql),
    SendExpect(SendExpect),
    Tcp,
    #[cfg(test)]
    Broken,
}

impl Probe {
    /// A probe that has not run yet; nothing is opened or read.
    pub fn new(settings: &ProbeSettings) -> Self {
        let kind = match &settings.kind {
            ProbeKind::Exec(argv) => Kind::Exec(argv.clone()),
            ProbeKind::Http(settings) => Kind::Http(http::Http::new(settings.clone())),
            ProbeKind::Mysql(settings) => Kind::Mysql(mysql::Mysql::new(settings.clone())),
            ProbeKind::SendExpect(settings) => Kind::SendExpect(settings.clone()),
            ProbeKind::Tcp => Kind::Tcp,
        };
        Self {
            timeout: settings.timing.timeout,
            is_hushed: settings.is_hushed,
            kind,
            turn: 0,
        }
    }

    /// Probes `target` once, within the timeout of the settings.
    pub async fn run(&mut self, target: &Target) -> Outcome {
        let stage = Stage::new(&target.sources, self.turn);
        self.turn = self.turn.wrapping_add(1);
        let judged = timeout(self.timeout, self.kind.run(target, &stage)).await;
        let outcome = match judged {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(stop)) => stop.into(),
            Err(_) => stage.timed_out(self.timeout),
        };
        if self.is_hushed {
            outcome.hushed()
        } else {
            outcome
        }
    }

    /// A probe with a fault in it.
    #[cfg(test)]
    pub(super) const fn broken() -> Self {
        Self {
            timeout: Duration::from_secs(1),
            is_hushed: false,
            turn: 0,
            kind: Kind::Broken,
        }
    }

    /// Ends what lasts between probes, politely.
    pub async fn close(&mut self) {
        if let Kind::Mysql(mysql) = &mut self.kind {
            // A server that does not take our farewell misses nothing.
            drop(timeout(self.timeout, mysql.close()).await);
        }
    }
}

impl Kind {
    async fn run(&mut self, target: &Target, stage: &Stage) -> Result<Outcome, Stop> {
        match self {
            Self::Exec(argv) => exec::run(argv, target, stage).await,
            Self::Http(http) => http.run(target, stage).await,
            Self::Mysql(mysql) => mysql.run(target, stage).await,
            Self::SendExpect(settings) => send_expect::run(settings, target, stage).await,
            Self::Tcp => tcp::run(target, stage).await,
            #[cfg(test)]
            Self::Broken => panic!("broken"),
        }
    }
}

#[cfg(test)]
pub(super) mod kit;
