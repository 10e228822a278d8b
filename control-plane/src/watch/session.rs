//! The life of one Watch stream, as one function.
//!
//! Called by the gRPC service with the two halves of the stream. Never waits for one half while the other could go on, and
//! never holds more than one unanswered version per resource.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{AbortHandle, Abortable};
use futures_util::stream::FuturesUnordered;
use futures_util::{Stream, StreamExt};
use minimesh_api::grpc::{self, watch_response};
use minimesh_api::model::ResourceKey;
use minimesh_api::wire::{FEATURES, Features, Hello, Invalid, PROTOCOL_VERSION, Request};
use prost::Message;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};
use tonic::Status;
use tracing::{debug, info, warn};

use super::Refused;
use super::subscriptions::Subscriptions;
use crate::ledger::Open;
use crate::metrics::{self, Metrics};
use crate::publish::{Latest, Publisher, Question, Subscriber};

/// What a stream needs of the rest.
#[derive(Clone, Debug)]
pub(super) struct Context {
    /// Where answers come from.
    pub(super) publisher: Publisher,
    /// Names this process in its hello.
    pub(super) instance: [u8; 16],
    /// What is counted.
    pub(super) metrics: Arc<Metrics>,
    /// Where it is noted whom this proxy trusts.
    pub(super) entry: Option<Arc<Open>>,
    /// Who tells people of updates that a proxy refused.
    pub(super) refused: Option<mpsc::Sender<Refused>>,
}

/// Why a stream ended, when the proxy is still there to be told.
#[derive(Debug)]
pub(super) enum End {
    /// The connection has reached its age, or the process ends: connect again.
    Aged,
    /// The proxy ended the stream, or is gone.
    Left,
    /// The proxy broke the protocol.
    Refused(Status),
    /// The proxy does not read or does not answer.
    Stalled,
}

impl End {
    /// What the proxy is told; `None`: the stream ends well.
    pub(super) fn status(self) -> Option<Status> {
        match self {
            End::Aged | End::Left => None,
            End::Refused(status) => Some(status),
            End::Stalled => Some(Status::deadline_exceeded("updates were not read or not answered for 30 s")),
        }
    }
}

/// Runs a stream until it ends. `closing` resolves when the connection should be given up in good order.
pub(super) async fn run<S>(
    context: Context,
    subscriber: Subscriber,
    mut requests: S,
    responses: mpsc::Sender<Result<Bytes, Status>>,
    closing: impl Future<Output = ()>,
) -> End
where
    S: Stream<Item = Result<grpc::WatchRequest, Status>> + Unpin,
{
    let _open = metrics::Open::new(&context.metrics.streams);
    if responses.send(Ok(our_hello(&context))).await.is_err() {
        return End::Left;
    }
    let hello = match timeout(HELLO, first_hello(&mut requests)).await {
        Ok(Ok(hello)) => hello,
        Ok(Err(end)) => return end,
        Err(_) => return End::Refused(Status::deadline_exceeded("no hello for 10 s")),
    };
    info!(id = %subscriber.id, ip = %subscriber.ip, software = %hello.software, "proxy connected");
    let missing: Vec<_> = FEATURES.iter().filter(|word| !hello.features.iter().any(|said| **said == ***word)).collect();
    if !missing.is_empty() {
        warn!(id = %subscriber.id, ip = %subscriber.ip, ?missing, "an old proxy answers 500 to requests of rules that need these");
    }
    let mut session = Session::new(context, subscriber, Features::of(&hello.features));
    tokio::pin!(closing);
    loop {
        let stall = session.subscriptions.owed_since().map(|since| since + STALLED);
        let flush = session.subscriptions.flush_at();
        let never = Instant::now();
        tokio::select! {
            biased;
            () = &mut closing => return End::Aged,
            permit = responses.reserve(), if session.subscriptions.has_outgoing() => match permit {
                Ok(permit) => permit.send(Ok(session.next_outgoing())),
                Err(_) => return End::Left,
            },
            () = responses.closed() => return End::Left,
            request = requests.next() => match request {
                Some(Ok(request)) => if let Err(end) = session.take(request).await { return end },
                Some(Err(_)) | None => return End::Left,
            },
            Some(change) = session.changes.next() => if let Ok((key, latest)) = change { session.changed(key, latest) },
            () = sleep_until(flush.unwrap_or(never)), if flush.is_some() => session.subscriptions.flush(Instant::now()),
            () = sleep_until(stall.unwrap_or(never)), if stall.is_some() => {
                session.context.metrics.stalled.increment();
                return End::Stalled;
            }
        }
    }
}

async fn first_hello<S>(requests: &mut S) -> Result<Hello, End>
where
    S: Stream<Item = Result<grpc::WatchRequest, Status>> + Unpin,
{
    let Some(Ok(request)) = requests.next().await else {
        return Err(End::Left);
    };
    match Request::try_from(request) {
        // A later version is a superset as far as neither side says a word that the other did not announce.
        Ok(Request::Hello(hello)) if hello.version >= PROTOCOL_VERSION => Ok(hello),
        Ok(Request::Hello(_)) => Err(End::Refused(Status::failed_precondition("protocol version not supported"))),
        Ok(_) => Err(End::Refused(Status::invalid_argument("the first message must be hello"))),
        Err(invalid) => Err(refused(&invalid)),
    }
}

