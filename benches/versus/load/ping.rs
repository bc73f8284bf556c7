//! Messages there and back, closed loop: the next one is sent when the answer
//! is there. With fewer active than connected, another connection is chosen
//! at random for every message.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Instant;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use crate::fault::Fault;
use crate::poll::{Poll, Ready};
use crate::wire::{self, Wish};

use super::meter::Meter;
use super::{Outcome, PATIENCE, Spec, connect_all};

/// The same choices for every subject.
const SEED: u64 = 1;

pub(crate) fn run(
    spec: &Spec,
    size: usize,
    connected: usize,
    active: usize,
) -> Result<Outcome, Fault> {
    let mut lines = Lines::open(spec, size, connected)?;
    let mut rng = SmallRng::seed_from_u64(SEED);
    let mut silent: Vec<usize> = (0..connected).collect();
    let mut meter = Meter::new(spec)?;
    for _ in 0..active {
        let at = take(&mut silent, connected == active, &mut rng);
        lines.ask(at, Instant::now(), &mut meter);
    }
    let mut ready = Vec::new();
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
            silent.push(event.token);
            let at = take(&mut silent, connected == active, &mut rng);
            lines.ask(at, Instant::now(), &mut meter);
        }
    }
    lines.await_the_rest(&mut meter)?;
    Ok(meter.outcome())
}

/// The last one that fell silent, or any.
fn take(silent: &mut Vec<usize>, last: bool, rng: &mut SmallRng) -> usize {
    let at = if last {
        silent.len() - 1
    } else {
        rng.random_range(0..silent.len())
    };
    silent.swap_remove(at)
}

/// Connections that carry one message at a time.
pub(crate) struct Lines {
    pub(crate) poll: Poll,
    lines: Vec<Line>,
    numbers: u64,
    scratch: Vec<u8>,
}

struct Line {
    socket: TcpStream,
    message: Vec<u8>,
    /// When the message under way was, or should have been, sent.
    since: Option<Instant>,
    got: usize,
}

impl Lines {
    pub(crate) fn open(spec: &Spec, size: usize, count: usize) -> Result<Self, Fault> {
        let poll = Poll::new()?;
        let mut lines = Vec::with_capacity(count);
        for socket in connect_all(spec, count)? {
            socket.set_nonblocking(true)?;
            poll.add(&socket, lines.len())?;
            lines.push(Line {
                socket,
                message: wire::message(Wish::Echo, size, 0),
                since: None,
                got: 0,
            });
        }
        Ok(Self {
            poll,
            lines,
            numbers: 0,
            scratch: vec![0; size + 1],
        })
    }

    pub(crate) fn is_busy(&self, at: usize) -> bool {
        self.lines[at].since.is_some()
    }

    /// Sends a new message; `since` is what its latency is counted from.
    pub(crate) fn ask(&mut self, at: usize, since: Instant, meter: &mut Meter) {
        self.numbers += 1;
        let line = &mut self.lines[at];
        wire::number_message(&mut line.message, self.numbers);
        line.got = 0;
        line.since = Some(since);
        match line.socket.write(&line.message) {
            Ok(sent) if sent == line.message.len() => {}
            Ok(sent) => meter.errors.add(format!("only {sent} bytes sent")),
            Err(error) => meter.errors.add(format!("send: {error}")),
        }
    }

    /// True if the answer of this connection is complete and right.
    pub(crate) fn answered(&mut self, event: Ready, meter: &mut Meter) -> bool {
        // The timer of the open loop has no line.
        let Some(line) = self.lines.get_mut(event.token) else {
            return false;
        };
        let Some(since) = line.since else {
            return false;
        };
        if !event.readable() {
            return false;
        }
        match line.read(&mut self.scratch) {
            Ok(false) => false,
            Ok(true) => {
                line.since = None;
                meter.answered(since.elapsed());
                true
            }
            Err(fault) => {
                // This connection stays silent from now on.
                line.since = None;
                meter.errors.add(fault.to_string());
                false
            }
        }
    }

    /// Every message is to be answered, also those of the last moment.
    pub(crate) fn await_the_rest(mut self, meter: &mut Meter) -> Result<(), Fault> {
        let until = Instant::now() + PATIENCE;
        let mut ready = Vec::new();
        while self.lines.iter().any(|line| line.since.is_some()) {
            let patience = until.saturating_duration_since(Instant::now());
            if patience.is_zero() {
                break;
            }
            self.poll.wait(Some(patience), &mut ready)?;
            for event in ready.drain(..) {
                self.answered(event, meter);
            }
        }
        for _ in self.lines.iter().filter(|line| line.since.is_some()) {
            meter.errors.add("a message has no answer");
        }
        Ok(())
    }
}

impl Line {
    fn read(&mut self, scratch: &mut [u8]) -> Result<bool, Fault> {
        let read = match self.socket.read(scratch) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
            other => other?,
        };
        if read == 0 {
            return Err(Fault::new("closed before the answer"));
        }
        if self.message.get(self.got..self.got + read) != Some(&scratch[..read]) {
            return Err(Fault::new("wrong bytes in the answer"));
        }
        self.got += read;
        Ok(self.got == self.message.len())
    }
}
