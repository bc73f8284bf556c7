//! Moving bytes: one direction of one session.
//!
//! There is no buffer per connection. Bytes are read into the worker's scratch
//! buffer and written at once; only what the sink would not take gets a buffer
//! of its own, and until that is gone nothing more is read. So a stalled
//! reader costs one scratch buffer at the most, beside the kernel's own.
//!
//! A stream that fills the scratch buffer is moved through a pipe instead, by
//! the kernel and without a copy, for as long as it brings enough at once.

mod pipe;
mod stream;

use std::io;
use std::net::Shutdown;

pub use pipe::{Pipe, Pipes};
pub use stream::Stream;

/// What is known of a socket without asking the kernel. Edge-triggered events
/// set the flags; a read or write that would block, or is short, clears them.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ready {
    /// A read may return something.
    pub read: bool,
    /// A write may take something.
    pub write: bool,
    /// The peer has sent its FIN (or worse), or urgent data, before which the
    /// kernel stops: a short read is not the end of what there is to read.
    pub hangup: bool,
}

/// What a worker lends to each direction in turn.
#[derive(Debug)]
pub struct Tools {
    /// What one read takes at the most.
    pub scratch: Box<[u8]>,
    /// For streams that are too much for it.
    pub pipes: Pipes,
}

/// The two ends of a direction, for one turn.
#[derive(Debug)]
pub struct Ends<'a, S> {
    /// Where bytes come from.
    pub source: &'a mut S,
    /// What is known of it.
    pub from: &'a mut Ready,
    /// Where they go.
    pub sink: &'a mut S,
    /// What is known of it.
    pub to: &'a mut Ready,
    /// The other direction is closed: when this one is, too, both sockets will
    /// be closed at once, and close(2) sends the FIN.
    pub is_last: bool,
    /// The source was reset, and the kernel has said so to a write already: it
    /// shows the cut as an end to whoever reads now, and the sink must not take
    /// it for one.
    pub is_cut: bool,
}

/// One direction of a session: from a source to a sink.
#[derive(Debug, Default)]
pub struct Direction {
    /// Read, but not yet taken by the sink.
    pending: Option<Box<Pending>>,
    /// The same, and never seen by us.
    pipe: Option<Box<Pipe>>,
    /// Bytes that the sink has taken.
    moved: u64,
    /// How many of those were, or will be, a header of our own.
    own: u16,
    /// The sink did not keep up last time: read less at once.
    stalled: bool,
    /// The source has said that it is done.
    ended: bool,
    /// The sink has been told so.
    closed: bool,
    /// The sink must be told not to wait for acknowledgements, before its
    /// second write: many streams have one only.
    is_lazy: bool,
    /// The stream goes through a pipe.
    is_splicing: bool,
    /// Moves through the pipe in a row that were not worth it.
    small: u8,
}

#[derive(Debug)]
struct Pending {
    bytes: Vec<u8>,
    at: usize,
}

/// Why a turn of a direction ended.
#[derive(Debug)]
pub enum Turn {
    /// Nothing more can be done until an event comes.
    Idle,
    /// The turn's budget is used up; there is more to do.
    Spent,
    /// The source broke: what it sent after this is lost.
    SourceBroke(io::Error),
    /// The sink broke: nothing more can be told to it.
    SinkBroke(io::Error),
}

/// What is read at once for a sink that does not keep up: the rest that it
/// leaves is what a slow reader costs.
const STALLED_CHUNK: usize = 16 * 1024;
/// A move through a pipe costs two calls; below this a copy is cheaper.
const WORTH_A_PIPE: usize = 16 * 1024;
/// So many cheap moves in a row end it: one may be the end of a burst.
const MOST_SMALL: u8 = 2;

impl Direction {
    /// A direction whose sink has not been told yet to send small writes at
    /// once.
    pub fn lazy() -> Self {
        Self {
            is_lazy: true,
            ..Self::default()
        }
    }

    /// The sink sends small writes at once without being told.
    pub fn has_no_delay(&mut self) {
        self.is_lazy = false;
    }

