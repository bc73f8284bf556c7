//! The server behind every balancer, as a process of its own: one thread, one
//! event loop. What a connection wants is in its first bytes (`wire`).

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::process::ExitCode;
use std::time::Duration;

use rustix::net::{RecvFlags, SocketFlags, accept_with, recv, sockopt};
use rustix::process::{Signal, set_parent_process_death_signal};

use crate::Ended;
use crate::fault::Fault;
use crate::poll::{Flags, Poll, Ready};
use crate::wire::{self, HEADER, Pattern, Wish};

const SCRATCH: usize = 64 << 10;
const PIECE: usize = 256 << 10;
const DISCARD: usize = 1 << 20;
/// System calls for one connection before the others have their turn.
const TURN: usize = 8;
const ACCEPTS: usize = 256;

/// `versus serve ADDRESS...`: says `ready` on standard output, serves until killed.
pub(crate) fn serve() -> Ended {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    let addresses = std::env::args().skip(2).map(|text| text.parse());
    let addresses: Vec<SocketAddr> = addresses.collect::<Result<_, _>>()?;
    let mut server = Server::new(&addresses)?;
    println!("ready");
    loop {
        server.turn()?;
    }
    #[expect(unreachable_code, reason = "the type wants an exit code")]
    Ok(ExitCode::SUCCESS)
}

struct Server {
    poll: Poll,
    listeners: Vec<TcpListener>,
    /// The token of a connection is its place here plus the listeners.
    places: Vec<Option<Connection>>,
    free: Vec<usize>,
    /// Those that stopped because their turn was over.
    again: VecDeque<usize>,
    tools: Tools,
}

/// Shared by all connections.
struct Tools {
    scratch: Vec<u8>,
    discard: Vec<u8>,
    pattern: Pattern,
}

struct Connection {
    socket: TcpStream,
    state: State,
    ending: bool,
    writes_watched: bool,
}

enum State {
    Fresh(Vec<u8>),
    Echo,
    EchoOnce { got: Vec<u8>, size: usize },
    Down { sent: u64 },
    Up { got: u64 },
    Flush { bytes: Vec<u8>, then: After },
}

#[derive(Clone, Copy)]
enum After {
    Echo,
    Close,
}

enum Next {
    /// The state has changed: look again.
    On,
    /// Nothing more until the kernel says so.
    Wait,
    /// There is more, after the others.
    Again,
    Close,
}

impl Server {
    fn new(addresses: &[SocketAddr]) -> Result<Self, Fault> {
        let poll = Poll::new()?;
        let mut listeners = Vec::new();
        for address in addresses {
            // The standard library asks for a backlog of 4096 on Linux.
            let listener = TcpListener::bind(address)?;
            listener.set_nonblocking(true)?;
            sockopt::set_tcp_nodelay(&listener, true)?;
            poll.add_for(&listener, listeners.len(), Flags::IN)?;
            listeners.push(listener);
        }
        Ok(Self {
            poll,
            listeners,
            places: Vec::new(),
            free: Vec::new(),
            again: VecDeque::new(),
            tools: Tools {
                scratch: vec![0; SCRATCH],
                discard: vec![0; DISCARD],
                pattern: Pattern::new(PIECE),
            },
        })
    }

    fn turn(&mut self) -> Result<(), Fault> {
        let mut ready = Vec::new();
        let patience = (!self.again.is_empty()).then_some(Duration::ZERO);
        self.poll.wait(patience, &mut ready)?;
        for event in ready {
            if event.token < self.listeners.len() {
                self.accept(event)?;
            } else {
                self.drive(event.token - self.listeners.len(), event.ending());
            }
        }
        for _ in 0..self.again.len() {
            let Some(place) = self.again.pop_front() else {
                break;
            };
            self.drive(place, false);
        }
        Ok(())
    }

    fn accept(&mut self, event: Ready) -> Result<(), Fault> {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        for _ in 0..ACCEPTS {
            let Ok(socket) = accept_with(&self.listeners[event.token], flags) else {
                break;
            };
            self.welcome(socket)?;
        }
        Ok(())
    }

    fn welcome(&mut self, socket: OwnedFd) -> Result<(), Fault> {
        let place = self.free.pop().unwrap_or_else(|| {
            self.places.push(None);
            self.places.len() - 1
        });
        let socket = TcpStream::from(socket);
        let token = place + self.listeners.len();
        let flags = Flags::IN | Flags::RDHUP | Flags::ET;
        self.poll.add_for(&socket, token, flags)?;
        self.places[place] = Some(Connection {
            socket,
            state: State::Fresh(Vec::new()),
            ending: false,
            writes_watched: false,
        });
        Ok(())
    }

    /// An event may reach a later tenant of the same place; it then finds
    /// nothing to do.
    fn drive(&mut self, place: usize, ending: bool) {
        let Some(connection) = self.places[place].as_mut() else {
            return;
        };
        connection.ending |= ending;
        let next = connection.step_on(&mut self.tools);
        let watch = matches!(next, Ok(Next::Wait | Next::Again)) && connection.watches_writes();
        let next = if watch {
            connection.writes_watched = true;
            let token = place + self.listeners.len();
            self.poll.write_too(&connection.socket, token).and(next)
        } else {
            next
        };
        match next {
            Ok(Next::On | Next::Wait) => {}
            Ok(Next::Again) => self.again.push_back(place),
            // The load sees a reset or an early end, and counts it.
            Ok(Next::Close) | Err(_) => {
                self.places[place] = None;
                self.free.push(place);
            }
        }
    }
}

