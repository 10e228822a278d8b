//! The control plane's Operator service, reached over its Unix socket.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use hyper_util::rt::TokioIo;
use minimesh_api::{
    grpc::{EdgesRequest, operator_client::OperatorClient},
    model::ReportedEdge,
};
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint, Uri};

use super::Error;

/// Where to ask.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    socket: PathBuf,
}

impl Source {
    /// A control plane whose operator socket is known.
    pub(crate) fn at(socket: impl Into<PathBuf>) -> Source {
        Source { socket: socket.into() }
    }

    /// The socket.
    pub(crate) fn path(&self) -> &Path {
        &self.socket
    }

    /// Everything that proxies reported within the window.
    pub(crate) async fn edges(&self, window: Duration) -> Result<Vec<ReportedEdge>, Error> {
        match tokio::time::timeout(PATIENCE, self.ask(window)).await {
            Ok(answer) => answer,
            Err(_) => Err(self.unanswered("no answer in 5 s")),
        }
    }

    async fn ask(&self, window: Duration) -> Result<Vec<ReportedEdge>, Error> {
        let channel = self.connect().await?;
        let window = window.try_into().map_err(|_| self.unanswered("the window is too long"))?;
        let mut client = OperatorClient::new(channel).max_decoding_message_size(MOST_BYTES);
        let response = client.edges(EdgesRequest { window: Some(window) }).await;
        let response = response.map_err(|status| self.unanswered(status.message()))?.into_inner();
        response.try_into().map_err(|invalid| self.unanswered(format!("a malformed answer: {invalid}")))
    }

    async fn connect(&self) -> Result<Channel, Error> {
        let socket = self.socket.clone();
        let connector = tower::service_fn(move |_: Uri| {
            let socket = socket.clone();
            async move { Ok::<_, io::Error>(TokioIo::new(UnixStream::connect(socket).await?)) }
        });
        // the authority is not looked at: the socket decides who answers
        let endpoint = Endpoint::from_static("http://operator.invalid");
        endpoint.connect_with_connector(connector).await.map_err(|error| self.unanswered(innermost(&error)))
    }

    fn unanswered(&self, reason: impl std::fmt::Display) -> Error {
        Error::Unanswered { socket: self.socket.display().to_string(), reason: reason.to_string() }
    }
}

/// tonic's own text says "transport error" and no more.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut current = error;
    while let Some(source) = current.source() {
        current = source;
    }
    current.to_string()
}

/// The control plane answers from memory.
const PATIENCE: Duration = Duration::from_secs(5);
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
