//! The probers of all backends: started, changed and ended as the configuration
//! wants it.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use tokio::sync::mpsc;

use crate::clock::{Moment, Seed};
use crate::config::Config;
use crate::health::{Health, Known, News, ProbeCells, ProbeSettings, Prober, Spare, Target};
use crate::pool::{Backend, BackendId, BackendState, Board, Delta, PoolSettings};
use crate::proxy::Seen;
use crate::types::{Address, Endpoint};

/// A backend, what it was found to be, and since when.
pub(super) type Verdict = (BackendId, BackendState, Moment);

pub(super) struct Probers {
    all: HashMap<BackendId, Probed>,
    reports: mpsc::Sender<News>,
    /// Descriptors kept back for probes.
    spare: Arc<Spare>,
    seed: Seed,
    /// Whether no backend has been probed yet.
    is_cold: bool,
}

struct Probed {
    prober: Prober,
    /// Whether it cannot probe, for a reason of our own.
    is_blind: bool,
    settings: ProbeSettings,
    target: Target,
}

impl Probed {
    /// Probes in another way, if anything about it has changed.
    fn renew(&mut self, settings: &ProbeSettings, target: Target) {
        if self.settings == *settings && self.target == target {
            return;
        }
        self.prober.reconfigure(settings.clone(), target.clone());
        self.settings = settings.clone();
        self.target = target;
    }
}

impl Probers {
    /// None yet; what they will find goes to `reports`.
    pub(super) fn new(reports: mpsc::Sender<News>, seed: Seed) -> Self {
        Self {
            all: HashMap::new(),
            reports,
            spare: Arc::new(Spare::hold()),
            seed,
            is_cold: true,
        }
    }

    /// From now on a new backend joins others that are known.
    pub(super) fn warm(&mut self) {
        self.is_cold = false;
    }

    /// Ends them all.
    pub(super) fn end(&mut self) {
        self.all.clear();
    }

    /// Tells a backend's prober what a session has seen of it.
    pub(super) fn tell(&self, id: BackendId, seen: Seen) {
        if let Some(probed) = self.all.get(&id) {
            match seen {
                Seen::Greeting => probed.prober.greeted(),
                Seen::Refusal => probed.prober.refused(),
            }
        }
    }

    /// A backend cannot be probed, or can be again.
    pub(super) fn set_blind(&mut self, id: BackendId, is_blind: bool) {
        if let Some(probed) = self.all.get_mut(&id) {
            probed.is_blind = is_blind;
        }
    }

    /// Whether a backend cannot be probed, for a reason of our own.
    pub(super) fn is_blind(&self, id: BackendId) -> bool {
        self.all.get(&id).is_some_and(|it| it.is_blind)
    }

    /// What they count.
    pub(super) fn cells(&self) -> HashMap<BackendId, Arc<ProbeCells>> {
        let cells = |it: &Probed| Arc::clone(it.prober.cells());
        self.all.iter().map(|(id, it)| (*id, cells(it))).collect()
    }

    /// Starts, stops and changes probers for the backends of `board`, which has
    /// changed by `delta`. Returns what is known of new ones out of `before`:
    /// what those were that were probed alike. `is_named` says whether a
    /// backend's address is one of a host name's.
    pub(super) fn adjust(
        &mut self,
        board: &Board,
        config: &Config,
        delta: &Delta,
        before: &[Verdict],
        is_named: impl Fn(&Backend) -> bool,
    ) -> Vec<Verdict> {
        let known = if delta.added.is_empty() {
            Known::default()
        } else {
            self.known(before)
        };
        let mut found_again = Vec::new();
        for (backend, _) in &delta.removed {
            self.all.remove(&backend.id);
        }
        for (backend, pool) in board.backends() {
            let mut pools = config.pools.iter();
            let Some(found) = pools.find(|it| it.pool.name == pool.name) else {
                continue;
            };
            let target = target(backend, pool, &found.probe);
            match self.all.entry(backend.id) {
                Entry::Vacant(entry) => {
                    let verdict = known.of(&target, &found.probe.kind);
                    // One that may be elsewhere, too, must be found dead here
                    // to be looked for there.
                    let verdict = verdict
                        .filter(|(state, _)| *state != BackendState::Down || !is_named(backend));
                    let health = match verdict {
                        Some((state, _)) => Health::known(state),
                        None => Health::new(self.is_cold),
                    };
                    found_again.extend(verdict.map(|(state, since)| (backend.id, state, since)));
                    let prober = Prober::start(
                        backend.id,
                        target.clone(),
                        found.probe.clone(),
                        health,
                        self.seed.fork(backend.id.0),
                        (Arc::clone(&self.spare), self.reports.clone()),
                    );
                    entry.insert(Probed {
                        prober,
                        is_blind: false,
                        settings: found.probe.clone(),
                        target,
                    });
                }
                Entry::Occupied(entry) => entry.into_mut().renew(&found.probe, target),
            }
        }
        found_again
    }

    /// The verdicts of `before`, each with what was probed for it.
    fn known(&self, before: &[Verdict]) -> Known {
        let mut known = Known::default();
        for (id, state, since) in before {
            if let Some(probed) = self.all.get(id) {
                let (target, kind) = (probed.target.clone(), probed.settings.kind.clone());
                known.note(target, kind, *state, *since);
            }
        }
        known
    }
}

/// What a backend's prober connects to.
fn target(backend: &Backend, pool: &PoolSettings, probe: &ProbeSettings) -> Target {
    let mut settings = pool.backends.iter();
    let configured = settings.find(|it| it.name == backend.name);
    let host = match configured.map(|it| &it.address) {
        Some(Address::Host { host, .. }) => host.clone(),
        Some(Address::Ip(_) | Address::Unix(_)) | None => backend.address.host(),
    };
    let mut address = backend.address.clone();
    if let (Some(port), Endpoint::Tcp(address)) = (probe.port, &mut address)
        && address.port() != 0
    {
        address.set_port(port);
    }
    Target {
        pool: backend.pool.clone(),
        backend: backend.name.clone(),
        address: address.clone(),
        is_clients_port: probe.is_at(backend.address.port()),
        host,
        sources: configured
            .map_or(&pool.source, |it| pool.sources_of(it))
            .towards(&address),
        send_proxy: pool.send_proxy,
    }
}
