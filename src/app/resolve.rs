//! Host names of backends, resolved off the data path. An address once found
//! stays in use until another one is found: a resolver that fails must not
//! empty a pool.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::lookup_host;
use tokio::time::timeout;

use crate::config::Config;
use crate::event::{Event, Sink};
use crate::pool::{PoolSettings, Wanted};
use crate::types::{Address, Endpoint, Name, plain_socket};

/// How often host names are looked up again. getaddrinfo(3) tells no TTL.
pub(super) const INTERVAL: Duration = Duration::from_secs(10);
/// How long one lookup may take.
const TIMEOUT: Duration = Duration::from_secs(3);
/// Where a backend is that has never been found: nowhere. Connecting to port 0
/// fails at once.
const NOWHERE: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED), 0);

/// The last good address of each host name and port.
#[derive(Clone, Debug, Default)]
pub(super) struct Addresses(HashMap<(String, u16), SocketAddr>);

impl Addresses {
    /// Looks every host name of `config` up. Says whether anything has moved.
    pub(super) async fn refresh(&mut self, config: &Config, sink: &Sink) -> bool {
        self.look_up_all(hosts(config), sink).await
    }

    /// Looks those up that are not known yet.
    pub(super) async fn find_new(&mut self, config: &Config, sink: &Sink) {
        let mut wanted = hosts(config);
        wanted.retain(|(_, _, host, port)| !self.0.contains_key(&(host.clone(), *port)));
        self.look_up_all(wanted, sink).await;
    }

    async fn look_up_all(&mut self, wanted: Vec<Wish>, sink: &Sink) -> bool {
        let mut has_moved = false;
        let mut lookups = tokio::task::JoinSet::new();
        for (pool, backend, host, port) in wanted {
            lookups.spawn(async move {
                let found = look_up(&host, port).await;
                (pool, backend, (host, port), found)
            });
        }
        while let Some(joined) = lookups.join_next().await {
            let Ok((pool, backend, key, found)) = joined else {
                continue;
            };
            match found {
                Ok(found) => {
                    let current = self.0.get(&key);
                    // Round robin in the DNS is no reason to move.
                    if current.is_none_or(|it| !found.contains(it))
                        && let Some(first) = found.first()
                    {
                        self.0.insert(key, *first);
                        has_moved = true;
                    }
                }
                Err(why) => sink.say(Event::Resolve { pool, backend, why }),
            }
        }
        has_moved
    }

    /// A pool with the addresses of its backends.
    pub(super) fn locate(&self, settings: &PoolSettings) -> Wanted {
        let locate = |address: &Address| match address {
            Address::Ip(address) => Endpoint::Tcp(*address),
            Address::Unix(path) => Endpoint::Unix(path.clone()),
            Address::Host { host, port } => {
                let key = (host.clone(), *port);
                Endpoint::Tcp(self.0.get(&key).copied().unwrap_or(NOWHERE))
            }
        };
        Wanted {
            addresses: settings
                .backends
                .iter()
                .map(|backend| locate(&backend.address))
                .collect(),
            settings: settings.clone(),
        }
    }
}

/// A pool, a backend, and the host name and port to look up for it.
type Wish = (Name, Name, String, u16);

fn hosts(config: &Config) -> Vec<Wish> {
    let mut all = Vec::new();
    for pool in &config.pools {
        for backend in &pool.pool.backends {
            if let Address::Host { host, port } = &backend.address {
                let names = (pool.pool.name.clone(), backend.name.clone());
                all.push((names.0, names.1, host.clone(), *port));
            }
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
