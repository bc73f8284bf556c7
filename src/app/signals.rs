//! Signals, heard on a thread of its own: whatever else hangs, the process
//! ends when it has been told to.

use std::io;
use std::time::Duration;

use tokio::runtime::Builder;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};

use crate::clock::{self, Moment};

/// How long it may take until the first step of the end is begun: the process
/// may be about to start.
const BEGIN: Duration = Duration::from_secs(15);
/// What each step may take beyond its own time, before all is ended by force.
const SLACK: Duration = Duration::from_secs(5);
/// How long an end in order may take for somebody who has asked twice.
const HURRY: Duration = Duration::from_secs(3);

/// The ear of the process. Once it has been told to end it does end: each step
/// of that says by `allow` how long it takes, and a step that
/// takes longer is the last.
pub struct Signals {
    hangups: Option<mpsc::Receiver<()>>,
    stops: watch::Receiver<u32>,
    plan: watch::Sender<Plan>,
}

/// How the end goes on, as far as the process says itself.
#[derive(Clone, Copy, Debug, Default)]
struct Plan {
    /// When the present step should be over.
    step_until: Option<Moment>,
    /// Whether all that matters to others is done.
    is_done: bool,
}

impl Signals {
    /// Hears from now on.
    pub fn start() -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let entered = runtime.enter();
        let ears = Ears {
            hangup: signal(SignalKind::hangup())?,
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        };
        drop(entered);
        let (hangup, hangups) = mpsc::channel(1);
        let (stop, stops) = watch::channel(0);
        let (plan, plans) = watch::channel(Plan::default());
        std::thread::Builder::new()
            .name("signals".to_owned())
            .spawn(move || runtime.block_on(ears.hear(&hangup, &stop, plans)))?;
        Ok(Self {
            hangups: Some(hangups),
            stops,
            plan,
        })
    }

    /// Where each SIGHUP is told. To be taken once.
    pub(super) fn hangups(&mut self) -> Option<mpsc::Receiver<()>> {
        self.hangups.take()
    }

    /// Waits until the process has been told to end, so many `times`.
    pub(super) async fn asked(&self, times: u32) {
        let mut stops = self.stops.clone();
        if stops.wait_for(|it| *it >= times).await.is_err() {
            // The thread never ends, and without it nobody can ask.
            std::future::pending().await
        }
    }

    /// Whether somebody has asked twice: who does so means it.
    pub(super) fn is_hurried(&self) -> bool {
        *self.stops.borrow() > 1
    }

    /// The present step of the end takes `time`, and no longer.
    pub(super) fn allow(&self, time: Duration) {
        let until = clock::now() + time;
        self.plan.send_modify(|it| it.step_until = Some(until));
    }

    /// All that matters to others is done: from here on an end by force is as
    /// good as any.
    pub(super) fn done(&self) {
        self.allow(Duration::ZERO);
        self.plan.send_modify(|it| it.is_done = true);
    }
}

struct Ears {
    hangup: Signal,
    interrupt: Signal,
    terminate: Signal,
}

impl Ears {
    async fn hear(
        mut self,
        hangup: &mpsc::Sender<()>,
        stop: &watch::Sender<u32>,
        mut plans: watch::Receiver<Plan>,
    ) {
        let mut watchdog = Watchdog::default();
        loop {
            let plan = *plans.borrow_and_update();
            let signal = tokio::select! {
                _ = self.hangup.recv() => {
                    // A full box holds one already that will see the file.
                    let _enough = hangup.try_send(());
                    continue;
                }
                _ = self.interrupt.recv() => SignalKind::interrupt(),
                _ = self.terminate.recv() => SignalKind::terminate(),
                // The process still runs if nobody plans its end any more.
                Ok(()) = plans.changed() => continue,
                () = until(watchdog.bites_at(plan)) => {
                    std::process::exit(watchdog.exit_code(plan))
                }
            };
            watchdog.hear(signal.as_raw_value(), clock::now());
            stop.send_replace(watchdog.asked);
        }
    }
}

async fn until(when: Option<Moment>) {
    match when {
        Some(when) => tokio::time::sleep(when.since(clock::now())).await,
        None => std::future::pending().await,
    }
}

/// When the process is ended by force. Pure.
#[derive(Debug, Default)]
struct Watchdog {
    /// How often somebody has asked for the end.
    asked: u32,
    /// By which signal first.
    signal: i32,
    /// When the first step should have begun, and, for who has asked again,
    /// when all should be over.
    begin_by: Option<Moment>,
    over_by: Option<Moment>,
}

impl Watchdog {
    fn hear(&mut self, signal: i32, now: Moment) {
        self.asked += 1;
        match self.asked {
            1 => {
                self.signal = signal;
                self.begin_by = Some(now + BEGIN);
            }
            2 => self.over_by = Some(now + HURRY),
            _ => self.over_by = Some(now),
        }
    }

    /// `None` as long as nobody has asked for the end.
    fn bites_at(&self, plan: Plan) -> Option<Moment> {
        let begin_by = self.begin_by?;
        let step = plan.step_until.map_or(begin_by, |it| it + SLACK);
        Some(self.over_by.map_or(step, |it| it.min(step)))
    }

    /// What a shell says of a process that a signal has ended, unless the end
    /// was in order as far as others can tell.
    const fn exit_code(&self, plan: Plan) -> i32 {
        if plan.is_done { 0 } else { 128 + self.signal }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TERM: i32 = 15;

    fn at(seconds: u64) -> Moment {
        Moment::from_micros(seconds * 1_000_000)
    }

    fn step(until: u64) -> Plan {
        Plan {
            step_until: Some(at(until)),
            is_done: false,
        }
    }

    #[test]
    fn nobody_ends_who_was_not_told_to() {
        let watchdog = Watchdog::default();
        assert_eq!(watchdog.bites_at(Plan::default()), None);
        assert_eq!(watchdog.bites_at(step(1)), None);
    }

    #[test]
    fn each_step_has_its_time() {
        let mut watchdog = Watchdog::default();
        watchdog.hear(TERM, at(100));
        let begin = watchdog.bites_at(Plan::default());
        assert_eq!(begin, Some(at(100) + BEGIN), "it never begins");
        assert_eq!(watchdog.bites_at(step(400)), Some(at(400) + SLACK));
        assert_eq!(watchdog.exit_code(step(400)), 143);
    }

    #[test]
    fn who_asks_twice_waits_no_longer_than_that_and_a_third_time_not_at_all() {
        let mut watchdog = Watchdog::default();
        watchdog.hear(2, at(100));
        watchdog.hear(TERM, at(110));
        assert_eq!(watchdog.bites_at(step(400)), Some(at(110) + HURRY));
        let near = watchdog.bites_at(step(107));
        assert_eq!(near, Some(at(107) + SLACK), "what is nearer stays");
        watchdog.hear(TERM, at(111));
        assert_eq!(watchdog.bites_at(step(400)), Some(at(111)));
        assert_eq!(watchdog.exit_code(step(400)), 130);
    }

    #[test]
    fn an_end_whose_last_part_hangs_was_in_order_all_the_same() {
        let mut watchdog = Watchdog::default();
        watchdog.hear(TERM, at(100));
        let plan = Plan {
            is_done: true,
            ..step(130)
        };
        assert_eq!(watchdog.bites_at(plan), Some(at(130) + SLACK));
        assert_eq!(watchdog.exit_code(plan), 0);
    }
}
