//! Which backend serves a connection. Pure: chance comes from the generator
//! that is handed in, and nothing here waits or fails.

use std::collections::HashMap;
use std::net::IpAddr;

use rand::{Rng, RngExt};

use super::backend::BackendId;
use super::settings::Policy;
use super::snapshot::{BackendView, PoolView, Tier};
use super::state::BackendState;
use crate::clock::Moment;
use crate::types::{Name, plain};

/// What a pick found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pick {
    /// This one, as an index into the pool's backends.
    Backend(usize),
    /// Nobody now, but it is worth waiting: those who are left are at their
    /// connection limit, or have not been probed yet.
    Wait,
    /// Nobody is left.
    Nobody,
}

/// Who asks for a backend, and which ones it has had.
#[derive(Clone, Copy, Debug)]
pub struct Asking<'a> {
    /// The client's address.
    pub client: IpAddr,
    /// Backends that this session has tried in vain.
    pub tried: &'a [BackendId],
    /// Whether it has waited for a place for as long as it may.
    pub has_waited: bool,
    /// The present.
    pub now: Moment,
}

/// Where a worker stands in the turns of its `round_robin` pools.
#[derive(Debug, Default)]
pub struct Turns(HashMap<Name, Vec<(BackendId, i64)>>);

impl PoolView {
    /// The backend for a connection: of the first tier that has one to offer,
    /// by the pool's policy. Backends that were tried are left out, full ones
    /// too, suspect ones where their tier has another, and those that have just
    /// refused a client where any tier has another.
    ///
    /// Those who say that they are full are the last, with those who cannot be
    /// probed: a place at another is waited for before. They may have one by
    /// now, and if not, the client hears it from the server itself.
    pub fn pick(&self, asking: Asking<'_>, turns: &mut Turns, rng: &mut impl Rng) -> Pick {
        let is_untried = |view: &BackendView| !asking.tried.contains(&view.backend.id);
        let has_room = |view: &BackendView| {
            is_untried(view)
                && view
                    .max_connections
                    .is_none_or(|limit| view.backend.live.active() < limit)
        };
        let is_sound =
            |view: &BackendView| has_room(view) && !view.backend.live.is_suspect(asking.now);
        let is_hopeful =
            |view: &BackendView| has_room(view) && !view.backend.live.is_refusing(asking.now);
        for tier in &self.tiers {
            let found = self
                .choose(tier, asking.client, turns, rng, is_sound)
                .or_else(|| self.choose(tier, asking.client, turns, rng, is_hopeful));
            if let Some(index) = found {
                return Pick::Backend(index);
            }
        }
        for tier in &self.tiers {
            if let Some(index) = self.choose(tier, asking.client, turns, rng, has_room) {
                return Pick::Backend(index);
            }
        }
        let is_worth_waiting_for = |view: &BackendView| {
            is_untried(view)
                && (view.effective > 0 || view.state == BackendState::Starting && view.weight > 0)
        };
        if !asking.has_waited && self.backends.iter().any(is_worth_waiting_for) {
            return Pick::Wait;
        }
        for tier in &self.last {
            if let Some(index) = self.choose(tier, asking.client, turns, rng, has_room) {
                return Pick::Backend(index);
            }
        }
        let mut last = self.last.iter().flat_map(|tier| &tier.members);
        if self.backends.iter().any(is_worth_waiting_for)
            || last.any(|&i| is_untried(&self.backends[i as usize]))
        {
            Pick::Wait
        } else {
            Pick::Nobody
        }
    }

    fn choose(
        &self,
        tier: &Tier,
        client: IpAddr,
        turns: &mut Turns,
        rng: &mut impl Rng,
        fits: impl Fn(&BackendView) -> bool,
    ) -> Option<usize> {
        match self.settings.policy {
            Policy::First => self.fitting(tier, &fits).next(),
            Policy::Hash => {
                let client = hash_client(client);
                self.fitting(tier, &fits)
                    .max_by(|&a, &b| self.score(a, client).total_cmp(&self.score(b, client)))
            }
            Policy::Least => self.least_loaded(tier, rng, &fits),
            Policy::Random => self.draw(tier, rng, &fits),
            Policy::Random2 => {
                let first = self.draw(tier, rng, &fits)?;
                let second = self.draw(tier, rng, |view: &BackendView| {
                    view.backend.id != self.backends[first].backend.id && fits(view)
                });
                Some(second.map_or(first, |second| self.less_loaded(first, second)))
            }
            Policy::RoundRobin => self.next_in_turn(tier, turns, &fits),
        }
    }

