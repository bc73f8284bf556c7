//! Pipes through which the kernel moves bytes from socket to socket. A worker
//! has a few; a direction borrows one while bytes are in it, no longer.

use std::os::fd::OwnedFd;

use rustix::pipe::{PipeFlags, fcntl_setpipe_size, pipe_with};

/// The sizes that are asked for, best first: what an unprivileged user may
/// have (fs.pipe-max-size), and what is left when many pipes are large
/// (fs.pipe-user-pages-soft). A smaller pipe is no better than copying.
const SIZES: [usize; 3] = [1 << 20, 256 << 10, 64 << 10];

/// Idle pipes that are kept. Each costs two descriptors and 10 KiB.
const IDLE: usize = 16;

/// After a refusal of the kernel's so many requests for a pipe are declined
/// before it is asked again: who is out of pipes copies.
const PATIENCE: u32 = 1024;

/// A pipe, and how many bytes are in it.
#[derive(Debug)]
pub struct Pipe {
    pub(super) exit: OwnedFd,
    pub(super) entry: OwnedFd,
    pub(super) held: usize,
    size: usize,
}

impl Pipe {
    fn open() -> Option<Self> {
        let (exit, entry) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).ok()?;
        let mut sizes = SIZES.iter();
        let size = sizes.find_map(|size| fcntl_setpipe_size(&entry, *size).ok())?;
        Some(Self {
            exit,
            entry,
            held: 0,
            size,
        })
    }

    /// The bytes in it.
    pub(super) const fn held(&self) -> usize {
        self.held
    }

    /// How many bytes it takes at the most.
    pub(super) const fn size(&self) -> usize {
        self.size
    }
}

/// A worker's pipes.
#[derive(Debug)]
pub struct Pipes {
    #[expect(
        clippy::vec_box,
        reason = "a borrower keeps a thin pointer, which is moved"
    )]
    idle: Vec<Box<Pipe>>,
    /// How many there are, borrowed ones included.
    open: usize,
    most: usize,
    /// Requests to be declined until the kernel is asked again.
    rest: u32,
}

impl Pipes {
    /// At most `most` pipes at the same time.
    pub const fn new(most: usize) -> Self {
        Self {
            idle: Vec::new(),
            open: 0,
            most,
            rest: 0,
        }
    }

    /// An empty pipe, if there is one to be had.
    pub(super) fn take(&mut self) -> Option<Box<Pipe>> {
        if let Some(pipe) = self.idle.pop() {
            return Some(pipe);
        }
        if self.open >= self.most {
            return None;
        }
        if self.rest > 0 {
            self.rest -= 1;
            return None;
        }
        let Some(pipe) = Pipe::open() else {
            self.rest = PATIENCE;
            return None;
        };
        self.open += 1;
        Some(Box::new(pipe))
    }

    /// Takes a pipe back. One with bytes in it is closed: nobody else's stream
    /// must ever see them.
    pub fn give_back(&mut self, pipe: Box<Pipe>) {
        if pipe.held() == 0 && self.idle.len() < IDLE {
            self.idle.push(pipe);
        } else {
            self.open = self.open.saturating_sub(1);
        }
    }

    /// How many pipes are open, borrowed ones included.
    pub const fn open(&self) -> usize {
        self.open
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pipes_are_few_and_come_back_empty() {
        let mut pipes = Pipes::new(2);
        let first = pipes.take().unwrap();
        let mut second = pipes.take().unwrap();
        assert!(first.size() >= 64 << 10);
        assert!(pipes.take().is_none(), "there are two");
        pipes.give_back(first);
        assert_eq!(pipes.open(), 2);
        rustix::io::write(&second.entry, b"somebody's").unwrap();
        second.held = 10;
        pipes.give_back(second);
        assert_eq!(pipes.open(), 1, "what has bytes in it is closed");
        let again = pipes.take().unwrap();
        assert_eq!(again.held(), 0);
    }
}
