//! `demo-role relay`: takes browsers' connections from the host's port into the mesh.
//!
//! Runs as a container of the `visitor` pod: it accepts on a listener that the supervisor bound outside, and connects from
//! inside, so the browser's requests take the same way as every other. Looks at `Host` and `Origin` of each request, because
//! any page in a browser can make it talk to 127.0.0.1 (DNS rebinding); changes nothing else.

use std::{convert::Infallible, io, net::TcpListener as StdListener, os::fd::AsFd, rc::Rc, sync::Arc, time::Duration};

use http_body_util::{Either, Full};
use hyper::{
    Request, Response, StatusCode,
    body::{Bytes, Incoming},
    client::conn::http1::{self as client, SendRequest},
    header::{CONTENT_TYPE, HOST, HeaderMap, HeaderValue, ORIGIN},
    server::conn::http1 as server,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use minimesh_runtime::signals;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Mutex, Semaphore},
    task::LocalSet,
    time::timeout,
};

use crate::Failure;

/// Where to.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Service and port, NAME:PORT
    #[arg(long)]
    to: String,
    /// The port on the host, as browsers name it
    #[arg(long)]
    host_port: u16,
}

type Body = Either<Incoming, Full<Bytes>>;

/// Stdin is the listener.
pub(crate) fn run(args: Args) -> Result<(), Failure> {
    let listener = StdListener::from(io::stdin().as_fd().try_clone_to_owned()?);
    listener.set_nonblocking(true)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let args = Rc::new(args);
    LocalSet::new().block_on(&runtime, async {
        let listener = TcpListener::from_std(listener)?;
        let places = Arc::new(Semaphore::new(CONNECTIONS));
        tokio::select! {
            () = accept(&listener, &places, &args) => {}
            _ = signals::terminate() => {}
        }
        Ok(())
    })
}

