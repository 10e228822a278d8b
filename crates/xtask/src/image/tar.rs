//! Archives in the format of POSIX (ustar): the same entries make the same bytes, whoever writes them and whenever.

use std::io::{self, Read, Write};

/// An archive that is being written.
pub(crate) struct Archive<W: Write> {
    out: W,
}

impl<W: Write> Archive<W> {
    pub(crate) fn new(out: W) -> Archive<W> {
        Archive { out }
    }

    pub(crate) fn folder(&mut self, path: &str, mode: u32) -> io::Result<()> {
        self.header(&format!("{path}/"), mode, 0, FOLDER, "")
    }

    pub(crate) fn link(&mut self, path: &str, target: &str) -> io::Result<()> {
        self.header(path, 0o777, 0, LINK, target)
    }

    pub(crate) fn bytes(&mut self, path: &str, mode: u32, content: &[u8]) -> io::Result<()> {
        self.file(path, mode, content.len() as u64, content)
    }

    /// A file of exactly this size.
    pub(crate) fn file(&mut self, path: &str, mode: u32, size: u64, mut content: impl Read) -> io::Result<()> {
        self.header(path, mode, size, FILE, "")?;
        let copied = io::copy(&mut content.by_ref().take(size), &mut self.out)?;
        if copied < size {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, format!("{path} became shorter")));
        }
        let rest = size.next_multiple_of(BLOCK as u64) - size;
        self.out.write_all(&[0; BLOCK][..rest as usize])
    }

    /// Ends the archive.
    pub(crate) fn finish(mut self) -> io::Result<W> {
        self.out.write_all(&[0; 2 * BLOCK])?;
        self.out.flush()?;
        Ok(self.out)
    }

    fn header(&mut self, path: &str, mode: u32, size: u64, kind: u8, target: &str) -> io::Result<()> {
        let (prefix, name) = split(path)?;
        let mut block = [0; BLOCK];
        let mut put = |at: usize, text: &[u8]| block[at..at + text.len()].copy_from_slice(text);
        let octal = |value: u64, width: usize| format!("{value:0width$o}").into_bytes();
        if target.len() > 100 || size >= 1 << 33 {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{path}: too much for this format")));
        }
        put(0, name.as_bytes());
        put(100, &octal(mode.into(), 7));
        put(108, &octal(0, 7)); // user: root
        put(116, &octal(0, 7)); // group: root
        put(124, &octal(size, 11));
        put(136, &octal(0, 11)); // time: none
        put(148, b"        "); // the sum is taken with blanks in its place
        put(156, &[kind]);
        put(157, target.as_bytes());
        put(257, b"ustar\x0000");
        put(345, prefix.as_bytes());
        let sum: u64 = block.iter().map(|byte| u64::from(*byte)).sum();
        block[148..155].copy_from_slice(&[octal(sum, 6), vec![0]].concat());
        self.out.write_all(&block)
    }
}

/// A path as the two fields that hold it: 155 and 100 bytes, divided at a slash.
fn split(path: &str) -> io::Result<(&str, &str)> {
    if path.len() <= 100 {
        return Ok(("", path));
    }
    // a folder's own slash at the end divides nothing
    let cuts = path[..path.len() - 1].match_indices('/').map(|(at, _)| at);
    let mut fitting = cuts.filter(|at| *at <= 155 && path.len() - at - 1 <= 100);
    let cut = fitting.next().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, format!("{path}: too long")))?;
    Ok((&path[..cut], &path[cut + 1..]))
}

const BLOCK: usize = 512;
const FILE: u8 = b'0';
const LINK: u8 = b'2';
const FOLDER: u8 = b'5';

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn tar_reads_what_was_written() {
        let long = format!("{}/{}", "f".repeat(90), "n".repeat(90));
        let mut archive = Archive::new(Vec::new());
        archive.folder("tmp", 0o1777).unwrap();
        archive.bytes("a", 0o755, &[b'x'; 513]).unwrap();
        archive.link("b", "a").unwrap();
        archive.bytes(&long, 0o644, b"").unwrap();
        let bytes = archive.finish().unwrap();

        let mut tar = Command::new("tar");
        tar.args(["--list", "--verbose", "--numeric-owner", "--utc", "--file", "-"]);
        let mut child = tar.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(&bytes).unwrap();
        let output = child.wait_with_output().unwrap();
        let listed = String::from_utf8(output.stdout).unwrap();
        let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let lines: Vec<Vec<String>> = listed.lines().map(words).collect();
        let line = |text: &str| words(text);
        let time = "1970-01-01 00:00";
        assert!(output.status.success());
        assert_eq!(
            lines,
            [
                line(&format!("drwxrwxrwt 0/0 0 {time} tmp/")),
                line(&format!("-rwxr-xr-x 0/0 513 {time} a")),
                line(&format!("lrwxrwxrwx 0/0 0 {time} b -> a")),
                line(&format!("-rw-r--r-- 0/0 0 {time} {long}")),
            ]
        );
    }

    #[test]
    fn a_name_that_fits_nowhere_is_refused() {
        assert!(Archive::new(Vec::new()).bytes(&"n".repeat(101), 0o644, b"").is_err());
    }
}
