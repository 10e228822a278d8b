//! HTTPS for one client, the API server: POST /inject with an AdmissionReview. Bounds everything that a peer can make it hold,
//! and answers in less time than the API server waits. Anybody who reaches the port can ask: who is slow, or asks for much, waits
//! with others of that kind and not before everybody else.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Body;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use kube::Client;
use minimesh_api::injection::{Inject, wanted};
use minimesh_runtime::drain;
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, SemaphorePermit, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsAcceptor;
use tracing::{debug, info, warn};

use crate::inject::{Outcome, Skip, inject};
use crate::metrics::Metrics;
use crate::namespace;
use crate::review::{Question, Verdict};
use crate::seats::{Seats, Standing};
use crate::settings::Settings;

/// What an answer needs.
pub(crate) struct Webhook {
    pub(crate) client: Client,
    pub(crate) settings: Settings,
    pub(crate) metrics: Metrics,
    /// Reviews take memory: not too many at once.
    reviews: Semaphore,
    /// Large bodies, from their first bytes to the answer: they take much of it, and may come slowly.
    large: Semaphore,
}

/// A body, and its place among the large ones.
struct Asked<'w> {
    body: Vec<u8>,
    place: Option<SemaphorePermit<'w>>,
}

impl Webhook {
    pub(crate) fn new(client: Client, settings: Settings, metrics: Metrics) -> Webhook {
        let (reviews, large) = (Semaphore::new(MOST_REVIEWS), Semaphore::new(MOST_LARGE));
        Webhook { client, settings, metrics, reviews, large }
    }

    /// Accepts connections until the drain begins, and for a moment longer: until every API server knows that we are leaving.
    pub(crate) async fn serve(
        self: Arc<Self>,
        listener: TcpListener,
        tls: watch::Receiver<Arc<ServerConfig>>,
        drain: drain::Watch,
    ) {
        let mut seats = Seats::default();
        let mut connections = JoinSet::new();
        let mut leave = pin!(async {
            drain.started().await;
            tokio::time::sleep(LINGER).await;
        });
        loop {
            let accepted = tokio::select! {
                () = &mut leave => break,
                Some(_) = connections.join_next() => continue,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, _)) => {
                    while !seats.make_room() {
                        // all are being answered, which does not take long
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                    let standing = Standing::new();
                    let seen = standing.subscribe();
                    let (webhook, tls, drain) = (Arc::clone(&self), Arc::clone(&tls.borrow()), drain.clone());
                    let task = connections.spawn(webhook.connection(stream, standing, tls, drain));
                    seats.seat(seen, task);
                }
                Err(error) => {
                    warn!(%error, "connection not accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        drop(listener);
        let _ = timeout(ANSWER, async { while connections.join_next().await.is_some() {} }).await;
    }

    async fn connection(
        self: Arc<Self>,
        stream: TcpStream,
        standing: watch::Sender<Standing>,
        tls: Arc<ServerConfig>,
        drain: drain::Watch,
    ) {
        let stream = match timeout(HANDSHAKE, TlsAcceptor::from(tls).accept(stream)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => {
                self.metrics.handshakes_failed.increment();
                return debug!(%error, "TLS handshake failed");
            }
            Err(_) => {
                self.metrics.handshakes_failed.increment();
                return debug!("TLS handshake not finished in time");
            }
        };
        let service = service_fn(async |request| {
            let before = standing.send_replace(Standing::Answered);
            let response = self.respond(request).await;
            let is_review = response.status() == StatusCode::OK;
            standing.send_replace(if is_review { Standing::Rests(Instant::now()) } else { before });
            Ok::<_, Infallible>(response)
        });
        let mut connection = pin!(
            http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(IDLE)
                .max_buf_size(MAX_HEAD)
                .serve_connection(TokioIo::new(stream), service)
        );
        let served = tokio::select! {
            served = &mut connection => served,
            () = drain.started() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = served {
            debug!(%error, "connection ended");
        }
    }

    /// One question, within the time that the API server grants.
    pub(crate) async fn respond<B>(&self, request: Request<B>) -> Response<Full<Bytes>>
    where
        B: Body<Data = Bytes> + Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        if request.uri().path() != PATH {
            return text(StatusCode::NOT_FOUND, "there is nothing here but /inject");
        }
        if request.method() != Method::POST {
            let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "use POST");
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
            return response;
        }
        match timeout(ANSWER, self.review(request.into_body())).await {
            Ok(response) => response,
            Err(_) => {
                text(StatusCode::GATEWAY_TIMEOUT, "no answer in time: the body did not come, or too many pods at once")
            }
        }
    }

    async fn review<B>(&self, body: B) -> Response<Full<Bytes>>
    where
        B: Body<Data = Bytes> + Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let asked = match self.body(body).await {
            Ok(asked) => asked,
            Err(error) => {
                self.metrics.malformed.increment();
                return text(StatusCode::PAYLOAD_TOO_LARGE, format_args!("the body was not read: {error}"));
            }
        };
        let Asked { body, place: _large } = asked;
        let _place = self.reviews.acquire().await.expect("the semaphore is never closed");
        let question = match Question::read(&body) {
            Ok(question) => question,
            Err(unreadable) => {
                self.metrics.malformed.increment();
                warn!(%unreadable, "malformed review");
                return text(StatusCode::BAD_REQUEST, unreadable);
            }
        };
        drop(body);
        json(&self.answer(&question).await)
    }

    async fn body<B>(&self, body: B) -> Result<Asked<'_>, Box<dyn std::error::Error + Send + Sync>>
    where
        B: Body<Data = Bytes> + Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let mut frames = pin!(Limited::new(body, MAX_BODY));
        let mut asked = Asked { body: Vec::new(), place: None };
        while let Some(frame) = frames.frame().await {
            // Trailers say nothing.
            let Ok(data) = frame?.into_data() else { continue };
            if asked.place.is_none() && asked.body.len() + data.len() > SMALL {
                asked.place = Some(self.large.acquire().await?);
            }
            asked.body.extend_from_slice(&data);
        }
        Ok(asked)
    }

