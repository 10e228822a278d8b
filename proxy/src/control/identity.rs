//! Who we are and whom we trust: the newest leaf, the newest bundle, and the credentials made of both.
//!
//! Changed by `certify` (a new leaf) and by `stream` (a new bundle); published to the workers through a `watch` channel. What is
//! in force stays until its replacement is complete.

use std::cell::{Cell, RefCell};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use minimesh_api::model;
use minimesh_identity::{CertificateDer, Credentials, Error, Leaf, PeerError, TicketKeys, TrustBundle};
use tokio::sync::{Notify, watch};

use super::clock::Clock;
use super::failure::Failure;
use crate::metrics::ControlFailure;

/// Shared by the tasks of the control thread.
pub(super) struct Identity {
    /// Whom we expect behind the control plane's address.
    bundle: RefCell<TrustBundle>,
    bundle_file: PathBuf,
    trust_domain: String,
    clock: Clock,
    tickets: TicketKeys,
    generation: Cell<u64>,
    credentials: watch::Sender<Option<Arc<Credentials>>>,
    /// A new leaf is wanted before its time.
    wanted: Cell<bool>,
    want: Notify,
}

impl Identity {
    /// Starts from the bundle in a file (PEM).
    pub(super) fn load(
        bundle_file: PathBuf,
        trust_domain: &str,
        clock: Clock,
        credentials: watch::Sender<Option<Arc<Credentials>>>,
    ) -> Result<Identity, Error> {
        Ok(Identity {
            bundle: RefCell::new(read(&bundle_file, trust_domain)?),
            bundle_file,
            trust_domain: trust_domain.to_owned(),
            clock,
            tickets: TicketKeys::new()?,
            generation: Cell::new(0),
            credentials,
            wanted: Cell::new(false),
            want: Notify::new(),
        })
    }

    /// By the clock that certificates are judged by.
    pub(super) fn now(&self) -> SystemTime {
        self.clock.now()
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

    /// A new leaf, and the bundle that came with it. Peers must be able to accept it: what the bundle does not vouch for is
    /// refused. A leaf outside its validity is taken (peers' clocks may be right) and comes back with the reason.
    pub(super) fn certified(
        &self,
        leaf: Leaf,
        bundle: &model::TrustBundle,
    ) -> Result<(Arc<Credentials>, Option<PeerError>), Error> {
        let bundle = self.convert(bundle)?;
        let credentials = self.credentials_of(leaf, bundle.clone())?;
        let clock = match credentials.check_own(self.now()) {
            Ok(()) => None,
            Err(error @ (PeerError::Expired { .. } | PeerError::NotYetValid { .. })) => Some(error),
            Err(error) => return Err(Error::Certificate(format!("the one just issued is of no use: {error}"))),
        };
        self.publish(credentials.clone());
        self.bundle.replace(bundle);
        self.wanted.set(false);
        Ok((credentials, clock))
    }

    /// A new bundle; in force at once, also where it does not vouch for our own leaf: then a new one is asked for.
    pub(super) fn trust(&self, told: &model::TrustBundle) -> Result<(), Error> {
        let bundle = self.convert(told)?;
        if let Some(credentials) = self.credentials().filter(|credentials| *credentials.bundle() != bundle) {
            let credentials = self.credentials_of(credentials.leaf().clone(), bundle.clone())?;
            tracing::info!(roots = bundle.roots().len(), version = bundle.version(), "trust bundle changed");
            self.publish(credentials);
            self.renew_if_unfit();
        }
        self.bundle.replace(bundle);
        if let Some(root) = told.issuing.and_then(|place| told.roots.get(place)) {
            self.renew_unless_under(&CertificateDer::from(root.as_slice()));
        }
        Ok(())
    }

    /// The conversation with the control plane failed, while `trusted` was. Where we did not trust it, the next attempt trusts the
    /// mounted file, which is kept current from outside, and the one after that the last bundle that we were told. Where our own
    /// leaf is at fault, a new one is asked for.
    pub(super) fn doubt(&self, failure: &Failure, trusted: &TrustBundle) {
        if failure.refused_us {
            return self.ask_for_another();
        }
        match failure.reason {
            // Else another failure has changed it already.
            ControlFailure::Tls if *self.bundle.borrow() == *trusted => self.other_bundle(),
            ControlFailure::Tls | ControlFailure::Clock => {}
            _ => return,
        }
        self.renew_if_unfit();
    }

    /// Resolves when a new leaf is wanted before its time.
    pub(super) async fn renewal_wanted(&self) {
        while !self.wanted.get() {
            self.want.notified().await;
        }
    }

    fn renew_if_unfit(&self) {
        if let Some(Err(error)) = self.credentials().map(|credentials| credentials.check_own(self.now())) {
            tracing::warn!(%error, "our own certificate would be refused; asking for another one");
            self.ask_for_another();
        }
    }

    /// The root is being replaced: certificates of the old one are wanted gone.
    fn renew_unless_under(&self, root: &CertificateDer<'_>) {
        let Some(credentials) = self.credentials() else { return };
        if credentials.bundle().root_of(credentials.leaf().chain()).is_none_or(|own| own != root) {
            tracing::info!("certificates are issued under another root from now on; asking for a new one");
            self.ask_for_another();
        }
    }

    fn ask_for_another(&self) {
        self.wanted.set(true);
        self.want.notify_one();
    }

    fn other_bundle(&self) {
        let told = self.credentials().map(|credentials| credentials.bundle().clone());
        let file = read(&self.bundle_file, &self.trust_domain)
            .inspect_err(|error| tracing::warn!(%error, "trust bundle cannot be read again"));
        let mut bundle = self.bundle.borrow_mut();
        if let Some(other) = file.ok().into_iter().chain(told).find(|other| *other != *bundle) {
            tracing::warn!(roots = other.roots().len(), version = other.version(), "trying another trust bundle");
            *bundle = other;
        }
    }

    fn credentials_of(&self, leaf: Leaf, bundle: TrustBundle) -> Result<Arc<Credentials>, Error> {
        let clock = self.clock.provider();
        Ok(Arc::new(Credentials::with_clock(leaf, bundle, &self.tickets, self.generation.get() + 1, clock)?))
    }

    fn publish(&self, credentials: Arc<Credentials>) {
        self.generation.set(credentials.generation());
        self.credentials.send_replace(Some(credentials));
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
    TrustBundle::from_pem(trust_domain, &std::fs::read(file).map_err(failed)?).map_err(|error| match error {
        Error::Bundle(reason) => Error::Bundle(format!("{}: {reason}", file.display())),
        other => other,
    })
}
