//! The secret that client sessions are signed with, beside the authority's keys: every proxy must read what another one wrote,
//! also after the control plane was started anew.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

/// Reads it, or makes it at the first start.
pub(crate) fn load_or_create(dir: &Path) -> io::Result<Arc<[u8]>> {
    let path = dir.join("session.key");
    match fs::read(&path) {
        Ok(key) if key.len() == BYTES => return Ok(key.into()),
        Ok(_) => {
            return Err(io::Error::new(io::ErrorKind::InvalidData, format!("{}: not {BYTES} bytes", path.display())));
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let mut key = [0; BYTES];
    aws_lc_rs::rand::fill(&mut key).map_err(|_| io::Error::other("the system gave no randomness"))?;
    // whole or not at all: a crash must not leave a short key behind
    let draft = dir.join(".session.key.new");
    let _ = fs::remove_file(&draft);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
    file.write_all(&key)?;
    file.sync_all()?;
    fs::rename(&draft, &path)?;
    Ok(key.into())
}

const BYTES: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_made_once_and_a_damaged_one_is_said() {
        let dir = std::env::temp_dir().join(format!("minimesh-session-key-{}", std::process::id()));
        fs::create_dir_all(&dir).expect("a folder");
        let made = load_or_create(&dir).expect("made");
        assert_eq!(load_or_create(&dir).expect("read"), made);
        fs::write(dir.join("session.key"), b"short").expect("written");
        assert_eq!(load_or_create(&dir).expect_err("damaged").kind(), io::ErrorKind::InvalidData);
        fs::remove_dir_all(&dir).expect("removed");
    }
}
