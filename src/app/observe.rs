//! Whether the world sees what the pair has decided: each name server is
//! asked for the public name, now and then.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::config::PairConfig;
use crate::dns::observe;
use crate::pair::{PairSettings, View};
use crate::status::ObservedStatus;
use crate::types::Fqdn;

/// How often each server is asked: no load for anybody's resolver.
pub(super) const EVERY: Duration = Duration::from_secs(5);
/// How long a server may take for each kind of address.
const LIMIT: Duration = Duration::from_secs(1);

/// The servers that are asked, and what each said last.
pub(super) struct Observer {
    name: Fqdn,
    servers: Vec<SocketAddr>,
    seen: Mutex<Vec<ObservedStatus>>,
}

impl Observer {
    /// Asks whoever answers for the name in `config`, and whom else it names.
    pub(super) fn new(config: &PairConfig) -> Self {
        let mut servers = BTreeSet::new();
        if let Some(port) = config.serve.as_ref().and_then(|it| it.binds.first()) {
            // The twins answer at the same port: one file serves all.
            let nodes = config.pair.nodes.iter();
            let addresses = nodes.filter_map(|it| it.addresses.first());
            servers.extend(addresses.map(|ip| SocketAddr::new(*ip, port.port())));
        }
        servers.extend(config.register.iter().map(|it| it.server));
        servers.extend(&config.observe);
        Self {
            name: config.pair.name.clone(),
            servers: servers.into_iter().collect(),
            seen: Mutex::default(),
        }
    }

    /// What each server said last.
    pub(super) fn seen(&self) -> Vec<ObservedStatus> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.clone()
    }

    /// Asks every server, all at once.
    pub(super) async fn look(&self, settings: &PairSettings, view: &View) {
        let wanted = wanted(settings, view);
        if wanted.is_empty() {
            // Nobody holds it, or somebody whose addresses are not known here:
            // nothing that a server says is right or wrong.
            self.seen
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clear();
            return;
        }
        let kinds = (
            wanted.iter().any(IpAddr::is_ipv4),
            wanted.iter().any(IpAddr::is_ipv6),
        );
        let asked = self.servers.iter().map(|server| {
            let (server, name) = (*server, self.name.clone());
            tokio::spawn(async move {
                let answer = observe::addresses(server, &name, kinds, LIMIT).await;
                (server, answer)
            })
        });
        let asked: Vec<_> = asked.collect();
        let mut seen = Vec::new();
        for task in asked {
            // A panic has been reported by the panic hook.
            let Ok((server, answer)) = task.await else {
                continue;
            };
            let (addresses, error) = match answer {
                Ok(addresses) => (addresses, None),
                Err(error) => (Vec::new(), Some(error.to_string())),
            };
            seen.push(ObservedStatus {
                server,
                matches: addresses == wanted,
                addresses,
                error,
            });
        }
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = seen;
    }
}

/// The addresses that the world should see, sorted.
fn wanted(settings: &PairSettings, view: &View) -> Vec<IpAddr> {
    let holder = view.claim.as_ref().map(|it| &it.holder);
    let nodes = settings.nodes.iter().filter(|it| {
        if settings.active_active {
            view.functional.contains(&it.name)
        } else {
            holder == Some(&it.name)
        }
    });
    let mut wanted: Vec<IpAddr> = nodes.flat_map(|it| it.addresses.clone()).collect();
    wanted.sort();
    wanted
}
