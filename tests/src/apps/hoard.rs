//! A client that opens many connections, does next to nothing with them and holds them until it is ended.

use std::io::{self, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::flags::Flags;
use crate::Failure;

/// Many connections.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Hoard {
    /// Where to.
    pub address: SocketAddr,
    /// So many.
    pub connections: usize,
    /// What is done on each.
    pub shape: Shape,
}

/// How a connection is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Shape {
    /// A request without its end.
    HalfHead,
    /// Some bytes, and then the end of this direction.
    HalfClosed,
    /// Some bytes and no end.
    Open,
}

/// The kernel's queue of a listener takes connections that nobody accepts; where it is full, a connection waits.
const PATIENCE: Duration = Duration::from_millis(500);

pub(super) fn run(flags: &Flags) -> Result<(), Failure> {
    let hoard: Hoard = flags.json("hoard")?;
    let held: Vec<io::Result<TcpStream>> = (0..hoard.connections).map(|_| hoard.open()).collect();
    println!("{} open", held.iter().filter(|connection| connection.is_ok()).count());
    println!("{}", super::READY);
    loop {
        std::thread::park();
    }
}

impl Hoard {
    fn open(&self) -> io::Result<TcpStream> {
        let mut connection = TcpStream::connect_timeout(&self.address, PATIENCE)?;
        match self.shape {
            Shape::HalfHead => write!(connection, "GET / HTTP/1.1\r\nHost: {}\r\nX-", self.address)?,
            Shape::HalfClosed => {
                connection.write_all(b"bytes\n")?;
                connection.shutdown(Shutdown::Write)?;
            }
            Shape::Open => connection.write_all(b"bytes\n")?,
        }
        Ok(connection)
    }
}
