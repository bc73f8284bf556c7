//! Pools that send their clients to this process: to their own listeners, where
//! each connection would make another one, until something runs out, or to the
//! admin socket, which takes every order.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{links, pools};
use crate::admin::AdminSettings;
use crate::config::PoolConfig;
use crate::config::fields::Fields;
use crate::config::node::Place;
use crate::config::reader::Reader;
use crate::config::surroundings::Surroundings;
use crate::pool::ListenerSettings;
use crate::types::{Address, Endpoint, Name};

/// Checks that from no pool a way leads over our own listeners back to it, or to
/// the socket of `admin`.
pub(super) fn check(
    root: &Fields<'_>,
    listeners: &[ListenerSettings],
    pools: &[PoolConfig],
    admin: &AdminSettings,
    reader: &mut Reader<'_>,
) {
    let around = reader.around();
    // connect(2) to the unspecified address reaches this machine, too.
    let is_ours = |ip: IpAddr| ip.is_loopback() || ip.is_unspecified() || around.has_address(ip);
    let ways = Ways {
        listeners,
        pools,
        is_ours: &is_ours,
        around,
    };
    for PoolConfig { pool, .. } in pools {
        for (address, listener) in ways.from(&pool.name) {
            if !ways.lead(&listener.pool, &pool.name) {
                continue;
            }
            let what = format!("{address} is our own listener {}", listener.name);
            let hint = "its clients would go round in circles: name the server behind it";
            let at = place(root, &pool.name, reader);
            reader.fault(at, format!("pools.{}.backends", pool.name), what, hint);
        }
        let is_admin = |address: &Address| match (address, &admin.socket) {
            (Address::Unix(path), Some(socket)) => links::lead(path, socket.as_unix(), around),
            (Address::Unix(_) | Address::Ip(_) | Address::Host { .. }, _) => false,
        };
        if let Some(it) = pool.backends.iter().find(|it| is_admin(&it.address)) {
            let what = format!("{} is our own admin.socket", it.address);
            let hint = "its clients could order everything: name the server behind it";
            let at = place(root, &pool.name, reader);
            reader.fault(at, format!("pools.{}.backends", pool.name), what, hint);
        }
    }
}

struct Ways<'c> {
    listeners: &'c [ListenerSettings],
    pools: &'c [PoolConfig],
    /// Whether an address is one of this machine's.
    is_ours: &'c dyn Fn(IpAddr) -> bool,
    around: &'c dyn Surroundings,
}

impl<'c> Ways<'c> {
    /// The backends of a pool that are our own listeners, and which.
    fn from(&self, pool: &Name) -> Vec<(&'c Address, &'c ListenerSettings)> {
        let pools = self.pools.iter().filter(|it| it.pool.name == *pool);
        let addresses = pools.flat_map(|it| &it.pool.backends).map(|it| &it.address);
        let own = |address: &'c Address| {
            let mut listeners = self.listeners.iter();
            let it = listeners.find(|it| it.binds.iter().any(|it| self.meet(it, address)))?;
            Some((address, it))
        };
        addresses.filter_map(own).collect()
    }

    /// Whether who connects to `address` comes in at `bind`.
    fn meet(&self, bind: &Endpoint, address: &Address) -> bool {
        match (bind, address) {
            (Endpoint::Unix(bind), Address::Unix(path)) => links::lead(path, bind, self.around),
            (Endpoint::Tcp(bind), Address::Ip(address)) => self.takes(*bind, *address),
            (Endpoint::Tcp(bind), Address::Host { host, port }) if host == "localhost" => {
                let both: [IpAddr; 2] = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
                let mut both = both.into_iter().map(|ip| SocketAddr::new(ip, *port));
                both.any(|it| self.takes(*bind, it))
            }
            // Whether another name is ours is not known here.
            (_, Address::Ip(_) | Address::Host { .. } | Address::Unix(_)) => false,
        }
    }

    fn takes(&self, bind: SocketAddr, address: SocketAddr) -> bool {
        // Whether an address is ours is a question to the kernel: the last one.
        let is_wide = bind.ip().is_unspecified() && bind.is_ipv4() == address.is_ipv4();
        bind.port() == address.port()
            && (bind.ip() == address.ip() || is_wide && (self.is_ours)(address.ip()))
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
    let at = reader.again(|reader| {
        let pools = reader.map(root.get("pools")?, "pools")?;
        let pool = reader.fields(pools.get(pool.as_str())?, "", &pools::KEYS)?;
        pool.get("backends").map(|it| it.at)
    });
    at.unwrap_or(root.at)
}
