//! Who may ask how often: so that nobody uses us against a third party.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::IpAddr;

use crate::clock::{Moment, Seed};
use crate::types::plain;

/// Networks that are remembered: a megabyte at the most, whatever comes in.
const SLOTS: usize = 16_384;
/// A network is looked for in so many neighbouring slots; the one that has
/// been silent for the longest time makes way.
const WAYS: usize = 4;
/// Of the queries beyond a network's rate, one in so many is told to use TCP.
/// A resolver whose address is being forged gets through that way.
const SLIP: u32 = 4;

/// How a query came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    /// Its source has completed a handshake.
    Tcp,
    /// Its source may be forged, and its answer must be small.
    Udp,
}

/// What becomes of a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is answered.
    Answer,
    /// Everybody together asks too much: it is dropped.
    Busy,
    /// Its network asks too much: it is dropped.
    Drop,
    /// Its network asks too much: it is told to use TCP.
    Slip,
}

/// A bucket for each network and one for all.
#[derive(Debug)]
pub(super) struct Limiter {
    seed: Seed,
    source_rate: u32,
    sources: Vec<Slot>,
    everybody: Bucket,
    everybody_rate: u32,
    over: u32,
}

#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    network: u64,
    bucket: Bucket,
}

/// Holds up to one second's worth of tokens, in millionths, so that the
/// smallest rate still grows with each microsecond.
#[derive(Clone, Copy, Debug, Default)]
struct Bucket {
    micros: u64,
    at: Moment,
}

impl Limiter {
    pub(super) fn new(source_rate: u32, everybody_rate: u32, seed: Seed) -> Self {
        Self {
            seed,
            source_rate,
            sources: vec![Slot::default(); SLOTS],
            everybody: Bucket::full(everybody_rate, Moment::START),
            everybody_rate,
            over: 0,
        }
    }

    /// Takes one query of `source` into account.
    pub(super) fn take(&mut self, now: Moment, source: IpAddr, transport: Transport) -> Verdict {
        let network = self.network(source, transport);
        let rate = self.source_rate;
        let within = self.slot(network, now).bucket.take(rate, now);
        let slips = !within && transport == Transport::Udp && {
            self.over = self.over.wrapping_add(1);
            self.over.is_multiple_of(SLIP)
        };
        if !within && !slips {
            return Verdict::Drop;
        }
        if !self.everybody.take(self.everybody_rate, now) {
            return Verdict::Busy;
        }
        if within {
            Verdict::Answer
        } else {
            Verdict::Slip
        }
    }

    /// The number of a network, which nobody outside can foretell: no one can
    /// choose the networks that share our slots with a victim. Never 0.
    fn network(&self, source: IpAddr, transport: Transport) -> u64 {
        let mut hasher = DefaultHasher::new();
        (self.seed.0, prefix(source), transport).hash(&mut hasher);
        hasher.finish() | 1
    }

    fn slot(&mut self, network: u64, now: Moment) -> &mut Slot {
        // The low bit says nothing; the slot is chosen by those above it.
        let sets = u64::try_from(SLOTS / WAYS).unwrap_or(1);
        let set = usize::try_from((network >> 1) % sets).unwrap_or(0);
        let ways = &mut self.sources[set * WAYS..][..WAYS];
        let at = match ways.iter().position(|slot| slot.network == network) {
            Some(at) => at,
            None => {
                let by_age = |at: &usize| (ways[*at].network != 0, ways[*at].bucket.at);
                let oldest = (0..WAYS).min_by_key(by_age).unwrap_or(0);
                let bucket = Bucket::full(self.source_rate, now);
                ways[oldest] = Slot { network, bucket };
                oldest
            }
        };
        &mut ways[at]
    }
}

/// The network that stands for one user: what an attacker with one machine
/// can easily vary does not count.
pub(super) fn prefix(source: IpAddr) -> u128 {
    match plain(source) {
        IpAddr::V4(ip) => u128::from(u32::from(ip) >> 8),
        // The low bits keep an IPv6 network apart from every IPv4 network.
        IpAddr::V6(ip) => u128::from(ip) >> 72 << 72 | 1 << 64,
    }
}

