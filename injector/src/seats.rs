//! Which connection goes when there is room for no other: of those that had nothing reviewed yet the oldest, else the one that rests
//! longest; never one that is being answered. So strangers that hold connections open keep nobody out. Asked by `serve` for each
//! connection that comes.

use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::Instant;

/// All connections.
#[derive(Debug, Default)]
pub(crate) struct Seats(Vec<Seat>);

#[derive(Debug)]
struct Seat {
    standing: watch::Receiver<Standing>,
    task: AbortHandle,
}

/// What a connection is at. The lesser one goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Standing {
    /// It had nothing reviewed since it came.
    New(Instant),
    /// Its last review is over.
    Rests(Instant),
    /// It is being answered.
    Answered,
}

impl Standing {
    /// Of a connection that has just come.
    pub(crate) fn new() -> watch::Sender<Standing> {
        watch::channel(Standing::New(Instant::now())).0
    }
}

impl Seats {
    /// Sees to it that there is room for one more; false: all are being answered.
    pub(crate) fn make_room(&mut self) -> bool {
        self.0.retain(|seat| !seat.task.is_finished());
        if self.0.len() < MOST {
            return true;
        }
        let standing = |at: &usize| *self.0[*at].standing.borrow();
        let first = (0..self.0.len()).min_by_key(standing).filter(|at| standing(at) != Standing::Answered);
        if let Some(first) = first {
            self.0.swap_remove(first).task.abort();
        }
        first.is_some()
    }

    /// Takes one in.
    pub(crate) fn seat(&mut self, standing: watch::Receiver<Standing>, task: AbortHandle) {
        self.0.push(Seat { standing, task });
    }
}

/// A few API servers with a few connections each.
pub(crate) const MOST: usize = 128;

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::future::pending;
    use std::sync::Arc;
    use std::time::Duration;

    use bytes::Bytes;
    use http::Response;
    use http_body_util::Full;
    use kube::Client;
    use minimesh_runtime::drain;
    use rustls::{ClientConfig, RootCertStore};
    use rustls_pki_types::pem::PemObject;
    use rustls_pki_types::{CertificateDer, ServerName};
    use serde_json::{Value, json};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};
    use tokio_rustls::TlsConnector;
    use tokio_rustls::client::TlsStream;

    use super::*;
    use crate::authority::Authority;
    use crate::metrics::Metrics;
    use crate::serve::Webhook;
    use crate::settings::Settings;

    #[tokio::test(start_paused = true)]
    async fn who_asked_for_nothing_goes_first_then_who_rests_longest_and_nobody_who_is_being_answered() {
        let mut seats = Seats::default();
        let mut come = async || {
            tokio::time::advance(Duration::from_millis(1)).await;
            let standing = Standing::new();
            let task = tokio::spawn(pending::<()>());
            let room = seats.make_room();
            seats.seat(standing.subscribe(), task.abort_handle());
            tokio::task::yield_now().await;
            (room, standing, task)
        };
        let mut all = Vec::new();
        for _ in 0..MOST {
            all.push(come().await);
        }
        for (_, standing, _) in &all[..MOST - 1] {
            standing.send_replace(Standing::Rests(Instant::now()));
        }
        all[0].1.send_replace(Standing::Answered);
        all[1].1.send_replace(Standing::Rests(Instant::now() + Duration::from_secs(1)));
        let gone = |all: &[(bool, watch::Sender<Standing>, tokio::task::JoinHandle<()>)]| {
            (0..all.len()).filter(|at| all[*at].2.is_finished()).collect::<Vec<_>>()
        };
        assert_eq!(gone(&all), [0; 0]);
        all.push(come().await);
        assert_eq!(gone(&all), [MOST - 1], "it asked for nothing, and came last");
        all[MOST].1.send_replace(Standing::Answered);
        all.push(come().await);
        assert_eq!(
            gone(&all),
            [2, MOST - 1],
            "of those that rest the oldest: the first is being answered, the second rested later"
        );
        for (_, standing, _) in &all {
            standing.send_replace(Standing::Answered);
        }
        assert!(all.iter().all(|(room, ..)| *room) && !come().await.0);
    }
    /// A webhook on the loopback, beside an API server whose namespaces have no labels.
    async fn webhook() -> (TcpListener, Arc<Webhook>, Authority) {
        let api = tower::service_fn(|_: http::Request<kube::client::Body>| async {
            Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(
                json!({ "metadata": { "name": "shop" } }).to_string(),
            ))))
        });
        let webhook = Webhook::new(Client::new(api, "default"), Settings::example(), Metrics::new().0);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        (listener, Arc::new(webhook), Authority::new().expect("an authority"))
    }

    async fn connect(to: std::net::SocketAddr, authority: &Authority) -> TlsStream<TcpStream> {
        let mut roots = RootCertStore::empty();
        let root = CertificateDer::from_pem_slice(authority.certificate().as_bytes()).expect("a certificate");
        roots.add(root).expect("a root");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let config = config.expect("versions").with_root_certificates(roots).with_no_client_auth();
        let name = ServerName::try_from("minimesh-injector.minimesh.svc").expect("a name");
        let stream = TcpStream::connect(to).await.expect("connected");
        TlsConnector::from(Arc::new(config)).connect(name, stream).await.expect("a handshake")
    }

    /// The first line of what is answered to a review of a pod; empty: the connection is over.
    async fn review(stream: &mut TlsStream<TcpStream>) -> String {
        let request = json!({ "uid": "u", "kind": { "kind": "Pod" }, "namespace": "shop",
            "object": { "metadata": { "name": "web" }, "spec": { "containers": [{ "name": "web" }] } } });
        let body = json!({ "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request });
        let body = Value::to_string(&body);
        let head = format!("POST /inject HTTP/1.1\r\nhost: webhook\r\ncontent-length: {}\r\n\r\n", body.len());
        let mut answer = [0; 4096];
        if stream.write_all(format!("{head}{body}").as_bytes()).await.is_err() {
            return String::new();
        }
        let length = stream.read(&mut answer).await.unwrap_or_default();
        let text = String::from_utf8_lossy(&answer[..length]).into_owned();
        text.lines().next().unwrap_or_default().to_owned()
    }

    #[tokio::test]
    async fn strangers_that_hold_connections_open_do_not_keep_the_api_server_out() {
        let (listener, webhook, authority) = webhook().await;
        let address = listener.local_addr().expect("bound");
        let (_tls, tls) = watch::channel(authority.server("minimesh").expect("a certificate"));
        let (_trigger, drain) = drain::channel();
        tokio::spawn(webhook.serve(listener, tls, drain));
        let mut strangers = Vec::new();
        for _ in 0..MOST {
            strangers.push(connect(address, &authority).await);
        }
        let mut api_server = connect(address, &authority).await;
        assert_eq!(review(&mut api_server).await, "HTTP/1.1 200 OK");
        for _ in 0..MOST {
            strangers.push(connect(address, &authority).await);
        }
        assert_eq!(review(&mut api_server).await, "HTTP/1.1 200 OK", "who asked before stays before who never did");
        let mut oldest = strangers.remove(0);
        assert_eq!(review(&mut oldest).await, "", "it made room");
        let mut newest = strangers.pop().expect("many");
        assert_eq!(review(&mut newest).await, "HTTP/1.1 200 OK");
    }
}
