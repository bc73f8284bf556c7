//! Connections by source address, for listeners that limit them.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use crate::pool::ListenerId;

const SHARDS: usize = 32;

type Shard = Mutex<HashMap<(ListenerId, IpAddr), u32>>;

/// How many connections each source address has on each listener. Listeners
/// without such a limit never come here.
#[derive(Debug, Default)]
pub(super) struct Sources {
    shards: [Shard; SHARDS],
    /// Keyed at random: nobody can choose addresses that meet in one shard.
    hasher: RandomState,
}

impl Sources {
    /// Takes a place for `source`, if it has fewer than `limit`.
    pub(super) fn acquire(&self, listener: ListenerId, source: IpAddr, limit: u32) -> bool {
        let key = (listener, source);
        let mut shard = self
            .shard(&key)
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let count = shard.get(&key).copied().unwrap_or(0);
        if count >= limit {
            return false;
        }
        shard.insert(key, count + 1);
        true
    }

    /// Gives a place back.
    pub(super) fn release(&self, listener: ListenerId, source: IpAddr) {
        let key = (listener, source);
        let mut shard = self
            .shard(&key)
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = shard.get_mut(&key) {
            *count -= 1;
            if *count == 0 {
                shard.remove(&key);
            }
        }
    }

    fn shard(&self, key: &(ListenerId, IpAddr)) -> &Shard {
        let hash = self.hasher.hash_one(key);
        &self.shards[usize::try_from(hash % SHARDS as u64).unwrap_or(0)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_source_has_its_own_places_and_nothing_is_left_behind() {
        let sources = Sources::default();
        let (a, b): (IpAddr, IpAddr) = ("10.0.0.1".parse().unwrap(), "::1".parse().unwrap());
        assert!(sources.acquire(ListenerId(1), a, 1));
        assert!(!sources.acquire(ListenerId(1), a, 1));
        assert!(sources.acquire(ListenerId(2), a, 1));
        assert!(sources.acquire(ListenerId(1), b, 1));
        sources.release(ListenerId(1), a);
        assert!(sources.acquire(ListenerId(1), a, 1));
        for (listener, source) in [(1, a), (2, a), (1, b)] {
            sources.release(ListenerId(listener), source);
        }
        assert!(sources.shards.iter().all(|s| s.lock().unwrap().is_empty()));
    }
}
