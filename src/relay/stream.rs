//! What a relay needs of a socket.

use std::io::{self, Read, Write};
use std::net::Shutdown;

use rustix::net::SendFlags;
use rustix::pipe::{SpliceFlags, splice};

use super::pipe::Pipe;

/// A socket that can be half-closed, and moved through a pipe.
pub trait Stream: Read + Write {
    /// As `write`, where the end of the stream follows at once: what does not
    /// fill a segment waits for the FIN and goes with it (MSG_MORE).
    fn write_last(&mut self, bytes: &[u8]) -> io::Result<usize>;

    /// shutdown(2).
    fn shutdown(&self, how: Shutdown) -> io::Result<()>;

    /// Sends small writes at once even if earlier ones are not acknowledged.
    fn set_prompt(&self) -> io::Result<()>;

    /// Moves at most `most` bytes into `pipe` without looking at them; 0 is
    /// the end of the stream, or urgent data with the end behind it.
    fn pull(&mut self, pipe: &mut Pipe, most: usize) -> io::Result<usize>;

    /// Moves what is in `pipe` to the peer, as much as it takes.
    fn push(&mut self, pipe: &mut Pipe) -> io::Result<usize>;
}

/// Never waits, and moves pages instead of copying them where that can be.
const FLAGS: SpliceFlags = SpliceFlags::NONBLOCK.union(SpliceFlags::MOVE);

impl Stream for mio::net::TcpStream {
    fn write_last(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let flags = SendFlags::MORE | SendFlags::NOSIGNAL;
        Ok(rustix::net::send(&*self, bytes, flags)?)
    }

    fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        Self::shutdown(self, how)
    }

    fn set_prompt(&self) -> io::Result<()> {
        self.set_nodelay(true)
    }

    fn pull(&mut self, pipe: &mut Pipe, most: usize) -> io::Result<usize> {
        let moved = splice(&*self, None, &pipe.entry, None, most, FLAGS)?;
        pipe.held += moved;
        Ok(moved)
    }

    fn push(&mut self, pipe: &mut Pipe) -> io::Result<usize> {
        let moved = splice(&pipe.exit, None, &*self, None, pipe.held, FLAGS)?;
        pipe.held -= moved;
        Ok(moved)
    }
}
