//! Streams that never end, in one direction. Every byte is counted at both
//! ends, and what is in flight at the end of a download is compared with the
//! pattern.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};

use crate::fault::Fault;
use crate::poll::Poll;
use crate::wire::{self, Pattern, TRAILER, Wish};

use super::meter::Meter;
use super::{Outcome, PATIENCE, Spec};

const PIECE: usize = 256 << 10;
const DISCARD: usize = 1 << 20;
const TURN: usize = 8;

pub(crate) fn down(spec: &Spec, streams: usize) -> Result<Outcome, Fault> {
    let mut discard = vec![0; DISCARD];
    let (bulk, meter) =
        Bulk::open(spec, streams, Wish::Down)?.run(Meter::new(spec)?, |stream| {
            for _ in 0..TURN {
                match recv(&stream.socket, &mut *discard, RecvFlags::TRUNC) {
                    Ok((_, 0)) => return Turn::Failed("the stream has ended early".to_owned()),
                    Ok((_, read)) => {
                        stream.moved += read as u64;
                        if read < DISCARD {
                            return Turn::Wait;
                        }
                    }
                    Err(Errno::AGAIN) => return Turn::Wait,
                    Err(error) => return Turn::Failed(error.to_string()),
                }
            }
            Turn::Again
        })?;
    bulk.finish(meter, check_down)
}

pub(crate) fn up(spec: &Spec, streams: usize) -> Result<Outcome, Fault> {
    let pattern = Pattern::new(PIECE);
    let (bulk, meter) = Bulk::open(spec, streams, Wish::Up)?.run(Meter::new(spec)?, |stream| {
        for _ in 0..TURN {
            match stream.socket.write(pattern.at(stream.moved)) {
                Ok(written) => {
                    stream.moved += written as u64;
                    if written < PIECE {
                        return Turn::Wait;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Turn::Wait,
                Err(error) => return Turn::Failed(error.to_string()),
            }
        }
        Turn::Again
    })?;
    bulk.finish(meter, check_up)
}

struct Bulk {
    poll: Poll,
    streams: Vec<Stream>,
}

struct Stream {
    socket: TcpStream,
    moved: u64,
    failed: bool,
}

enum Turn {
    Wait,
    Again,
    Failed(String),
}

impl Bulk {
    fn open(spec: &Spec, streams: usize, wish: Wish) -> Result<Self, Fault> {
        let poll = Poll::new()?;
        let mut open = Vec::new();
        for target in spec.targets.iter().cycle().take(streams) {
            let mut socket = TcpStream::connect_timeout(target, PATIENCE)?;
            socket.write_all(&wire::header(wish, 0))?;
            socket.set_nonblocking(true)?;
            poll.add(&socket, open.len())?;
            open.push(Stream {
                socket,
                moved: 0,
                failed: false,
            });
        }
        Ok(Self {
            poll,
            streams: open,
        })
    }

    fn run(
        mut self,
        mut meter: Meter,
        mut turn: impl FnMut(&mut Stream) -> Turn,
    ) -> Result<(Self, Meter), Fault> {
        let mut again: VecDeque<usize> = VecDeque::new();
        let mut ready = Vec::new();
        loop {
            let now = Instant::now();
            if !meter.goes_on(now)? {
                return Ok((self, meter));
            }
            let patience = if again.is_empty() {
                meter.patience(now)
            } else {
                Duration::ZERO
            };
            self.poll.wait(Some(patience), &mut ready)?;
            again.extend(ready.drain(..).map(|event| event.token));
            for _ in 0..again.len() {
                let Some(at) = again.pop_front() else { break };
                let stream = &mut self.streams[at];
                if stream.failed {
                    continue;
                }
                let before = stream.moved;
                match turn(stream) {
                    Turn::Wait => {}
                    Turn::Again => again.push_back(at),
                    Turn::Failed(why) => {
                        stream.failed = true;
                        meter.errors.add(why);
                    }
                }
                meter.count(self.streams[at].moved - before);
            }
        }
    }

    /// Ends every stream and compares what both ends have counted.
    fn finish(
        self,
        mut meter: Meter,
        check: impl Fn(&mut Stream) -> Result<(), Fault>,
    ) -> Result<Outcome, Fault> {
        for stream in self.streams.iter().filter(|it| !it.failed) {
            stream.socket.set_nonblocking(false)?;
            stream.socket.set_read_timeout(Some(PATIENCE))?;
            if let Err(error) = stream.socket.shutdown(Shutdown::Write) {
                meter.errors.add(error.to_string());
            }
        }
        for mut stream in self.streams.into_iter().filter(|it| !it.failed) {
            if stream.moved == 0 {
                meter.errors.add("a stream has not moved");
            }
            if let Err(fault) = check(&mut stream) {
                meter.errors.add(fault.to_string());
            }
        }
        Ok(meter.outcome())
    }
}

/// Reads to the end; the last bytes say how many there were.
fn check_down(stream: &mut Stream) -> Result<(), Fault> {
    let pattern = Pattern::new(PIECE + TRAILER);
    let mut held: Vec<u8> = Vec::new();
    let mut piece = vec![0; PIECE];
    loop {
        let read = stream.socket.read(&mut piece)?;
        if read == 0 {
            break;
        }
        held.extend_from_slice(&piece[..read]);
        let data = held.len().saturating_sub(TRAILER);
        if held[..data] != pattern.at(stream.moved)[..data] {
            return Err(Fault::new(format!("wrong bytes near {}", stream.moved)));
        }
        stream.moved += data as u64;
        held.drain(..data);
    }
    expect_total(&held, stream.moved)
}

fn check_up(stream: &mut Stream) -> Result<(), Fault> {
    let mut answer = Vec::new();
    stream.socket.read_to_end(&mut answer)?;
    expect_total(&answer, stream.moved)
}

fn expect_total(trailer: &[u8], here: u64) -> Result<(), Fault> {
    let Some(there) = wire::read_trailer(trailer) else {
        return Err(Fault::new(format!(
            "the stream ended after {here} bytes without the backend's count"
        )));
    };
    if there == here {
        return Ok(());
    }
    let said = format!("the backend counts {there} bytes, the load {here}");
    Err(Fault::new(said))
}
