//! The Watch stream in paused time: what is sent when, and what ends it.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use minimesh_api::grpc;
use minimesh_api::model::{BackendKey, Endpoints, ResourceKey, TrustBundle};
use minimesh_api::wire::{Assembly, CHUNK_BYTES, EndpointsPart, Hello, Invalid, Request, Response, State, Update};
use minimesh_runtime::drain;
use proptest::collection::vec;
use proptest::prelude::*;
use prost::Message;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status};

use super::session::{self, Context, End};
use crate::ledger::Ledger;
use crate::metrics::Metrics;
use crate::publish::{Published, Subscriber};
use crate::testing::{self, Fake, endpoints, full};

fn carts() -> ResourceKey {
    ResourceKey::Endpoints(BackendKey { namespace: "shop".into(), name: "carts".into(), port: 80 })
}

fn trust(root: u8) -> State {
    State::Trust(TrustBundle { trust_domain: "cluster.local".to_owned(), roots: vec![vec![root]], issuing: None })
}

/// A proxy's end of a stream.
struct Stream {
    fake: Arc<Fake>,
    metrics: Arc<Metrics>,
    requests: mpsc::Sender<Result<grpc::WatchRequest, Status>>,
    responses: mpsc::Receiver<Result<Bytes, Status>>,
    close: Option<oneshot::Sender<()>>,
    end: JoinHandle<End>,
}

impl Stream {
    async fn open() -> Stream {
        let (publisher, fake) = Fake::new([carts(), ResourceKey::Trust]).spawn();
        let (requests, receiver) = mpsc::channel(2_000);
        let (sender, responses) = mpsc::channel(1);
        let (close, closing) = oneshot::channel::<()>();
        let metrics = Metrics::new().0;
        let metrics_too = Arc::clone(&metrics);
        let context = Context { publisher, instance: [9; 16], metrics: metrics_too, entry: None, refused: None };
        let subscriber = Subscriber { ip: IpAddr::from([10, 42, 0, 7]), id: testing::id("front-end") };
        let closing = async move {
            if closing.await.is_err() {
                std::future::pending().await
            }
        };
        let end = tokio::spawn(session::run(context, subscriber, ReceiverStream::new(receiver), sender, closing));
        Stream { fake, metrics, requests, responses, close: Some(close), end }
    }

    /// Opens a stream and exchanges hellos.
    async fn greeted() -> Stream {
        let mut stream = Stream::open().await;
        stream.say(Request::Hello(Hello::new([1; 16]))).await;
        assert_eq!(stream.next().await, Response::Hello(Hello::new([9; 16])));
        stream
    }

    async fn say(&self, request: Request) {
        self.requests.send(Ok((&request).into())).await.expect("the session reads");
    }

    async fn subscribe(&self, key: ResourceKey, held_version: Option<u64>) {
        self.say(Request::Subscribe { key, held_version }).await;
    }

    async fn next(&mut self) -> Response {
        let bytes = self.responses.recv().await.expect("the stream is open").expect("no status");
        Response::try_from(grpc::WatchResponse::decode(bytes).expect("a message")).expect("a valid one")
    }

    async fn update(&mut self) -> Update {
        match self.next().await {
            Response::Update(update) => *update,
            other => panic!("not an update: {other:?}"),
        }
    }

    /// The next update, acknowledged.
    async fn taken(&mut self) -> Update {
        let update = self.update().await;
        self.say(Request::Ack { key: update.key.clone(), version: update.version }).await;
        update
    }

