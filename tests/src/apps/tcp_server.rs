//! Servers of bytes: one that echoes, one that speaks first, one that answers only after the client's end, one that ends
//! first.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};

use super::flags::Flags;
use crate::Failure;
use crate::body::Digest;

type Behaviour = fn(TcpStream) -> io::Result<()>;

const BEHAVIOURS: [(&str, Behaviour); 4] =
    [("digest", digest), ("echo", echo), ("farewell", farewell), ("greet", greet)];

/// What a server that speaks first says.
const GREETING: &[u8] = b"220 who are you\r\n";
/// What a server that ends first says.
const FAREWELL: &[u8] = b"bye\r\n";

pub(super) fn run(flags: &Flags) -> Result<(), Failure> {
    let name = flags.text("behaviour")?;
    let (_, behave) =
        BEHAVIOURS.iter().find(|(own, _)| *own == name).ok_or_else(|| format!("no behaviour {name:?}"))?;
    let listener = super::listen(flags.parsed("port")?)?;
    println!("{}", super::READY);
    for stream in listener.incoming() {
        let (stream, behave) = (stream?, *behave);
        std::thread::spawn(move || {
            let ended = behave(stream);
            println!("connection ended: {ended:?}");
        });
    }
    Ok(())
}

/// Says the SHA-256 of everything, after the client's end.
fn digest(mut stream: TcpStream) -> io::Result<()> {
    let digest = read_to_end(&mut stream)?;
    writeln!(stream, "{digest}")
}

/// Gives back every byte, and then its end.
fn echo(mut stream: TcpStream) -> io::Result<()> {
    let mut reader = stream.try_clone()?;
    io::copy(&mut reader, &mut stream)?;
    stream.shutdown(Shutdown::Write)
}

/// Ends its own direction first and goes on listening.
fn farewell(mut stream: TcpStream) -> io::Result<()> {
    // waits for a first byte: this is about the end, not about who begins
    stream.read_exact(&mut [0])?;
    stream.write_all(FAREWELL)?;
    stream.shutdown(Shutdown::Write)?;
    let digest = read_to_end(&mut stream)?;
    println!("after farewell {digest}");
    Ok(())
}

/// Speaks first, then echoes.
fn greet(mut stream: TcpStream) -> io::Result<()> {
    stream.write_all(GREETING)?;
    echo(stream)
}

fn read_to_end(stream: &mut TcpStream) -> io::Result<String> {
    let (mut digest, mut buffer) = (Digest::new(), vec![0; 64 * 1024]);
    loop {
        match stream.read(&mut buffer)? {
            0 => return Ok(digest.finish()),
            length => digest.update(&buffer[..length]),
        }
    }
}
