//! A pool that sends its clients to itself: each connection would make another
//! one, until something runs out.

use crate::config::PoolConfig;
use crate::config::node::Place;
use crate::config::reader::{Fields, Reader};
use crate::pool::ListenerSettings;
use crate::types::{Address, Endpoint, Name, UnixPath};

/// Checks that from no pool a way leads over our own unix sockets back to it.
pub(super) fn check(
    root: &Fields<'_>,
    listeners: &[ListenerSettings],
    pools: &[PoolConfig],
    reader: &mut Reader<'_>,
) {
    let ways = Ways { listeners, pools };
    for PoolConfig { pool, .. } in pools {
        for (path, listener) in ways.from(&pool.name) {
            if !ways.lead(&listener.pool, &pool.name) {
                continue;
            }
            let what = format!("{path} is our own listener {}", listener.name);
            let hint = "its clients would go round in circles: name the server behind it";
            let at = place(root, &pool.name, reader);
            reader.fault(at, format!("pools.{}.backends", pool.name), what, hint);
        }
    }
}

struct Ways<'c> {
    listeners: &'c [ListenerSettings],
    pools: &'c [PoolConfig],
}

impl<'c> Ways<'c> {
    /// The unix backends of a pool that are our own, and whose they are.
    fn from(&self, pool: &Name) -> Vec<(&'c UnixPath, &'c ListenerSettings)> {
        let pools = self.pools.iter().filter(|it| it.pool.name == *pool);
        let backends = pools.flat_map(|it| &it.pool.backends);
        let paths = backends.filter_map(|it| match &it.address {
            Address::Unix(path) => Some(path),
            Address::Ip(_) | Address::Host { .. } => None,
        });
        let own = |path: &'c UnixPath| {
            let is_at = |bind: &Endpoint| matches!(bind, Endpoint::Unix(it) if it == path);
            let mut listeners = self.listeners.iter();
            listeners
                .find(|it| it.binds.iter().any(is_at))
                .map(|it| (path, it))
        };
        paths.filter_map(own).collect()
    }

    /// Whether clients of pool `from` may come to pool `to`.
    fn lead(&self, from: &'c Name, to: &Name) -> bool {
        let mut reached = vec![from];
        let mut at = 0;
        while let Some(pool) = reached.get(at) {
            let next = self.from(pool).into_iter().map(|(_, it)| &it.pool);
            for pool in next {
                if !reached.contains(&pool) {
                    reached.push(pool);
                }
            }
            at += 1;
        }
        reached.contains(&to)
    }
}

/// Where the backends of a pool stand.
fn place(root: &Fields<'_>, pool: &Name, reader: &mut Reader<'_>) -> Place {
    let faults = reader.faults.len();
    let pools = root.get("pools");
    let pools = pools.and_then(|it| reader.map(it, "pools"));
    let node = pools.and_then(|it| it.get(pool.as_str()).cloned());
    let fields = node.as_ref().and_then(|it| reader.map(it, ""));
    let at = fields.and_then(|it| it.get("backends").map(|it| it.at));
    // What is wrong with them has been told already.
    reader.faults.truncate(faults);
    at.unwrap_or(root.at)
}
