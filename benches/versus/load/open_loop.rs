//! Messages there and back, open loop: they are sent at given times, whether
//! or not earlier ones are answered, and their latency counts from the time at
//! which they should have been sent. So a stall is charged to everybody who
//! would have been stalled.

use std::collections::VecDeque;
use std::num::NonZeroU64;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use rustix::event::Timespec;
use rustix::thread::set_current_timer_slack;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, timerfd_create, timerfd_settime,
};

use crate::fault::Fault;
use crate::poll::Flags;

use super::meter::Meter;
use super::ping::Lines;
use super::{Outcome, Spec};

const SEED: u64 = 1;
/// With a smaller share of the intended messages answered inside the window,
/// the figures are not those of this rate.
const LEAST: f64 = 0.5;
/// The kernel's timer; finer than the milliseconds of a wait.
const TIMER: usize = usize::MAX;

pub(crate) fn run(spec: &Spec, size: usize, connected: usize, rate: u32) -> Result<Outcome, Fault> {
    set_current_timer_slack(NonZeroU64::new(1))?;
    let mut lines = Lines::open(spec, size, connected)?;
    let timer = Timer::new()?;
    lines.poll.add_for(&timer.0, TIMER, Flags::IN | Flags::ET)?;
    let mut waiting: Vec<VecDeque<Instant>> = vec![VecDeque::new(); connected];
    let mut times = Times::new(rate);
    let mut meter = Meter::new(spec)?;
    let mut ready = Vec::new();
    let mut turn = 0;
    timer.set(times.next)?;
    loop {
        let now = Instant::now();
        if !meter.goes_on(now)? {
            break;
        }
        lines.poll.wait(Some(meter.patience(now)), &mut ready)?;
        for event in ready.drain(..) {
            if !lines.answered(event, &mut meter) {
                continue;
            }
            if let Some(since) = waiting[event.token].pop_front() {
                lines.ask(event.token, since, &mut meter);
            }
        }
        let first = times.next;
        while times.next <= Instant::now() {
            turn = (turn + 1) % connected;
            if lines.is_busy(turn) {
                waiting[turn].push_back(times.next);
            } else {
                lines.ask(turn, times.next, &mut meter);
            }
            times.advance();
        }
        if times.next != first {
            timer.set(times.next)?;
        }
    }
    lines.await_the_rest(&mut meter)?;
    let mut outcome = meter.outcome();
    let intended = f64::from(rate) * outcome.seconds;
    if (outcome.units as f64) < intended * LEAST {
        let said = format!("{} answers of about {intended:.0}", outcome.units);
        outcome.errors.add(said);
    }
    Ok(outcome)
}

/// When messages are due: independent of each other, as users are.
struct Times {
    next: Instant,
    mean: f64,
    rng: SmallRng,
}

impl Times {
    fn new(rate: u32) -> Self {
        let mut times = Self {
            next: Instant::now(),
            mean: 1.0 / f64::from(rate),
            rng: SmallRng::seed_from_u64(SEED),
        };
        times.advance();
        times
    }

    fn advance(&mut self) {
        let chance: f64 = self.rng.random();
        let gap = -self.mean * (1.0 - chance).ln();
        self.next += Duration::from_secs_f64(gap);
    }
}

struct Timer(OwnedFd);

impl Timer {
    fn new() -> Result<Self, Fault> {
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        Ok(Self(timerfd_create(TimerfdClockId::Monotonic, flags)?))
    }

    /// At once, if that time has passed.
    fn set(&self, at: Instant) -> Result<(), Fault> {
        let left = at.saturating_duration_since(Instant::now());
        let left = left.max(Duration::from_nanos(1));
        let zero = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let value = Timespec {
            tv_sec: left.as_secs() as i64,
            tv_nsec: i64::from(left.subsec_nanos()),
        };
        let timer = Itimerspec {
            it_interval: zero,
            it_value: value,
        };
        timerfd_settime(&self.0, TimerfdTimerFlags::empty(), &timer)?;
        Ok(())
    }
}
