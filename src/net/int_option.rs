//! setsockopt(2) with an int, for options that no crate of ours offers.
#![allow(unsafe_code, reason = "one setsockopt(2) with an int")]

use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// Sets an option of a socket.
pub(super) fn set(
    socket: &impl AsFd,
    level: libc::c_int,
    option: libc::c_int,
    value: libc::c_int,
) -> io::Result<()> {
    // SAFETY: the descriptor is open for as long as it is borrowed, and the
    // kernel reads the `length` bytes of an int that outlives the call.
    let failed = unsafe {
        let length = libc::socklen_t::try_from(size_of_val(&value)).unwrap_or(0);
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            level,
            option,
            std::ptr::from_ref(&value).cast(),
            length,
        )
    };
    if failed == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
