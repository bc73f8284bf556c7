//! The kernel's event queue, edge-triggered.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::io::Errno;

pub(crate) use rustix::event::epoll::EventFlags as Flags;

/// Asked for in one wait.
const EVENTS: usize = 512;

pub(crate) struct Poll {
    epoll: OwnedFd,
    events: Vec<epoll::Event>,
}

/// One socket that has something.
#[derive(Clone, Copy)]
pub(crate) struct Ready {
    pub(crate) token: usize,
    flags: Flags,
}

impl Ready {
    /// No more will come from the other side; reading says how it ended.
    pub(crate) fn ending(self) -> bool {
        let ends = Flags::RDHUP | Flags::HUP | Flags::ERR;
        self.flags.intersects(ends)
    }

    pub(crate) fn readable(self) -> bool {
        self.flags.intersects(Flags::IN) || self.ending()
    }
}

impl Poll {
    pub(crate) fn new() -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let events = Vec::with_capacity(EVENTS);
        Ok(Self { epoll, events })
    }

    /// Registered once, for both directions.
    pub(crate) fn add(&self, fd: impl AsFd, token: usize) -> io::Result<()> {
        let flags = Flags::IN | Flags::OUT | Flags::RDHUP | Flags::ET;
        self.add_for(fd, token, flags)
    }

    pub(crate) fn add_for(&self, fd: impl AsFd, token: usize, flags: Flags) -> io::Result<()> {
        let data = epoll::EventData::new_u64(token as u64);
        Ok(epoll::add(&self.epoll, fd, data, flags)?)
    }

    /// From reading alone to both directions.
    pub(crate) fn write_too(&self, fd: impl AsFd, token: usize) -> io::Result<()> {
        let flags = Flags::IN | Flags::OUT | Flags::RDHUP | Flags::ET;
        let data = epoll::EventData::new_u64(token as u64);
        Ok(epoll::modify(&self.epoll, fd, data, flags)?)
    }

    /// Adds what is ready to `into`; nothing after `patience`.
    pub(crate) fn wait(
        &mut self,
        patience: Option<Duration>,
        into: &mut Vec<Ready>,
    ) -> io::Result<()> {
        let patience = patience.map(|time| Timespec {
            tv_sec: time.as_secs() as i64,
            tv_nsec: i64::from(time.subsec_nanos()),
        });
        let room = spare_capacity(&mut self.events);
        match epoll::wait(&self.epoll, room, patience.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        into.extend(self.events.drain(..).map(|event| Ready {
            token: event.data.u64() as usize,
            flags: event.flags,
        }));
        Ok(())
    }
}
