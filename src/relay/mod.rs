//! Moving bytes: one direction of one session.
//!
//! There is no buffer per connection. Bytes are read into the worker's scratch
//! buffer and written at once; only what the sink would not take gets a buffer
//! of its own, and until that is gone nothing more is read. So a stalled
//! reader costs one scratch buffer at the most, beside the kernel's own.

use std::io::{self, Read, Write};
use std::net::Shutdown;

/// What is known of a socket without asking the kernel. Edge-triggered events
/// set the flags; a read or write that would block clears them.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ready {
    /// A read may return something.
    pub read: bool,
    /// A write may take something.
    pub write: bool,
    /// The peer has sent its FIN (or worse): a short read is not the end of
    /// what there is to read.
    pub hangup: bool,
}

/// A socket that can be half-closed.
pub trait Stream: Read + Write {
    /// shutdown(2).
    fn shutdown(&self, how: Shutdown) -> io::Result<()>;
}

impl Stream for mio::net::TcpStream {
    fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        Self::shutdown(self, how)
    }
}

/// One direction of a session: from a source to a sink.
#[derive(Debug, Default)]
pub struct Direction {
    /// Read, but not yet taken by the sink.
    pending: Option<Box<Pending>>,
    /// Bytes that the sink has taken.
    moved: u64,
    /// How many of those were, or will be, a header of our own.
    own: u64,
    /// The sink did not keep up last time: read less at once.
    stalled: bool,
    /// The source has said that it is done.
    ended: bool,
    /// The sink has been told so.
    closed: bool,
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

impl Direction {
    /// Puts a header of our own in front of what the source says; it is not
    /// counted as moved.
    pub fn header(&mut self, bytes: &[u8]) {
        self.prefix(bytes);
        self.own += bytes.len() as u64;
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
        self.moved.saturating_sub(self.own)
    }

    /// Whether the source is done.
    pub fn has_ended(&self) -> bool {
        self.ended
    }

    /// Whether the source is done and the sink has everything, FIN included.
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// Moves what can be moved, at most `budget` bytes.
    pub fn run<S: Stream>(
        &mut self,
        source: &mut S,
        from: &mut Ready,
        sink: &mut S,
        to: &mut Ready,
        scratch: &mut [u8],
        budget: usize,
    ) -> Turn {
        let mut left = budget;
        loop {
            // Whatever waits goes first; without room there is no use in
            // reading more.
            if let Some(error) = self.flush(sink, to) {
                return Turn::SinkBroke(error);
            }
            if self.pending.is_some() {
                return Turn::Idle;
            }
            if self.ended {
                if !self.closed {
                    self.closed = true;
                    if let Err(error) = sink.shutdown(Shutdown::Write) {
                        return Turn::SinkBroke(error);
                    }
                }
                return Turn::Idle;
            }
            if !from.read || !to.write {
                return Turn::Idle;
            }
            if left == 0 {
                return Turn::Spent;
            }
            let most = if self.stalled {
                STALLED_CHUNK
            } else {
                scratch.len()
            };
            let room = most.min(scratch.len()).min(left);
            match source.read(&mut scratch[..room]) {
                Ok(0) => self.ended = true,
                Ok(got) => {
                    // A short read empties the queue, unless a FIN sits in it.
                    if got < room && !from.hangup {
                        from.read = false;
                    }
                    left -= got;
                    if let Some(error) = self.send(&scratch[..got], sink, to) {
                        return Turn::SinkBroke(error);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    from.read = false;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Turn::SourceBroke(error),
            }
        }
    }

    fn flush(&mut self, sink: &mut impl Write, to: &mut Ready) -> Option<io::Error> {
        let mut pending = self.pending.take()?;
        while to.write && pending.at < pending.bytes.len() {
            match sink.write(&pending.bytes[pending.at..]) {
                Ok(taken) => {
                    pending.at += taken;
                    self.moved += taken as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => to.write = false,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Some(error),
            }
        }
        if pending.at < pending.bytes.len() {
            self.pending = Some(pending);
        }
        None
    }

    /// Sends fresh bytes; an unsent rest is kept.
    fn send(&mut self, bytes: &[u8], sink: &mut impl Write, to: &mut Ready) -> Option<io::Error> {
        let mut at = 0;
        while at < bytes.len() && to.write {
            match sink.write(&bytes[at..]) {
                Ok(taken) => {
                    at += taken;
                    self.moved += taken as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => to.write = false,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Some(error),
            }
        }
        self.stalled = at < bytes.len();
        if self.stalled {
            self.pending = Some(Box::new(Pending {
                bytes: bytes[at..].to_vec(),
                at: 0,
            }));
        }
        None
    }
}

#[cfg(test)]
mod tests;
