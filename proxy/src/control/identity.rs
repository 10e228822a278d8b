//! Who we are and whom we trust: the newest leaf, the newest bundle, and the credentials made of both.
//!
//! Changed by `certify` (a new leaf) and by `watch` (a new bundle); published to the workers through a `watch` channel. What is
//! in force stays until its replacement is complete.

use std::cell::{Cell, RefCell};
use std::path::PathBuf;
use std::sync::Arc;

use minimesh_api::model;
use minimesh_identity::{CertificateDer, Credentials, Error, Leaf, TicketKeys, TrustBundle};
use tokio::sync::{Notify, watch};

/// Shared by the tasks of the control thread.
pub(super) struct Identity {
    bundle: RefCell<TrustBundle>,
    bundle_file: PathBuf,
    trust_domain: String,
    tickets: TicketKeys,
    generation: Cell<u64>,
    credentials: watch::Sender<Option<Arc<Credentials>>>,
    renew: Notify,
}

impl Identity {
    /// Starts from the bundle in a file (PEM).
    pub(super) fn load(
        bundle_file: PathBuf,
        trust_domain: &str,
        credentials: watch::Sender<Option<Arc<Credentials>>>,
    ) -> Result<Identity, Error> {
        Ok(Identity {
            bundle: RefCell::new(read(&bundle_file, trust_domain)?),
            bundle_file,
            trust_domain: trust_domain.to_owned(),
            tickets: TicketKeys::new()?,
            generation: Cell::new(0),
            credentials,
            renew: Notify::new(),
        })
    }

    pub(super) fn bundle(&self) -> TrustBundle {
        self.bundle.borrow().clone()
    }

    pub(super) fn credentials(&self) -> Option<Arc<Credentials>> {
        self.credentials.borrow().clone()
    }

    /// Resolves with the first credentials, or those in force.
    pub(super) async fn wait_for_credentials(&self) -> Arc<Credentials> {
        let mut receiver = self.credentials.subscribe();
        match receiver.wait_for(Option::is_some).await.map(|credentials| credentials.clone()) {
            Ok(Some(credentials)) => credentials,
            // `self` holds the sender, and the condition says `is_some`
            Ok(None) | Err(_) => std::future::pending().await,
        }
    }

    /// A new leaf, and the bundle that came with it.
    pub(super) fn certified(&self, leaf: Leaf, bundle: &model::TrustBundle) -> Result<Arc<Credentials>, Error> {
        let bundle = self.convert(bundle)?;
        let credentials = self.publish(leaf, bundle.clone())?;
        *self.bundle.borrow_mut() = bundle;
        Ok(credentials)
    }

    /// A new bundle. Where our own leaf does not chain to it, the old one stays and a new leaf is asked for at once.
    pub(super) fn trust(&self, bundle: &model::TrustBundle) -> Result<(), Error> {
        let bundle = self.convert(bundle)?;
        if bundle == *self.bundle.borrow() {
            return Ok(());
        }
        if let Some(credentials) = self.credentials()
            && let Err(error) = self.publish(credentials.leaf().clone(), bundle.clone())
        {
            self.renew.notify_one();
            return Err(error);
        }
        tracing::info!(roots = bundle.roots().len(), version = bundle.version(), "trust bundle changed");
        *self.bundle.borrow_mut() = bundle;
        Ok(())
    }

    /// The mounted file is kept current from outside: what is left when the roots changed while this proxy could not be told.
    pub(super) fn reload_bundle(&self) {
        match read(&self.bundle_file, &self.trust_domain) {
            Ok(bundle) if bundle != *self.bundle.borrow() => {
                tracing::warn!(file = %self.bundle_file.display(), "trust bundle taken from its file again");
                *self.bundle.borrow_mut() = bundle;
            }
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "trust bundle cannot be read again"),
        }
    }

    /// Resolves when a new leaf is wanted before its time.
    pub(super) async fn renewal_wanted(&self) {
        self.renew.notified().await;
    }

    fn publish(&self, leaf: Leaf, bundle: TrustBundle) -> Result<Arc<Credentials>, Error> {
        let generation = self.generation.get() + 1;
        let credentials = Arc::new(Credentials::new(leaf, bundle, &self.tickets, generation)?);
        self.generation.set(generation);
        self.credentials.send_replace(Some(credentials.clone()));
        Ok(credentials)
    }

    fn convert(&self, bundle: &model::TrustBundle) -> Result<TrustBundle, Error> {
        if bundle.trust_domain != self.trust_domain {
            let (theirs, ours) = (&bundle.trust_domain, &self.trust_domain);
            return Err(Error::Bundle(format!("of trust domain {theirs:?}, where ours is {ours:?}")));
        }
        let roots = bundle.roots.iter().map(|root| CertificateDer::from(root.clone())).collect();
        TrustBundle::new(&bundle.trust_domain, roots)
    }
}

fn read(file: &std::path::Path, trust_domain: &str) -> Result<TrustBundle, Error> {
    let failed = |error| Error::File { action: "read the trust bundle", path: file.to_owned(), error };
    TrustBundle::from_pem(trust_domain, &std::fs::read(file).map_err(failed)?)
}
