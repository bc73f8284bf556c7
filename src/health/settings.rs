//! How backends are probed, with defaults.

use std::time::Duration;

use super::{HttpRequest, TlsName, Trusted, Verify, spare};
use crate::types::Secret;

/// How the backends of one pool are probed.
#[derive(Clone, Debug, PartialEq)]
pub struct ProbeSettings {
    /// What a probe does.
    pub kind: ProbeKind,
    /// Another port than the backend's.
    pub port: Option<u16>,
    /// When to probe and what to make of the results.
    pub timing: Timing,
    /// What a backend or a command answers is told to nobody: it was sent a
    /// secret that is too short to be found in it.
    pub is_hushed: bool,
}

impl ProbeSettings {
    /// Whether a backend whose clients are sent to `port` is probed there; a
    /// unix socket has no port.
    pub fn is_at(&self, port: Option<u16>) -> bool {
        let elsewhere = matches!(self.kind, ProbeKind::Exec(_));
        !elsewhere && self.port.is_none_or(|own| port.is_none_or(|it| it == own))
    }

    /// Descriptors that a probe of one backend holds while it runs: a
    /// connection, or the ends of two pipes and a handle on the command.
    pub const fn holds(&self) -> usize {
        match self.kind {
            ProbeKind::Exec(_) => 3,
            ProbeKind::Http(_)
            | ProbeKind::Mysql(_)
            | ProbeKind::SendExpect(_)
            | ProbeKind::Tcp => 1,
        }
    }

    /// Descriptors that it opens at once, for a moment.
    pub(super) const fn opens(&self) -> usize {
        match self.kind {
            ProbeKind::Exec(_) => spare::OF_COMMAND,
            ProbeKind::Http(_)
            | ProbeKind::Mysql(_)
            | ProbeKind::SendExpect(_)
            | ProbeKind::Tcp => spare::OF_SOCKET,
        }
    }
}

/// When to probe, and how many results make a verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// Time between probes of a settled, live backend.
    pub interval: Duration,
    /// The deadline of one probe.
    pub timeout: Duration,
    /// Failures in a row until a live backend is down.
    pub fall: u32,
    /// Passes in a row until a dead backend is up.
    pub rise: u32,
    /// Time between probes while the verdict is in doubt.
    pub fast_interval: Duration,
    /// Time between probes of a settled, dead backend.
    pub down_interval: Duration,
    /// Percentage by which each interval is stretched or shortened by chance.
    pub jitter: u8,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            // A dead backend is out within 3 s idle, 1 s under load.
            interval: Duration::from_secs(1),
            // Below the interval: probes of one backend never overlap.
            timeout: Duration::from_millis(800),
            // One lost packet, even two, is not a death.
            fall: 3,
            // A server that answers once may be in a restart loop.
            rise: 2,
            // Doubt is settled four times as fast.
            fast_interval: Duration::from_millis(250),
            // The dead need less attention, and their networks less noise.
            down_interval: Duration::from_secs(2),
            // Enough that a thousand probes never beat in step.
            jitter: 10,
        }
    }
}

/// What a probe does.
#[derive(Clone, Debug, PartialEq)]
pub enum ProbeKind {
    /// Run a command; exit status 0 passes. `TANDEM_BACKEND_ADDRESS`,
    /// `TANDEM_BACKEND_NAME`, `TANDEM_POOL` are in its environment.
    Exec(Vec<String>),
    /// Ask for a page.
    Http(HttpProbe),
    /// Shake hands as a MySQL client does.
    Mysql(MysqlProbe),
    /// Send some bytes, wait for some.
    SendExpect(SendExpect),
    /// Connect.
    Tcp,
}

/// An HTTP/1.1 request and what answer passes. Redirects are not followed.
#[derive(Clone, Debug, PartialEq)]
pub struct HttpProbe {
    /// What is sent.
    pub request: HttpRequest,
    /// Statuses that pass, as inclusive ranges.
    pub expect: Vec<(u16, u16)>,
    /// A text that the first 64 KiB of the body must contain.
    pub body: Option<String>,
    /// A 404 means: alive, but no new connections.
    pub drain_on_404: bool,
    /// HTTPS, and how the certificate is checked.
    pub tls: Option<Tls>,
}

/// How a server's certificate is checked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// How much of the certificate is checked.
    pub verify: Verify,
    /// Trust these instead of the system's authorities.
    pub trusted: Option<Trusted>,
    /// The name that is asked for and must be in the certificate; `None`: the
    /// Host header's, else the backend's host name or address.
    pub server_name: Option<TlsName>,
}

/// How to meet a MySQL or MariaDB server.
#[derive(Clone, Debug, PartialEq)]
pub struct MysqlProbe {
    /// Log in and ping on one lasting connection; `None`: a handshake without
    /// credentials that never counts as a connect error at the server.
    pub login: Option<MysqlLogin>,
    /// Encrypt the connection.
    pub tls: Option<Tls>,
}

/// Who the prober is to a MySQL server.
#[derive(Clone, Debug, PartialEq)]
pub struct MysqlLogin {
    /// The account; needs no privilege at all (`USAGE`).
    pub user: String,
    /// Its password.
    pub password: Secret,
}

/// A conversation of one send and one expectation, each optional.
#[derive(Clone, Debug, PartialEq)]
pub struct SendExpect {
    /// Sent after the connect.
    pub send: Vec<u8>,
    /// Must appear in the first 64 KiB of the answer.
    pub expect: Vec<u8>,
}