fn our_hello(context: &Context) -> Bytes {
    let hello = watch_response::Message::Hello((&Hello::new(context.instance)).into());
    grpc::WatchResponse { message: Some(hello) }.encode_to_vec().into()
}

fn refused(invalid: &Invalid) -> End {
    End::Refused(Status::invalid_argument(invalid.to_string()))
}

/// Resolves with the resource when it changed.
type Change =
    std::pin::Pin<Box<dyn Future<Output = Result<(ResourceKey, Latest), futures_util::future::Aborted>> + Send>>;

struct Session {
    context: Context,
    subscriber: Subscriber,
    features: Features,
    subscriptions: Subscriptions,
    changes: FuturesUnordered<Change>,
    watched: std::collections::HashMap<ResourceKey, (AbortHandle, metrics::Open)>,
}

impl Session {
    fn new(context: Context, subscriber: Subscriber, features: Features) -> Session {
        let changes = FuturesUnordered::new();
        Session {
            context,
            subscriber,
            features,
            subscriptions: Subscriptions::default(),
            changes,
            watched: Default::default(),
        }
    }

    async fn take(&mut self, request: grpc::WatchRequest) -> Result<(), End> {
        match Request::try_from(request).map_err(|invalid| refused(&invalid))? {
            Request::Hello(_) => Err(End::Refused(Status::invalid_argument("hello comes first, and once"))),
            Request::Subscribe { key, held_version } => {
                self.note_trust(&key, held_version);
                self.subscribe(key, held_version).await
            }
            Request::Unsubscribe { key } => {
                self.unsubscribe(&key);
                Ok(())
            }
            Request::Ack { key, version } => {
                self.note_trust(&key, Some(version));
                if let Some(settled) = self.subscriptions.acknowledge(&key, version, Instant::now()) {
                    settled.lag.inspect(|lag| self.context.metrics.lag.record_duration(*lag));
                }
                Ok(())
            }
            Request::Nack { key, version, invalid } => {
                if self.subscriptions.refuse(&key, version) {
                    self.context.metrics.nacks.increment();
                    let (id, ip) = (&self.subscriber.id, self.subscriber.ip);
                    warn!(%id, %ip, resource = ?key, field = invalid.field, reason = invalid.reason,
                        "proxy refused an update and keeps its last good state");
                    if let Some(refused) = &self.context.refused {
                        // Who is told of too many at once misses some; the log has all.
                        let _ =
                            refused.try_send(Refused { subscriber: self.subscriber.clone(), resource: key, invalid });
                    }
                }
                Ok(())
            }
        }
    }

    async fn subscribe(&mut self, key: ResourceKey, held: Option<u64>) -> Result<(), End> {
        if self.subscriptions.contains(&key) {
            // Asked twice is asked anew.
            self.unsubscribe(&key);
        }
        if self.subscriptions.len() >= SUBSCRIPTIONS {
            let reason = format!("more than {SUBSCRIPTIONS} subscriptions on one stream");
            return Err(End::Refused(Status::resource_exhausted(reason)));
        }
        debug!(id = %self.subscriber.id, resource = ?key, "subscribed");
        let question = Question::new(&key, &self.subscriber, self.features);
        let latest = self.context.publisher.subscribe(question).await.map_err(|_| End::Aged)?;
        self.subscriptions.add(key.clone(), latest.clone(), held, Instant::now());
        let open = metrics::Open::new(&self.context.metrics.subscriptions);
        let handle = self.watch(key.clone(), latest);
        self.watched.insert(key, (handle, open));
        Ok(())
    }

    /// The proxy has this version of the trust bundle in force.
    fn note_trust(&self, key: &ResourceKey, version: Option<u64>) {
        if let (ResourceKey::Trust, Some(version), Some(entry)) = (key, version, &self.context.entry) {
            entry.trusts(version);
        }
    }

    fn unsubscribe(&mut self, key: &ResourceKey) {
        self.subscriptions.remove(key);
        if let Some((handle, _open)) = self.watched.remove(key) {
            handle.abort();
        }
    }

    fn changed(&mut self, key: ResourceKey, latest: Latest) {
        self.subscriptions.changed(&key);
        let handle = self.watch(key.clone(), latest);
        match self.watched.get_mut(&key) {
            Some((current, _)) => *current = handle,
            None => handle.abort(),
        }
    }

    fn watch(&self, key: ResourceKey, mut latest: Latest) -> AbortHandle {
        let (handle, registration) = AbortHandle::new_pair();
        let change = async move {
            if latest.changed().await.is_err() {
                // The publisher is gone: the process ends.
                std::future::pending::<()>().await;
            }
            (key, latest)
        };
        self.changes.push(Box::pin(Abortable::new(change, registration)));
        handle
    }

    fn next_outgoing(&mut self) -> Bytes {
        let message = self.subscriptions.next_outgoing(Instant::now()).unwrap_or_default();
        self.context.metrics.updates.increment();
        self.context.metrics.update_bytes.add(message.len() as u64);
        message
    }
}

/// Subscriptions of one stream.
const SUBSCRIPTIONS: usize = 1_000;
/// A proxy that takes or answers nothing for so long is given up.
const STALLED: Duration = Duration::from_secs(30);
/// To the first message.
const HELLO: Duration = Duration::from_secs(10);
