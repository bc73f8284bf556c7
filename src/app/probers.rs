//! The probers of all backends: started, changed and ended as the configuration
//! wants it.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use tokio::sync::mpsc;

use crate::clock::{Moment, Seed};
use crate::config::Config;
use crate::health::{Aim, Health, Known, News, ProbeCells, ProbeSettings, Prober, Spare, Target};
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
    settings: ProbeSettings,
    aim: Aim,
}

impl Probed {
    /// Probes in another way, if anything about it has changed. Says whether
    /// the other way may find something else; then `known` is what is known by
    /// it.
    fn renew(&mut self, settings: &ProbeSettings, aim: Aim, known: Option<Health>) -> bool {
        if self.settings == *settings && self.aim == aim {
            return false;
        }
        let sees_otherwise = self.sees_otherwise(settings, &aim);
        let known = known.filter(|_| sees_otherwise);
        self.prober
            .reconfigure(settings.clone(), aim.clone(), known);
        self.settings = settings.clone();
        self.aim = aim;
        sees_otherwise
    }

    /// Whether a probe like that may find something else than this one.
    fn sees_otherwise(&self, settings: &ProbeSettings, aim: &Aim) -> bool {
        self.settings.kind != settings.kind || !self.aim.is_alike(aim)
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

    /// What they count.
    pub(super) fn cells(&self) -> HashMap<BackendId, Arc<ProbeCells>> {
        let cells = |it: &Probed| Arc::clone(it.prober.cells());
        self.all.iter().map(|(id, it)| (*id, cells(it))).collect()
    }

    /// Starts, stops and changes probers for the backends of `board`, which has
    /// changed by `delta`. Returns what is known, out of `before`, of those that
    /// are new or to be probed otherwise: what those were that were probed alike.
    /// `is_named` says whether a backend's address is one of a host name's.
    pub(super) fn adjust(
        &mut self,
        board: &Board,
        config: &Config,
        delta: &Delta,
        before: &[Verdict],
        is_named: impl Fn(&Backend) -> bool,
    ) -> Vec<Verdict> {
        let mut probes = HashMap::new();
        for pool in &config.pools {
            probes.insert(&pool.pool.name, &pool.probe);
        }
        let wanted = board.backends().filter_map(|(backend, pool)| {
            let probe = *probes.get(&pool.name)?;
            Some((backend, aim(backend, pool, probe), probe))
        });
        let wanted: Vec<_> = wanted.collect();
        let is_other = |(backend, aim, probe): &(&Arc<Backend>, Aim, &ProbeSettings)| {
            let probed = self.all.get(&backend.id);
            probed.is_none_or(|it| it.sees_otherwise(probe, aim))
        };
        let known = if wanted.iter().any(is_other) {
            self.known(before)
        } else {
            Known::default()
        };
        for (backend, _) in &delta.removed {
            self.all.remove(&backend.id);
        }
        let mut found_again = Vec::new();
        for (backend, aim, probe) in wanted {
            // One that may be elsewhere, too, must be found dead here to be
            // looked for there.
            let verdict = known
                .of(&aim, &probe.kind)
                .filter(|(state, _)| *state != BackendState::Down || !is_named(backend));
            let health = verdict.map(|(state, _)| Health::known(state));
            let is_found_again = match self.all.entry(backend.id) {
                Entry::Vacant(entry) => {
                    let prober = Prober::start(
                        backend.id,
                        aim.clone(),
                        probe.clone(),
                        health.unwrap_or_else(|| Health::new(self.is_cold)),
                        self.seed.fork(backend.id.0),
                        (Arc::clone(&self.spare), self.reports.clone()),
                    );
                    entry.insert(Probed {
                        prober,
                        settings: probe.clone(),
                        aim,
                    });
                    true
                }
                Entry::Occupied(entry) => entry.into_mut().renew(probe, aim, health),
            };
            if is_found_again {
                found_again.extend(verdict.map(|(state, since)| (backend.id, state, since)));
            }
        }
        found_again
    }

    /// The verdicts of `before`, each with what was probed for it.
    fn known(&self, before: &[Verdict]) -> Known {
        let mut known = Known::default();
        for (id, state, since) in before {
            if let Some(probed) = self.all.get(id)
                && let Aim::Target(target) = &probed.aim
            {
                let (target, kind) = (target.clone(), probed.settings.kind.clone());
                known.note(target, kind, *state, *since);
            }
        }
        known
    }
}

/// Whom a backend's prober asks.
fn aim(backend: &Backend, pool: &PoolSettings, probe: &ProbeSettings) -> Aim {
    let mut settings = pool.backends.iter();
    let configured = settings.find(|it| it.name == backend.name);
    let host = match configured.map(|it| &it.address) {
        Some(Address::Host { host, .. }) => Some(host),
        Some(Address::Ip(_) | Address::Unix(_)) | None => None,
    };
    let Some(mut address) = backend.address.clone() else {
        let host = host.map_or(backend.name.as_str(), String::as_str);
        return Aim::Nowhere(host.to_owned());
    };
    let is_clients_port = probe.is_at(address.port());
    let host = host.map_or_else(|| address.host(), String::clone);
    if let (Some(port), Endpoint::Tcp(address)) = (probe.port, &mut address) {
        address.set_port(port);
    }
    Aim::Target(Target {
        pool: backend.pool.clone(),
        backend: backend.name.clone(),
        is_clients_port,
        host,
        sources: configured
            .map_or(&pool.source, |it| pool.sources_of(it))
            .towards(Some(&address)),
        address,
        send_proxy: pool.send_proxy,
    })
}
