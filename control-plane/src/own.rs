//! The control plane's own certificate: issued by its own authority, renewed at a third of its life, seen by `serve` on the
//! next connection.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use minimesh_identity::authority::Authority;
use minimesh_identity::{Credentials, Error, SpiffeId, TicketKeys, control};
use rustls::ServerConfig;
use tokio::sync::watch;
use tokio::time::sleep;
use tracing::{error, info};

/// Name and namespace of the control plane in its SPIFFE ID.
pub(crate) fn id(trust_domain: &str) -> Result<SpiffeId, Error> {
    SpiffeId::new(trust_domain, "minimesh", "minimesh-control-plane")
        .map_err(|error| Error::Certificate(format!("trust domain {trust_domain:?}: {error}")))
}

/// Issues the first certificate and starts the task that renews it; it ends when nobody looks any more.
pub(crate) fn spawn(
    authority: Arc<Authority>,
    lifetime: Duration,
) -> Result<watch::Receiver<Arc<ServerConfig>>, Error> {
    let id = id(authority.trust_domain())?;
    let (sender, receiver) = watch::channel(issue(&authority, &id, lifetime, 0)?);
    tokio::spawn(async move {
        for generation in 1.. {
            tokio::select! {
                () = sleep(lifetime / RENEWALS) => {}
                () = sender.closed() => return,
            }
            match issue(&authority, &id, lifetime, generation) {
                Ok(config) => drop(sender.send_replace(config)),
                // Two more attempts fit before the present one ends.
                Err(error) => error!(%error, "the control plane's own certificate cannot be renewed"),
            }
        }
    });
    Ok(receiver)
}

fn issue(
    authority: &Authority,
    id: &SpiffeId,
    lifetime: Duration,
    generation: u64,
) -> Result<Arc<ServerConfig>, Error> {
    let leaf = authority.issue_leaf(id, lifetime)?;
    let expires_in = leaf.not_after().duration_since(SystemTime::now()).unwrap_or_default();
    info!(%id, serial = leaf.serial(), seconds = expires_in.as_secs(), "own certificate issued");
    let credentials = Credentials::new(leaf, authority.bundle()?, &TicketKeys::new()?, generation)?;
    control::server_config(&credentials)
}

/// As for the proxies.
const RENEWALS: u32 = 3;