async fn accept(listener: &TcpListener, places: &Arc<Semaphore>, args: &Rc<Args>) {
    loop {
        let Ok(place) = Arc::clone(places).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let args = Rc::clone(args);
                tokio::task::spawn_local(async move {
                    serve(stream, args).await;
                    drop(place);
                });
            }
            // such as no free file descriptor: a tight loop would not help
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

/// One browser connection, with at most one connection into the mesh.
async fn serve(stream: TcpStream, args: Rc<Args>) {
    let upstream = Rc::new(Mutex::new(None));
    let service = service_fn(move |request| {
        let (args, upstream) = (Rc::clone(&args), Rc::clone(&upstream));
        async move { Ok::<_, Infallible>(answer(request, &args, &mut *upstream.lock().await).await) }
    });
    let mut connection = server::Builder::new();
    connection.timer(hyper_util::rt::TokioTimer::new()).header_read_timeout(IDLE);
    // what goes wrong on a browser's connection is the browser's to show
    let _ = connection.serve_connection(TokioIo::new(stream), service).await;
}

async fn answer(
    request: Request<Incoming>,
    args: &Args,
    upstream: &mut Option<SendRequest<Incoming>>,
) -> Response<Body> {
    if let Err(reason) = check(request.headers(), args.host_port) {
        return page(StatusCode::FORBIDDEN, &reason);
    }
    let result = async {
        let sender = match upstream.take().filter(SendRequest::is_ready) {
            Some(sender) => sender,
            None => connect(&args.to).await?,
        };
        upstream.insert(sender).send_request(request).await.map_err(io::Error::other)
    };
    match result.await {
        Ok(response) => response.map(Either::Left),
        Err(error) => page(
            StatusCode::BAD_GATEWAY,
            &format!("The demo cannot reach {}: {error}. It may still be starting; reload the page.", args.to),
        ),
    }
}

async fn connect(to: &str) -> io::Result<SendRequest<Incoming>> {
    let stream = timeout(CONNECT, TcpStream::connect(to)).await??;
    let (mut sender, connection) = client::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    tokio::task::spawn_local(async move {
        let _ = connection.await;
    });
    sender.ready().await.map_err(io::Error::other)?;
    Ok(sender)
}

/// The request was made for this machine by name, by a page of this machine or by no page.
fn check(headers: &HeaderMap, port: u16) -> Result<(), String> {
    let mut hosts = headers.get_all(HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else {
        return Err("The request names no host, or several.".into());
    };
    if !is_local(host, port) {
        let host = String::from_utf8_lossy(host.as_bytes());
        return Err(format!(
            "This address belongs to the demo on this machine, but the request was made for “{}”. A foreign page may be \
             trying to reach it through your browser. Open http://127.0.0.1:{port}/ instead.",
            escape(&host)
        ));
    }
    for origin in headers.get_all(ORIGIN) {
        let local = origin.as_bytes().strip_prefix(b"http://").and_then(|rest| HeaderValue::from_bytes(rest).ok());
        if !local.is_some_and(|host| is_local(&host, port)) {
            return Err("A page of another site sent this request. The demo answers its own pages only.".into());
        }
    }
    Ok(())
}

fn is_local(host: &HeaderValue, port: u16) -> bool {
    let Ok(text) = host.to_str() else { return false };
    let suffix = format!(":{port}");
    let name = match text.strip_suffix(&suffix) {
        Some(name) => name,
        None if port == 80 => text,
        None => return false,
    };
    ["localhost", "127.0.0.1", "[::1]"].iter().any(|local| name.eq_ignore_ascii_case(local))
}

fn page(status: StatusCode, reason: &str) -> Response<Body> {
    let title = status.canonical_reason().unwrap_or("Error");
    let text = format!(
        "<!doctype html><meta charset=utf-8><title>minimesh demo: {title}</title>\
         <body style=\"font:16px/1.5 sans-serif;max-width:40em;margin:3em auto\"><h1>{title}</h1><p>{reason}</p>\n"
    );
    let mut response = Response::new(Either::Right(Full::new(Bytes::from(text))));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    response
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// A browser opens six per site; more are tests.
const CONNECTIONS: usize = 256;
const CONNECT: Duration = Duration::from_secs(5);
/// Browsers keep connections for later; so long is enough.
const IDLE: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(list: &[(&'static str, &'static str)]) -> HeaderMap {
        list.iter().map(|(name, value)| (name.parse().expect("a name"), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn this_machine_may_ask_by_each_of_its_names() {
        for host in ["localhost:8079", "127.0.0.1:8079", "[::1]:8079", "LOCALHOST:8079"] {
            assert_eq!(check(&headers(&[("host", host)]), 8079), Ok(()), "{host}");
        }
        let own_page = headers(&[("host", "localhost:8079"), ("origin", "http://localhost:8079")]);
        assert_eq!(check(&own_page, 8079), Ok(()));
        assert_eq!(check(&headers(&[("host", "localhost")]), 80), Ok(()));
    }

    #[test]
    fn rebound_name_and_foreign_port_are_refused() {
        for host in
            ["evil.example:8079", "localhost", "localhost:80", "127.0.0.1.evil.example:8079", "x@localhost:8079"]
        {
            assert!(check(&headers(&[("host", host)]), 8079).is_err(), "{host}");
        }
        assert!(check(&headers(&[]), 8079).is_err());
    }

    #[test]
    fn page_of_another_site_is_refused() {
        for origin in ["http://evil.example", "null", "https://localhost:8079", "http://localhost:9999"] {
            assert!(check(&headers(&[("host", "localhost:8079"), ("origin", origin)]), 8079).is_err(), "{origin}");
        }
    }

    #[test]
    fn page_shows_the_host_as_text() {
        let reason = check(&headers(&[("host", "<script>:8079")]), 8079).expect_err("refused");
        assert!(reason.contains("&lt;script&gt;"), "{reason}");
    }
}
