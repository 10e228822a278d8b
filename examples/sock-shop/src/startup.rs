//! What a service does before it listens: it waits until the services that it calls take connections.
//!
//! So a shop that starts all at once fails no request of its first shoppers, in whatever order its pods come up. A peer is
//! asked nothing: a connection that stays open, or on which the peer speaks, is enough. Called by `run` only.

use std::{io, time::Duration};

use tokio::{
    io::AsyncReadExt,
    task::JoinSet,
    time::{sleep, timeout},
};

use crate::{Role, directory::Directory, stop::Stop};

/// Waits for the peers of a role, or until the patience ends; false when the process is asked to stop meanwhile.
pub(crate) async fn wait_for_peers(peers: &[(&str, u16)], directory: &Directory, mut stop: Stop) -> bool {
    let mut waits = JoinSet::new();
    for (host, port) in peers {
        let (host, port, directory) = ((*host).to_owned(), *port, directory.clone());
        waits.spawn_local(async move {
            while let Err(error) = takes_connections(&host, port, &directory).await {
                tracing::debug!(host, port, %error, "not there yet");
                sleep(BETWEEN_ATTEMPTS).await;
            }
        });
    }
    let all = timeout(PATIENCE, async { while waits.join_next().await.is_some() {} });
    tokio::select! {
        waited = all => {
            if waited.is_err() {
                tracing::warn!(missing = waits.len(), "peers are missing, starting without them");
            }
            true
        }
        () = stop.asked() => false,
    }
}

/// The peers that a role calls (sock-shop's call graph).
pub(crate) fn peers(role: &Role) -> &'static [(&'static str, u16)] {
    match role {
        Role::Carts => &[("carts-db", 27017)],
        Role::Catalogue => &[("catalogue-db", 3306)],
        Role::FrontEnd => &[("catalogue", 80), ("carts", 80), ("orders", 80), ("user", 80), ("session-db", 6379)],
        Role::Orders => &[("user", 80), ("carts", 80), ("payment", 80), ("shipping", 80), ("orders-db", 27017)],
        Role::QueueMaster | Role::Shipping => &[("rabbitmq", 5672)],
        Role::User => &[("user-db", 27017)],
        Role::CartsDb
        | Role::CatalogueDb
        | Role::Load(_)
        | Role::OrdersDb
        | Role::Payment
        | Role::Rabbitmq
        | Role::RabbitmqExporter
        | Role::SessionDb
        | Role::UserDb => &[],
    }
}

async fn takes_connections(host: &str, port: u16, directory: &Directory) -> io::Result<()> {
    let mut stream = timeout(SILENCE * 10, directory.connect(host, port)).await??;
    match timeout(SILENCE, stream.read_u8()).await {
        // silent and open, or the server speaks first
        Err(_) | Ok(Ok(_)) => Ok(()),
        // a proxy took the connection and found nobody behind the name
        Ok(Err(error)) => Err(error),
    }
}

/// A connection that is not closed for this long has somebody at its end.
const SILENCE: Duration = Duration::from_millis(200);
const BETWEEN_ATTEMPTS: Duration = Duration::from_millis(100);
/// Then the service starts and says by its answers what is missing.
const PATIENCE: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use tokio::{net::TcpListener, task::LocalSet};

    use super::*;

    #[tokio::test]
    async fn a_peer_that_closes_at_once_is_not_there_yet() {
        let story = async {
            let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
            let directory = Directory::fixed([("carts", 80, listener.local_addr().unwrap())]);
            let (_sender, stop) = Stop::pulled_by_hand();
            let waiting =
                tokio::task::spawn_local(async move { wait_for_peers(&[("carts", 80)], &directory, stop).await });
            for _ in 0..2 {
                drop(listener.accept().await.unwrap());
                assert!(!waiting.is_finished());
            }
            let _open = listener.accept().await.unwrap();
            assert!(waiting.await.unwrap());
        };
        LocalSet::new().run_until(story).await;
    }

    #[tokio::test]
    async fn a_stop_ends_the_waiting() {
        let story = async {
            let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
            let directory = Directory::fixed([("carts", 80, listener.local_addr().unwrap())]);
            let (sender, stop) = Stop::pulled_by_hand();
            sender.send_replace(true);
            drop(listener);
            assert!(!wait_for_peers(&[("carts", 80)], &directory, stop).await);
        };
        LocalSet::new().run_until(story).await;
    }
}
