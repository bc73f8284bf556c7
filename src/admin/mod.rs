//! The admin interface: HTTP over a unix socket and over TCP.

mod gate;
mod open;
mod places;
mod problem;
mod routes;
mod serve;
mod settings;
mod watched;

use std::pin::Pin;

use crate::status::{DnsStatus, PairStatus, Status};

pub use open::OpenError;
pub use serve::{MAX_CONNECTIONS, Server};
pub use settings::{AdminSettings, Histograms};

/// What the admin interface may ask of the process. It knows nothing else of
/// it.
pub trait Node: Send + Sync {
    /// The node for people.
    fn status(&self) -> Status;
    /// The node for Prometheus.
    fn metrics(&self) -> Result<String, String>;
    /// The configuration in force, secrets masked.
    fn config(&self) -> serde_json::Value;
    /// Whether the listeners are bound and every backend has been probed.
    fn is_ready(&self) -> bool;
    /// The pair, if this node is part of one.
    fn pair(&self) -> Option<PairStatus>;
    /// What the embedded name server answers, if there is one.
    fn dns(&self) -> Option<DnsStatus>;
    /// What has happened after the event with number `after`, oldest first.
    fn events(&self, after: u64) -> Vec<serde_json::Value>;
    /// Orders something of the pair; says why that cannot be done.
    fn order(
        &self,
        order: PairOrder,
    ) -> Pin<Box<dyn Future<Output = Result<(), String>> + Send + '_>>;
    /// Reads the configuration again; says what that changes.
    fn reload(
        &self,
        dry_run: bool,
    ) -> Pin<Box<dyn Future<Output = Result<Vec<String>, ReloadError>> + Send + '_>>;
}

/// What a person may order of the pair.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PairOrder {
    /// Give the name to a node; `None`: to the first other one that can take
    /// it.
    Handover(Option<String>),
    /// Nothing moves by itself until this is taken back.
    Hold(bool),
}

/// Why a reload changed nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReloadError {
    /// The file is broken, or a socket could not be opened.
    #[error("{0}")]
    Refused(String),
    /// The process ends.
    #[error("stopping: this process has been told to end, and takes no orders any more")]
    Stopping,
}
