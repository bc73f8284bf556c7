//! Host names of backends, resolved off the data path. An address once found
//! stays in use until another one is found: a resolver that fails must not
//! empty a pool.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::lookup_host;
use tokio::time::timeout;

use super::candidates::Candidates;
use crate::config::Config;
use crate::event::{Event, Sink};
use crate::pool::{Backend, BackendSettings, BackendState, PoolSettings, Wanted};
use crate::types::{Address, Endpoint, Name, Taint, plain_socket};

/// How often host names are looked up again. getaddrinfo(3) tells no TTL.
pub(super) const INTERVAL: Duration = Duration::from_secs(10);
/// How long one lookup may take.
const TIMEOUT: Duration = Duration::from_secs(3);

/// Where the backends are whose addresses are host names.
#[derive(Clone, Debug, Default)]
pub(super) struct Addresses(HashMap<Wish, Candidates>);

/// What lookups have found.
pub(super) type Found = Vec<(Wish, Vec<SocketAddr>)>;

impl Addresses {
    /// What is to be looked up for `config` because nothing is known of it. A
    /// host that is known by another backend's name is known.
    pub(super) fn unknown(&self, config: &Config) -> Vec<Wish> {
        let mut wanted = wishes(config);
        wanted.retain(|wish| self.of_host(wish).is_none());
        wanted
    }

    /// Takes what lookups have found, beside what was known before. Says
    /// whether a backend moves.
    pub(super) fn merge(&mut self, found: Found) -> bool {
        let mut has_moved = false;
        for (wish, found) in found {
            has_moved |= match self.0.entry(wish) {
                Entry::Occupied(known) => known.into_mut().look_again(found),
                Entry::Vacant(new) => match Candidates::new(found) {
                    Some(candidates) => {
                        new.insert(candidates);
                        true
                    }
                    None => false,
                },
            };
        }
        has_moved
    }

    /// Keeps what `config` needs.
    pub(super) fn keep(&mut self, config: &Config) {
        let known = wishes(config).into_iter().filter_map(|wish| {
            let candidates = self.of_host(&wish)?.clone();
            Some((wish, candidates))
        });
        self.0 = known.collect();
    }

    /// A backend was found in `state` at `at`. Says whether it moves.
    pub(super) fn note(&mut self, backend: &Backend, state: BackendState) -> bool {
        let Some(at) = backend.tcp() else {
            return false;
        };
        let mut known = self.0.iter_mut();
        let is_it = |wish: &Wish| wish.pool == backend.pool && wish.backend == backend.name;
        let Some((_, candidates)) = known.find(|(wish, _)| is_it(wish)) else {
            return false;
        };
        match state {
            BackendState::Starting | BackendState::Unknown => false,
            BackendState::Down => candidates.lost(at),
            BackendState::Up { .. } | BackendState::Drain | BackendState::Saturated => {
                candidates.alive(at);
                false
            }
        }
    }

    /// Whether its address is a host name's.
    pub(super) fn is_named(&self, backend: &Backend) -> bool {
        let mut wishes = self.0.keys();
        wishes.any(|it| it.pool == backend.pool && it.backend == backend.name)
    }

    /// What is known of a backend, or else of its host.
    fn of_host(&self, wish: &Wish) -> Option<&Candidates> {
        let is_same_host = |it: &&Wish| it.host == wish.host && it.port == wish.port;
        self.0.get(wish).or_else(|| {
            let other = self.0.keys().filter(is_same_host).min()?;
            self.0.get(other)
        })
    }

    /// A pool with the addresses of its backends.
    pub(super) fn locate(&self, settings: &PoolSettings) -> Wanted {
        let locate = |backend: &BackendSettings| match &backend.address {
            Address::Ip(address) => Some(Endpoint::Tcp(*address)),
            Address::Unix(path) => Some(Endpoint::Unix(path.clone())),
            Address::Host { host, port } => {
                let wish = Wish {
                    pool: settings.name.clone(),
                    backend: backend.name.clone(),
                    host: host.clone(),
                    port: *port,
                };
                let known = self.0.get(&wish)?;
                Some(Endpoint::Tcp(known.used()))
            }
        };
        Wanted {
            addresses: settings.backends.iter().map(locate).collect(),
            settings: settings.clone(),
        }
    }
}

/// A host name to look up for a backend.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Wish {
    pool: Name,
    backend: Name,
    host: String,
    port: u16,
}

/// Every host name of `config`.
pub(super) fn wishes(config: &Config) -> Vec<Wish> {
    let mut all = Vec::new();
    for pool in &config.pools {
        for backend in &pool.pool.backends {
            if let Address::Host { host, port } = &backend.address {
                all.push(Wish {
                    pool: pool.pool.name.clone(),
                    backend: backend.name.clone(),
                    host: host.clone(),
                    port: *port,
                });
            }
        }
    }
    all
}

/// Looks them all up at the same time. Those that cannot be found are said.
pub(super) async fn look_up_all(wishes: Vec<Wish>, taint: &Taint, sink: &Sink) -> Found {
    let mut lookups = tokio::task::JoinSet::new();
    for wish in wishes {
        lookups.spawn(async move {
            let found = look_up(&wish.host, wish.port).await;
            (wish, found)
        });
    }
    let mut all = Vec::new();
    while let Some(joined) = lookups.join_next().await {
        match joined {
            Ok((wish, Ok(found))) => all.push((wish, found)),
            Ok((wish, Err(why))) => sink.say(Event::Resolve {
                pool: wish.pool,
                backend: wish.backend,
                // It may not be in force yet, so the sink does not know it.
                why: taint.clean(&why),
            }),
            Err(_panicked) => {}
        }
    }
    all
}

async fn look_up(host: &str, port: u16) -> Result<Vec<SocketAddr>, String> {
    match timeout(TIMEOUT, lookup_host((host, port))).await {
        Err(_elapsed) => Err(format!("{host}: no answer within {} s", TIMEOUT.as_secs())),
        Ok(Err(error)) => Err(format!("{host}: {error}")),
        Ok(Ok(found)) => {
            let found: Vec<SocketAddr> = found.map(plain_socket).collect();
            if found.is_empty() {
                Err(format!("{host}: no address"))
            } else {
                Ok(found)
            }
        }
    }
}
