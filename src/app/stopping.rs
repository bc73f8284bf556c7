//! The end of the process, step by step. Each step has a time that it may
//! take; who asks twice gets the end at once.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::{sleep, timeout};

use super::closing;
use super::control::Request;
use super::notify;
use super::signals::Signals;
use super::stage::Stage;
use super::twin::LEAVE;
use super::world::World;
use crate::clock;
use crate::event::Event;

/// What the control loop and the workers may take to do as they are told: they
/// wait for nobody, but the machine may be busy.
const STEP: Duration = Duration::from_secs(2);
/// How long taking the kernel's rules away may take.
const RULES: Duration = Duration::from_secs(3);
/// Between looks at whether the name has gone at last.
const LOOK: Duration = Duration::from_millis(250);

/// Accepts no more, and waits for the sessions to end.
pub(super) async fn stop(world: &Arc<World>, signals: &Signals, requests: &mpsc::Sender<Request>) {
    signals.allow(STEP);
    notify::tell(notify::STOPPING, &world.sink);
    // It ends with the process.
    tokio::spawn(notify::ask_for_time(world.sink.clone()));
    enter(Stage::Leaving, Duration::ZERO, world, signals, requests).await;
    leave_pair(world, signals).await;
    let grace = world.loaded.load().config.limits.shutdown_grace;
    world.sink.say(Event::Stopping {
        sessions: world.workers.sessions(),
        grace,
    });
    let deadline = clock::now() + grace;
    // Whoever the kernel has greeted is met first, within the grace.
    let meet = grace.min(closing::LIMIT);
    enter(Stage::Draining, meet, world, signals, requests).await;
    let rest = deadline.since(clock::now());
    let mut cut = end_sessions(world, signals, rest).await;
    let rest = deadline.since(clock::now());
    unless_hurried(signals, rest + STEP, world.kernel.drain(deadline)).await;
    enter(Stage::Ended, Duration::ZERO, world, signals, requests).await;
    signals.allow(RULES);
    match timeout(RULES, world.kernel.remove(&world.sink)).await {
        Ok(left) => cut += left,
        Err(_) => trouble(
            world,
            "the kernel plane's table stays: nft does not answer; the next start replaces it",
        ),
    }
    world.sink.say(Event::Stopped { cut });
    signals.done();
}

/// Begins `stage`. From this call on nothing is done that it does not permit.
/// What it begins with may take `time`, and is given up after that, or when
/// somebody asks twice.
async fn enter(
    stage: Stage,
    time: Duration,
    world: &World,
    signals: &Signals,
    requests: &mpsc::Sender<Request>,
) {
    world.enter(stage);
    signals.allow(time + STEP);
    let (reply, done) = oneshot::channel();
    let asked = timeout(STEP, requests.send(Request::Enter(stage, reply))).await;
    // A loop that has gone has nothing open.
    let entered = async {
        let _gone = done.await;
    };
    if asked.is_err() {
        trouble(world, "the control loop does not answer");
    } else if time.is_zero() {
        if timeout(STEP, entered).await.is_err() {
            trouble(world, "the control loop does not answer");
        }
    } else {
        unless_hurried(signals, time, entered).await;
    }
}

/// Gives the name away first, and serves on until resolvers know.
async fn leave_pair(world: &World, signals: &Signals) {
    let Some(twin) = world.twin.get() else {
        return;
    };
    let begun = clock::now();
    unless_hurried(signals, LEAVE + STEP, twin.leave()).await;
    if twin.known_until(begun) <= clock::now() {
        return;
    }
    while !signals.is_hurried() {
        // Nobody may have been there to take the name at first.
        let rest = twin.known_until(begun).since(clock::now());
        if rest.is_zero() {
            return;
        }
        let look = rest.min(LOOK);
        unless_hurried(signals, look + STEP, sleep(look)).await;
    }
}

/// Lets the sessions go on for `grace`, and says how many were cut then.
async fn end_sessions(world: &Arc<World>, signals: &Signals, grace: Duration) -> u64 {
    shut_down(world, grace);
    let waiting = Arc::clone(world);
    let mut joined = tokio::task::spawn_blocking(move || waiting.workers.join());
    let ended = unless_hurried(signals, grace + STEP, &mut joined).await;
    let ended = match ended {
        Some(ended) => Ok(ended),
        None => {
            shut_down(world, Duration::ZERO);
            signals.allow(STEP);
            timeout(STEP, joined).await
        }
    };
    // A panic has been reported by the panic hook.
    ended.map_or_else(
        |_| {
            trouble(world, "a worker does not end");
            u64::from(world.workers.sessions())
        },
        |joined| joined.unwrap_or(0),
    )
}

fn shut_down(world: &World, grace: Duration) {
    if let Err(error) = world.workers.shutdown(clock::now() + grace) {
        trouble(world, &format!("cannot wake a worker: {error}"));
    }
}

/// Does `step`, which should take no longer than `time`; gives it up after
/// that, and when somebody asks twice.
async fn unless_hurried<T>(
    signals: &Signals,
    time: Duration,
    step: impl Future<Output = T>,
) -> Option<T> {
    signals.allow(time);
    tokio::select! {
        done = timeout(time, step) => done.ok(),
        () = signals.asked(2) => None,
    }
}

fn trouble(world: &World, what: &str) {
    world.sink.say(Event::Trouble {
        what: format!("while stopping: {what}"),
    });
}
