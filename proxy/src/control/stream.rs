//! The Watch stream: one life after another, each over one connection, over the same resources.

use std::time::{Duration, SystemTime};

use minimesh_api::grpc;
use minimesh_api::grpc::discovery_client::DiscoveryClient;
use minimesh_api::grpc::update;
use minimesh_api::grpc::watch_response::Message;
use minimesh_api::model::ResourceKey;
use minimesh_api::wire::{Hello, Invalid, Request, Response, UpdateHead};
use minimesh_identity::{Credentials, TrustBundle};
use tokio::sync::mpsc::{self, error::TrySendError};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tracing::{debug, info, warn};

use super::backoff::Backoff;
use super::client::{Client, Current};
use super::failure::Failure;
use super::identity::Identity;
use super::resources::{Applied, News, Resources};
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
    pub(super) current: &'a Current,
}

/// Runs as long as the proxy.
pub(super) async fn run(parts: &Parts<'_>, seed: u64) {
    let mut backoff = Backoff::new(LONGEST_BACKOFF, seed);
    loop {
        let credentials = parts.identity.wait_for_credentials().await;
        let bundle = parts.identity.bundle();
        let mut opened = None;
        let ended = session(parts, &credentials, &bundle, &mut opened).await;
        parts.current.close();
        parts.resources.hang_up();
        parts.metrics.connected(false);
        // A stream that lasted was no failure of this replica: its end (connection age, a restart) is made good at once.
        // One that ends as soon as it has begun would else be opened without pause.
        if opened.is_some_and(|opened: Instant| opened.elapsed() >= LASTING) {
            backoff.reset();
        }
        let wait = backoff.delay();
        match ended {
            Ok(()) => debug!(again_in = ?wait, "the control plane ended the stream"),
            Err(failure) => {
                parts.metrics.watch_failed(failure.reason);
                warn!(error = %failure, hint = failure.hint(), retry_in = ?wait, "no stream to the control plane; what is known stays in force");
                parts.identity.doubt(&failure, &bundle);
            }
        }
        sleep(wait).await;
    }
}

/// One stream, from its connection to its end. `opened` is set when the control plane has greeted.
async fn session(
    parts: &Parts<'_>,
    credentials: &Credentials,
    bundle: &TrustBundle,
    opened: &mut Option<Instant>,
) -> Result<(), Failure> {
    let channel = parts.client.connect(bundle, Some(credentials)).await?;
    let (say, said) = mpsc::channel(UNSENT);
    let speaker = Speaker(say);
    speaker.say(&Request::Hello(Hello::new(parts.instance)))?;
    for (key, held_version) in parts.resources.all() {
        speaker.say(&Request::Subscribe { key, held_version })?;
    }
    let mut client = DiscoveryClient::new(channel.clone()).max_decoding_message_size(LARGEST_MESSAGE);
    let silent = |_| Failure::new(ControlFailure::Unavailable, "no answer within 10 s");
    let answer = timeout(ANSWER, client.watch(ReceiverStream::new(said))).await.map_err(silent)?;
    let mut stream = answer.map_err(|status| Failure::of_status(&status))?.into_inner();
    timeout(ANSWER, greeting(&mut stream)).await.map_err(silent)??;
    *opened = Some(Instant::now());
    parts.metrics.heard(SystemTime::now());
    parts.metrics.connected(true);
    parts.current.open(channel);
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
        match message.message {
            Some(Message::Update(update)) => take(parts, &speaker, update)?,
            _ => return Err(Failure::new(ControlFailure::Protocol, "hello repeated, or an empty message")),
        }
    }
}

/// The control plane's first message.
async fn greeting(stream: &mut Streaming<grpc::WatchResponse>) -> Result<(), Failure> {
    let first = stream.message().await.map_err(|status| Failure::of_status(&status))?;
    let Some(first) = first else {
        return Err(Failure::new(ControlFailure::Unavailable, "the control plane ended the stream without a word"));
    };
    let Some(Message::Hello(hello)) = first.message else {
        return Err(Failure::new(ControlFailure::Protocol, "the first message is no hello"));
    };
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
    let more = matches!(&update.state, Some(update::State::Endpoints(part)) if part.more);
    let response = Response::try_from(grpc::WatchResponse { message: Some(Message::Update(update)) });
    let applied = response.and_then(|response| match response {
        Response::Update(update) => parts.resources.apply(*update, |bundle| {
            parts.identity.trust(bundle).map_err(|error| Invalid::new("roots", error.to_string()))
        }),
        Response::Hello(_) => Err(Invalid::new("message", "hello repeated")),
    });
    match applied {
        Ok(Applied::Incomplete | Applied::Unwanted) => Ok(()),
        Ok(Applied::InForce) => {
            debug!(?key, version, "in force");
            parts.metrics.updated();
            parts.resources.count(parts.metrics);
            speaker.say(&Request::Ack { key, version })
        }
        Err(invalid) => {
            warn!(?key, version, %invalid, "update refused; the last good state stays");
            parts.metrics.nacked();
            let start_over = parts.resources.refused(&key, version, more);
            speaker.say(&Request::Nack { key: key.clone(), version, invalid })?;
            // The control plane is mistaken about what we hold: asked anew, it sends everything.
            if start_over { speaker.say(&Request::Subscribe { key, held_version: None }) } else { Ok(()) }
        }
    }
}

/// Our direction of a stream.
struct Speaker(mpsc::Sender<grpc::WatchRequest>);

impl Speaker {
    fn say(&self, request: &Request) -> Result<(), Failure> {
        match self.0.try_send(request.into()) {
            // Closed: the stream has ended, and its other half says why.
            Ok(()) | Err(TrySendError::Closed(_)) => Ok(()),
            Err(TrySendError::Full(_)) => {
                let message = "the control plane does not read what this proxy says";
                Err(Failure::new(ControlFailure::Unavailable, message))
            }
        }
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
/// From then on a stream's end says nothing about the next one.
const LASTING: Duration = Duration::from_secs(10);
/// After a control plane's restart proxies should be back within seconds.
const LONGEST_BACKOFF: Duration = Duration::from_secs(5);
/// Between looks at what nobody reads; a resource is forgotten 60 s after its last reader.
const SWEEP: Duration = Duration::from_secs(15);
