//! The load over HTTP/2, as plain requests or as gRPC streams: several at once on one connection.

use std::cell::{Cell, RefCell};
use std::fmt::Display;
use std::future::Future;

use bytes::Bytes;
use futures_util::future::join_all;
use h2::RecvStream;
use h2::client::SendRequest;
use http::{HeaderMap, Request, Response, StatusCode};
use minimesh_balance::Rng;
use tokio::net::TcpStream;
use tokio::task::LocalSet;
use tokio::time::timeout;

use super::{LoadProtocol, PATIENCE, Plan, Work};
use crate::body::Body;
use crate::http2::{GRPC, WINDOW, receive_digest, send_body};

/// Requests at once on a connection.
const LANES: usize = 4;

/// A large body that shares a connection with others and a machine with a compiler takes its time.
const BODY_PATIENCE: std::time::Duration = std::time::Duration::from_secs(60);

/// What the lanes of one connection share.
struct Lanes<'w> {
    work: &'w Work,
    protocol: LoadProtocol,
    rng: RefCell<&'w mut Rng>,
    closing: Cell<bool>,
}

/// One connection, until it is closed or there is nothing left to do.
pub(super) fn connection(work: &Work, first: u64, protocol: LoadProtocol, rng: &mut Rng) {
    let plan = work.draw(first, protocol, rng);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime without threads needs two file descriptors");
    LocalSet::new().block_on(&runtime, async {
        let requests = match open(work).await {
            Ok(requests) => requests,
            Err(error) => return work.say(&plan, Err(error)),
        };
        let lanes = Lanes { work, protocol, rng: RefCell::new(rng), closing: Cell::new(false) };
        let mut plans: Vec<Option<Plan>> = (1..LANES).map(|_| None).collect();
        plans.push(Some(plan));
        join_all(plans.into_iter().map(|first| lanes.run(requests.clone(), first))).await;
    });
}

async fn open(work: &Work) -> Result<SendRequest<Bytes>, String> {
    let tcp = within("connect", TcpStream::connect(work.plan.target)).await?;
    tcp.set_nodelay(true).map_err(|error| format!("connect: {error}"))?;
    let mut builder = h2::client::Builder::new();
    builder.initial_window_size(WINDOW).initial_connection_window_size(2 * WINDOW);
    let (requests, connection) = within("preface", builder.handshake(tcp)).await?;
    tokio::task::spawn_local(async move {
        // what went wrong is told to every stream
        let _ = connection.await;
    });
    Ok(requests)
}

impl Lanes<'_> {
    async fn run(&self, mut requests: SendRequest<Bytes>, first: Option<Plan>) {
        let mut next = first.or_else(|| self.draw());
        while let Some(plan) = next {
            if let Some(early) = self.work.early(plan.id) {
                tokio::time::sleep(early).await;
            }
            let outcome = match self.protocol {
                LoadProtocol::Grpc => stream(&mut requests, &plan, self.work).await,
                _ => request(&mut requests, &plan, self.work).await,
            };
            self.closing.set(self.closing.get() || plan.close || outcome.is_err());
            self.work.say(&plan, outcome);
            next = self.draw();
        }
    }

    fn draw(&self) -> Option<Plan> {
        if self.closing.get() {
            return None;
        }
        self.work.take().map(|id| self.work.draw(id, self.protocol, *self.rng.borrow_mut()))
    }
}

/// A request; says the SHA-256 of what was sent.
async fn request(requests: &mut SendRequest<Bytes>, plan: &Plan, work: &Work) -> Result<String, String> {
    let digest = Body::new(!plan.id, plan.sends).sha256();
    let mut head = head(plan, work).header("x-answer-bytes", plan.receives);
    if !plan.chunked {
        head = head.header("content-length", plan.sends);
    }
    if plan.answer_chunked {
        head = head.header("x-answer-framing", "chunked");
    }
    let head = head.body(()).map_err(|error| error.to_string())?;
    within("connection", std::future::poll_fn(|cx| requests.poll_ready(cx))).await?;
    let (answer, mut up) = requests.send_request(head, false).map_err(|error| format!("send: {error}"))?;
    let sent = async {
        send_body(&mut up, Body::new(!plan.id, plan.sends), false, &mut Rng::new(plan.id)).await?;
        up.send_data(Bytes::new(), true)
    };
    slowly("send", sent).await?;
    let answer = within("answer", answer).await?;
    check(&answer)?;
    let (head, mut body) = answer.into_parts();
    let received = slowly("answer's body", receive_digest(&mut body, false)).await?;
    if plan.answer_chunked {
        let trailers = trailers(&mut body).await?;
        expect(&trailers, "x-trailer", &plan.id.to_string())?;
    }
    expect(&head.headers, "x-id", &plan.id.to_string())?;
    expect(&head.headers, "x-received-sha256", &digest)?;
    same(received, plan)?;
    Ok(digest)
}