    async fn answer(&self, question: &Question) -> serde_json::Value {
        let around = match namespace::read(&self.client, &question.namespace).await {
            Ok(around) => around,
            Err(error) => {
                self.metrics.unknown.increment();
                warn!(namespace = question.namespace, pod = question.pod_name(), %error, "pod refused");
                return question.refuse(503, &format!("{error}; whoever makes the pod tries again by itself"));
            }
        };
        let of_pod = Inject::of(&labels(&question.pod));
        let asked = wanted(&question.namespace, &self.settings.mesh_namespace, Inject::of(&around.labels), of_pod);
        let outcome = match asked {
            Ok(()) => inject(&question.pod, &around, &self.settings),
            Err(why) => Outcome::Skipped(Skip::NotWanted(why)),
        };
        let (answer, verdict) = question.answer(&outcome);
        self.metrics.count(verdict);
        let (namespace, pod) = (&question.namespace, question.pod_name());
        match (&outcome, verdict) {
            (Outcome::Refused(why), _) => warn!(namespace, pod, %why, "pod refused"),
            (Outcome::Skipped(why), _) => info!(namespace, pod, %why, "pod left as it is"),
            (_, Verdict::Unchanged) => debug!(namespace, pod, "pod has its sidecar"),
            _ => info!(namespace, pod, "sidecar added"),
        }
        answer
    }
}

fn labels(pod: &serde_json::Value) -> std::collections::BTreeMap<String, String> {
    let entries = pod["metadata"]["labels"].as_object().into_iter().flatten();
    entries.filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned()))).collect()
}

fn text(status: StatusCode, line: impl std::fmt::Display) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(format!("{line}\n").into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

fn json(body: &serde_json::Value) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.to_string().into()));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

