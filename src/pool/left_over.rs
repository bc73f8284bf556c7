//! Which backend of new settings is which of the old ones. Pure.
//!
//! A server is what it is by its address. Who keeps pool, name and address is
//! found first; who only keeps its address is the same server by other names.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use super::board::{Member, Wanted};
use crate::types::{Endpoint, Name};

/// A backend of the old settings, and the drain timeout of its pool.
#[derive(Debug)]
pub(super) struct Left {
    pub(super) member: Member,
    pub(super) timeout: Option<Duration>,
}

/// A backend of the new settings.
struct Seat<'a> {
    pool: &'a Name,
    name: &'a Name,
    address: Option<&'a Endpoint>,
}

/// What the new settings keep of `old`: for each backend of `pools`, in their
/// order, the one that it was before, if it was there. And the rest.
pub(super) fn keep(old: Vec<Left>, pools: &[Wanted]) -> (Vec<Option<Member>>, Vec<Left>) {
    let seats: Vec<Seat<'_>> = pools.iter().flat_map(seats_of).collect();
    let mut found = by_name(&old, &seats);
    by_address(&old, &seats, &mut found);
    let mut old: Vec<Option<Left>> = old.into_iter().map(Some).collect();
    let kept = found.iter().zip(&seats).map(|(at, seat)| {
        let left = old[(*at)?].take()?;
        Some(left.member.renamed(seat.pool, seat.name))
    });
    let kept = kept.collect();
    (kept, old.into_iter().flatten().collect())
}

fn seats_of(pool: &Wanted) -> impl Iterator<Item = Seat<'_>> {
    pool.backends().map(|(settings, address)| Seat {
        pool: &pool.settings.name,
        name: &settings.name,
        address,
    })
}

/// Where in `old` each of `seats` is that has kept everything.
fn by_name(old: &[Left], seats: &[Seat<'_>]) -> Vec<Option<usize>> {
    let backends = old.iter().map(|it| &it.member.backend);
    let named = backends.map(|it| (&it.pool, &it.name)).zip(0..);
    let known: HashMap<_, usize> = named.collect();
    let find = |seat: &Seat<'_>| {
        let at = *known.get(&(seat.pool, seat.name))?;
        (old[at].member.backend.address.as_ref() == seat.address).then_some(at)
    };
    seats.iter().map(find).collect()
}

/// Finds those among the rest that have kept their address. If there are
/// several, it is the one of the same pool, or else of the same name.
fn by_address(old: &[Left], seats: &[Seat<'_>], found: &mut [Option<usize>]) {
    if found.iter().all(Option::is_some) {
        return;
    }
    let taken: HashSet<usize> = found.iter().flatten().copied().collect();
    let mut free: HashMap<&Endpoint, Vec<usize>> = HashMap::new();
    for (at, left) in old.iter().enumerate() {
        if let (false, Some(address)) = (taken.contains(&at), &left.member.backend.address) {
            free.entry(address).or_default().push(at);
        }
    }
    for (seat, found) in seats.iter().zip(found) {
        let there = seat.address.and_then(|it| free.get_mut(it));
        let (None, Some(there)) = (&found, there) else {
            continue;
        };
        let strangeness = |at: &usize| {
            let backend = &old[*at].member.backend;
            (backend.pool != *seat.pool, backend.name != *seat.name)
        };
        *found = there.iter().copied().min_by_key(strangeness);
        there.retain(|at| Some(*at) != *found);
    }
}
