//! Which pages of code a sidecar keeps mapped: those that it runs, not those that it ran once (docs/adr/008).
//!
//! The kernel maps sixteen pages around each one that is touched and unmaps none of them again, so what reads the command line
//! and makes the first certificate request would stay in the resident set for as long as the pod lives. They are let go when the
//! start is over, and when nothing has been asked for half a minute.

#![allow(unsafe_code)] // no safe wrapper of madvise exists

use std::ffi::c_void;
use std::io;
use std::ptr::NonNull;

use nix::sys::mman::{MmapAdvise, madvise};
use tracing::debug;

/// Takes the code of the program and of its libraries out of this process' page table. What runs next is found in the page
/// cache again, sixteen pages at a time. Where that cannot be had, it stays mapped.
pub(crate) fn unmap() {
    if let Err(error) = try_unmap() {
        debug!(%error, "code stays mapped");
    }
}

fn try_unmap() -> io::Result<()> {
    for (start, length) in code(&std::fs::read_to_string("/proc/self/maps")?) {
        let Some(start) = NonNull::new(std::ptr::with_exposed_provenance_mut::<c_void>(start)) else { continue };
        // SAFETY: the range is a private mapping of a file that is executable and not writable, so none of its pages differs from
        // the file's, and the next access, by any thread, finds the same bytes there. No library is ever unloaded here.
        unsafe { madvise(start, length, MmapAdvise::MADV_DONTNEED) }?;
    }
    Ok(())
}

/// Address and length of each mapping of code, from proc_pid_maps(5): private, executable, not writable, of a file.
fn code(maps: &str) -> impl Iterator<Item = (usize, usize)> {
    maps.lines().filter_map(|line| {
        let mut words = line.split_ascii_whitespace();
        let (range, permissions, file) = (words.next()?, words.next()?, words.nth(3)?);
        let (start, end) = range.split_once('-')?;
        let [start, end] = [start, end].map(|address| usize::from_str_radix(address, 16).ok());
        let (start, end) = (start?, end?);
        (permissions == "r-xp" && file.starts_with('/')).then_some((start, end.checked_sub(start)?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_code_of_files_is_taken() {
        let maps = "5600000000-5600001000 r--p 00000000 fe:00 1 /minimesh\n\
                    5600001000-5600004000 r-xp 00001000 fe:00 1 /minimesh\n\
                    5600004000-5600005000 rw-p 00004000 fe:00 1 /minimesh\n\
                    5600005000-5600006000 rwxp 00005000 fe:00 1 /odd\n\
                    7f00000000-7f00002000 r-xp 00000000 00:00 0\n\
                    7f00002000-7f00004000 r-xp 00000000 00:00 0 [vdso]\n\
                    nonsense\n";
        assert_eq!(code(maps).collect::<Vec<_>>(), [(0x56_0000_1000, 0x3000)]);
    }

    /// That less is mapped is measured (`idle-memory` of benches): other tests of this process run code meanwhile.
    #[test]
    fn the_program_goes_on() {
        let maps = std::fs::read_to_string("/proc/self/maps").expect("readable");
        assert!(code(&maps).count() >= 1, "this program's own code: {maps}");
        try_unmap().expect("allowed");
        assert_eq!(
            "runs".parse::<u8>().map_err(|error| error.to_string()),
            Err("invalid digit found in string".to_owned())
        );
    }
}
