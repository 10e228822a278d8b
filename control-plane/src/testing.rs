//! Stand-ins for tests: a publisher that says what the test says, identities, and a proxy's end of the connection.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use minimesh_api::model::{Endpoint, EndpointState, Endpoints, PlaintextReason, ResourceKey, Transport, WorkloadRef};
use minimesh_api::wire::{EndpointsPart, State};
use minimesh_identity::authority::Authority;
use minimesh_identity::{Credentials, SpiffeId, TicketKeys, TrustBundle, control};
use minimesh_index::PodInfo;
use rustls::pki_types::ServerName;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_rustls::TlsConnector;
use tonic::transport::{Channel, Endpoint as Connection};

use crate::publish::{Command, Published, Publisher, Subscriber};
use crate::serve::Io;

/// What the fake publisher knows.
pub(crate) struct Fake {
    answers: HashMap<ResourceKey, watch::Sender<Option<Arc<Published>>>>,
    pods: Vec<PodInfo>,
}

impl Fake {
    pub(crate) fn new(keys: impl IntoIterator<Item = ResourceKey>) -> Fake {
        let answers = keys.into_iter().map(|key| (key, watch::channel(None).0)).collect();
        Fake { answers, pods: Vec::new() }
    }

    pub(crate) fn with_pod(mut self, pod: PodInfo) -> Fake {
        self.pods.push(pod);
        self
    }

    pub(crate) fn spawn(self) -> (Publisher, Arc<Fake>) {
        let fake = Arc::new(self);
        let (commands, receiver) = mpsc::channel(8);
        tokio::spawn(Arc::clone(&fake).answer(receiver));
        (Publisher::of(commands), fake)
    }

    /// Publishes a state; answers its version.
    pub(crate) fn publish(&self, key: &ResourceKey, state: State) -> u64 {
        let published = Published::new(key.clone(), state, Instant::now());
        let version = published.version;
        self.answers[key].send_replace(Some(Arc::new(published)));
        version
    }

    pub(crate) fn subscribers(&self, key: &ResourceKey) -> usize {
        self.answers[key].receiver_count()
    }

    async fn answer(self: Arc<Fake>, mut commands: mpsc::Receiver<Command>) {
        while let Some(command) = commands.recv().await {
            match command {
                Command::Pod { namespace, name, reply } => {
                    let is_it = |pod: &&PodInfo| *pod.workload.namespace == *namespace && *pod.workload.pod == *name;
                    let _ = reply.send(self.pods.iter().find(is_it).cloned());
                }
                Command::PodByToken { sha256, reply } => {
                    let pod = self.pods.iter().find(|pod| pod.token_sha256 == Some(sha256));
                    let _ = reply.send(pod.cloned());
                }
                Command::PodOf { subscriber: Subscriber { ip, .. }, reply } => {
                    let _ = reply.send(self.pods.iter().find(|pod| pod.ips.contains(&ip)).cloned());
                }
                Command::Subscribe { question, reply } => {
                    let answer = self.answers.get(&question.key()).map(watch::Sender::subscribe);
                    let _ = reply.send(answer.unwrap_or_else(|| watch::channel(None).1));
                }
            }
        }
    }
}

pub(crate) fn pod(name: &str, token: &[u8]) -> PodInfo {
    let sha256 = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, token);
    PodInfo {
        workload: WorkloadRef {
            namespace: "shop".into(),
            kind: "Deployment".into(),
            name: name.into(),
            pod: format!("{name}-1").into(),
        },
        service_account: name.into(),
        identity: id(name).to_shared(),
        uid: None,
        ips: vec![POD_IP],
        host_network: false,
        meshed: true,
        draining: false,
        token_sha256: sha256.as_ref().try_into().ok(),
    }
}

pub(crate) fn id(account: &str) -> SpiffeId {
    SpiffeId::new("cluster.local", "shop", account).expect("valid names")
}

pub(crate) const POD_IP: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 42, 0, 7));

/// Endpoints 10.42.1.N for each N.
pub(crate) fn endpoints(last_bytes: impl IntoIterator<Item = u8>) -> Endpoints {
    let endpoint = |last| Endpoint {
        address: SocketAddr::from(([10, 42, 1, last], 80)),
        transport: Transport::Plaintext(PlaintextReason::NotMeshed),
        state: EndpointState::Serving,
        workload: None,
        zone: None,
    };
    Endpoints::new(last_bytes.into_iter().map(endpoint).collect())
}

pub(crate) fn full(endpoints: Endpoints) -> State {
    State::Endpoints(EndpointsPart::Full { endpoints: endpoints.0, more: false })
}

/// A channel over a stream that is already connected, with real TLS. `leaf_of`: the certificate to present.
pub(crate) async fn connect(
    stream: impl Io,
    authority: &Authority,
    leaf_of: Option<&SpiffeId>,
) -> Result<Channel, tonic::transport::Error> {
    let credentials = leaf_of.map(|id| credentials(authority, authority, id));
    secure(stream, &authority.bundle().expect("has a root"), credentials).await
}

/// The same, with a certificate that another authority issued.
pub(crate) async fn connect_with_leaf_of(
    stream: impl Io,
    authority: &Authority,
    issuer: &Authority,
    id: &SpiffeId,
) -> Result<Channel, tonic::transport::Error> {
    secure(stream, &authority.bundle().expect("has a root"), Some(credentials(issuer, issuer, id))).await
}

/// Without TLS, as on the operator socket.
pub(crate) async fn connect_plainly(stream: impl Io) -> Channel {
    let mut stream = Some(stream);
    let connector = tower::service_fn(move |_| {
        let stream = stream.take().ok_or_else(|| std::io::Error::other("one connection only"));
        async move { stream.map(TokioIo::new) }
    });
    Connection::from_static("http://operator").connect_with_connector(connector).await.expect("connected")
}

fn credentials(issuer: &Authority, bundle: &Authority, id: &SpiffeId) -> Credentials {
    let leaf = issuer.issue_leaf(id, Duration::from_secs(600)).expect("a leaf");
    let bundle = bundle.bundle().expect("has a root");
    Credentials::new(leaf, bundle, &TicketKeys::new().expect("keys"), 1).expect("credentials")
}

/// What a test's client has not read and may be sent, as of a proxy.
pub(crate) const WINDOW: u32 = 64 * 1024;

/// A channel with these roots and this certificate.
pub(crate) async fn secure(
    stream: impl Io,
    bundle: &TrustBundle,
    credentials: Option<Credentials>,
) -> Result<Channel, tonic::transport::Error> {
    let expected = crate::own::id("cluster.local", crate::own::NAMESPACE).expect("valid");
    let config = control::client_config(bundle, &expected, credentials.as_ref()).expect("a configuration");
    let mut stream = Some(stream);
    let connector = tower::service_fn(move |_| {
        let (stream, config) = (stream.take(), Arc::clone(&config));
        async move {
            let stream = stream.ok_or_else(|| std::io::Error::other("one connection only"))?;
            let name = ServerName::IpAddress(Ipv4Addr::LOCALHOST.into());
            TlsConnector::from(config).connect(name, stream).await.map(TokioIo::new)
        }
    });
    let connection = Connection::from_static("http://control-plane").initial_stream_window_size(WINDOW);
    connection.connect_with_connector(connector).await
}
