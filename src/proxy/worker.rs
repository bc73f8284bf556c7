//! One worker: an edge-triggered event loop that owns its sessions. It shares
//! nothing with other workers but counters, and waits for nobody.

use std::io::{self, Write};
use std::sync::atomic::Ordering;
use std::time::Duration;

use mio::{Events, Interest, Poll, Token};

use super::accept::{Gate, Spare};
use super::context::Context;
use super::mailbox::Command;
use super::session::{NEVER, Phase, Session, Step};
use super::slab::{Key, Slab};
use crate::clock::{self, Moment};
use crate::event::Event;
use crate::pool::BackendId;
use crate::types::{Name, Reason};

/// Tokens with this bit belong to gates; sessions never set it.
const GATE: usize = 1 << (usize::BITS - 1);
/// The bell of the mailbox.
pub(super) const BELL: Token = Token(usize::MAX);
/// Somebody asks whether this worker lives.
const ATTEST: Token = Token(usize::MAX - 1);
/// How many of those are answered in one turn; twins ask twice a second.
const ASKERS: usize = 64;
/// Sessions that are ended in one turn when a backend dies: the living have
/// their turn in between.
const KILL_BUDGET: usize = 256;

pub(super) struct Worker {
    poll: Poll,
    ctx: Context,
    slab: Slab<Session>,
    gates: Vec<Option<Gate>>,
    witnesses: Vec<mio::net::TcpListener>,
    spare: Spare,
    /// Sessions to look at for a kill or a drain.
    doomed: Vec<(Key, Doom)>,
    due: Vec<(Key, Moment)>,
    busy_poll: Duration,
    /// How long nothing happened before the last events.
    last_gap: Duration,
    /// The snapshot that those who wait have been tried with.
    seen: u64,
}

/// What is to become of the sessions of a backend.
#[derive(Clone, Copy, Debug)]
struct Doom {
    backend: BackendId,
    reason: Reason,
    /// `None`: at once.
    at: Option<Moment>,
}

impl Worker {
    pub(super) fn new(poll: Poll, ctx: Context, busy_poll: Duration) -> Self {
        Self {
            poll,
            ctx,
            slab: Slab::new(),
            gates: Vec::new(),
            witnesses: Vec::new(),
            spare: Spare::new(),
            doomed: Vec::new(),
            due: Vec::new(),
            busy_poll,
            last_gap: Duration::ZERO,
            seen: 0,
        }
    }

