//! The one accept loop: every listener of the data path runs inside `serve`.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tracing::warn;

use crate::worker::Worker;

/// Out of descriptors or memory: time for connections to end. Accepting again at once would spin.
const BACK_OFF: Duration = Duration::from_millis(50);

/// Accepts until the drain starts; `take` must not wait.
pub(crate) async fn serve(listener: TcpListener, worker: Rc<Worker>, take: impl Fn(TcpStream, SocketAddr)) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = worker.drain_started() => return,
        };
        match accepted {
            Ok((tcp, peer)) => take(tcp, peer),
            Err(error) if is_shortage(&error) => {
                warn!(%error, "cannot accept connections");
                tokio::time::sleep(BACK_OFF).await;
            }
            // the client gave up before it was accepted (accept(2), "Error handling")
            Err(_) => {}
        }
    }
}

fn is_shortage(error: &io::Error) -> bool {
    use nix::errno::Errno;
    let code = error.raw_os_error().map(Errno::from_raw);
    matches!(code, Some(Errno::EMFILE | Errno::ENFILE | Errno::ENOBUFS | Errno::ENOMEM))
}
