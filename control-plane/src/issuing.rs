//! The authority in force: whom everybody trusts, and what signs. Published by whoever keeps the keys (a folder, a Secret), read by
//! everybody else.

use std::sync::Arc;

use minimesh_api::model::{RotationPhase, TrustBundle};
use minimesh_identity::Error;
use minimesh_identity::authority::Authority;
use tokio::sync::watch;

/// An authority, and how far its replacement is.
#[derive(Debug)]
pub(crate) struct Issuing {
    /// Signs, and says whom to trust.
    pub(crate) authority: Authority,
    /// How far the replacement of the root is.
    pub(crate) phase: RotationPhase,
}

/// The authority in force, now and whenever it changes. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct InForce(watch::Receiver<Arc<Issuing>>);

impl Issuing {
    /// An authority that is not being replaced.
    pub(crate) fn steady(authority: Authority) -> Issuing {
        Issuing { authority, phase: RotationPhase::Steady }
    }

    /// The bundle in force, as it travels. While there are several roots it says which one signs, so that who has a certificate of
    /// another one asks for a new one.
    pub(crate) fn trust(&self) -> Result<TrustBundle, Error> {
        let bundle = self.authority.bundle()?;
        let issuing = bundle.roots().iter().position(|root| root == self.authority.root());
        Ok(TrustBundle {
            trust_domain: bundle.trust_domain().to_owned(),
            roots: bundle.roots().iter().map(|root| root.to_vec()).collect(),
            issuing: issuing.filter(|_| bundle.roots().len() > 1),
        })
    }
}

impl InForce {
    /// As a sender says.
    pub(crate) fn of(receiver: watch::Receiver<Arc<Issuing>>) -> InForce {
        InForce(receiver)
    }

    /// One that does not change.
    pub(crate) fn fixed(authority: Authority) -> InForce {
        InForce(watch::channel(Arc::new(Issuing::steady(authority))).1)
    }

    /// Now.
    pub(crate) fn now(&self) -> Arc<Issuing> {
        Arc::clone(&self.0.borrow())
    }

    /// Resolves with the next one; never, where there will be none.
    pub(crate) async fn changed(&mut self) -> Arc<Issuing> {
        if self.0.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
        Arc::clone(&self.0.borrow_and_update())
    }
}