/// A call with a stream of messages each way, at once.
async fn stream(requests: &mut SendRequest<Bytes>, plan: &Plan, work: &Work) -> Result<String, String> {
    let digest = Body::new(!plan.id, plan.sends).sha256();
    let head = head(plan, work).header("x-answer-bytes", plan.receives);
    let head = head.header("content-type", GRPC).header("te", "trailers").body(());
    let head = head.map_err(|error| error.to_string())?;
    within("connection", std::future::poll_fn(|cx| requests.poll_ready(cx))).await?;
    let (answer, mut up) = requests.send_request(head, false).map_err(|error| format!("send: {error}"))?;
    let sending = slowly("send", async {
        send_body(&mut up, Body::new(!plan.id, plan.sends), true, &mut Rng::new(plan.id)).await?;
        up.send_data(Bytes::new(), true)
    });
    let receiving = async {
        let answer = within("answer", answer).await?;
        check(&answer)?;
        let (head, mut body) = answer.into_parts();
        let received = slowly("answer's messages", receive_digest(&mut body, true)).await?;
        Ok::<_, String>((head.headers, received, trailers(&mut body).await?))
    };
    let ((), (headers, received, trailers)) = tokio::try_join!(sending, receiving)?;
    expect(&trailers, "grpc-status", "0")?;
    expect(&headers, "x-id", &plan.id.to_string())?;
    expect(&trailers, "x-received-sha256", &digest)?;
    same(received, plan)?;
    Ok(digest)
}

fn head(plan: &Plan, work: &Work) -> http::request::Builder {
    let uri = format!("http://{}/load/{}", work.plan.target, plan.id);
    let head = Request::builder().method(plan.method).uri(uri).header("x-id", plan.id);
    work.plan.headers.iter().fold(head, |head, (name, value)| head.header(name, value))
}

/// A 200, and not a gRPC error that came instead of messages.
fn check(answer: &Response<RecvStream>) -> Result<(), String> {
    let text = |name| answer.headers().get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    if answer.status() == StatusCode::OK && text("grpc-status").is_none() {
        return Ok(());
    }
    let code = text("minimesh-error").unwrap_or_else(|| "application".to_owned());
    Err(format!("{} {} ({code})", answer.status(), text("grpc-status").unwrap_or_default()))
}

async fn trailers(body: &mut RecvStream) -> Result<HeaderMap, String> {
    within("trailers", body.trailers()).await?.ok_or_else(|| "no trailers".to_owned())
}

fn expect(headers: &HeaderMap, name: &str, wanted: &str) -> Result<(), String> {
    match headers.get(name) {
        Some(value) if value == wanted => Ok(()),
        value => Err(format!("{name} is {value:?} and not {wanted:?}")),
    }
}

fn same(received: String, plan: &Plan) -> Result<(), String> {
    let wanted = Body::new(plan.id, plan.receives).sha256();
    if received == wanted { Ok(()) } else { Err("other bytes came back".to_owned()) }
}

async fn within<T, E: Display>(what: &str, step: impl Future<Output = Result<T, E>>) -> Result<T, String> {
    finish(what, timeout(PATIENCE, step).await)
}

async fn slowly<T, E: Display>(what: &str, step: impl Future<Output = Result<T, E>>) -> Result<T, String> {
    finish(what, timeout(BODY_PATIENCE, step).await)
}

fn finish<T, E: Display>(what: &str, result: Result<Result<T, E>, impl Display>) -> Result<T, String> {
    match result {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(format!("{what}: {error}")),
        Err(error) => Err(format!("{what}: {error}")),
    }
}