impl Bucket {
    const TOKEN: u64 = 1_000_000;

    fn full(rate: u32, at: Moment) -> Self {
        Self {
            micros: u64::from(rate) * Self::TOKEN,
            at,
        }
    }

    fn take(&mut self, rate: u32, now: Moment) -> bool {
        let rate = u64::from(rate);
        let passed = u64::try_from(now.since(self.at).as_micros()).unwrap_or(u64::MAX);
        let grown = self.micros.saturating_add(passed.saturating_mul(rate));
        self.micros = grown.min(rate * Self::TOKEN);
        self.at = self.at.max(now);
        let enough = self.micros >= Self::TOKEN;
        if enough {
            self.micros -= Self::TOKEN;
        }
        enough
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const NOW: Moment = Moment::from_micros(5_000_000);

    fn limiter(source: u32, all: u32) -> Limiter {
        Limiter::new(source, all, Seed(1))
    }

    fn answered(limiter: &mut Limiter, now: Moment, source: &str, queries: u32) -> usize {
        let source = source.parse().unwrap();
        let answers = (0..queries).map(|_| limiter.take(now, source, Transport::Udp));
        answers.filter(|it| *it == Verdict::Answer).count()
    }

    #[test]
    fn a_network_has_its_rate_and_recovers() {
        let mut limiter = limiter(10, 1000);
        assert_eq!(answered(&mut limiter, NOW, "192.0.2.1", 50), 10);
        assert_eq!(answered(&mut limiter, NOW, "192.0.2.200", 50), 0);
        assert_eq!(answered(&mut limiter, NOW, "192.0.3.1", 50), 10);
        let later = NOW + Duration::from_millis(300);
        assert_eq!(answered(&mut limiter, later, "192.0.2.1", 50), 3);
        let much_later = NOW + Duration::from_secs(3600);
        assert_eq!(answered(&mut limiter, much_later, "192.0.2.1", 50), 10);
    }

    #[test]
    fn an_ipv6_network_is_a_56() {
        let mut limiter = limiter(10, 1000);
        assert_eq!(answered(&mut limiter, NOW, "2001:db8:0:1::1", 10), 10);
        assert_eq!(answered(&mut limiter, NOW, "2001:db8:0:ff::2", 10), 0);
        assert_eq!(answered(&mut limiter, NOW, "2001:db8:0:100::1", 10), 10);
        assert_ne!(prefix("::".parse().unwrap()), prefix([0, 0, 0, 0].into()));
    }

    #[test]
    fn everybody_together_has_a_rate() {
        let mut limiter = limiter(10, 25);
        let sources = (0..10).map(|n| format!("10.0.{n}.1"));
        let answers = sources.map(|it| answered(&mut limiter, NOW, &it, 10));
        assert_eq!(answers.sum::<usize>(), 25);
    }

    #[test]
    fn some_of_the_surplus_is_sent_to_tcp_which_has_a_rate_of_its_own() {
        let mut limiter = limiter(10, 1000);
        let source = "192.0.2.1".parse().unwrap();
        let mut take = |transport, verdict| {
            let verdicts = (0..90).map(|_| limiter.take(NOW, source, transport));
            verdicts.filter(|it| *it == verdict).count()
        };
        assert_eq!(take(Transport::Udp, Verdict::Slip), 20);
        assert_eq!(take(Transport::Tcp, Verdict::Answer), 10);
        assert_eq!(take(Transport::Tcp, Verdict::Slip), 0);
    }

    #[test]
    fn a_million_networks_take_no_more_memory_than_one() {
        let mut limiter = limiter(1, u32::MAX);
        for n in 0..1_000_000_u32 {
            let source = IpAddr::from((n << 8).to_be_bytes());
            let now = NOW + Duration::from_micros(u64::from(n));
            assert_eq!(
                limiter.take(now, source, Transport::Udp),
                Verdict::Answer,
                "{source}"
            );
        }
        assert_eq!(limiter.sources.capacity(), SLOTS);
    }
}
