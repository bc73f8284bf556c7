//! What the control loop writes and the admin interface reads.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use aws_lc_rs::digest::{SHA256, digest};

use super::kernel::KernelPlane;
use super::stage::Stage;
use super::twin::Twin;
use crate::clock;
use crate::config::{Config, changes};
use crate::event::Sink;
use crate::health::ProbeCells;
use crate::pool::{BackendId, Snapshot};
use crate::proxy::Workers;
use crate::types::{Endpoint, Name};

/// The process as it is now.
pub(super) struct World {
    pub(super) snapshot: Arc<ArcSwap<Snapshot>>,
    pub(super) workers: Workers,
    pub(super) sink: Sink,
    /// Wall-clock time of the start.
    pub(super) started: Duration,
    pub(super) probes: ArcSwap<HashMap<BackendId, Arc<ProbeCells>>>,
    pub(super) binds: ArcSwap<Vec<(Name, Endpoint)>>,
    pub(super) loaded: ArcSwap<Loaded>,
    pub(super) admin_bind: OnceLock<SocketAddr>,
    pub(super) twin: OnceLock<Twin>,
    pub(super) kernel: KernelPlane,
    reload_error: Mutex<Option<String>>,
    stage: AtomicU8,
    is_ready: AtomicBool,
}

/// Where a configuration comes from, now and at each reload.
#[derive(Clone, Debug)]
pub struct Source {
    /// The file.
    pub file: PathBuf,
    /// Which node of the pair the command line says this is.
    pub node: Option<String>,
}

impl Source {
    /// Not a file at all: a reload will say so. `name` is what it is called.
    pub fn nowhere(name: &str) -> Self {
        Self {
            file: PathBuf::from(name),
            node: None,
        }
    }
}

/// A configuration in force.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) config: Arc<Config>,
    /// The one that the process started with.
    at_start: Arc<Config>,
    /// What of it waits for the next start, for people.
    pub(super) waiting: Vec<String>,
    pub(super) source: Source,
    pub(super) hash: String,
    /// Another hash, over what all nodes of a pair must have in common.
    shared_hash: u64,
    /// Wall-clock time.
    pub(super) at: Duration,
}

impl Loaded {
    /// The first one.
    pub(super) fn new(config: Config, source: Source) -> Self {
        let config = Arc::new(config);
        Self::since(Arc::clone(&config), config, source)
    }

    /// The next one, that a reload puts in force as far as it can.
    pub(super) fn followed_by(&self, config: Config) -> Self {
        let at_start = Arc::clone(&self.at_start);
        Self::since(at_start, Arc::new(config), self.source.clone())
    }

    fn since(at_start: Arc<Config>, config: Arc<Config>, source: Source) -> Self {
        let changes = changes(&at_start, &config).into_iter();
        let waiting = changes.filter(|it| it.needs_restart);
        let waiting = waiting.map(|it| it.difference().to_string()).collect();
        let hash = format!("{:016x}", hash_of(&config.to_json()));
        // The same `${NAME}` may be another value on another node.
        let mut json = config.to_compare();
        // What differs by design: who a node is, and where that makes it bind.
        if let Some(pair) = json.get_mut("pair") {
            pair["me"] = serde_json::Value::Null;
            pair["dns"]["serve"]["bind"] = serde_json::Value::Null;
        }
        json["admin"] = serde_json::Value::Null;
        json["process"]["state_dir"] = serde_json::Value::Null;
        if let Some(listeners) = json["listeners"].as_object_mut() {
            for listener in listeners.values_mut() {
                listener["bind"] = serde_json::Value::Null;
            }
        }
        Self {
            hash,
            shared_hash: hash_of(&json),
            config,
            at_start,
            waiting,
            source,
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
        let node = loaded.config.pair.as_ref().map(|it| &it.pair.me);
        Self {
            kernel: KernelPlane::new(&loaded.source, node),
            snapshot,
            workers,
            sink,
            started: clock::wall(),
            probes: ArcSwap::default(),
            binds: ArcSwap::default(),
            loaded: ArcSwap::from_pointee(loaded),
            admin_bind: OnceLock::new(),
            twin: OnceLock::new(),
            reload_error: Mutex::default(),
            stage: AtomicU8::new(Stage::Running as u8),
            is_ready: AtomicBool::new(false),
        }
    }

    /// Whether the listeners are bound and the first probe round is over, and
    /// the kernel knows what came of it.
    pub(super) fn is_ready(&self) -> bool {
        self.is_ready.load(Ordering::Relaxed) && self.kernel.has_caught_up()
    }

    pub(super) fn become_ready(&self) {
        self.is_ready.store(true, Ordering::Relaxed);
    }

    /// How far the process is on its way out.
    pub(super) fn stage(&self) -> Stage {
        Stage::of(self.stage.load(Ordering::Relaxed))
    }

    /// Goes on to `stage`; never back.
    pub(super) fn enter(&self, stage: Stage) {
        self.stage.fetch_max(stage as u8, Ordering::Relaxed);
    }

    /// What the nodes of a pair compare, of the configuration in force.
    pub(super) fn shared_hash(&self) -> u64 {
        self.loaded.load().shared_hash
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

/// A number that tells two configurations apart.
fn hash_of(json: &serde_json::Value) -> u64 {
    let hash = digest(&SHA256, json.to_string().as_bytes());
    let first = hash.as_ref().iter().take(8);
    first.fold(0, |sum, byte| (sum << 8) | u64::from(*byte))
}
