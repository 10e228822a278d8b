//! Ends with the parent, however the parent ends: kill -9 of the demo leaves no process behind.
//!
//! Every role calls this first. The parent-death signal is lost when credentials change (a new user namespace is such a
//! change), so it is asked for again afterwards, and the race with a parent that has already died is closed by looking.

use std::os::fd::BorrowedFd;

use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{prctl::set_pdeathsig, signal::Signal},
    unistd::{Pid, getppid},
};

/// Dies with a parent that holds the other end of `socket`.
pub(crate) fn hold(socket: BorrowedFd<'_>) -> nix::Result<()> {
    set_pdeathsig(Signal::SIGKILL)?;
    // a dying process closes its files before its children are signalled: either we see it here, or the signal comes
    let mut watched = [PollFd::new(socket, PollFlags::empty())];
    poll(&mut watched, PollTimeout::ZERO)?;
    let gone = watched[0].revents().is_some_and(|events| events.contains(PollFlags::POLLHUP));
    if gone { Err(nix::errno::Errno::EPIPE) } else { Ok(()) }
}

/// Dies with the parent of this id.
pub(crate) fn hold_to(parent: Pid) -> nix::Result<()> {
    set_pdeathsig(Signal::SIGKILL)?;
    if getppid() == parent { Ok(()) } else { Err(nix::errno::Errno::ESRCH) }
}
