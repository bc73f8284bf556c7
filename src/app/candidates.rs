//! Which of a host name's addresses is a backend's. Pure.
//!
//! It stays where it is as long as it is alive there and the name still says
//! so: round robin in the DNS is no reason to move. Where it is found dead, the
//! others are tried, each once. Then each lookup tries the next, for a server
//! may come back at another address than it went from.

use std::net::SocketAddr;

/// The addresses of one backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Candidates {
    /// What the last lookup has found.
    all: Vec<SocketAddr>,
    used: SocketAddr,
    /// Where it has been found dead since it was last found alive.
    dead: Vec<SocketAddr>,
}

impl Candidates {
    /// Of a name that has been looked up for the first time; `None`: it has no
    /// address.
    pub(super) fn new(found: Vec<SocketAddr>) -> Option<Self> {
        Some(Self {
            used: *found.first()?,
            all: found,
            dead: Vec::new(),
        })
    }

    /// The one in use.
    pub(super) fn used(&self) -> SocketAddr {
        self.used
    }

    /// The name has been looked up again. Says whether the backend moves; a
    /// lookup that finds nothing moves nobody.
    pub(super) fn look_again(&mut self, found: Vec<SocketAddr>) -> bool {
        if found.is_empty() {
            return false;
        }
        self.all = found;
        self.dead.retain(|it| self.all.contains(it));
        let is_good = self.all.contains(&self.used) && !self.dead.contains(&self.used);
        !is_good && self.go_on(self.untried().or_else(|| self.next()))
    }

    /// The backend was found dead at `at`. Says whether it moves.
    pub(super) fn lost(&mut self, at: SocketAddr) -> bool {
        if at != self.used {
            return false;
        }
        if !self.dead.contains(&at) {
            self.dead.push(at);
        }
        self.go_on(self.untried())
    }

    /// The backend was found alive at `at`.
    pub(super) fn alive(&mut self, at: SocketAddr) {
        if at == self.used {
            self.dead.clear();
        }
    }

    fn untried(&self) -> Option<SocketAddr> {
        let mut all = self.all.iter();
        all.find(|it| !self.dead.contains(it)).copied()
    }

    /// The one after the one in use, and after the last the first.
    fn next(&self) -> Option<SocketAddr> {
        let at = self.all.iter().position(|it| *it == self.used);
        let next = at.map_or(0, |at| (at + 1) % self.all.len());
        self.all.get(next).copied()
    }

    fn go_on(&mut self, to: Option<SocketAddr>) -> bool {
        let before = self.used;
        self.used = to.unwrap_or(before);
        self.used != before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(n: u8) -> SocketAddr {
        ([10, 0, 0, n], 80).into()
    }

    fn of(all: &[u8]) -> Candidates {
        Candidates::new(all.iter().map(|n| at(*n)).collect()).unwrap()
    }

    #[test]
    fn round_robin_in_the_dns_is_no_reason_to_move() {
        let mut it = of(&[1, 2]);
        assert!(!it.look_again(vec![at(2), at(1)]));
        assert!(!it.look_again(vec![]));
        assert_eq!(it.used(), at(1));
        assert!(it.look_again(vec![at(3), at(2)]), "it is no longer there");
        assert_eq!(it.used(), at(3));
        assert!(Candidates::new(vec![]).is_none());
    }

    #[test]
    fn who_is_dead_at_one_address_is_tried_at_each_other_once() {
        let mut it = of(&[1, 2, 3]);
        assert!(it.lost(at(1)));
        assert!(!it.lost(at(1)), "old news");
        assert_eq!(it.used(), at(2));
        assert!(it.lost(at(2)));
        assert_eq!(it.used(), at(3));
        assert!(!it.lost(at(3)), "all have been tried");
        it.alive(at(3));
        assert!(it.lost(at(3)), "it was alive in between");
        assert_eq!(it.used(), at(1));
    }

    #[test]
    fn where_all_are_dead_each_lookup_tries_the_next() {
        let mut it = of(&[1, 2]);
        it.lost(at(1));
        it.lost(at(2));
        let mut seen = Vec::new();
        for _ in 0..4 {
            assert!(it.look_again(vec![at(1), at(2)]));
            seen.push(it.used());
            assert!(!it.lost(it.used()), "no more than one move for each lookup");
        }
        assert_eq!(seen, [at(1), at(2), at(1), at(2)]);
        it.alive(at(2));
        assert!(!it.look_again(vec![at(1), at(2)]), "it has come back");
        let mut single = of(&[1]);
        assert!(!single.lost(at(1)));
        assert!(!single.look_again(vec![at(1)]));
    }

    #[test]
    fn an_address_that_is_new_in_the_dns_is_tried_at_once() {
        let mut it = of(&[1]);
        it.lost(at(1));
        assert!(it.look_again(vec![at(1), at(2)]));
        assert_eq!(it.used(), at(2));
    }
}
