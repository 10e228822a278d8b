//! The control plane's Operator service: over its Unix socket, or in a replica's pod through the API server.

use std::{fmt, io, path::PathBuf, time::Duration};

use hyper_util::rt::TokioIo;
use minimesh_api::{
    grpc::{EdgesRequest, IdentitiesRequest, RotateRequest, RotationPhase as Phase, operator_client::OperatorClient},
    model::{Identities, ReportedEdge, RotationPhase},
};
use tokio::net::UnixStream;
use tonic::{
    Status,
    transport::{Channel, Endpoint, Uri},
};

use super::Error;
use crate::cluster::{Cluster, innermost};

/// Where to ask.
#[derive(Clone)]
pub(crate) enum Source {
    /// A replica in a cluster.
    Replica {
        /// The way to it.
        cluster: Cluster,
        /// Name of its pod.
        pod: String,
    },
    /// A control plane on this machine.
    Socket(PathBuf),
}

impl Source {
    /// A control plane whose operator socket is known.
    pub(crate) fn at(socket: impl Into<PathBuf>) -> Source {
        Source::Socket(socket.into())
    }

    /// Everything that proxies reported within the window.
    pub(crate) async fn edges(&self, window: Duration) -> Result<Vec<ReportedEdge>, Error> {
        self.patiently(async |mut client| {
            let window = window.try_into().map_err(|_| "the window is too long".to_owned())?;
            let answer = client.edges(EdgesRequest { window: Some(window) }).await.map_err(said)?.into_inner();
            answer.try_into().map_err(malformed)
        })
        .await
    }

    /// Who has which certificate.
    pub(crate) async fn identities(&self) -> Result<Identities, Error> {
        self.patiently(async |mut client| {
            let answer = client.identities(IdentitiesRequest {}).await.map_err(said)?.into_inner();
            answer.try_into().map_err(malformed)
        })
        .await
    }

    /// Takes the next step of the root's replacement; answers where it is then.
    pub(crate) async fn rotate(&self, from: RotationPhase, force: bool) -> Result<RotationPhase, Error> {
        self.patiently(async |mut client| {
            let request = RotateRequest { from: Phase::from(from).into(), force };
            let answer = client.rotate(request).await.map_err(said)?.into_inner();
            answer.phase.try_into().map_err(malformed)
        })
        .await
    }

    async fn patiently<T>(
        &self,
        ask: impl AsyncFnOnce(OperatorClient<Channel>) -> Result<T, String>,
    ) -> Result<T, Error> {
        let answer = async {
            let channel = self.connect().await?;
            ask(OperatorClient::new(channel).max_decoding_message_size(MOST_BYTES)).await
        };
        let answer = tokio::time::timeout(PATIENCE, answer).await;
        let late = || Err(format!("no answer in {} s", PATIENCE.as_secs()));
        answer.unwrap_or_else(|_| late()).map_err(|reason| self.unanswered(reason))
    }

    async fn connect(&self) -> Result<Channel, String> {
        let socket = match self {
            Source::Replica { cluster, pod } => return cluster.operator(pod).await,
            Source::Socket(socket) => socket.clone(),
        };
        let connector = tower::service_fn(move |_: Uri| {
            let socket = socket.clone();
            async move { Ok::<_, io::Error>(TokioIo::new(UnixStream::connect(socket).await?)) }
        });
        // the authority is not looked at: the socket decides who answers
        let endpoint = Endpoint::from_static("http://operator.invalid");
        endpoint.connect_with_connector(connector).await.map_err(|error| innermost(&error))
    }

    fn unanswered(&self, reason: String) -> Error {
        match self {
            Source::Replica { pod, .. } => Error::Replica { pod: pod.clone(), reason },
            Source::Socket(socket) => Error::Unanswered { socket: socket.display().to_string(), reason },
        }
    }
}

/// Where it is, for people.
impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Replica { pod, .. } => f.write_str(pod),
            Source::Socket(socket) => write!(f, "{}", socket.display()),
        }
    }
}

fn said(status: Status) -> String {
    status.message().to_owned()
}

fn malformed(invalid: impl fmt::Display) -> String {
    format!("a malformed answer: {invalid}")
}

/// The control plane answers from memory, and a step of a rotation is one write.
const PATIENCE: Duration = Duration::from_secs(10);
/// A thousand edges with full histograms fit several times.
const MOST_BYTES: usize = 64 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_socket_that_nobody_listens_on_is_named_with_the_reason() {
        let source = Source::at("/proc/self/no-such-socket");
        let error = source.edges(Duration::from_secs(1)).await.unwrap_err().to_string();
        assert!(error.contains("/proc/self/no-such-socket") && error.contains("No such file"), "{error}");
    }
}
