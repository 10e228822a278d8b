//! Discovery: the Watch stream.
//!
//! ```text
//! service (here)   tonic's streaming call with messages that are encoded already (codec)
//! session          one stream's life
//! subscriptions    what is sent when
//! ```
//!
//! Never sends to one proxy what belongs to another: `publish::Question` binds ports and workload to the caller's pod.

mod codec;
mod session;
mod subscriptions;
#[cfg(test)]
mod tests;

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use bytes::Bytes;
use minimesh_api::grpc::WatchRequest;
use minimesh_api::model::ResourceKey;
use minimesh_api::wire::Invalid;
use minimesh_runtime::drain;
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::codegen::{Body, BoxFuture, Service, StdError, http};
use tonic::server::{Grpc, NamedService, StreamingService};
use tonic::{Request, Response, Status, Streaming};

use crate::ledger::Ledger;
use crate::metrics::Metrics;
use crate::peer::Peer;
use crate::publish::{Publisher, Subscriber, Unready};
use session::{Context, End};

/// The gRPC service `minimesh.v1.Discovery`. Written by hand, because the generated one encodes each message for each proxy.
#[derive(Clone, Debug)]
pub(crate) struct Discovery {
    context: Context,
    ledger: Ledger,
    drain: drain::Watch,
}

/// An update that a proxy did not take.
#[derive(Debug)]
pub(crate) struct Refused {
    /// Whose proxy.
    pub(crate) subscriber: Subscriber,
    /// Of what.
    pub(crate) resource: ResourceKey,
    /// Why.
    pub(crate) invalid: Invalid,
}

/// Set by `serve` on every request: what a stream and the connection that carries it say to each other.
#[derive(Clone, Debug)]
pub(crate) struct Carrier {
    /// `true` when the connection has reached its age.
    pub(crate) aged: watch::Receiver<bool>,
    /// Has the connection dropped, with everything that waits in it for a proxy that does not read.
    pub(crate) cut: Arc<Notify>,
}

impl Discovery {
    /// The service; `instance` names this process.
    pub(crate) fn new(
        publisher: Publisher,
        instance: [u8; 16],
        metrics: Arc<Metrics>,
        ledger: Ledger,
        drain: drain::Watch,
    ) -> Discovery {
        let context = Context { publisher, instance, metrics, entry: None, refused: None };
        Discovery { context, ledger, drain }
    }

    /// The same, which also tells of updates that proxies refuse.
    pub(crate) fn telling(mut self, refused: Option<mpsc::Sender<Refused>>) -> Discovery {
        self.context.refused = refused;
        self
    }

    async fn watch(self, request: Request<Streaming<WatchRequest>>) -> Result<Response<Responses>, Status> {
        let subscriber = Peer::authenticated(request.extensions())?;
        if !self.context.publisher.is_synced() {
            return Err(Status::unavailable(Unready.to_string()));
        }
        let carrier = request.extensions().get::<Carrier>().cloned();
        let age = carrier.as_ref().map(|carrier| carrier.aged.clone());
        let (sender, responses) = mpsc::channel(1);
        let certificate = request.extensions().get::<Peer>().and_then(|peer| peer.certificate);
        let Discovery { mut context, ledger, drain } = self;
        context.entry = ledger.open(&subscriber, certificate).map(Arc::new);
        let closing = async move {
            tokio::select! {
                () = reached(age) => {}
                () = drain.started() => {}
            }
        };
        tokio::spawn(async move {
            let end = session::run(context, subscriber.clone(), request.into_inner(), sender.clone(), closing).await;
            tracing::debug!(id = %subscriber.id, ip = %subscriber.ip, ?end, "stream ended");
            let stalled = matches!(end, End::Stalled);
            let last_word = async {
                if let Some(status) = end.status() {
                    // Who is gone need not be told.
                    let _ = sender.send(Err(status)).await;
                }
                if stalled {
                    sender.closed().await;
                }
            };
            if timeout(LAST_WORD, last_word).await.is_err()
                && let Some(carrier) = carrier
            {
                carrier.cut.notify_one();
            }
        });
        Ok(Response::new(ReceiverStream::new(responses)))
    }
}

async fn reached(age: Option<watch::Receiver<bool>>) {
    if let Some(mut age) = age
        && age.wait_for(|reached| *reached).await.is_ok()
    {
        return;
    }
    // Without an age, or when the connection is gone (the stream then ends by itself).
    std::future::pending().await
}

type Responses = ReceiverStream<Result<Bytes, Status>>;

/// `Watch` as tonic's server wants it.
struct WatchCall(Discovery);

impl StreamingService<WatchRequest> for WatchCall {
    type Response = Bytes;
    type ResponseStream = Responses;
    type Future = BoxFuture<Response<Responses>, Status>;

    fn call(&mut self, request: Request<Streaming<WatchRequest>>) -> Self::Future {
        Box::pin(self.0.clone().watch(request))
    }
}

impl NamedService for Discovery {
    const NAME: &'static str = "minimesh.v1.Discovery";
}

impl<B> Service<http::Request<B>> for Discovery
where
    B: Body + Send + 'static,
    B::Error: Into<StdError> + Send + 'static,
{
    type Response = http::Response<tonic::body::Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _: &mut TaskContext<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let call = WatchCall(self.clone());
        Box::pin(async move {
            if request.uri().path() != "/minimesh.v1.Discovery/Watch" {
                return Ok(Status::unimplemented("minimesh.v1.Discovery has Watch alone").into_http());
            }
            let mut grpc = Grpc::new(codec::Encoded).max_decoding_message_size(REQUEST_BYTES);
            Ok(grpc.streaming(call, request).await)
        })
    }
}

/// A hello with all its words, or the longest key.
const REQUEST_BYTES: usize = 64 * 1024;
/// To hand over why a stream is ended. Who has not taken it by then, after half a minute of silence, loses the connection.
const LAST_WORD: Duration = Duration::from_secs(1);