    /// Puts a header of our own in front of what the source says; it is not
    /// counted as moved.
    pub fn header(&mut self, bytes: &[u8]) {
        self.prefix(bytes);
        self.own += u16::try_from(bytes.len()).unwrap_or(u16::MAX);
    }

    /// Puts `bytes` in front of what the source will say: what was read of the
    /// stream before the relay began.
    pub fn prefix(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let waiting = self.pending.take();
        let mut all = bytes.to_vec();
        if let Some(pending) = waiting {
            all.extend_from_slice(&pending.bytes[pending.at..]);
        }
        self.pending = Some(Box::new(Pending { bytes: all, at: 0 }));
    }

    /// What was read of the stream and not yet passed on.
    pub fn waiting(&self) -> &[u8] {
        self.pending
            .as_ref()
            .map_or(&[], |pending| &pending.bytes[pending.at..])
    }

    /// Bytes of the source that the sink has taken.
    pub fn moved(&self) -> u64 {
        self.moved.saturating_sub(self.own.into())
    }

    /// Whether the source is done.
    pub const fn has_ended(&self) -> bool {
        self.ended
    }

    /// Whether the source is done and the sink has everything, FIN included.
    pub const fn is_closed(&self) -> bool {
        self.closed
    }

    /// Whether it holds bytes that the sink does not take.
    pub const fn is_stalled(&self) -> bool {
        self.pending.is_some() || self.pipe.is_some()
    }

    /// Lets go of what it has borrowed. What is in the pipe is lost.
    pub fn give_up(&mut self, pipes: &mut Pipes) {
        if let Some(pipe) = self.pipe.take() {
            pipes.give_back(pipe);
        }
    }

    /// Moves what can be moved, at most `budget` bytes.
    pub fn run<S: Stream>(
        &mut self,
        mut ends: Ends<'_, S>,
        tools: &mut Tools,
        budget: usize,
    ) -> Turn {
        let turn = self.turn(&mut ends, tools, budget);
        if self.pipe.as_ref().is_some_and(|it| it.held() == 0) {
            self.give_up(&mut tools.pipes);
        }
        turn
    }

    fn turn<S: Stream>(
        &mut self,
        ends: &mut Ends<'_, S>,
        tools: &mut Tools,
        budget: usize,
    ) -> Turn {
        let mut left = budget;
        loop {
            // Whatever waits goes first; without room there is no use in
            // reading more.
            if let Err(error) = self.flush(ends) {
                return Turn::SinkBroke(error);
            }
            if self.is_stuck() {
                return Turn::Idle;
            }
            if self.ended {
                return self.close(ends);
            }
            if !ends.from.read || !ends.to.write {
                return Turn::Idle;
            }
            if left == 0 {
                return Turn::Spent;
            }
            if self.is_splicing && self.pipe.is_none() {
                self.pipe = tools.pipes.take();
            }
            let moved = if self.is_splicing && self.pipe.is_some() {
                self.pull(ends, left)
            } else {
                match self.copy(ends, &mut tools.scratch, left) {
                    Ok(moved) => moved,
                    Err(error) => return Turn::SinkBroke(error),
                }
            };
            match moved {
                Ok(moved) => left -= moved.min(left),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => ends.from.read = false,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Turn::SourceBroke(error),
            }
        }
    }

    /// Whether something waits that the sink does not take.
    fn is_stuck(&self) -> bool {
        self.pending.is_some() || self.pipe.as_ref().is_some_and(|it| it.held() > 0)
    }

    /// Tells the sink that the source is done.
    fn close<S: Stream>(&mut self, ends: &Ends<'_, S>) -> Turn {
        let was_closed = std::mem::replace(&mut self.closed, true);
        if !was_closed
            && !ends.is_last
            && !ends.is_cut
            && let Err(error) = ends.sink.shutdown(Shutdown::Write)
        {
            return Turn::SinkBroke(error);
        }
        Turn::Idle
    }

