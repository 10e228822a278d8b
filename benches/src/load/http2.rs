//! HTTP/2 and gRPC load: streams side by side, each followed by the next when its answer is there.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use bytes::Bytes;
use h2::client::SendRequest;
use http::{HeaderMap, HeaderValue, Method, Request};
use tokio::net::TcpStream;

use super::watch::Watch;
use super::{Failure, Latency, Outcome, Plan, Window};
use crate::origin::{BODY_LENGTH, MESSAGE};

pub(super) fn run(plan: &Plan, connections: usize, streams: usize, grpc: bool) -> Result<Outcome, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    runtime.block_on(async {
        let mut senders = Vec::new();
        for _ in 0..connections {
            let mut sender = connect(plan).await?;
            ask(&mut sender, grpc).await?;
            senders.push(sender);
        }
        let window = Window::of(plan);
        let watch = Watch::start(window, plan.watched.clone());
        let tasks = senders.iter().flat_map(|sender| std::iter::repeat_n(sender, streams));
        let tasks: Vec<_> = tasks
            .map(|sender| tokio::spawn(one_after_the_other(sender.clone(), grpc, window, watch.counter())))
            .collect();
        let (mut latencies, mut errors) = (Vec::new(), 0);
        for task in tasks {
            let (took, failed) = task.await?;
            latencies.extend(took);
            errors += failed;
        }
        let latency = Some(Latency::of(latencies, Vec::new(), 0));
        Ok(Outcome { errors, latency, ..watch.finish() })
    })
}

async fn connect(plan: &Plan) -> Result<SendRequest<Bytes>, Failure> {
    let stream = TcpStream::connect(plan.address).await?;
    stream.set_nodelay(true)?;
    let (sender, connection) = h2::client::handshake(stream).await?;
    tokio::spawn(connection);
    Ok(sender)
}

/// Until the window is over, or a stream fails: its connection is of no more use then.
async fn one_after_the_other(
    mut sender: SendRequest<Bytes>,
    grpc: bool,
    window: Window,
    completed: Arc<AtomicU64>,
) -> (Vec<u64>, u64) {
    let mut latencies = Vec::new();
    loop {
        let begin = Instant::now();
        if begin >= window.end {
            return (latencies, 0);
        }
        if ask(&mut sender, grpc).await.is_err() {
            return (latencies, 1);
        }
        completed.fetch_add(1, Ordering::Relaxed);
        if window.contains(begin) {
            latencies.push(begin.elapsed().as_nanos() as u64);
        }
    }
}

/// One stream, to its end.
async fn ask(sender: &mut SendRequest<Bytes>, grpc: bool) -> Result<(), Failure> {
    std::future::poll_fn(|cx| sender.poll_ready(cx)).await?;
    let (response, mut upload) = sender.send_request(request(grpc), !grpc)?;
    if grpc {
        upload.send_data(Bytes::from_static(MESSAGE), true)?;
    }
    let response = response.await?;
    let status = response.status();
    let mut body = response.into_body();
    let mut length = 0;
    while let Some(data) = body.data().await {
        let data = data?;
        length += data.len();
        body.flow_control().release_capacity(data.len())?;
    }
    let trailers = body.trailers().await?;
    let (expected, wanted) = if grpc { (MESSAGE.len(), Some(&b"0"[..])) } else { (BODY_LENGTH, None) };
    if status != 200 || length != expected || grpc_status(trailers.as_ref()) != wanted {
        return Err(format!("{status}, {length} bytes, {trailers:?}").into());
    }
    Ok(())
}

fn grpc_status(trailers: Option<&HeaderMap>) -> Option<&[u8]> {
    trailers?.get("grpc-status").map(HeaderValue::as_bytes)
}

fn request(grpc: bool) -> Request<()> {
    let mut request = Request::new(());
    let headers = request.headers_mut();
    headers.insert("user-agent", HeaderValue::from_static("minimesh-bench"));
    if grpc {
        headers.insert("content-type", HeaderValue::from_static("application/grpc"));
        headers.insert("te", HeaderValue::from_static("trailers"));
        *request.method_mut() = Method::POST;
    }
    let path = if grpc {
        "http://web.test.svc.cluster.local/bench.Echo/Unary"
    } else {
        "http://web.test.svc.cluster.local/bench"
    };
    *request.uri_mut() = http::Uri::from_static(path);
    request
}
