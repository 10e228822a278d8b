//! A stream that is reset is reset on the other side, with the same code; nothing else is.

use minimesh_api::model::BackendRef;
use tokio::sync::oneshot;

use super::super::retry::route;
use super::*;

const CODES: [Reason; 4] = [Reason::CANCEL, Reason::INTERNAL_ERROR, Reason::ENHANCE_YOUR_CALM, Reason::NO_ERROR];

#[tokio::test(flavor = "local")]
async fn a_servers_reset_reaches_the_client_before_and_after_the_head() {
    for after_head in [false, true] {
        for reason in CODES.into_iter().chain([Reason::REFUSED_STREAM]) {
            let mesh = Mesh::new();
            let app = serve(move |_, mut respond| async move {
                if after_head {
                    let mut to = respond.send_response(Response::new(()), false).expect("sent");
                    to.send_data(Bytes::from_static(b"half"), false).expect("sent");
                    tokio::task::yield_now().await;
                }
                respond.send_reset(reason);
            })
            .await;
            let server = mesh.server("catalogue", app);
            mesh.service(Protocol::Detect, vec![server.endpoint()]);
            let failed = Caller::new(mesh.client.address).await.get("/").await.err().expect("a reset");
            assert_eq!((failed.reason(), failed.is_remote()), (Some(reason), true), "{after_head}");
        }
    }
}

#[tokio::test(flavor = "local")]
async fn what_came_before_a_reset_is_not_lost_with_it() {
    let mesh = Mesh::new();
    let app = serve(|_, mut respond| async move {
        let mut to = respond.send_response(Response::new(()), false).expect("sent");
        to.send_data(Bytes::from_static(b"half"), false).expect("sent");
        tokio::task::yield_now().await;
        to.send_reset(Reason::INTERNAL_ERROR);
    })
    .await;
    let server = mesh.server("catalogue", app);
    mesh.service(Protocol::Detect, vec![server.endpoint()]);
    let caller = Caller::new(mesh.client.address).await;
    let (response, _stream) = caller.begin(request(Method::GET, "/")).await;
    let mut body = response.await.expect("a head").into_body();
    let half = body.data().await.expect("something").expect("before the reset");
    let reset = body.data().await.expect("an end").expect_err("a reset");
    assert_eq!((&*half, reset.reason()), (&b"half"[..], Some(Reason::INTERNAL_ERROR)));
}

/// A server that sends much more than the client's window, and resets the stream behind it.
async fn much_and_a_reset() -> (Mesh, Server, RecvStream) {
    let mesh = Mesh::new();
    let app = serve(|_, mut respond| async move {
        let mut to = respond.send_response(Response::new(()), false).expect("sent");
        send_all(&mut to, &[7; MUCH], false).await.expect("sent");
        // its connection's task sends the rest
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
        to.send_reset(Reason::INTERNAL_ERROR);
    })
    .await;
    let server = mesh.server("catalogue", app);
    mesh.service(Protocol::Detect, vec![server.endpoint()]);
    let mut builder = ::h2::client::Builder::new();
    builder.initial_window_size(WINDOW as u32);
    let caller = Caller::with(mesh.client.address, &builder).await;
    let (response, _stream) = caller.begin(request(Method::POST, "/")).await;
    let body = response.await.expect("a head").into_body();
    // the connection lives as long as its task
    drop(caller);
    (mesh, server, body)
}

const MUCH: usize = 60_000;
const WINDOW: usize = 10_000;

#[tokio::test(flavor = "local")]
async fn what_the_clients_window_lets_out_soon_is_not_lost_with_a_reset() {
    let (_mesh, _server, mut body) = much_and_a_reset().await;
    let mut got = 0;
    let end = loop {
        match data(&mut body).await.expect("an end") {
            Ok(part) => got += part.len(),
            Err(error) => break error,
        }
    };
    assert_eq!((got, end.reason()), (MUCH, Some(Reason::INTERNAL_ERROR)));
}

#[tokio::test(flavor = "local")]
async fn a_client_that_does_not_read_hears_of_the_reset_all_the_same() {
    let (_mesh, _server, mut body) = much_and_a_reset().await;
    let mut got = 0;
    let end = loop {
        // its window stays as it is
        match body.data().await.expect("an end") {
            Ok(part) => got += part.len(),
            Err(error) => break error,
        }
    };
    assert_eq!((got, end.reason()), (WINDOW, Some(Reason::INTERNAL_ERROR)));
}

#[tokio::test(flavor = "local")]
async fn a_clients_reset_reaches_the_server_with_its_code() {
    for reason in CODES {
        let (mesh, _server, reset) = watched().await;
        let caller = Caller::new(mesh.client.address).await;
        let (response, mut stream) = caller.begin(request(Method::POST, "/")).await;
        stream.send_data(Bytes::from_static(b"begun"), false).expect("sent");
        let response = response.await.expect("a head");
        stream.send_reset(reason);
        assert_eq!(reset.await.expect("seen"), reason);
        drop(response);
    }
}