    /// Moves fresh bytes into the pipe.
    fn pull<S: Stream>(&mut self, ends: &mut Ends<'_, S>, left: usize) -> io::Result<usize> {
        let Some(pipe) = &mut self.pipe else {
            return Ok(0);
        };
        let most = left.min(pipe.size());
        let moved = match ends.source.pull(pipe, most) {
            // splice(2) never gets past urgent data: it says that there is
            // nothing, or, if a FIN has come as well, that this is the end.
            // The next read knows.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && ends.from.hangup => 0,
            moved => moved?,
        };
        if moved == 0 {
            self.is_splicing = false;
            self.small = 0;
        } else if moved >= WORTH_A_PIPE || moved == most {
            self.small = 0;
        } else {
            self.small += 1;
            if self.small >= MOST_SMALL {
                self.is_splicing = false;
                self.small = 0;
            }
        }
        Ok(moved)
    }

    /// Reads fresh bytes and sends them; an unsent rest is kept. The outer
    /// error is the sink's, the inner one the source's.
    fn copy<S: Stream>(
        &mut self,
        ends: &mut Ends<'_, S>,
        scratch: &mut [u8],
        left: usize,
    ) -> io::Result<io::Result<usize>> {
        let most = if self.stalled {
            STALLED_CHUNK
        } else {
            scratch.len()
        };
        let room = most.min(scratch.len()).min(left);
        let mut got = match ends.source.read(&mut scratch[..room]) {
            Ok(0) => {
                self.ended = true;
                return Ok(Ok(0));
            }
            Ok(got) => got,
            Err(error) => return Ok(Err(error)),
        };
        // A short read empties the queue, unless a FIN sits in it. That one is
        // fetched now, to leave together with the last bytes.
        let mut broke = None;
        if got < room && !ends.from.hangup {
            ends.from.read = false;
        } else if got < room {
            match ends.source.read(&mut scratch[got..room]) {
                Ok(0) => self.ended = true,
                Ok(more) => got += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => broke = Some(error),
            }
        } else if room == scratch.len() {
            self.is_splicing = true;
        }
        let sent = self.send(&scratch[..got], ends)?;
        self.stalled = sent < got;
        if self.stalled {
            self.pending = Some(Box::new(Pending {
                bytes: scratch[sent..got].to_vec(),
                at: 0,
            }));
        }
        Ok(broke.map_or(Ok(got), Err))
    }

    /// Sends what waits.
    fn flush<S: Stream>(&mut self, ends: &mut Ends<'_, S>) -> io::Result<()> {
        if let Some(mut pending) = self.pending.take() {
            pending.at += self.send(&pending.bytes[pending.at..], ends)?;
            if pending.at < pending.bytes.len() {
                self.pending = Some(pending);
                return Ok(());
            }
        }
        while ends.to.write && self.pipe.as_ref().is_some_and(|it| it.held() > 0) {
            self.be_prompt(ends);
            let Some(pipe) = &mut self.pipe else { break };
            match ends.sink.push(pipe) {
                Ok(taken) => self.moved += taken as u64,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => ends.to.write = false,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Sends of `bytes` what the sink takes, and says how much that was.
    fn send<S: Stream>(&mut self, bytes: &[u8], ends: &mut Ends<'_, S>) -> io::Result<usize> {
        let mut at = 0;
        while at < bytes.len() && ends.to.write {
            self.be_prompt(ends);
            let rest = &bytes[at..];
            let sent = if self.ended && !ends.is_cut {
                ends.sink.write_last(rest)
            } else {
                ends.sink.write(rest)
            };
            match sent {
                Ok(taken) => {
                    at += taken;
                    self.moved += taken as u64;
                    // The kernel takes less only when its buffer is full, and
                    // tells when there is room again.
                    ends.to.write = at == bytes.len();
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => ends.to.write = false,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(at)
    }

    /// From its second write on a stream does not wait for acknowledgements.
    fn be_prompt<S: Stream>(&mut self, ends: &Ends<'_, S>) {
        if self.is_lazy && self.moved > 0 {
            self.is_lazy = false;
            // Refused only by a socket that is broken already.
            let _already_broken = ends.sink.set_prompt();
        }
    }
}

#[cfg(test)]
mod tests;
