//! Connections that carry one message and end, some at the same time.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, socket_with};

use crate::fault::Fault;
use crate::poll::{Poll, Ready};
use crate::wire::{self, Wish};

use super::meter::Meter;
use super::{Errors, Outcome, PATIENCE, Spec};

const SIZE: usize = 64;

pub(crate) fn run(spec: &Spec, server_closes: bool, at_once: usize) -> Result<Outcome, Fault> {
    let mut short = Short {
        poll: Poll::new()?,
        targets: spec.targets.clone(),
        server_closes,
        started: 0,
        places: Vec::new(),
    };
    for _ in 0..at_once {
        short.places.push(None);
    }
    let mut meter = Meter::new(spec)?;
    for place in 0..at_once {
        short.start(place, &mut meter.errors);
    }
    let mut ready = Vec::new();
    loop {
        let now = Instant::now();
        if !meter.goes_on(now)? {
            break;
        }
        short.turn(Some(meter.patience(now)), &mut ready, &mut meter, true)?;
    }
    // Those under way are to end well, too.
    let until = Instant::now() + PATIENCE;
    while short.places.iter().any(Option::is_some) && Instant::now() < until {
        let patience = until.saturating_duration_since(Instant::now());
        short.turn(Some(patience), &mut ready, &mut meter, false)?;
    }
    for _ in short.places.iter().flatten() {
        meter.errors.add("a connection has not ended");
    }
    Ok(meter.outcome())
}

struct Short {
    poll: Poll,
    targets: Vec<SocketAddr>,
    server_closes: bool,
    started: u64,
    places: Vec<Option<One>>,
}

struct One {
    socket: TcpStream,
    message: Vec<u8>,
    started: Instant,
    asked: bool,
    got: usize,
}

impl Short {
    fn turn(
        &mut self,
        patience: Option<Duration>,
        ready: &mut Vec<Ready>,
        meter: &mut Meter,
        restart: bool,
    ) -> Result<(), Fault> {
        self.poll.wait(patience, ready)?;
        for event in ready.drain(..) {
            let Some(one) = self.places[event.token].as_mut() else {
                continue;
            };
            match one.go_on(event, self.server_closes) {
                Ok(false) => continue,
                Ok(true) => meter.answered(one.started.elapsed()),
                Err(fault) => meter.errors.add(fault.to_string()),
            }
            self.places[event.token] = None;
            if restart && !meter.errors.too_many() {
                self.start(event.token, &mut meter.errors);
            }
        }
        // A place whose connection could not be started tries again.
        for place in 0..self.places.len() {
            if restart && self.places[place].is_none() && !meter.errors.too_many() {
                self.start(place, &mut meter.errors);
            }
        }
        Ok(())
    }

    fn start(&mut self, place: usize, errors: &mut Errors) {
        match self.connect(place) {
            Ok(one) => self.places[place] = Some(one),
            Err(fault) => errors.add(format!("connect: {fault}")),
        }
    }

    fn connect(&mut self, place: usize) -> Result<One, Fault> {
        self.started += 1;
        let started = Instant::now();
        let target = self.targets[self.started as usize % self.targets.len()];
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket = socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)?;
        match connect(&socket, &target) {
            Ok(()) | Err(Errno::INPROGRESS) => {}
            Err(error) => return Err(error.into()),
        }
        self.poll.add(&socket, place)?;
        let wish = if self.server_closes {
            Wish::EchoOnce
        } else {
            Wish::Echo
        };
        Ok(One {
            socket: TcpStream::from(socket),
            message: wire::message(wish, SIZE, self.started),
            started,
            asked: false,
            got: 0,
        })
    }
}

impl One {
    /// True once the connection has done everything it was for.
    fn go_on(&mut self, event: Ready, server_closes: bool) -> Result<bool, Fault> {
        if !self.asked {
            match self.socket.write(&self.message) {
                Ok(SIZE) => self.asked = true,
                Ok(part) => return Err(Fault::new(format!("{part} bytes of {SIZE} sent"))),
                // Also what a socket says that is not connected yet.
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error.into()),
            }
        }
        if !event.readable() {
            return Ok(false);
        }
        let mut bytes = [0; SIZE + 1];
        loop {
            let read = match self.socket.read(&mut bytes) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                other => other?,
            };
            if read == 0 {
                let whole = self.got == SIZE && server_closes;
                let said = format!("closed after {} bytes", self.got);
                return whole.then_some(true).ok_or_else(|| Fault::new(said));
            }
            if self.message.get(self.got..self.got + read) != Some(&bytes[..read]) {
                return Err(Fault::new("wrong bytes in the answer"));
            }
            self.got += read;
            if self.got == SIZE && !server_closes {
                return Ok(true);
            }
            if !event.ending() {
                return Ok(false);
            }
        }
    }
}
