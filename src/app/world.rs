//! What the control loop writes and the admin interface reads.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use aws_lc_rs::digest::{SHA256, digest};

use crate::clock;
use crate::config::Config;
use crate::event::Sink;
use crate::health::ProbeCells;
use crate::pool::{BackendId, Snapshot};
use crate::proxy::Workers;
use crate::types::Name;

/// The process as it is now.
pub(super) struct World {
    pub(super) snapshot: Arc<ArcSwap<Snapshot>>,
    pub(super) workers: Workers,
    pub(super) sink: Sink,
    /// Wall-clock time of the start.
    pub(super) started: Duration,
    pub(super) probes: ArcSwap<HashMap<BackendId, Arc<ProbeCells>>>,
    pub(super) binds: ArcSwap<Vec<(Name, SocketAddr)>>,
    pub(super) loaded: ArcSwap<Loaded>,
    pub(super) admin_bind: OnceLock<SocketAddr>,
    reload_error: Mutex<Option<String>>,
    is_ready: AtomicBool,
}

/// A configuration in force.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) config: Config,
    pub(super) file: PathBuf,
    pub(super) hash: String,
    /// Wall-clock time.
    pub(super) at: Duration,
}

impl Loaded {
    pub(super) fn new(config: Config, file: PathBuf) -> Self {
        let text = config.to_json().to_string();
        let hash = digest(&SHA256, text.as_bytes());
        let hash = hash.as_ref().iter().take(8);
        Self {
            hash: hash.map(|byte| format!("{byte:02x}")).collect(),
            config,
            file,
            at: clock::wall(),
        }
    }
}

impl World {
    pub(super) fn new(
        snapshot: Arc<ArcSwap<Snapshot>>,
        workers: Workers,
        sink: Sink,
        loaded: Loaded,
    ) -> Self {
        Self {
            snapshot,
            workers,
            sink,
            started: clock::wall(),
            probes: ArcSwap::default(),
            binds: ArcSwap::default(),
            loaded: ArcSwap::from_pointee(loaded),
            admin_bind: OnceLock::new(),
            reload_error: Mutex::default(),
            is_ready: AtomicBool::new(false),
        }
    }

    /// Whether the listeners are bound and the first probe round is over.
    pub(super) fn is_ready(&self) -> bool {
        self.is_ready.load(Ordering::Relaxed)
    }

    pub(super) fn become_ready(&self) {
        self.is_ready.store(true, Ordering::Relaxed);
    }

    /// Why the last reload failed, if it did.
    pub(super) fn reload_error(&self) -> Option<String> {
        self.reload_error
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub(super) fn set_reload_error(&self, error: Option<String>) {
        *self
            .reload_error
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = error;
    }
}