#[tokio::test(flavor = "local")]
async fn a_client_that_goes_away_cancels_its_calls() {
    let (mesh, _server, reset) = watched().await;
    let mut caller = Caller::new(mesh.client.address).await;
    let (response, _stream) = caller.begin(request(Method::POST, "/")).await;
    let _head = response.await.expect("a head");
    caller.connection.take().expect("the first").abort();
    assert_eq!(reset.await.expect("seen"), Reason::CANCEL);
}

#[tokio::test(flavor = "local")]
async fn a_client_that_gives_up_while_the_server_thinks_is_heard() {
    let (mesh, server, thinking) = thinking().await;
    mesh.service(Protocol::Detect, vec![server.endpoint()]);
    let caller = Caller::new(mesh.client.address).await;
    let mut send = caller.send.clone().ready().await.expect("ready");
    let (response, stream) = send.send_request(grpc("/a/Slow"), true).expect("sent");
    thinking.arrived.await.expect("arrived");
    drop((response, stream));
    assert_eq!(thinking.reset.await.expect("seen"), Reason::CANCEL);
}

#[tokio::test(flavor = "local")]
async fn an_early_answer_is_whole_and_ends_the_upload() {
    let mesh = Mesh::new();
    let app = serve(|request, mut respond| async move {
        let response = Response::builder().status(413).body(()).expect("valid");
        let mut to = respond.send_response(response, false).expect("sent");
        to.send_data(Bytes::from_static(b"too much"), true).expect("sent");
        drop(request);
    })
    .await;
    let server = mesh.server("catalogue", app);
    mesh.service(Protocol::Detect, vec![server.endpoint()]);
    let caller = Caller::new(mesh.client.address).await;
    let (response, mut stream) = caller.begin(request(Method::POST, "/")).await;
    send_all(&mut stream, &[7; 10_000], false).await.expect("sent");
    let answer = read(response.await.expect("a response")).await.expect("whole");
    assert_eq!((answer.status, &*answer.body), (413, &b"too much"[..]));
    let told = std::future::poll_fn(|cx| stream.poll_reset(cx)).await.expect("a reset");
    assert_eq!(told, Reason::NO_ERROR);
}

#[tokio::test(flavor = "local")]
async fn a_route_deadline_answers_and_cancels() {
    let (mesh, server, thinking) = thinking().await;
    let route = route(Duration::from_secs(1), vec![BackendRef::Service(key())]);
    mesh.routed(Protocol::Detect, &[route], vec![server.endpoint()]);
    let caller = Caller::new(mesh.client.address).await;
    let answer = caller.ask(grpc("/a"), b"").await.expect("an answer");
    assert_eq!((answer.header("grpc-status"), answer.header("minimesh-error")), ("4", "request_timeout"));
    assert_eq!(thinking.reset.await.expect("seen"), Reason::CANCEL);
    assert_eq!(caller.get("/b").await.expect("an answer").header("minimesh-error"), "no_route");
}

/// An application that sends a head and then tells how the stream was reset.
async fn watched() -> (Mesh, Server, oneshot::Receiver<Reason>) {
    let mesh = Mesh::new();
    let (seen, reset) = oneshot::channel();
    let seen = Rc::new(Cell::new(Some(seen)));
    let app = serve(move |_, mut respond| {
        let seen = seen.take();
        async move {
            let mut to = respond.send_response(Response::new(()), false).expect("sent");
            let reason = std::future::poll_fn(|cx| to.poll_reset(cx)).await.expect("a reset");
            seen.expect("once").send(reason).expect("awaited");
        }
    })
    .await;
    let server = mesh.server("catalogue", app);
    mesh.service(Protocol::Detect, vec![server.endpoint()]);
    (mesh, server, reset)
}

/// What an application that never answers tells.
struct Thinking {
    arrived: oneshot::Receiver<()>,
    reset: oneshot::Receiver<Reason>,
}

async fn thinking() -> (Mesh, Server, Thinking) {
    let mesh = Mesh::new();
    let (arrive, arrived) = oneshot::channel();
    let (seen, reset) = oneshot::channel();
    let tell = Rc::new(Cell::new(Some((arrive, seen))));
    let app = serve(move |_, mut respond| {
        let tell = tell.take();
        async move {
            let (arrive, seen) = tell.expect("one request");
            arrive.send(()).unwrap_or(());
            seen.send(std::future::poll_fn(|cx| respond.poll_reset(cx)).await.expect("a reset")).expect("awaited");
        }
    })
    .await;
    let server = mesh.server("catalogue", app);
    (mesh, server, Thinking { arrived, reset })
}
