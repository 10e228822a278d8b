//! Gateway API kinds, which a cluster may lack: watched in the version that is served, for as long as it is.

use std::time::Duration;

use kube::Client;
use kube::api::ApiResource;
use minimesh_index::Kind;
use minimesh_index::resource::{GrpcRoute, HttpRoute, ReferenceGrant};
use tokio::sync::mpsc;
use tokio::time::sleep;
use tracing::{info, warn};

use super::Cluster;
use super::kept::{Kept, versioned};
use super::reflect::{Absence, Note, in_words, is_not_found, reflect};

/// Watches them.
pub(super) fn spawn(cluster: &Cluster, notes: &mpsc::Sender<Note>) {
    tokio::spawn(follow::<GrpcRoute>(cluster.clone(), notes.clone()));
    tokio::spawn(follow::<HttpRoute>(cluster.clone(), notes.clone()));
    tokio::spawn(follow::<ReferenceGrant>(cluster.clone(), notes.clone()));
}

/// Looks whether the kind is served, watches it, and looks again when it is not served any more.
async fn follow<T: Kept>(cluster: Cluster, notes: mpsc::Sender<Note>) {
    let mut told = false;
    while !notes.is_closed() {
        let note = match served(&cluster.client, T::KIND).await {
            Ok(Some(resource)) => {
                told = false;
                info!(kind = T::KIND.name(), version = resource.api_version, "watching");
                reflect::<T>(&cluster, resource, &notes, Absence::Ends).await;
                continue;
            }
            Ok(None) => {
                if !told {
                    info!(kind = T::KIND.name(), "not served by this cluster; looking again every {AGAIN:?}");
                    told = true;
                }
                Some(Note::Absent(T::KIND))
            }
            Err(error) => {
                let (kind, error) = (T::KIND.name(), in_words(&error));
                warn!(kind, error, "whether it is served cannot be asked; trying again");
                None
            }
        };
        if let Some(note) = note
            && notes.send(note).await.is_err()
        {
            return;
        }
        tokio::select! {
            () = sleep(AGAIN) => {}
            () = notes.closed() => return,
        }
    }
}

/// The newest version of the kind that is served and that this program reads.
pub(super) async fn served(client: &Client, kind: Kind) -> Result<Option<ApiResource>, kube::Error> {
    for api_version in VERSIONS {
        if Kind::from_api(api_version, kind.name()).is_none() {
            continue;
        }
        let list = match client.list_api_group_resources(api_version).await {
            Ok(list) => list,
            Err(error) if is_not_found(&error) => continue,
            Err(error) => return Err(error),
        };
        if list.resources.iter().any(|resource| resource.kind == kind.name() && !resource.name.contains('/')) {
            return Ok(Some(versioned(kind, api_version)));
        }
    }
    Ok(None)
}

/// Newest first.
const VERSIONS: [&str; 2] = ["gateway.networking.k8s.io/v1", "gateway.networking.k8s.io/v1beta1"];
/// Somebody who installs the CRDs sees routes work soon after.
const AGAIN: Duration = Duration::from_secs(10);
