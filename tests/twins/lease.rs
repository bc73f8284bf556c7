//! With a lease, and bind9 as the register: never two that are exclusive at
//! one instant, and nobody is for longer than the register confirms.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::process::Signal;

use super::kit::net::Net;
use super::kit::pair::{Asker, Pair, in_register};
use super::kit::{figure, now, pass, since, wait_until};
use super::server::Kind;

/// Asks both nodes all the time whether they are exclusive.
struct Umpire {
    over: Arc<AtomicBool>,
    both: Arc<AtomicU64>,
    looks: Arc<AtomicU64>,
    threads: Vec<JoinHandle<()>>,
}

impl Umpire {
    fn start(pair: &Pair) -> Self {
        let over = Arc::<AtomicBool>::default();
        let (both, looks) = (Arc::<AtomicU64>::default(), Arc::<AtomicU64>::default());
        // A node that says yes has been it between the question and the answer;
        // so two were it at once if each said yes in turn, three times over.
        let askers = [0, 1].map(|node| pair.asker(node));
        let (is_over, count, all) = (Arc::clone(&over), Arc::clone(&both), Arc::clone(&looks));
        let thread = std::thread::spawn(move || {
            while !is_over.load(Ordering::Relaxed) {
                all.fetch_add(1, Ordering::Relaxed);
                let says = |asker: &Asker| asker.pair()["exclusive"] == true;
                let [one, two] = &askers;
                if says(one) && says(two) && says(one) {
                    count.fetch_add(1, Ordering::Relaxed);
                }
                std::thread::park_timeout(Duration::from_millis(1));
            }
        });
        Self {
            over,
            both,
            looks,
            threads: vec![thread],
        }
    }

    /// How often it has looked, and how often two were exclusive.
    fn stop(self) -> (u64, u64) {
        self.over.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().unwrap();
        }
        (
            self.looks.load(Ordering::Relaxed),
            self.both.load(Ordering::Relaxed),
        )
    }
}

fn is_exclusive(pair: &Pair, node: usize) -> bool {
    pair.pair(node)["exclusive"] == true
}

/// Waits until one holds the name with a lease.
fn settle(pair: &Pair) -> usize {
    let holder = pair.settle();
    wait_until("the holder has a lease", || is_exclusive(pair, holder));
    holder
}

#[test]
fn a_lease_is_never_held_by_two() {
    let net = Net::new(6);
    let server = net.server(Kind::Bind, "");
    let lease = "lease: { ttl: 2s, margin: 200ms },";
    let mut pair = net.pair(&in_register(&server, lease));
    pair.start_both();
    let umpire = Umpire::start(&pair);

    let holder = settle(&pair);
    let start = now();
    pair.kill(holder);
    wait_until("the twin has it", || is_exclusive(&pair, 1 - holder));
    figure("twins.lease.kill_replaced_ms", since(start).as_millis());
    pair.start(holder);

    // Cut from the register, its right ends; the twin takes the name.
    let holder = settle(&pair);
    let start = now();
    net.deafen("d", pair.ips[holder].into());
    wait_until("its right has ended", || !is_exclusive(&pair, holder));
    let ended = since(start);
    wait_until("the twin has it", || is_exclusive(&pair, 1 - holder));
    figure("twins.lease.cut_holder_ends_ms", ended.as_millis());
    figure(
        "twins.lease.cut_holder_replaced_ms",
        since(start).as_millis(),
    );
    assert!(ended < Duration::from_secs(4), "ttl - margin, and a look");
    net.mend("d");

    // It stands still with the right in its hand, and wakes up without.
    let holder = settle(&pair);
    let start = now();
    pair.signal(holder, Signal::STOP);
    wait_until("the twin has it", || is_exclusive(&pair, 1 - holder));
    figure("twins.lease.frozen_replaced_ms", since(start).as_millis());
    pair.signal(holder, Signal::CONT);
    assert!(!is_exclusive(&pair, holder), "it knows what time it is");

    let holder = settle(&pair);
    let start = now();
    pair.admin(holder, "POST", "/v1/pair/handover");
    wait_until("the twin has it", || is_exclusive(&pair, 1 - holder));
    figure("twins.lease.handover_ms", since(start).as_millis());

    // Nobody reaches the register: nobody is exclusive, and nobody moves.
    let holder = settle(&pair);
    let term = pair.term(holder);
    net.isolate("d");
    wait_until("nobody is", || (0..2).all(|it| !is_exclusive(&pair, it)));
    pass(Duration::from_secs(2));
    assert!((0..2).all(|it| !is_exclusive(&pair, it)));
    net.mend("d");
    let start = now();
    wait_until("somebody is again", || {
        (0..2).any(|it| is_exclusive(&pair, it))
    });
    figure(
        "twins.lease.back_after_register_ms",
        since(start).as_millis(),
    );
    let last = settle(&pair);
    figure("twins.lease.moves_without_register", pair.term(last) - term);

    let (looks, both) = umpire.stop();
    figure(
        "twins.lease.two_exclusive",
        format!("{both} of {looks} looks (goal: 0)"),
    );
    assert!(looks > 1000, "{looks}");
    assert_eq!(both, 0);
}
