//! What a program's first bytes say of it (elf(5)): which processor runs it, and whether something must load it.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// An executable of 64 bits, little-endian: all that images hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Elf {
    /// As the standard numbers processors.
    pub(crate) machine: u16,
    /// Names a loader, which brings libraries: it is not static.
    pub(crate) loaded: bool,
}

impl Elf {
    pub(crate) fn read(program: &Path) -> io::Result<Elf> {
        let mut head = Vec::new();
        File::open(program)?.take(HEAD).read_to_end(&mut head)?;
        let invalid = || io::Error::new(io::ErrorKind::InvalidData, "no program of 64 bits, little-endian");
        Elf::parse(&head).ok_or_else(invalid)
    }

    /// Of a file's beginning, with its program headers.
    fn parse(head: &[u8]) -> Option<Elf> {
        if !head.starts_with(b"\x7fELF\x02\x01") {
            return None;
        }
        let half = |at: usize| head.get(at..at.checked_add(2)?)?.try_into().ok().map(u16::from_le_bytes);
        let word = |at: usize| head.get(at..at.checked_add(4)?)?.try_into().ok().map(u32::from_le_bytes);
        let long = |at: usize| head.get(at..at.checked_add(8)?)?.try_into().ok().map(u64::from_le_bytes);
        let (machine, table) = (half(18)?, usize::try_from(long(32)?).ok()?);
        let (size, count) = (usize::from(half(54)?), usize::from(half(56)?));
        let mut loaded = false;
        for number in 0..count {
            loaded |= word(table.checked_add(number * size)?)? == INTERPRETER;
        }
        Some(Elf { machine, loaded })
    }
}

/// Linkers put the program headers behind the file's own.
const HEAD: u64 = 4096;
/// PT_INTERP.
const INTERPRETER: u32 = 3;

#[cfg(test)]
mod tests {
    use super::*;

    /// A header with one program header of that kind.
    fn program(machine: u16, kind: u32) -> Vec<u8> {
        let mut bytes = b"\x7fELF\x02\x01".to_vec();
        bytes.resize(64, 0);
        bytes[18..20].copy_from_slice(&machine.to_le_bytes());
        bytes[32] = 64;
        bytes[54] = 56;
        bytes[56] = 1;
        bytes.extend(kind.to_le_bytes());
        bytes.resize(64 + 56, 0);
        bytes
    }

    #[test]
    fn a_loader_and_the_processor_are_found() {
        assert_eq!(Elf::parse(&program(62, 3)), Some(Elf { machine: 62, loaded: true }));
        assert_eq!(Elf::parse(&program(183, 1)), Some(Elf { machine: 183, loaded: false }));
    }

    #[test]
    fn what_is_no_program_or_was_cut_short_is_none() {
        assert_eq!(Elf::parse(b"#!/bin/sh\n"), None);
        let whole = program(62, 3);
        assert!((0..68).all(|end| Elf::parse(&whole[..end]).is_none()));
        let mut far = whole;
        far[32..40].fill(0xff);
        assert_eq!(Elf::parse(&far), None);
    }
}