const PATH: &str = "/inject";
/// The webhook configuration grants 5 s; an answer of ours says more than the API server's own.
const ANSWER: Duration = Duration::from_millis(4500);
const HANDSHAKE: Duration = Duration::from_secs(5);
/// Longer than the API server keeps a connection that it does not use (90 s).
const IDLE: Duration = Duration::from_secs(120);
const LINGER: Duration = Duration::from_secs(3);
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
const MOST_REVIEWS: usize = 8;
const MOST_LARGE: usize = 2;
/// Pods as people write them, with room.
const SMALL: usize = 64 * 1024;
const MAX_HEAD: usize = 64 * 1024;
/// The API server stores no object above 1.5 MiB; a review holds one, and may hold its former self.
const MAX_BODY: usize = 4 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use hyper::body::Frame;
    use serde_json::{Value, json};

    use super::*;
    use crate::review::MOST_VALUES;
    use crate::seats::MOST as MOST_CONNECTIONS;

    /// An API server that answers from a function.
    fn webhook(answer: fn(&str) -> (u16, Value)) -> Webhook {
        let service = tower::service_fn(move |request: Request<kube::client::Body>| async move {
            let (status, body) = answer(request.uri().path());
            Response::builder().status(status).body(Full::new(Bytes::from(body.to_string())))
        });
        Webhook::new(Client::new(service, "default"), Settings::example(), Metrics::new().0)
    }

    fn shop(path: &str) -> (u16, Value) {
        match path {
            "/api/v1/namespaces/shop" => {
                (200, json!({ "metadata": { "name": "shop", "labels": { "minimesh.io/inject": "enabled" } } }))
            }
            "/api/v1/namespaces/shop/resourcequotas" => (200, json!({ "items": [] })),
            _ => (
                404,
                json!({ "kind": "Status", "status": "Failure", "code": 404, "reason": "NotFound", "message": "not found" }),
            ),
        }
    }

    fn review(namespace: &str, pod: Value) -> String {
        let request = json!({ "uid": "u", "kind": { "kind": "Pod" }, "namespace": namespace, "object": pod });
        json!({ "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request }).to_string()
    }

    async fn post(webhook: &Webhook, body: impl Into<Bytes>) -> (StatusCode, String) {
        let request = Request::post("/inject?timeout=5s").body(Full::new(body.into())).expect("a request");
        let response = webhook.respond(request).await;
        let status = response.status();
        let body = response.into_body().collect().await.expect("in memory").to_bytes();
        (status, String::from_utf8(body.to_vec()).expect("text"))
    }

    async fn response(webhook: &Webhook, body: String) -> Value {
        let (status, body) = post(webhook, body).await;
        assert_eq!(status, StatusCode::OK, "{body}");
        serde_json::from_str::<Value>(&body).expect("JSON")["response"].clone()
    }

    fn web() -> Value {
        json!({ "metadata": { "name": "web" }, "spec": { "containers": [{ "name": "web" }] } })
    }

    #[tokio::test]
    async fn a_pod_of_a_labelled_namespace_gets_its_patch() {
        let webhook = webhook(shop);
        let answer = response(&webhook, review("shop", web())).await;
        assert_eq!((&answer["allowed"], &answer["patchType"]), (&json!(true), &json!("JSONPatch")), "{answer}");
    }

    #[tokio::test]
    async fn a_namespace_that_cannot_be_read_refuses_the_pod_in_words() {
        let answer = response(&webhook(shop), review("elsewhere", web())).await;
        assert_eq!((&answer["allowed"], &answer["status"]["code"]), (&json!(false), &json!(503)));
        let message = answer["status"]["message"].as_str().expect("a message");
        assert!(message.contains("pod elsewhere/web: reading the object of namespace elsewhere"), "{message}");
    }

    #[tokio::test]
    async fn a_pod_that_nobody_asked_to_mesh_is_left_alone() {
        let unlabelled = |path: &str| match path {
            "/api/v1/namespaces/shop" => (200, json!({ "metadata": { "name": "shop" } })),
            path => shop(path),
        };
        let answer = response(&webhook(unlabelled), review("shop", web())).await;
        assert_eq!((&answer["allowed"], answer.get("patch")), (&json!(true), None), "{answer}");
    }

    #[tokio::test]
    async fn what_is_no_review_is_refused_and_counted_and_disturbs_nothing() {
        let webhook = webhook(shop);
        let secret = json!({ "uid": "u", "kind": { "kind": "Secret" }, "namespace": "shop", "object": {} });
        let secret = json!({ "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": secret });
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        let many = format!("[{}0]", "0,".repeat(MOST_VALUES));
        for body in ["{".to_owned(), "[]".to_owned(), secret.to_string(), deep, many] {
            assert_eq!(post(&webhook, body).await.0, StatusCode::BAD_REQUEST);
        }
        assert_eq!(post(&webhook, vec![b' '; MAX_BODY + 1]).await.0, StatusCode::PAYLOAD_TOO_LARGE);
        assert_eq!(webhook.metrics.malformed.value(), 6);
        let nothing = response(&webhook, review("shop", Value::Null)).await;
        assert_eq!((&nothing["allowed"], &nothing["status"]["code"]), (&json!(false), &json!(400)), "{nothing}");
        let get = Request::get("/inject").body(Full::new(Bytes::new())).expect("a request");
        assert_eq!(webhook.respond(get).await.status(), StatusCode::METHOD_NOT_ALLOWED);
        let elsewhere = Request::post("/").body(Full::new(Bytes::new())).expect("a request");
        assert_eq!(webhook.respond(elsewhere).await.status(), StatusCode::NOT_FOUND);
        assert_eq!(response(&webhook, review("shop", web())).await["allowed"], true);
    }

    /// A body of which a part has come, and no more.
    struct Slow(Option<Bytes>);

    impl Body for Slow {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            self.0.take().map_or(Poll::Pending, |part| Poll::Ready(Some(Ok(Frame::data(part)))))
        }
    }

    #[tokio::test(start_paused = true)]
    async fn slow_senders_keep_nobody_waiting_but_others_with_much_to_say() {
        let webhook = Arc::new(webhook(shop));
        let mut slow = JoinSet::new();
        for at in 1..MOST_CONNECTIONS {
            let part = vec![b' '; at * 2 * SMALL / MOST_CONNECTIONS];
            let request = Request::post("/inject").body(Slow(Some(part.into()))).expect("a request");
            let webhook = Arc::clone(&webhook);
            slow.spawn(async move { webhook.respond(request).await.status() });
        }
        let pod = async {
            // the slow ones have all begun by then
            tokio::time::sleep(Duration::from_secs(1)).await;
            response(&webhook, review("shop", web())).await
        };
        assert_eq!(pod.await["allowed"], true);
        assert_eq!(slow.len(), MOST_CONNECTIONS - 1, "they are still at it");
        assert!(slow.join_all().await.iter().all(|status| *status == StatusCode::GATEWAY_TIMEOUT));
        let large = json!({ "metadata": { "name": "web", "annotations": { "a": "x".repeat(2 * SMALL) } },
            "spec": { "containers": [{ "name": "web" }] } });
        assert_eq!(response(&webhook, review("shop", large)).await["allowed"], true);
    }
}