    /// Serves until it is told to stop and its last session has ended.
    pub(super) fn run(mut self) {
        let mut events = Events::with_capacity(1024);
        loop {
            match self.wait(&mut events) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                // epoll_wait(2) has no other error that a correct call can
                // meet; a worker that gives up would be worse than any.
                Err(error) => self.trouble(&format!("epoll_wait: {error}")),
            }
            self.ctx.now = clock::now();
            let turns = self.ctx.shared.turns.of(self.ctx.worker);
            turns.store(self.ctx.now.as_micros(), Ordering::Relaxed);
            self.take_snapshot();
            let mut rung = false;
            for event in &events {
                match event.token() {
                    BELL => rung = true,
                    ATTEST => self.answer_askers(),
                    Token(token) if token & GATE != 0 => {
                        if let Some(Some(gate)) = self.gates.get_mut(token & !GATE) {
                            gate.ring();
                        }
                    }
                    Token(token) => {
                        let (key, server) = Key::of_token(token);
                        self.touch(key, |session, ctx| session.on_event(ctx, server, event));
                    }
                }
            }
            if rung {
                self.read_mail();
            }
            self.go_on();
            self.accept();
            self.expire();
            self.kill_some();
            if self.ctx.stop_at.is_some() && self.slab.len() == 0 && self.gates_are_shut() {
                return;
            }
        }
    }

    /// Waits for events. Where that is wanted, and as long as it pays, the
    /// worker looks for them before it sleeps: to be woken costs more than to
    /// have been awake.
    fn wait(&mut self, events: &mut Events) -> io::Result<()> {
        let timeout = self.timeout();
        if self.busy_poll.is_zero() || timeout == Some(Duration::ZERO) {
            return self.poll.poll(events, timeout);
        }
        let start = clock::now();
        if self.last_gap < self.busy_poll {
            let until = timeout.map_or(self.busy_poll, |it| it.min(self.busy_poll));
            loop {
                self.poll.poll(events, Some(Duration::ZERO))?;
                let waited = clock::now().since(start);
                if !events.is_empty() || waited >= until {
                    break;
                }
                std::hint::spin_loop();
            }
        }
        if events.is_empty() {
            let waited = clock::now().since(start);
            let rest = timeout.map(|it| it.saturating_sub(waited));
            self.poll.poll(events, rest)?;
        }
        self.last_gap = clock::now().since(start);
        Ok(())
    }

    fn timeout(&self) -> Option<Duration> {
        if !self.ctx.again.is_empty() || !self.doomed.is_empty() {
            return Some(Duration::ZERO);
        }
        let gates = self.gates.iter().flatten().filter_map(Gate::wants);
        let next = gates.chain(self.ctx.wheel.next()).min()?;
        Some(next.since(clock::now()))
    }

    fn take_snapshot(&mut self) {
        if self.ctx.refresh() || self.seen != self.ctx.snapshot.generation {
            self.seen = self.ctx.snapshot.generation;
            // A backend may have come back, or have been given more places.
            self.serve_waiting();
        }
    }

    /// Lets `look` at a session, if it still exists, and does what follows.
    fn touch(&mut self, key: Key, look: impl FnOnce(&mut Session, &mut Context) -> Step) {
        let Some(session) = self.slab.get_mut(key) else {
            return;
        };
        let step = session.guard(&mut self.ctx, look);
        settle(&mut self.ctx, &mut self.slab, key, step);
    }

    /// Sessions that used up their last turn have another one.
    fn go_on(&mut self) {
        for key in std::mem::take(&mut self.ctx.again) {
            self.touch(key, |session, ctx| {
                session.has_turn = false;
                session.advance(ctx)
            });
        }
    }

    fn accept(&mut self) {
        for gate in self.gates.iter_mut().flatten() {
            gate.accept(&mut self.ctx, &mut self.spare, &mut self.slab, settle);
        }
    }

    fn expire(&mut self) {
        let mut due = std::mem::take(&mut self.due);
        self.ctx.wheel.expire(self.ctx.now, &mut due);
        for (key, at) in due.drain(..) {
            self.touch(key, |session, ctx| {
                // Another entry has taken this one's place.
                if session.armed != at {
                    return Step::Stay;
                }
                session.armed = NEVER;
                session.on_deadline(ctx)
            });
        }
        self.due = due;
    }

    fn read_mail(&mut self) {
        let mailboxes = self.ctx.shared.mailboxes.get();
        let Some(mailbox) = mailboxes.and_then(|all| all.get(self.ctx.worker)) else {
            return;
        };
        let (commands, place_free) = mailbox.take();
        // Whoever is told to end the sessions of a backend must not have more
        // of them afterwards: the snapshot that shows it as lost was there
        // before the letter (`Workers::show`), but perhaps not yet when this
        // turn began. A session is at its backend from the pick on, before it
        // connects, so those of older snapshots are found.
        self.take_snapshot();
        for command in commands {
            self.obey(command);
        }
        if place_free {
            self.serve_waiting();
        }
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Attest { socket } => self.attest(socket),
            Command::Drain {
                backend,
                at,
                reason,
            } => self.doom(Doom {
                backend,
                reason,
                at: Some(at),
            }),
            Command::Kill { backend, reason } => self.doom(Doom {
                backend,
                reason,
                at: None,
            }),
            Command::Listen {
                gate: id,
                place,
                socket,
            } => {
                // Who stops opens nothing any more: nobody would accept there.
                if self.ctx.stop_at.is_some() {
                    return;
                }
                let from = self.ctx.number_unix(&place);
                let mut gate = Gate::new(id, place, socket.into(), from);
                let free = self.gates.iter().position(Option::is_none);
                let place = free.unwrap_or(self.gates.len());
                let token = Token(GATE | place);
                let source = gate.source();
                match self
                    .ctx
                    .registry
                    .register(source, token, Interest::READABLE)
                {
                    Ok(()) if place == self.gates.len() => self.gates.push(Some(gate)),
                    Ok(()) => self.gates[place] = Some(gate),
                    Err(error) => self.trouble(&format!("cannot watch a listener: {error}")),
                }
            }
            Command::Shutdown { at } => {
                let at = self.ctx.stop_at.map_or(at, |earlier| earlier.min(at));
                self.ctx.stop_at = Some(at);
                self.shut_gates(|_| true);
                for key in self.slab.keys() {
                    self.touch(key, |session, _| {
                        session.end_by(at, Reason::Shutdown);
                        Step::Stay
                    });
                }
            }
            Command::Unlisten { gate } => self.shut_gates(|it| it.id == gate),
        }
    }

    /// Answers whether this worker lives, from now on.
    fn attest(&mut self, socket: std::net::TcpListener) {
        let mut socket = mio::net::TcpListener::from_std(socket);
        let registry = &self.ctx.registry;
        match registry.register(&mut socket, ATTEST, Interest::READABLE) {
            Ok(()) => self.witnesses.push(socket),
            Err(error) => self.trouble(&format!("cannot watch a socket: {error}")),
        }
        self.answer_askers();
    }

    /// One byte each: the kernel accepts for the dead, too, but only the
    /// living answer.
    fn answer_askers(&self) {
        for socket in &self.witnesses {
            for _ in 0..ASKERS {
                let Ok((mut stream, _)) = socket.accept() else {
                    break;
                };
                // Who has gone needs no answer.
                let _gone = stream.write(b"1");
            }
        }
    }

    /// Takes the clients that the kernel has accepted already, then closes.
    fn shut_gates(&mut self, which: impl Fn(&Gate) -> bool) {
        for place in &mut self.gates {
            let Some(gate) = place.as_mut().filter(|gate| which(gate)) else {
                continue;
            };
            gate.ring();
            // Bounded: clients may come faster than they are accepted.
            for _ in 0..64 {
                gate.accept(&mut self.ctx, &mut self.spare, &mut self.slab, settle);
                if gate.wants().is_none() {
                    break;
                }
            }
            *place = None;
        }
    }

    fn gates_are_shut(&self) -> bool {
        self.gates.iter().all(Option::is_none)
    }

    fn doom(&mut self, doom: Doom) {
        let mut keys = self.slab.keys();
        keys.retain(|key| {
            let session = self.slab.get_mut(*key);
            session.is_some_and(|it| it.is_at(doom.backend))
        });
        self.doomed.extend(keys.into_iter().map(|key| (key, doom)));
    }

    fn kill_some(&mut self) {
        let mut killed = 0;
        while killed < KILL_BUDGET
            && let Some((key, doom)) = self.doomed.pop()
        {
            self.touch(key, |session, ctx| {
                // It may have gone elsewhere since.
                if !session.is_at(doom.backend) {
                    return Step::Stay;
                }
                if let Some(at) = doom.at {
                    session.end_by(at, doom.reason);
                    return Step::Stay;
                }
                killed += 1;
                if matches!(session.phase, Phase::Dialing) {
                    return session.abandon_dial(ctx);
                }
                Step::End(doom.reason)
            });
        }
    }

    /// Those who wait the longest come first, as long as there is a place.
    fn serve_waiting(&mut self) {
        let pools: Vec<Name> = self.ctx.waiting.keys().cloned().collect();
        for pool in pools {
            while let Some(key) = self.first_waiting(&pool) {
                let mut still_waits = false;
                self.touch(key, |session, ctx| {
                    let step = session.seek(ctx);
                    still_waits = session.is_queued;
                    step
                });
                if still_waits {
                    break;
                }
                self.leave_line(&pool);
            }
        }
    }

    /// The first in the line of a pool; those who have left it are dropped.
    fn first_waiting(&mut self, pool: &Name) -> Option<Key> {
        loop {
            let key = *self.ctx.waiting.get(pool)?.front()?;
            if self.slab.get_mut(key).is_some_and(|it| it.is_queued) {
                return Some(key);
            }
            self.leave_line(pool);
        }
    }

    fn leave_line(&mut self, pool: &Name) {
        if let Some(line) = self.ctx.waiting.get_mut(pool) {
            line.pop_front();
            if line.is_empty() {
                self.ctx.waiting.remove(pool);
            }
        }
    }

    fn trouble(&self, what: &str) {
        self.ctx.shared.sink.say(Event::Trouble {
            what: format!("worker {}: {what}", self.ctx.worker),
        });
    }
}

/// Does what a look at a session has shown to be necessary.
fn settle(ctx: &mut Context, slab: &mut Slab<Session>, key: Key, step: Step) {
    match step {
        Step::End(reason) => {
            if let Some(session) = slab.remove(key) {
                session.finish(ctx, reason);
            }
            return;
        }
        Step::Again => {
            if let Some(session) = slab.get_mut(key)
                && !std::mem::replace(&mut session.has_turn, true)
            {
                ctx.again.push(key);
            }
        }
        Step::Stay => {}
    }
    if let Some(session) = slab.get_mut(key) {
        let look = session.next_look();
        if look < session.armed {
            session.armed = look;
            ctx.wheel.insert(look, (key, look));
        }
    }
}
