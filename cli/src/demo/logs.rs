//! Output of containers, in files that cannot grow without bound.
//!
//! A pipe per process; a task copies it to the file, which is moved aside to `NAME.log.1` when it is full.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, PipeWriter, Write},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use tokio::{io::AsyncReadExt, net::unix::pipe::Receiver};

/// What a process writes into ends in that file.
pub(crate) fn pipe(path: &Path) -> io::Result<PipeWriter> {
    let (reader, writer) = io::pipe()?;
    let mut reader = Receiver::from_owned_fd(OwnedFd::from(reader))?;
    let mut log = Log::open(path.to_owned())?;
    // ends when the last process that holds the pipe is gone
    tokio::task::spawn_local(async move {
        let mut buffer = vec![0; 4096];
        while let Ok(count @ 1..) = reader.read(&mut buffer).await {
            // a full disk must not stop the process that writes
            let _ = log.write(&buffer[..count]);
        }
    });
    Ok(writer)
}

/// Adds a line of our own.
pub(crate) fn note(path: &Path, line: &str) {
    let _ = Log::open(path.to_owned()).and_then(|mut log| log.write(format!("minimesh demo: {line}\n").as_bytes()));
}

struct Log {
    path: PathBuf,
    file: File,
    size: u64,
}

impl Log {
    fn open(path: PathBuf) -> io::Result<Log> {
        let file = OpenOptions::new().create(true).append(true).open(&path)?;
        let size = file.metadata()?.len();
        Ok(Log { path, file, size })
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.size + bytes.len() as u64 > FULL {
            let mut aside = self.path.clone().into_os_string();
            aside.push(".1");
            fs::rename(&self.path, aside)?;
            *self = Log::open(self.path.clone())?;
        }
        self.size += bytes.len() as u64;
        self.file.write_all(bytes)
    }
}

/// Two such files per container; a demo has some forty containers.
const FULL: u64 = 1 << 20;
