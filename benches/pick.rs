//! What one pick costs, by policy and number of backends: `cargo bench`.
//!
//! Medians of 15 rounds, beside a round of doing nothing; read them as ratios.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::print_stdout)]

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use tandem::clock::{Moment, Seed};
use tandem::pool::{
    Asking, BackendSettings, BackendState, Board, ListenerSettings, Policy, PoolSettings, Protocol,
    Turns, Wanted,
};
use tandem::types::{Address, Endpoint, Name, Weight};

const ROUNDS: usize = 15;
const PICKS: u32 = 200_000;

fn main() {
    println!("{:<12} {:>9} {:>9} {:>9}", "ns/pick", "3", "30", "300");
    for policy in Policy::ALL {
        let cells: Vec<String> = [3, 30, 300]
            .into_iter()
            .map(|count| format!("{:>9.1}", median(policy, count)))
            .collect();
        println!("{:<12} {}", policy.as_str(), cells.join(" "));
    }
}

fn median(policy: Policy, count: u16) -> f64 {
    let pool = pool(policy, count);
    let mut rng = Seed(1).rng();
    let mut turns = Turns::default();
    let asking = Asking {
        client: "192.0.2.1".parse().unwrap(),
        tried: &[],
        has_waited: false,
        now: Moment::START,
    };
    let mut rounds: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let start = Instant::now();
            for _ in 0..PICKS {
                black_box(pool.pick(black_box(asking), &mut turns, &mut rng));
            }
            start.elapsed().as_nanos() as f64 / f64::from(PICKS)
        })
        .collect();
    rounds.sort_by(f64::total_cmp);
    rounds[ROUNDS / 2]
}

fn pool(policy: Policy, count: u16) -> Arc<tandem::pool::PoolView> {
    let name = Name::new("pool").unwrap();
    let backends: Vec<BackendSettings> = (1..=count)
        .map(|port| {
            let address = Address::parse(&format!("127.0.0.1:{port}")).unwrap();
            let mut backend = BackendSettings::new(Name::of_address(&address), address);
            backend.weight = Weight::new(u64::from(port % 7 + 1) * 10).unwrap();
            backend
        })
        .collect();
    let mut settings = PoolSettings::new(name.clone(), Protocol::Tcp, backends);
    settings.policy = policy;
    let wanted = Wanted {
        addresses: (1..=count)
            .map(|port| Some(Endpoint::Tcp(([127, 0, 0, 1], port).into())))
            .collect(),
        settings,
    };
    let bind = "127.0.0.1:0".parse().unwrap();
    let listener = ListenerSettings::new(name.clone(), bind, name);
    let mut board = Board::new(1);
    let delta = board.configure(&[listener], &[wanted], Moment::START);
    for backend in &delta.added {
        let up = BackendState::Up { ramp_from: None };
        board.set_state(backend.id, up, Moment::START);
    }
    Arc::clone(&board.compose(Moment::START).pools[0])
}
