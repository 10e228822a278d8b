//! The control plane's own certificate: issued by its own authority, renewed at a third of its life and whenever the authority
//! changes, seen by `serve` on the next connection.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use minimesh_identity::authority::Authority;
use minimesh_identity::{Credentials, Error, SpiffeId, TicketKeys, control};
use rustls::ServerConfig;
use tokio::sync::watch;
use tokio::time::sleep;
use tracing::{error, info};

use crate::issuing::InForce;

/// Namespace of the control plane where nothing else is said.
pub(crate) const NAMESPACE: &str = "minimesh";

/// The control plane's SPIFFE ID.
pub(crate) fn id(trust_domain: &str, namespace: &str) -> Result<SpiffeId, Error> {
    SpiffeId::new(trust_domain, namespace, "minimesh-control-plane")
        .map_err(|error| Error::Certificate(format!("trust domain {trust_domain:?}: {error}")))
}

/// Issues the first certificate and starts the task that renews it; it ends when nobody looks any more.
pub(crate) fn spawn(
    mut in_force: InForce,
    id: SpiffeId,
    lifetime: Duration,
) -> Result<watch::Receiver<Arc<ServerConfig>>, Error> {
    let (sender, receiver) = watch::channel(issue(&in_force.now().authority, &id, lifetime, 0)?);
    tokio::spawn(async move {
        for generation in 1.. {
            tokio::select! {
                () = sleep(lifetime / RENEWALS) => {}
                _ = in_force.changed() => {}
                () = sender.closed() => return,
            }
            match issue(&in_force.now().authority, &id, lifetime, generation) {
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
