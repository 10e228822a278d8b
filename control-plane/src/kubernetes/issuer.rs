//! The Secret with the authority's keys, in the control plane's own namespace: made once by the replica that leads, unless a user
//! brought it; followed by every replica; changed by the one that leads.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::StreamExt;
use k8s_openapi::api::core::v1::Secret;
use kube::Client;
use kube::api::{Api, ObjectMeta, PostParams};
use kube::runtime::watcher::{self, DefaultBackoff};
use kube::runtime::{WatchStreamExt, watcher as watch_objects};
use minimesh_api::model::RotationPhase;
use tokio::sync::watch;
use tokio::time::sleep;
use tracing::{error, info, warn};

use super::keys::{Keys, KeysError};
use super::lease::Leadership;
use super::reflect::in_words;
use super::trust_maps::managed;
use crate::issuing::{InForce, Issuing};

/// The Secret.
#[derive(Clone, Debug)]
pub(crate) struct Issuer {
    api: Api<Secret>,
    trust_domain: Arc<str>,
    leaf_lifetime: Duration,
    leadership: Leadership,
}

/// Why a step of the root's replacement was not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum IssuerError {
    /// The API server's answer.
    #[error("Secret {NAME}: {}", in_words(.0))]
    Api(#[from] kube::Error),
    /// What it holds.
    #[error("Secret {NAME}: {0}")]
    Keys(#[from] KeysError),
    /// Another replica writes.
    #[error("another replica writes; ask that one")]
    NotLeading,
}

impl Issuer {
    /// In that namespace.
    pub(crate) fn new(
        client: &Client,
        namespace: &str,
        trust_domain: &str,
        leaf_lifetime: Duration,
        leadership: Leadership,
    ) -> Issuer {
        let api = Api::namespaced(client.clone(), namespace);
        Issuer { api, trust_domain: trust_domain.into(), leaf_lifetime, leadership }
    }

    /// The authority, and what client sessions are signed with: read as soon as it can be, made where there is none and this replica leads; followed from then on.
    pub(crate) async fn in_force(self) -> (InForce, Arc<[u8]>) {
        let mut told = String::new();
        loop {
            match self.read_or_create().await {
                Ok(Some((issuing, session_key))) => {
                    let root = issuing.authority.root_fingerprint();
                    info!(%root, phase = ?issuing.phase, "certificate authority ready");
                    let (sender, receiver) = watch::channel(Arc::new(issuing));
                    tokio::spawn(self.clone().keep());
                    tokio::spawn(self.follow(sender));
                    return (InForce::of(receiver), session_key);
                }
                Ok(None) => {}
                Err(error) => {
                    let text = error.to_string();
                    if text != told {
                        error!(error = text, "no certificate authority; nobody can be answered before there is one");
                        told = text;
                    }
                }
            }
            sleep(LOOK).await;
        }
    }

    /// Takes the next step of the root's replacement.
    pub(crate) async fn rotate(&self, from: RotationPhase) -> Result<RotationPhase, IssuerError> {
        if !self.leadership.leads() {
            return Err(IssuerError::NotLeading);
        }
        let secret = self.api.get(NAME).await?;
        let keys = keys(&secret).advanced(&self.trust_domain, from, SystemTime::now())?;
        let phase = keys.read(&self.trust_domain)?.phase;
        self.replace(secret, keys).await?;
        info!(?from, to = ?phase, "the replacement of the root goes on");
        Ok(phase)
    }

    async fn read_or_create(&self) -> Result<Option<(Issuing, Arc<[u8]>)>, IssuerError> {
        if let Some(secret) = self.api.get_opt(NAME).await? {
            let keys = keys(&secret);
            return Ok(Some((keys.read(&self.trust_domain)?, keys.session_key())));
        }
        if !self.leadership.leads() {
            return Ok(None);
        }
        let keys = Keys::create(&self.trust_domain)?;
        let made = (keys.read(&self.trust_domain)?, keys.session_key());
        let secret = Secret {
            metadata: managed(ObjectMeta::default(), NAME),
            data: Some(keys.0),
            type_: Some("Opaque".to_owned()),
            ..Secret::default()
        };
        match self.api.create(&PostParams::default(), &secret).await {
            Ok(_) => {
                info!("a certificate authority was made; Secret {NAME} holds its keys");
                Ok(Some(made))
            }
            // Somebody was first: theirs is the one.
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Publishes every good state of the Secret. One that is gone or malformed leaves the last good one in force.
    async fn follow(self, sender: watch::Sender<Arc<Issuing>>) {
        let config = watcher::Config::default().fields(&format!("metadata.name={NAME}"));
        let mut events = std::pin::pin!(watch_objects(self.api.clone(), config).backoff(DefaultBackoff::default()));
        let mut known: Option<Keys> = None;
        loop {
            let event = tokio::select! {
                event = events.next() => event,
                () = sender.closed() => return,
            };
            let secret = match event {
                None => return,
                Some(Ok(watcher::Event::Apply(secret) | watcher::Event::InitApply(secret))) => secret,
                Some(Ok(watcher::Event::Delete(_))) => {
                    error!("Secret {NAME} was deleted; its keys stay in force until this replica ends: restore it");
                    continue;
                }
                Some(Ok(watcher::Event::Init | watcher::Event::InitDone)) => continue,
                Some(Err(error)) => {
                    warn!(error = in_words(&error), "Secret {NAME} cannot be watched; trying again");
                    continue;
                }
            };
            let keys = keys(&secret);
            if known.as_ref() == Some(&keys) {
                continue;
            }
            match keys.read(&self.trust_domain) {
                Ok(issuing) => {
                    let root = issuing.authority.root_fingerprint();
                    info!(%root, phase = ?issuing.phase, "certificate authority in force");
                    sender.send_replace(Arc::new(issuing));
                }
                Err(error) => error!(%error, "Secret {NAME} cannot be used; the last good keys stay in force"),
            }
            known = Some(keys);
        }
    }

    /// What time demands of the one that leads.
    async fn keep(mut self) {
        loop {
            self.leadership.gained().await;
            if let Err(error) = self.age().await {
                warn!(%error, "the certificate authority cannot be renewed; trying again");
            }
            sleep(KEEP).await;
        }
    }

    async fn age(&self) -> Result<(), IssuerError> {
        let Some(secret) = self.api.get_opt(NAME).await? else { return Ok(()) };
        let aged = keys(&secret).aged(&self.trust_domain, self.leaf_lifetime, SystemTime::now())?;
        let Some(aged) = aged else { return Ok(()) };
        self.replace(secret, aged).await?;
        info!("the certificate authority was renewed");
        Ok(())
    }

    /// Only if nobody has changed it since it was read: its version travels with it.
    async fn replace(&self, mut secret: Secret, keys: Keys) -> Result<(), IssuerError> {
        secret.data = Some(keys.0);
        secret.metadata.managed_fields = None;
        self.api.replace(NAME, &PostParams::default(), &secret).await?;
        Ok(())
    }
}

fn keys(secret: &Secret) -> Keys {
    Keys(secret.data.clone().unwrap_or_default())
}

/// Name of the Secret.
pub(super) const NAME: &str = "minimesh-issuer";
/// Between looks for a Secret that is not there yet.
const LOOK: Duration = Duration::from_secs(1);
/// Between looks at what time demands.
const KEEP: Duration = Duration::from_secs(600);