    /// Nothing comes for a long time (short of what counts as stalled).
    async fn silence(&mut self) {
        let silent = timeout(Duration::from_secs(29), self.responses.recv()).await;
        assert!(silent.is_err(), "came: {silent:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_subscription_is_answered_at_once_and_changes_follow() {
    let mut stream = Stream::greeted().await;
    let version = stream.fake.publish(&ResourceKey::Trust, trust(1));
    let began = Instant::now();
    stream.subscribe(ResourceKey::Trust, None).await;
    assert_eq!(stream.taken().await, Update { key: ResourceKey::Trust, version, state: trust(1) });
    assert_eq!(began.elapsed(), Duration::ZERO);
    let version = stream.fake.publish(&ResourceKey::Trust, trust(2));
    assert_eq!(stream.taken().await, Update { key: ResourceKey::Trust, version, state: trust(2) });
    stream.silence().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_not_known_yet_is_sent_when_it_is() {
    let mut stream = Stream::greeted().await;
    stream.subscribe(ResourceKey::Trust, None).await;
    stream.silence().await;
    let version = stream.fake.publish(&ResourceKey::Trust, trust(1));
    assert_eq!(stream.taken().await.version, version);
}

#[tokio::test(start_paused = true)]
async fn the_version_that_a_proxy_holds_is_not_sent_again() {
    let mut stream = Stream::greeted().await;
    let version = stream.fake.publish(&ResourceKey::Trust, trust(1));
    stream.subscribe(ResourceKey::Trust, Some(version)).await;
    stream.silence().await;
    stream.fake.publish(&ResourceKey::Trust, trust(2));
    assert_eq!(stream.taken().await.state, trust(2));
}

#[tokio::test(start_paused = true)]
async fn another_version_than_the_one_held_is_sent_whole() {
    let mut stream = Stream::greeted().await;
    stream.fake.publish(&carts(), full(endpoints(1..4)));
    stream.subscribe(carts(), Some(77)).await;
    assert_eq!(stream.taken().await.state, full(endpoints(1..4)));
}

#[tokio::test(start_paused = true)]
async fn endpoints_travel_as_deltas_against_the_version_acknowledged_last() {
    let mut stream = Stream::greeted().await;
    stream.fake.publish(&carts(), full(endpoints(1..100)));
    stream.subscribe(carts(), None).await;
    let base_version = stream.taken().await.version;
    stream.fake.publish(&carts(), full(endpoints(2..101)));
    let State::Endpoints(EndpointsPart::Delta { delta, more: false }) = stream.taken().await.state else {
        panic!("not a delta");
    };
    assert_eq!(delta, endpoints(2..101).delta(&endpoints(1..100), base_version));
    assert_eq!((delta.upserts.len(), delta.removed.len()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn one_version_is_under_way_and_the_latest_follows() {
    let mut stream = Stream::greeted().await;
    stream.fake.publish(&ResourceKey::Trust, trust(1));
    stream.subscribe(ResourceKey::Trust, None).await;
    let first = stream.update().await;
    for root in 2..=9 {
        stream.fake.publish(&ResourceKey::Trust, trust(root));
        sleep(Duration::from_millis(100)).await;
    }
    stream.say(Request::Ack { key: first.key, version: first.version }).await;
    assert_eq!(stream.taken().await.state, trust(9));
    stream.silence().await;
}

#[tokio::test(start_paused = true)]
async fn a_refused_version_is_not_sent_again_and_does_not_become_the_base() {
    let mut stream = Stream::greeted().await;
    stream.fake.publish(&carts(), full(endpoints(1..100)));
    stream.subscribe(carts(), None).await;
    let good = stream.taken().await.version;
    stream.fake.publish(&carts(), full(endpoints(1..101)));
    let bad = stream.update().await;
    let invalid = Invalid::new("delta.upserts[0].transport", "missing");
    stream.say(Request::Nack { key: carts(), version: bad.version, invalid }).await;
    stream.silence().await;
    assert_eq!(stream.metrics.nacks.value(), 1);
    stream.fake.publish(&carts(), full(endpoints(1..102)));
    let State::Endpoints(EndpointsPart::Delta { delta, .. }) = stream.taken().await.state else {
        panic!("not a delta");
    };
    assert_eq!(delta, endpoints(1..102).delta(&endpoints(1..100), good));
}

#[tokio::test(start_paused = true)]
async fn the_first_change_is_sent_at_once_and_later_ones_every_50_ms() {
    let mut stream = Stream::greeted().await;
    stream.fake.publish(&ResourceKey::Trust, trust(0));
    stream.subscribe(ResourceKey::Trust, None).await;
    stream.taken().await;
    sleep(Duration::from_secs(1)).await;
    let began = Instant::now();
    let mut seen = Vec::new();
    for root in 1..=12u8 {
        stream.fake.publish(&ResourceKey::Trust, trust(root));
        if let Ok(update) = timeout(Duration::from_millis(10), stream.taken()).await {
            seen.push((began.elapsed().as_millis(), update.state));
        }
        tokio::time::sleep_until(began + Duration::from_millis(10) * u32::from(root)).await;
    }
    let times: Vec<_> = seen.iter().map(|(at, _)| *at).collect();
    assert_eq!(times, [0, 50, 100]);
    assert_eq!(stream.taken().await.state, trust(12));
}

#[tokio::test(start_paused = true)]
async fn an_ended_subscription_is_silent_and_costs_nothing() {
    let mut stream = Stream::greeted().await;
    stream.fake.publish(&ResourceKey::Trust, trust(1));
    stream.subscribe(ResourceKey::Trust, None).await;
    stream.taken().await;
    assert!(stream.fake.subscribers(&ResourceKey::Trust) > 0);
    stream.say(Request::Unsubscribe { key: ResourceKey::Trust }).await;
    stream.silence().await;
    assert_eq!(stream.fake.subscribers(&ResourceKey::Trust), 0);
    stream.fake.publish(&ResourceKey::Trust, trust(2));
    stream.silence().await;
    assert_eq!(stream.metrics.subscriptions.value(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_large_service_arrives_in_chunks_within_the_bound() {
    let mut stream = Stream::greeted().await;
    let mut many = Vec::new();
    for last in endpoints(0..=255).0 {
        many.extend((1..=60u16).map(|port| {
            let mut endpoint = last.clone();
            endpoint.address.set_port(port);
            endpoint
        }));
    }
    let many = Endpoints::new(many);
    let version = stream.fake.publish(&carts(), full(many.clone()));
    stream.subscribe(carts(), None).await;
    let (mut assembly, mut chunks) = (Assembly::default(), 0);
    let arrived = loop {
        let bytes = stream.responses.recv().await.expect("open").expect("no status");
        assert!(bytes.len() <= CHUNK_BYTES, "{}", bytes.len());
        chunks += 1;
        let response = Response::try_from(grpc::WatchResponse::decode(bytes).expect("a message")).expect("valid");
        let Response::Update(update) = response else { panic!("no update") };
        assert_eq!(update.version, version);
        let State::Endpoints(part) = update.state else { panic!("no endpoints") };
        if let Some(change) = assembly.push(update.version, part).expect("one series") {
            break change.apply(None).expect("whole");
        }
    };
    assert_eq!(arrived, many);
    assert!(chunks >= 2, "{chunks}");
}

#[tokio::test(start_paused = true)]
async fn a_proxy_that_does_not_answer_for_30_s_is_given_up() {
    let mut stream = Stream::greeted().await;
    stream.fake.publish(&ResourceKey::Trust, trust(1));
    stream.subscribe(ResourceKey::Trust, None).await;
    stream.update().await;
    let began = Instant::now();
    let end = stream.end.await.expect("no panic");
    assert_eq!(began.elapsed().as_secs(), 30);
    assert_eq!(end.status().map(|status| status.code()), Some(Code::DeadlineExceeded));
    assert_eq!(stream.metrics.stalled.value(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_proxy_that_does_not_read_for_30_s_is_given_up() {
    let mut stream = Stream::greeted().await;
    let version = stream.fake.publish(&ResourceKey::Trust, trust(1));
    stream.subscribe(ResourceKey::Trust, None).await;
    stream.fake.publish(&carts(), full(endpoints(1..3)));
    stream.subscribe(carts(), None).await;
    // Acknowledged before it was read: only the reading is late.
    sleep(Duration::from_secs(1)).await;
    stream.say(Request::Ack { key: ResourceKey::Trust, version }).await;
    let began = Instant::now();
    assert!(matches!((&mut stream.end).await.expect("no panic"), End::Stalled));
    assert_eq!(began.elapsed().as_secs(), 29);
}

#[tokio::test(start_paused = true)]
async fn a_stream_has_at_most_1000_subscriptions() {
    let mut stream = Stream::greeted().await;
    for port in 1..=999 {
        stream.subscribe(ResourceKey::Port(port), None).await;
    }
    // Asking twice for the same is one subscription.
    stream.subscribe(ResourceKey::Trust, None).await;
    stream.subscribe(ResourceKey::Trust, None).await;
    stream.silence().await;
    assert_eq!(stream.metrics.subscriptions.value(), 1_000);
    stream.subscribe(ResourceKey::Port(1_000), None).await;
    let status = stream.end.await.expect("no panic").status().expect("a status");
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert_eq!(stream.metrics.subscriptions.value(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_stream_must_begin_with_one_hello() {
    let code = |end: End| end.status().map(|status| status.code());
    let stream = Stream::open().await;
    stream.subscribe(ResourceKey::Trust, None).await;
    assert_eq!(code(stream.end.await.expect("no panic")), Some(Code::InvalidArgument));

    let stream = Stream::greeted().await;
    stream.say(Request::Hello(Hello::new([1; 16]))).await;
    assert_eq!(code(stream.end.await.expect("no panic")), Some(Code::InvalidArgument));

    let stream = Stream::open().await;
    assert_eq!(code(stream.end.await.expect("no panic")), Some(Code::DeadlineExceeded));
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_not_understood_ends_the_stream_with_its_path() {
    let stream = Stream::greeted().await;
    let subscribe = grpc::Subscribe { resource: Some(grpc::ResourceKey { kind: None }), held_version: 0 };
    let message = Some(grpc::watch_request::Message::Subscribe(subscribe));
    stream.requests.send(Ok(grpc::WatchRequest { message })).await.expect("the session reads");
    let status = stream.end.await.expect("no panic").status().expect("a status");
    assert_eq!((status.code(), status.message()), (Code::InvalidArgument, "subscribe.resource.kind: missing"));
}

#[tokio::test(start_paused = true)]
async fn a_connection_of_age_ends_its_stream_in_good_order() {
    let mut stream = Stream::greeted().await;
    stream.close.take().expect("once").send(()).expect("the session listens");
    let end = stream.end.await.expect("no panic");
    assert!(matches!(end, End::Aged));
    assert_eq!(stream.metrics.streams.value(), 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever was acknowledged when, a proxy that applies what it gets holds exactly what was published last.
    #[test]
    fn deltas_and_wholes_lead_to_the_same_endpoints(
        versions in vec((vec(any::<u8>(), 0..40), any::<bool>()), 1..12)
    ) {
        let mut held: Option<(Arc<Published>, Endpoints)> = None;
        for (last_bytes, acknowledged) in versions {
            let new = endpoints(last_bytes);
            let published = Arc::new(Published::new(carts(), full(new.clone()), Instant::now()));
            // Two subscribers with the same base share the delta, a third one has none.
            for _ in 0..2 {
                let base = held.as_ref().map(|(base, _)| base.as_ref());
                let applied = apply(&published.frames(base), held.as_ref().map(|(base, at)| (base.version, at)));
                prop_assert_eq!(&applied, &new);
            }
            prop_assert_eq!(&apply(&published.frames(None), None), &new);
            if acknowledged {
                held = Some((published, new));
            }
        }
    }
}

fn apply(frames: &[Bytes], held: Option<(u64, &Endpoints)>) -> Endpoints {
    let mut assembly = Assembly::default();
    let mut result = None;
    for frame in frames {
        let response = grpc::WatchResponse::decode(frame.clone()).expect("a message");
        let Ok(Response::Update(update)) = Response::try_from(response) else { panic!("no update") };
        let State::Endpoints(part) = update.state else { panic!("no endpoints") };
        result = assembly.push(update.version, part).expect("one series");
    }
    result.expect("the last chunk came").apply(held).expect("on the right base")
}

#[tokio::test(start_paused = true)]
async fn the_service_refuses_a_caller_without_a_certificate() {
    let (publisher, _fake) = Fake::new([]).spawn();
    let (_trigger, drain) = drain::channel();
    let discovery = super::Discovery::new(publisher, [9; 16], Metrics::new().0, Ledger::new(), drain);
    let request = tonic::codegen::http::Request::post("http://x/minimesh.v1.Discovery/Watch")
        .header("content-type", "application/grpc")
        .body(tonic::body::Body::empty())
        .expect("a request");
    let response = tower::ServiceExt::oneshot(discovery, request).await.expect("infallible");
    let status = Status::from_header_map(response.headers()).expect("a status");
    assert_eq!(status.code(), Code::Unauthenticated);
}
