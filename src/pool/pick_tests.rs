use std::sync::Arc;

use super::*;
use crate::clock::Seed;
use crate::pool::{Backend, BackendSettings, BackendState, PoolLive, PoolSettings, Protocol};
use crate::types::{ConnectFailure, Endpoint, Sources};

const CLIENT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 7));

/// A pool of backends called a, b, c ... with these (weight, tier, limit).
fn pool(policy: Policy, members: &[(u32, u8, Option<u32>)]) -> PoolView {
    let pool_name = Name::new("p").unwrap();
    let views: Vec<BackendView> = members
        .iter()
        .enumerate()
        .map(|(i, &(weight, tier, max_connections))| {
            let name =
                Name::new(&format!("{}", (b'a' + u8::try_from(i).unwrap()) as char)).unwrap();
            let address = Endpoint::Tcp(format!("127.0.0.1:{}", 1000 + i).parse().unwrap());
            BackendView {
                backend: Arc::new(Backend::new(
                    BackendId(i as u64),
                    pool_name.clone(),
                    name,
                    Some(address),
                    1,
                )),
                state: BackendState::Up { ramp_from: None },
                since: Moment::START,
                weight,
                effective: weight * 1000,
                tier,
                max_connections,
                sources: Sources::default(),
            }
        })
        .collect();
    let mut settings = PoolSettings::new(pool_name, Protocol::Tcp, Vec::<BackendSettings>::new());
    settings.policy = policy;
    PoolView::new(Arc::new(settings), Arc::new(PoolLive::new(1)), views, false)
}

fn asking(tried: &[BackendId]) -> Asking<'_> {
    Asking {
        client: CLIENT,
        tried,
        has_waited: false,
        now: Moment::START,
    }
}

fn hits(pool: &PoolView, draws: usize, tried: &[BackendId]) -> Vec<usize> {
    let mut rng = Seed(42).rng();
    let mut turns = Turns::default();
    let mut hits = vec![0; pool.backends.len()];
    for _ in 0..draws {
        if let Pick::Backend(i) = pool.pick(asking(tried), &mut turns, &mut rng) {
            hits[i] += 1;
        }
    }
    hits
}

#[test]
fn random_follows_weights_and_weight_zero_gets_nothing() {
    let hits = hits(
        &pool(
            Policy::Random,
            &[(100, 0, None), (0, 0, None), (300, 0, None)],
        ),
        40_000,
        &[],
    );
    assert_eq!(hits[1], 0);
    assert!((9_500..10_500).contains(&hits[0]), "{hits:?}");
}

#[test]
fn a_retry_goes_elsewhere_and_keeps_the_weights_of_the_rest() {
    let members = [(1000, 0, None), (1, 0, None), (3, 0, None)];
    let hits = hits(&pool(Policy::Random, &members), 40_000, &[BackendId(0)]);
    assert_eq!(hits[0], 0);
    assert!((9_500..10_500).contains(&hits[1]), "{hits:?}");
}

#[test]
fn every_policy_honours_tried_full_and_tiers() {
    for policy in Policy::ALL {
        let pool = pool(policy, &[(100, 0, Some(1)), (100, 0, None), (100, 1, None)]);
        let mut turns = Turns::default();
        let mut rng = Seed(1).rng();
        let mut pick = |tried: &[BackendId]| pool.pick(asking(tried), &mut turns, &mut rng);
        assert_eq!(pick(&[BackendId(1)]), Pick::Backend(0), "{policy:?}");
        assert!(pool.backends[0].backend.live.places.acquire(Some(1)));
        assert_eq!(pick(&[]), Pick::Backend(1), "{policy:?}");
        assert_eq!(pick(&[BackendId(1)]), Pick::Backend(2), "{policy:?}");
        assert_eq!(
            pick(&[BackendId(1), BackendId(2)]),
            Pick::Wait,
            "{policy:?}"
        );
        let all = [BackendId(0), BackendId(1), BackendId(2)];
        assert_eq!(pick(&all), Pick::Nobody, "{policy:?}");
    }
}

#[test]
fn a_suspect_is_avoided_while_its_tier_has_another() {
    for policy in Policy::ALL {
        let pool = pool(policy, &[(100, 0, None), (100, 0, None), (100, 1, None)]);
        pool.backends[0]
            .backend
            .live
            .suspect(Moment::START, ConnectFailure::TimedOut);
        let got = hits(&pool, 100, &[]);
        assert_eq!(got, [0, 100, 0], "{policy:?}");
        // The last of its tier is still better than the next tier.
        let got = hits(&pool, 100, &[BackendId(1)]);
        assert_eq!(got, [100, 0, 0], "{policy:?}");
    }
}

