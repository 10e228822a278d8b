//! The Watch stream: one life after another, each over one connection, over the same resources.

use std::cell::RefCell;
use std::time::{Duration, SystemTime};

use minimesh_api::grpc;
use minimesh_api::grpc::discovery_client::DiscoveryClient;
use minimesh_api::grpc::watch_response::Message;
use minimesh_api::model::ResourceKey;
use minimesh_api::wire::{Hello, Invalid, Request, Response, UpdateHead};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tracing::{debug, info, warn};

use super::backoff::Backoff;
use super::client::Client;
use super::failure::Failure;
use super::identity::Identity;
use super::resources::{News, Resources};
use crate::metrics::{ControlFailure, ControlMetrics};

/// The parts of the control thread that a stream works with.
pub(super) struct Parts<'a> {
    pub(super) client: &'a Client,
    pub(super) identity: &'a Identity,
    pub(super) resources: &'a Resources,
    pub(super) metrics: &'a ControlMetrics,
    /// 16 random bytes of this process.
    pub(super) instance: [u8; 16],
    /// The connection in use, for reports.
    pub(super) channel: &'a RefCell<Option<Channel>>,
}

/// Runs as long as the proxy.
pub(super) async fn run(parts: &Parts<'_>, seed: u64) {
    let mut backoff = Backoff::new(LONGEST_BACKOFF, seed);
    loop {
        let began = Instant::now();
        let ended = session(parts).await;
        parts.channel.take();
        parts.metrics.connected(false);
        if began.elapsed() > LASTING {
            backoff.reset();
        }
        let wait = backoff.delay();
        match ended {
            Ok(()) => debug!(retry_in = ?wait, "the control plane ended the stream"),
            Err(failure) => {
                parts.metrics.watch_failed(failure.reason);
                warn!(error = %failure, retry_in = ?wait, "no stream to the control plane; what is known stays in force");
                if failure.reason == ControlFailure::Tls {
                    parts.identity.reload_bundle();
                }
            }
        }
        sleep(wait).await;
    }
}

/// One stream, from its connection to its end.
async fn session(parts: &Parts<'_>) -> Result<(), Failure> {
    let credentials = parts.identity.wait_for_credentials().await;
    let channel = parts.client.connect(&parts.identity.bundle(), Some(&credentials)).await?;
    let (say, said) = mpsc::channel(UNSENT);
    let speaker = Speaker(say);
    speaker.say(&Request::Hello(Hello::new(parts.instance)))?;
    for (key, version) in parts.resources.all() {
        speaker.say(&Request::Subscribe { key, held_version: (version != 0).then_some(version) })?;
    }
    let mut client = DiscoveryClient::new(channel.clone()).max_decoding_message_size(LARGEST_MESSAGE);
    let answer = timeout(ANSWER, client.watch(ReceiverStream::new(said))).await;
    let answer = answer.map_err(|_| Failure::new(ControlFailure::Unavailable, "no answer within 10 s"))?;
    let mut stream = answer.map_err(|status| Failure::of_status(&status))?.into_inner();
    let mut open = false;
    loop {
        let message = tokio::select! {
            message = stream.message() => message.map_err(|status| Failure::of_status(&status))?,
            news = parts.resources.news() => {
                news.into_iter().try_for_each(|news| speaker.tell(news))?;
                continue;
            }
        };
        let Some(message) = message else { return Ok(()) };
        parts.metrics.heard(SystemTime::now());
        match (message.message, open) {
            (Some(Message::Hello(hello)), false) => {
                greeted(hello)?;
                open = true;
                parts.metrics.connected(true);
                *parts.channel.borrow_mut() = Some(channel.clone());
            }
            (Some(Message::Update(update)), true) => take(parts, &speaker, update)?,
            _ => return Err(Failure::new(ControlFailure::Protocol, "hello missing or repeated, or an empty message")),
        }
    }
}

fn greeted(hello: grpc::Hello) -> Result<(), Failure> {
    let hello = Hello::try_from(hello)?;
    if hello.version != minimesh_api::wire::PROTOCOL_VERSION {
        let (theirs, ours) = (hello.version, minimesh_api::wire::PROTOCOL_VERSION);
        let message = format!("the control plane speaks version {theirs} of minimesh.v1, this proxy {ours}");
        return Err(Failure::new(ControlFailure::Protocol, message));
    }
    info!(software = %hello.software, "connected to the control plane");
    Ok(())
}

/// One update: in force and acknowledged, or refused by name while the last good state stays.
fn take(parts: &Parts<'_>, speaker: &Speaker, update: grpc::Update) -> Result<(), Failure> {
    let UpdateHead { key, version } = UpdateHead::try_from(&update)?;
    let response = Response::try_from(grpc::WatchResponse { message: Some(Message::Update(update)) });
    let applied = response.and_then(|response| match response {
        Response::Update(update) => parts.resources.apply(*update, |bundle| {
            parts.identity.trust(bundle).map_err(|error| Invalid::new("trust", error.to_string()))
        }),
        Response::Hello(_) => Err(Invalid::new("message", "hello repeated")),
    });
    match applied {
        Ok(false) => Ok(()),
        Ok(true) => {
            debug!(?key, version, "in force");
            parts.metrics.updated();
            speaker.say(&Request::Ack { key, version })
        }
        Err(invalid) => {
            warn!(?key, version, %invalid, "update refused; the last good state stays");
            parts.metrics.nacked();
            speaker.say(&Request::Nack { key, version, invalid })
        }
    }
}

/// Our direction of a stream.
struct Speaker(mpsc::Sender<grpc::WatchRequest>);

impl Speaker {
    fn say(&self, request: &Request) -> Result<(), Failure> {
        self.0.try_send(request.into()).map_err(|_| {
            Failure::new(ControlFailure::Unavailable, "the control plane does not read what this proxy says")
        })
    }

    fn tell(&self, news: News) -> Result<(), Failure> {
        self.say(&match news {
            News::Subscribe(key) => Request::Subscribe { key, held_version: None },
            News::Unsubscribe(key) => Request::Unsubscribe { key },
        })
    }
}

/// Looks for what nobody reads any more.
pub(super) async fn sweep(resources: &Resources, metrics: &ControlMetrics) {
    let mut tick = interval(SWEEP);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        resources.sweep(metrics);
    }
}

/// A description of a key for people.
pub(super) fn describe(key: &ResourceKey) -> String {
    match key {
        ResourceKey::Endpoints(backend) => format!("endpoints {backend}"),
        ResourceKey::Port(port) => format!("port {port}"),
        ResourceKey::Target(address) => format!("target {address}"),
        ResourceKey::Trust => "trust".to_owned(),
        ResourceKey::Workload => "workload".to_owned(),
    }
}

/// Until the control plane's first word.
const ANSWER: Duration = Duration::from_secs(10);
/// Requests that wait to be sent: every subscription (1 000) at a stream's start, and as many acknowledgements.
const UNSENT: usize = 2_048;
/// A chunk of endpoints is at most 256 KiB; routes of one target travel whole.
const LARGEST_MESSAGE: usize = 4 * 1024 * 1024;
/// A stream that lasted was no failure of this replica.
const LASTING: Duration = Duration::from_secs(10);
/// After a control plane's restart proxies should be back within seconds.
const LONGEST_BACKOFF: Duration = Duration::from_secs(5);
/// Between looks at what nobody reads; a resource is forgotten 60 s after its last reader.
const SWEEP: Duration = Duration::from_secs(15);
