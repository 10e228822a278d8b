//! The life of the injector's process, as a list.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use minimesh_runtime::admin::{self, Audience};
use minimesh_runtime::{drain, logging, signals};
use prometheus_client::registry::Registry;
use rustls::ServerConfig;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tracing::{info, warn};

use crate::args::Args;
use crate::authority::{self, Authority, AuthorityError};
use crate::metrics::Metrics;
use crate::serve::Webhook;

/// Why the injector cannot start: what, where, why, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The admin port cannot be bound.
    #[error("{0}; choose another with --admin-port, or 0 for none")]
    Admin(#[from] admin::Error),
    /// No API server.
    #[error("cannot reach a Kubernetes API server: {0}; the injector runs in a cluster, or where a kubeconfig is")]
    Cluster(Box<kube::Error>),
    /// The port cannot be bound.
    #[error("cannot listen on {address}: {error}; choose another address with --listen")]
    Listen {
        /// `--listen`.
        address: SocketAddr,
        /// The system's answer.
        error: io::Error,
    },
    /// Logging cannot begin.
    #[error(transparent)]
    Logging(#[from] logging::Error),
    /// The system gave no runtime.
    #[error("cannot start: {0}")]
    System(#[from] io::Error),
}

/// Runs until SIGTERM or SIGINT. Builds its own runtime.
pub fn run(args: Args) -> Result<(), Error> {
    // Every failed request, beside the word of who made it and knows what follows.
    logging::init_without(&args.logging, &["kube_client::client::builder"])?;
    // kube asks for the process's provider; where somebody has set it already it is the same
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(life(args))
}

async fn life(args: Args) -> Result<(), Error> {
    let mut signals = signals::Listener::new()?;
    let client = Client::try_default().await.map_err(|error| Error::Cluster(Box::new(error)))?;
    let (metrics, registry) = Metrics::new();
    let (announced, ready) = watch::channel(Standing::NoCertificate);
    if args.admin_port != 0 {
        let admin = admin(args.admin_port, registry, ready).await?;
        tokio::spawn(admin.serve(std::future::pending()));
    }
    let listener =
        TcpListener::bind(args.listen).await.map_err(|error| Error::Listen { address: args.listen, error })?;

    let namespace = args.settings.mesh_namespace.clone();
    let (first, tls) = tokio::select! {
        started = certificate(&client, &namespace) => started,
        signal = signals.next() => {
            info!(%signal, "ending before there was a certificate");
            return Ok(());
        }
    };
    let (publish, tls) = watch::channel(tls);
    tokio::spawn(keep_known(client.clone(), namespace, first, publish, announced));

    info!(version = env!("CARGO_PKG_VERSION"), address = %args.listen, image = args.settings.sidecar_image, "injector started");
    let (trigger, drain) = drain::channel();
    let webhook = Arc::new(Webhook::new(client, args.settings, metrics));
    let serving = tokio::spawn(webhook.serve(listener, tls, drain));
    let signal = signals.next().await;
    info!(%signal, "ending");
    trigger.start();
    tokio::select! {
        _ = serving => {}
        again = signals.next() => warn!(signal = %again, "ending at once"),
    }
    Ok(())
}

/// Whether the API server can ask us.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Standing {
    NoCertificate,
    /// It is not known to trust our authority: why.
    NotAnnounced(String),
    Ready,
}

async fn admin(port: u16, registry: Registry, ready: watch::Receiver<Standing>) -> Result<admin::Server, Error> {
    let server = admin::Server::bind(SocketAddr::from(([0, 0, 0, 0], port)), Audience::Network).await?;
    Ok(server.health(registry, move || match &*ready.borrow() {
        Standing::NoCertificate => Some("not ready: no certificate yet (see the log for why)".to_owned()),
        Standing::NotAnnounced(why) => Some(format!("not ready: {why}")),
        Standing::Ready => None,
    }))
}

/// The authority and a first serving certificate. The API server may be busy with its own start: asked until it answers.
async fn certificate(client: &Client, namespace: &str) -> (Authority, Arc<ServerConfig>) {
    loop {
        match load(client, namespace).await {
            Ok(both) => return both,
            Err(error) => warn!(%error, "no certificate for the webhook yet"),
        }
        tokio::time::sleep(RETRY).await;
    }
}

async fn load(client: &Client, namespace: &str) -> Result<(Authority, Arc<ServerConfig>), AuthorityError> {
    let authority = Authority::load_or_create(client, namespace).await?;
    let server = authority.server(namespace)?;
    Ok((authority, server))
}

/// Keeps the API server's knowledge of our authority, and our certificate, fresh.
async fn keep_known(
    client: Client,
    namespace: String,
    mut authority: Authority,
    publish: watch::Sender<Arc<ServerConfig>>,
    announced: watch::Sender<Standing>,
) {
    let mut until_renewal = RENEWAL;
    loop {
        match make_known(&client, &namespace, &mut authority, &publish).await {
            Ok(changed) => {
                if changed {
                    info!("the webhook configuration has our authority");
                }
                announced.send_replace(Standing::Ready);
            }
            // A replica that was ready stays so: the API server may be away for a moment, and asks us when it is back.
            Err(error) => {
                warn!(%error, "the webhook configuration is not known to have our authority");
                announced.send_if_modified(|standing| {
                    let unready = *standing != Standing::Ready;
                    if unready {
                        *standing = Standing::NotAnnounced(error.to_string());
                    }
                    unready
                });
            }
        }
        tokio::time::sleep(LOOK).await;
        until_renewal = until_renewal.saturating_sub(LOOK);
        if until_renewal.is_zero() {
            match load(&client, &namespace).await {
                Ok((renewed, server)) => {
                    authority = renewed;
                    publish.send_replace(server);
                    until_renewal = RENEWAL;
                }
                Err(error) => warn!(%error, "the webhook's certificate was not renewed; it is tried again"),
            }
        }
    }
}

/// Tells the API server of the authority in the Secret, unless it knows ours. What it knows instead may be newer than ours: replicas
/// would else take turns in telling it of their own, and each would refuse what the other serves.
async fn make_known(
    client: &Client,
    namespace: &str,
    authority: &mut Authority,
    publish: &watch::Sender<Arc<ServerConfig>>,
) -> Result<bool, AuthorityError> {
    if authority::is_announced(client, authority).await? {
        return Ok(false);
    }
    let (newest, server) = load(client, namespace).await?;
    if newest.certificate() != authority.certificate() {
        *authority = newest;
        publish.send_replace(server);
    }
    authority::announce(client, authority).await
}

const RETRY: Duration = Duration::from_secs(1);
/// Somebody may apply the chart again, or delete the configuration and make it anew.
const LOOK: Duration = Duration::from_secs(15);
const RENEWAL: Duration = Duration::from_secs(24 * 60 * 60);

#[cfg(test)]
mod tests {
    use http::{Method, Request, Response, StatusCode};
    use http_body_util::{BodyExt, Full};
    use serde_json::{Value, json};
    use tokio::sync::Mutex;

    use super::*;

    /// An API server that keeps a Secret and a webhook configuration.
    #[derive(Default)]
    struct Kept {
        secret: Option<Value>,
        webhooks: Value,
    }

    async fn answer(kept: &Mutex<Kept>, request: Request<kube::client::Body>) -> (StatusCode, Value) {
        let (head, body) = request.into_parts();
        let body = body.collect().await.expect("in memory").to_bytes();
        let body = serde_json::from_slice::<Value>(&body).unwrap_or_default();
        let mut kept = kept.lock().await;
        let secret = head.uri.path().contains("/secrets");
        match (head.method, secret) {
            (Method::GET, true) => match &kept.secret {
                Some(secret) => (StatusCode::OK, secret.clone()),
                None => (StatusCode::NOT_FOUND, json!({ "kind": "Status", "status": "Failure", "code": 404 })),
            },
            (_, true) => {
                kept.secret = Some(body.clone());
                (StatusCode::OK, body)
            }
            (Method::GET, false) => (StatusCode::OK, json!({ "webhooks": kept.webhooks })),
            (_, false) => {
                kept.webhooks = body["webhooks"].clone();
                (StatusCode::OK, body)
            }
        }
    }

    fn client(kept: &Arc<Mutex<Kept>>) -> Client {
        let kept = Arc::clone(kept);
        let service = tower::service_fn(move |request| {
            let kept = Arc::clone(&kept);
            async move {
                let (status, body) = answer(&kept, request).await;
                Response::builder().status(status).body(Full::new(bytes::Bytes::from(body.to_string())))
            }
        });
        Client::new(service, "default")
    }

    #[tokio::test]
    async fn replicas_agree_on_the_authority_that_the_secret_holds() {
        let webhooks = json!([{ "name": "pod.inject.minimesh.io", "clientConfig": {} }]);
        let kept = Arc::new(Mutex::new(Kept { secret: None, webhooks }));
        let client = client(&kept);
        let (mut one, server) = certificate(&client, "minimesh").await;
        let (publish, _served) = watch::channel(server);
        assert!(make_known(&client, "minimesh", &mut one, &publish).await.expect("told"));
        // somebody deletes the Secret, and another replica starts
        kept.lock().await.secret = None;
        let (mut other, server) = certificate(&client, "minimesh").await;
        let (publish_other, _served) = watch::channel(server);
        assert_ne!(other.certificate(), one.certificate());
        assert!(make_known(&client, "minimesh", &mut other, &publish_other).await.expect("told"));
        // the first one follows, and neither has anything to tell from then on
        for (authority, publish) in [(&mut one, &publish), (&mut other, &publish_other)] {
            assert!(!make_known(&client, "minimesh", authority, publish).await.expect("asked"));
        }
        assert_eq!(one.certificate(), other.certificate());
    }
}
