//! Whether a start would find its addresses free: for `check --online`.

use std::io;
use std::net::{SocketAddr, UdpSocket};

use crate::config::{Config, PairConfig};
use crate::net::{listen, unix};
use crate::types::Endpoint;

/// Where a configuration listens.
#[derive(Debug)]
pub struct Seat {
    /// Which setting says so.
    pub path: String,
    /// Where it is.
    pub address: Endpoint,
    datagrams: bool,
}

/// Why an address cannot be had now.
#[derive(Debug, thiserror::Error)]
#[error("{cause}{hint}")]
pub struct Obstacle {
    cause: io::Error,
    hint: &'static str,
}

impl Obstacle {
    /// Whether it is this user who must not try, and nothing is known of the
    /// address.
    pub fn is_for_this_user(&self) -> bool {
        self.cause.kind() == io::ErrorKind::PermissionDenied
    }
}

/// Every address that `config` makes this node listen at.
pub fn seats(config: &Config) -> Vec<Seat> {
    let mut seats = Vec::new();
    let mut add = |path: &str, address: Endpoint, datagrams| {
        seats.push(Seat {
            path: path.to_owned(),
            address,
            datagrams,
        });
    };
    for listener in &config.listeners {
        for bind in &listener.binds {
            add(&format!("listeners.{}", listener.name), bind.clone(), false);
        }
    }
    if let Some(bind) = config.admin.bind {
        add("admin.bind", bind.into(), false);
    }
    if let Some(PairConfig { pair, serve, .. }) = &config.pair {
        let me = pair.node(&pair.me);
        for heartbeat in me.into_iter().flat_map(|it| &it.heartbeat) {
            add("pair.heartbeat", (*heartbeat).into(), true);
        }
        for bind in serve.iter().flat_map(|it| &it.binds) {
            add("pair.dns.serve", (*bind).into(), true);
        }
    }
    seats
}

impl Seat {
    /// Whether it is of the pair, of which a running process does not list the
    /// addresses.
    pub const fn is_of_pair(&self) -> bool {
        self.datagrams
    }

    /// Tries to have it, and lets go of it again.
    pub fn try_out(&self) -> Result<(), Obstacle> {
        let (free, hint): (_, fn(io::ErrorKind) -> &'static str) = match &self.address {
            Endpoint::Tcp(address) => (self.try_address(*address), listen::hint),
            Endpoint::Unix(path) => (
                match unix::connect(path) {
                    Ok(_) => Err(io::ErrorKind::AddrInUse.into()),
                    // Nobody listens: a file that a dead process left is
                    // replaced.
                    Err(_) => Ok(()),
                },
                |_| " (another process listens there; `ss -lxp` shows which)",
            ),
        };
        free.map_err(|cause| Obstacle {
            hint: hint(cause.kind()),
            cause,
        })
    }

    fn try_address(&self, address: SocketAddr) -> io::Result<()> {
        listen::check_free(address)?;
        if self.datagrams {
            UdpSocket::bind(address)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_is_told_and_what_is_free_stays_free() {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let seat = |address: SocketAddr, datagrams| Seat {
            path: String::new(),
            address: address.into(),
            datagrams,
        };
        let here = taken.local_addr().unwrap();
        let obstacle = seat(here, false).try_out().unwrap_err();
        assert!(obstacle.to_string().contains("ss -lntup"), "{obstacle}");
        drop(taken);
        for _ in 0..2 {
            assert!(seat(here, true).try_out().is_ok());
        }
        let datagrams = UdpSocket::bind(here).unwrap();
        assert!(seat(here, true).try_out().is_err());
        assert!(seat(here, false).try_out().is_ok());
        drop(datagrams);
        let elsewhere = seat("192.0.2.77:80".parse().unwrap(), false).try_out();
        let told = elsewhere.unwrap_err().to_string();
        assert!(told.contains("does not have that address"), "{told}");
    }
}