#[test]
fn who_refuses_is_avoided_while_any_tier_has_another() {
    for policy in Policy::ALL {
        let pool = pool(policy, &[(100, 0, None), (100, 1, None)]);
        let refusing = &pool.backends[0].backend;
        refusing
            .live
            .suspect(Moment::START, ConnectFailure::Refused);
        assert_eq!(hits(&pool, 100, &[]), [0, 100], "{policy:?}");
        // Where there is no other it may have come back.
        assert_eq!(hits(&pool, 100, &[BackendId(1)]), [100, 0], "{policy:?}");
        refusing.live.trust();
        assert_eq!(hits(&pool, 100, &[]), [100, 0], "{policy:?}");
    }
}

#[test]
fn a_full_server_is_the_last_choice_of_all() {
    for policy in Policy::ALL {
        let members = [(300, 0, None), (100, 0, None), (100, 1, Some(1))];
        let mut pool = pool(policy, &members);
        let of = |pool: &PoolView, has_waited| {
            let mut rng = Seed(3).rng();
            let asking = Asking {
                has_waited,
                ..asking(&[])
            };
            pool.pick(asking, &mut Turns::default(), &mut rng)
        };
        for full in &mut pool.backends[..2] {
            full.state = BackendState::Saturated;
            full.effective = 0;
        }
        let live = Arc::clone(&pool.live);
        let settings = Arc::clone(&pool.settings);
        let pool = PoolView::new(settings, live, pool.backends, false);
        assert_eq!(pool.usable(), 1, "{policy:?}");
        assert_eq!(of(&pool, false), Pick::Backend(2), "{policy:?}");
        // A place at another is waited for before.
        assert!(pool.backends[2].backend.live.places.acquire(Some(1)));
        assert_eq!(of(&pool, false), Pick::Wait, "{policy:?}");
        assert!(
            matches!(of(&pool, true), Pick::Backend(0 | 1)),
            "{policy:?}"
        );
        // Their weights count among them.
        if matches!(policy, Policy::Random) {
            let hits = hits(&pool, 40_000, &[BackendId(2)]);
            assert!((29_500..30_500).contains(&hits[0]), "{hits:?}");
        }
        let nobody = pool.pick(
            asking(&[BackendId(0), BackendId(1), BackendId(2)]),
            &mut Turns::default(),
            &mut Seed(3).rng(),
        );
        assert_eq!(nobody, Pick::Nobody, "{policy:?}");
    }
}

#[test]
fn a_backend_that_has_not_been_probed_is_waited_for_where_nobody_else_can_serve() {
    let mut first = pool(Policy::Random, &[(100, 0, None), (100, 0, None)]);
    for new in &mut first.backends {
        new.state = BackendState::Starting;
        new.effective = 0;
    }
    let view = |backends| {
        let (settings, live) = (Arc::clone(&first.settings), Arc::clone(&first.live));
        PoolView::new(settings, live, backends, false)
    };
    let pick = |pool: &PoolView| pool.pick(asking(&[]), &mut Turns::default(), &mut Seed(3).rng());
    assert_eq!(pick(&view(first.backends.clone())), Pick::Wait);
    let mut one_up = first.backends.clone();
    one_up[1].state = BackendState::Up { ramp_from: None };
    one_up[1].effective = 1000;
    assert_eq!(pick(&view(one_up)), Pick::Backend(1));
    let mut without_weight = first.backends.clone();
    for new in &mut without_weight {
        new.weight = 0;
    }
    assert_eq!(pick(&view(without_weight)), Pick::Nobody);
}

#[test]
fn who_cannot_be_probed_is_the_last_choice_and_is_not_waited_for() {
    let mut first = pool(Policy::Random, &[(100, 0, None), (100, 1, Some(1))]);
    first.backends[0].state = BackendState::Unknown;
    first.backends[0].effective = 0;
    let view = |backends| {
        let (settings, live) = (Arc::clone(&first.settings), Arc::clone(&first.live));
        PoolView::new(settings, live, backends, false)
    };
    let both = view(first.backends.clone());
    let pick = |pool: &PoolView, has_waited| {
        let asking = Asking {
            has_waited,
            ..asking(&[])
        };
        pool.pick(asking, &mut Turns::default(), &mut Seed(3).rng())
    };
    assert!(both.can_serve());
    assert_eq!(pick(&both, false), Pick::Backend(1));
    assert!(first.backends[1].backend.live.places.acquire(Some(1)));
    assert_eq!(pick(&both, false), Pick::Wait, "for a place at a good one");
    assert_eq!(pick(&both, true), Pick::Backend(0));
    let alone = view(vec![first.backends[0].clone()]);
    assert_eq!(pick(&alone, false), Pick::Backend(0));
    assert!(!alone.can_serve(), "a twin that can probe is better");
    assert_eq!(alone.usable(), 0);
}

