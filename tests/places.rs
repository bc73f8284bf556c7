//! The queue for places loses no wake-up: `loom` runs the very file that the
//! workers run in every order that the memory model allows. The same models
//! find the loss where a part of the protocol is left out.
#![allow(clippy::unwrap_used, missing_docs)]
#![allow(clippy::duplicate_mod, reason = "the same file, made of other parts")]

/// As the workers have it.
#[path = "../src/pool"]
mod whole {
    mod sync {
        pub(super) use loom::sync::atomic::{AtomicBool, AtomicU32, Ordering, fence};
    }
    #[allow(dead_code, unreachable_pub, clippy::new_without_default)]
    #[path = "line.rs"]
    pub(super) mod line;
}

/// Without its fences.
#[path = "../src/pool"]
mod unfenced {
    mod sync {
        pub(super) use loom::sync::atomic::{AtomicBool, AtomicU32, Ordering};
        pub(super) fn fence(_: Ordering) {}
    }
    #[allow(dead_code, unreachable_pub, clippy::new_without_default)]
    #[path = "line.rs"]
    pub(super) mod line;
}

/// One place, which is taken; one who wants it, one who gives it back.
macro_rules! one_waits_for_one {
    ($code:ident, $looks_again:expr) => {
        loom::model(|| {
            use loom::sync::Arc;
            use $code::line::{Bell, Line, Places};
            let world = Arc::new((Places::new(), Line::new(), Bell::new()));
            assert!(world.0.acquire(Some(1)));
            let holder = loom::thread::spawn({
                let world = Arc::clone(&world);
                move || {
                    let (places, line, bell) = &*world;
                    if places.release_to(line) {
                        bell.ring();
                    }
                }
            });
            let (places, line, bell) = &*world;
            let mut is_served = places.acquire(Some(1));
            if !is_served {
                line.join();
                is_served = $looks_again && places.acquire(Some(1));
            }
            holder.join().unwrap();
            if !is_served {
                assert!(bell.has_rung(), "waits for ever");
                assert!(places.acquire(Some(1)), "rung for nothing");
            }
            assert_eq!(places.taken(), 1);
        });
    };
}

#[test]
fn who_joins_the_line_is_served_or_told() {
    one_waits_for_one!(whole, true);
}

#[test]
#[should_panic(expected = "waits for ever")]
fn without_the_second_look_a_place_may_be_nobodys() {
    one_waits_for_one!(whole, false);
}

#[test]
#[should_panic(expected = "waits for ever")]
fn without_the_fences_both_may_look_before_the_other_has_written() {
    one_waits_for_one!(unfenced, true);
}

/// Somebody who comes in between and finds no place must not look like one who
/// has one, not even for a moment.
#[test]
fn who_tries_in_vain_takes_nothing_from_those_who_wait() {
    use loom::sync::Arc;
    use whole::line::{Bell, Line, Places};
    loom::model(|| {
        let world = Arc::new((Places::new(), Line::new(), Bell::new()));
        assert!(world.0.acquire(Some(1)));
        let spawn = |step: fn(&(Places, Line, Bell))| {
            let world = Arc::clone(&world);
            loom::thread::spawn(move || step(&world))
        };
        let holder = spawn(|(places, line, bell)| {
            if places.release_to(line) {
                bell.ring();
            }
        });
        // It gives up at once if there is no place, and at once gives back.
        let passer_by = spawn(|(places, line, bell)| {
            if places.acquire(Some(1)) && places.release_to(line) {
                bell.ring();
            }
        });
        let (places, line, bell) = &*world;
        let mut is_served = places.acquire(Some(1));
        if !is_served {
            line.join();
            is_served = places.acquire(Some(1));
        }
        holder.join().unwrap();
        passer_by.join().unwrap();
        if !is_served {
            assert!(bell.has_rung(), "waits for ever");
            assert!(places.acquire(Some(1)), "rung for nothing");
        }
    });
}

/// A bell that rings while it is listened to is heard now or the next time.
#[test]
fn a_place_that_comes_while_the_bell_is_heard_is_not_missed() {
    use loom::sync::Arc;
    use whole::line::{Bell, Line, Places};
    loom::model(|| {
        let world = Arc::new((Places::new(), Line::new(), Bell::new()));
        assert!(world.0.acquire(Some(2)) && world.0.acquire(Some(2)));
        // Two wait at this worker.
        world.1.join();
        world.1.join();
        let holders = [(); 2].map(|()| {
            let world = Arc::clone(&world);
            loom::thread::spawn(move || {
                let (places, line, bell) = &*world;
                if places.release_to(line) {
                    bell.ring();
                }
            })
        });
        let (places, line, bell) = &*world;
        let mut waiting = 2;
        let mut serve = || {
            while waiting > 0 && bell.has_rung() {
                while waiting > 0 && places.acquire(Some(2)) {
                    line.leave();
                    waiting -= 1;
                }
            }
        };
        serve();
        for holder in holders {
            holder.join().unwrap();
        }
        serve();
        assert_eq!(waiting, 0, "waits for ever");
    });
}
