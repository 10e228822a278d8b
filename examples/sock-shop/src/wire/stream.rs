//! Connections of the binary protocols: an accept loop that drains, and a pool that survives a server's restart.

use std::{cell::RefCell, io, pin::pin, rc::Rc};

use tokio::{
    io::{AsyncBufReadExt, BufReader},
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::timeout,
};

use crate::{
    directory::Directory,
    http::Failure,
    serve::linger,
    stop::{self, Stop},
};

/// A connection, read through a buffer.
pub(crate) type Stream = BufReader<TcpStream>;

/// One server of the binary protocols.
pub(crate) trait Server: 'static {
    /// Serves one connection until the peer closes it or the process is asked to stop.
    async fn serve(&self, stream: Stream, stop: Stop) -> io::Result<()>;
}

/// Serves until asked to stop, then lets connections finish the command they are at.
pub(crate) async fn serve<S: Server>(listener: TcpListener, server: Rc<S>, mut stop: Stop) {
    let mut connections = JoinSet::new();
    let mut lingering = pin!(linger(stop.clone()));
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    let (server, stop) = (server.clone(), stop.clone());
                    connections.spawn_local(async move {
                        let _ = stream.set_nodelay(true);
                        if let Err(error) = server.serve(BufReader::new(stream), stop).await {
                            tracing::debug!(%peer, %error, "connection ended early");
                        }
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "accept failed");
                    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                }
            },
            _ = &mut lingering => break,
            Some(_) = connections.join_next() => {}
        }
    }
    drop(listener);
    stop.asked().await;
    if timeout(stop::PATIENCE, async { while connections.join_next().await.is_some() {} }).await.is_err() {
        tracing::warn!(connections = connections.len(), "connections cut at the end of the drain");
    }
}

/// Waits for the first byte of the next command; false when there will be none. When the process is asked to stop, a connection on
/// which no command came yet is given time, since its client could not know.
pub(crate) async fn next_command(stream: &mut Stream, stop: &mut Stop, served: bool) -> io::Result<bool> {
    let ended = async {
        stop.asked().await;
        if !served {
            linger(stop.clone()).await;
        }
    };
    tokio::select! {
        filled = stream.fill_buf() => Ok(!filled?.is_empty()),
        () = ended => Ok(false),
    }
}

/// A client's side of a protocol: what a connection does before the first command, and with each.
pub(crate) trait Session: Sized {
    type Command;
    type Reply;

    async fn open(stream: Stream) -> io::Result<Self>;
    async fn exchange(&mut self, command: &Self::Command) -> io::Result<Self::Reply>;
}

/// Long-lived connections to one database. Commands of the shop may be repeated without harm, so one that meets a
/// connection that died while it was idle is sent again on another.
#[derive(Debug)]
pub(crate) struct Pool<S> {
    host: &'static str,
    port: u16,
    directory: Directory,
    idle: RefCell<Vec<S>>,
}

impl<S: Session> Pool<S> {
    pub(crate) fn new(host: &'static str, port: u16, directory: Directory) -> Pool<S> {
        Pool { host, port, directory, idle: RefCell::default() }
    }

    pub(crate) fn host(&self) -> &'static str {
        self.host
    }

    /// Sends a command and waits for its reply.
    pub(crate) async fn exchange(&self, command: &S::Command) -> Result<S::Reply, Failure> {
        match timeout(stop::PATIENCE, self.attempt(command)).await {
            Ok(reply) => reply.map_err(|error| Failure::unreachable(self.host, error)),
            Err(_) => Err(Failure::unreachable(self.host, "no answer in 10 s")),
        }
    }

    async fn attempt(&self, command: &S::Command) -> io::Result<S::Reply> {
        loop {
            // taken in a statement of its own: the borrow must end before the wait
            let idle = self.idle.borrow_mut().pop();
            let Some(session) = idle else { break };
            if let Ok(reply) = self.on(session, command).await {
                return Ok(reply);
            }
        }
        // twice: the first fresh connection may meet a server that is just leaving
        match self.fresh(command).await {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => self.fresh(command).await,
            outcome => outcome,
        }
    }

    async fn fresh(&self, command: &S::Command) -> io::Result<S::Reply> {
        let stream = self.directory.connect(self.host, self.port).await?;
        let session = S::open(BufReader::new(stream)).await?;
        self.on(session, command).await
    }

    async fn on(&self, mut session: S, command: &S::Command) -> io::Result<S::Reply> {
        let reply = session.exchange(command).await?;
        let mut idle = self.idle.borrow_mut();
        if idle.len() < MOST_KEPT {
            idle.push(session);
        }
        Ok(reply)
    }
}

/// A peer that does not speak the protocol.
pub(crate) fn invalid(what: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.into())
}

/// Connections kept per database.
const MOST_KEPT: usize = 4;

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;

    async fn connected() -> (TcpStream, Stream) {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (client, BufReader::new(listener.accept().await.unwrap().0))
    }

    #[tokio::test]
    async fn who_connects_while_the_server_leaves_is_served_once() {
        let (sender, mut stop) = Stop::pulled_by_hand();
        sender.send_replace(true);
        let (mut client, mut stream) = connected().await;
        client.write_all(b"command").await.unwrap();
        assert!(next_command(&mut stream, &mut stop, false).await.unwrap());
        stream.consume(7);
        assert!(!next_command(&mut stream, &mut stop, true).await.unwrap());
    }

    #[tokio::test(start_paused = true)]
    async fn who_says_nothing_does_not_keep_the_server() {
        let (sender, mut stop) = Stop::pulled_by_hand();
        sender.send_replace(true);
        let (_client, mut stream) = connected().await;
        assert!(!next_command(&mut stream, &mut stop, false).await.unwrap());
    }
}