    fn fitting<'a>(
        &'a self,
        tier: &'a Tier,
        fits: &'a impl Fn(&BackendView) -> bool,
    ) -> impl Iterator<Item = usize> + 'a {
        tier.members
            .iter()
            .map(|&i| i as usize)
            .filter(move |&i| fits(&self.backends[i]))
    }

    /// One weighted draw among those that fit.
    fn draw(
        &self,
        tier: &Tier,
        rng: &mut impl Rng,
        fits: impl Fn(&BackendView) -> bool,
    ) -> Option<usize> {
        // Nearly always the first draw fits; a few misses are cheaper than a
        // walk over the tier, and discarding misses keeps the weights exact.
        for _ in 0..4 {
            let index = tier.members[tier.alias.draw(rng)?] as usize;
            if fits(&self.backends[index]) {
                return Some(index);
            }
        }
        let total: u64 = self
            .fitting(tier, &fits)
            .map(|i| u64::from(self.backends[i].share()))
            .sum();
        if total == 0 {
            return None;
        }
        let mut left = rng.random_range(0..total);
        self.fitting(tier, &fits).find(|&i| {
            let weight = u64::from(self.backends[i].share());
            let hit = left < weight;
            left = left.saturating_sub(weight);
            hit
        })
    }

    /// The one with the fewest connections for its weight; chance decides
    /// between equals, so that many balancers do not pick the same one.
    fn least_loaded(
        &self,
        tier: &Tier,
        rng: &mut impl Rng,
        fits: &impl Fn(&BackendView) -> bool,
    ) -> Option<usize> {
        let mut best: Option<(u64, usize)> = None;
        let mut equals = 0u32;
        for index in self.fitting(tier, fits) {
            let load = load(&self.backends[index]);
            match best {
                Some((least, _)) if load > least => {}
                Some((least, _)) if load == least => {
                    equals += 1;
                    if rng.random_range(0..=equals) == 0 {
                        best = Some((load, index));
                    }
                }
                Some(_) | None => {
                    equals = 0;
                    best = Some((load, index));
                }
            }
        }
        best.map(|(_, index)| index)
    }

    fn less_loaded(&self, first: usize, second: usize) -> usize {
        if load(&self.backends[second]) < load(&self.backends[first]) {
            second
        } else {
            first
        }
    }

    /// Smooth weighted round robin: everyone gains its weight, the richest is
    /// chosen and pays for all. Heavy backends are spread, not bunched.
    fn next_in_turn(
        &self,
        tier: &Tier,
        turns: &mut Turns,
        fits: &impl Fn(&BackendView) -> bool,
    ) -> Option<usize> {
        if !turns.0.contains_key(&self.settings.name) {
            turns.0.insert(self.settings.name.clone(), Vec::new());
        }
        let standing = turns.0.get_mut(&self.settings.name)?;
        // Forget the departed; a newcomer begins at zero.
        standing.retain(|(id, _)| self.backends.iter().any(|view| view.backend.id == *id));
        let mut total = 0;
        let mut best: Option<(i64, usize, usize)> = None;
        for index in self.fitting(tier, fits) {
            let view = &self.backends[index];
            let weight = i64::from(view.share());
            total += weight;
            let slot = standing
                .iter()
                .position(|(id, _)| *id == view.backend.id)
                .unwrap_or_else(|| {
                    standing.push((view.backend.id, 0));
                    standing.len() - 1
                });
            standing[slot].1 += weight;
            if best.is_none_or(|(most, _, _)| standing[slot].1 > most) {
                best = Some((standing[slot].1, slot, index));
            }
        }
        let (_, slot, index) = best?;
        standing[slot].1 -= total;
        Some(index)
    }

    /// Weighted rendezvous hashing: each backend's score depends on its own
    /// name and weight only, so a change moves no client but its own.
    fn score(&self, index: usize, client: u64) -> f64 {
        let view = &self.backends[index];
        let hash = mix(client ^ fnv1a(view.backend.name.as_str().as_bytes()));
        // 53 bits make a fraction in (0, 1) that a double holds exactly.
        #[expect(clippy::cast_precision_loss, reason = "53 bits fit")]
        let fraction = ((hash >> 11) as f64 + 0.5) / (1u64 << 53) as f64;
        -f64::from(view.share()) / fraction.ln()
    }
}

/// Connections for the weight, counting the one that is about to come.
fn load(view: &BackendView) -> u64 {
    (u64::from(view.backend.live.active()) + 1) * 1_000_000_000 / u64::from(view.share().max(1))
}

/// The client's address as a number that is the same on every node. An IPv4
/// address in IPv6 form counts as IPv4.
fn hash_client(client: IpAddr) -> u64 {
    match plain(client) {
        IpAddr::V4(v4) => fnv1a(&v4.octets()),
        IpAddr::V6(v6) => fnv1a(&v6.octets()),
    }
}

fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// SplitMix64's finalizer: every input bit reaches every output bit.
const fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
#[path = "pick_tests.rs"]
mod tests;