#[test]
fn first_takes_the_order_of_the_file() {
    let pool = pool(Policy::First, &[(1, 0, None), (1000, 0, None)]);
    assert_eq!(hits(&pool, 10, &[]), [10, 0]);
}

#[test]
fn round_robin_takes_turns_by_weight_without_bunching() {
    let pool = pool(
        Policy::RoundRobin,
        &[(500, 0, None), (100, 0, None), (100, 0, None)],
    );
    let mut turns = Turns::default();
    let mut rng = Seed(1).rng();
    let order: Vec<Pick> = (0..7)
        .map(|_| pool.pick(asking(&[]), &mut turns, &mut rng))
        .collect();
    let a = Pick::Backend(0);
    assert_eq!(
        order,
        [a, a, Pick::Backend(1), a, Pick::Backend(2), a, a],
        "the order that smooth weighted round robin is known for"
    );
}

#[test]
fn least_takes_the_emptiest_for_its_weight() {
    let pool = pool(Policy::Least, &[(100, 0, None), (200, 0, None)]);
    let mut turns = Turns::default();
    let mut rng = Seed(5).rng();
    for _ in 0..300 {
        let Pick::Backend(i) = pool.pick(asking(&[]), &mut turns, &mut rng) else {
            panic!("somebody is there");
        };
        pool.backends[i].backend.live.places.acquire(None);
    }
    assert_eq!(pool.backends[0].backend.live.active(), 100);
    assert_eq!(pool.backends[1].backend.live.active(), 200);
}

#[test]
fn random2_evens_out_the_load() {
    let pool = pool(Policy::Random2, &[(100, 0, None); 10]);
    let mut turns = Turns::default();
    let mut rng = Seed(5).rng();
    for _ in 0..1000 {
        if let Pick::Backend(i) = pool.pick(asking(&[]), &mut turns, &mut rng) {
            pool.backends[i].backend.live.places.acquire(None);
        }
    }
    for view in &pool.backends {
        assert!((90..=110).contains(&view.backend.live.active()));
    }
}

#[test]
fn hash_moves_only_the_clients_of_the_one_that_left() {
    let whole = pool(
        Policy::Hash,
        &[(100, 0, None), (100, 0, None), (200, 0, None)],
    );
    let mut turns = Turns::default();
    let mut rng = Seed(1).rng();
    let mut shares = [0; 3];
    for n in 0u32..4000 {
        let mut ask = asking(&[]);
        ask.client = IpAddr::V4(n.wrapping_mul(2_654_435_761).into());
        let Pick::Backend(before) = whole.pick(ask, &mut turns, &mut rng) else {
            panic!("somebody is there");
        };
        shares[before] += 1;
        ask.tried = &[BackendId(0)];
        let after = whole.pick(ask, &mut turns, &mut rng);
        if before != 0 {
            assert_eq!(after, Pick::Backend(before));
        }
    }
    assert!((850..1150).contains(&shares[0]), "{shares:?}");
    assert!((1850..2150).contains(&shares[2]), "{shares:?}");
}

#[test]
fn hash_is_the_same_on_every_node_and_release() {
    // Pinned: another result here would move every client at an upgrade.
    let pool = pool(Policy::Hash, &[(100, 0, None); 5]);
    let mut turns = Turns::default();
    let picks: Vec<usize> = (1..=8u8)
        .map(|n| {
            let mut ask = asking(&[]);
            ask.client = IpAddr::V4([10, 0, 0, n].into());
            match pool.pick(ask, &mut turns, &mut Seed(u64::from(n)).rng()) {
                Pick::Backend(i) => i,
                Pick::Wait | Pick::Nobody => panic!("somebody is there"),
            }
        })
        .collect();
    assert_eq!(picks, HASH_PICKS);
    let mut mapped = asking(&[]);
    mapped.client = "::ffff:10.0.0.1".parse().unwrap();
    assert_eq!(
        pool.pick(mapped, &mut turns, &mut Seed(9).rng()),
        Pick::Backend(picks[0])
    );
}

const HASH_PICKS: [usize; 8] = [4, 1, 1, 3, 2, 4, 0, 0];