impl Connection {
    fn watches_writes(&self) -> bool {
        let writes = matches!(self.state, State::Down { .. } | State::Flush { .. });
        writes && !self.writes_watched
    }

    fn step_on(&mut self, tools: &mut Tools) -> io::Result<Next> {
        loop {
            match self.step(tools) {
                Ok(Next::On) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Next::Wait),
                other => return other,
            }
        }
    }

    fn step(&mut self, tools: &mut Tools) -> io::Result<Next> {
        match &mut self.state {
            State::Fresh(_) => self.fresh(tools),
            State::Echo => self.echo(tools),
            State::EchoOnce { .. } => self.echo_once(tools),
            State::Down { .. } => self.down(tools),
            State::Up { .. } => self.up(tools),
            State::Flush { .. } => self.flush(),
        }
    }

    fn fresh(&mut self, tools: &mut Tools) -> io::Result<Next> {
        let read = self.socket.read(&mut tools.scratch)?;
        let State::Fresh(got) = &mut self.state else {
            return Ok(Next::On);
        };
        if read == 0 {
            return Ok(Next::Close);
        }
        got.extend_from_slice(&tools.scratch[..read]);
        if got.len() < HEADER {
            return Ok(Next::On);
        }
        let Some((wish, size)) = wire::read_header(got) else {
            return Ok(Next::Close);
        };
        let got = std::mem::take(got);
        self.state = match wish {
            Wish::Echo => State::Flush {
                bytes: got,
                then: After::Echo,
            },
            Wish::EchoOnce => State::EchoOnce { got, size },
            Wish::Down => State::Down { sent: 0 },
            Wish::Up => State::Up {
                got: (got.len() - HEADER) as u64,
            },
        };
        Ok(Next::On)
    }

    fn echo(&mut self, tools: &mut Tools) -> io::Result<Next> {
        let read = self.socket.read(&mut tools.scratch)?;
        if read == 0 {
            return Ok(Next::Close);
        }
        let bytes = &tools.scratch[..read];
        let sent = match self.socket.write(bytes) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            other => other?,
        };
        if sent < read {
            let bytes = bytes[sent..].to_vec();
            let then = After::Echo;
            self.state = State::Flush { bytes, then };
            return Ok(Next::On);
        }
        // A short read has emptied the queue, unless the end is behind it.
        let empty = read < tools.scratch.len() && !self.ending;
        Ok(if empty { Next::Wait } else { Next::On })
    }

    fn echo_once(&mut self, tools: &mut Tools) -> io::Result<Next> {
        let State::EchoOnce { got, size } = &mut self.state else {
            return Ok(Next::On);
        };
        if got.len() < *size {
            let read = self.socket.read(&mut tools.scratch)?;
            if read == 0 {
                return Ok(Next::Close);
            }
            got.extend_from_slice(&tools.scratch[..read]);
            return Ok(Next::On);
        }
        let bytes = std::mem::take(got);
        let then = After::Close;
        self.state = State::Flush { bytes, then };
        Ok(Next::On)
    }

    fn down(&mut self, tools: &Tools) -> io::Result<Next> {
        let State::Down { sent } = &mut self.state else {
            return Ok(Next::On);
        };
        if self.ending {
            let bytes = wire::trailer(*sent).to_vec();
            let then = After::Close;
            self.state = State::Flush { bytes, then };
            return Ok(Next::On);
        }
        for _ in 0..TURN {
            let written = self.socket.write(tools.pattern.at(*sent))?;
            *sent += written as u64;
            if written < PIECE {
                return Ok(Next::Wait);
            }
        }
        Ok(Next::Again)
    }

    fn up(&mut self, tools: &mut Tools) -> io::Result<Next> {
        let State::Up { got } = &mut self.state else {
            return Ok(Next::On);
        };
        for _ in 0..TURN {
            // Discarded in the kernel: the balancer is to be the bottleneck.
            let (_, read) = recv(&self.socket, &mut *tools.discard, RecvFlags::TRUNC)?;
            *got += read as u64;
            if read == 0 {
                let bytes = wire::trailer(*got).to_vec();
                let then = After::Close;
                self.state = State::Flush { bytes, then };
                return Ok(Next::On);
            }
            if read < DISCARD && !self.ending {
                return Ok(Next::Wait);
            }
        }
        Ok(Next::Again)
    }

    fn flush(&mut self) -> io::Result<Next> {
        let State::Flush { bytes, then } = &mut self.state else {
            return Ok(Next::On);
        };
        let sent = self.socket.write(bytes)?;
        bytes.drain(..sent);
        if !bytes.is_empty() {
            return Ok(Next::On);
        }
        match then {
            After::Close => Ok(Next::Close),
            After::Echo => {
                self.state = State::Echo;
                let wait = !self.ending;
                Ok(if wait { Next::Wait } else { Next::On })
            }
        }
    }
}
