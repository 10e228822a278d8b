//! gRPC over plaintext HTTP/2, enough of it to answer one proxy.

use std::convert::Infallible;
use std::future::poll_fn;
use std::sync::Arc;

use bytes::{Buf, Bytes, BytesMut};
use h2::server::SendResponse;
use h2::{RecvStream, SendStream};
use http::{HeaderMap, HeaderValue, Request, Response};
use minimesh_benches::load::Failure;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;

use super::answers::{Answer, Cluster};

/// Answers until the process is ended.
pub(super) async fn serve(listener: TcpListener, cluster: Cluster) -> Result<Infallible, Failure> {
    let cluster = Arc::new(cluster);
    loop {
        let (stream, _) = listener.accept().await?;
        let cluster = Arc::clone(&cluster);
        tokio::spawn(async move {
            if let Err(error) = connection(stream, cluster).await {
                eprintln!("a connection of the proxy has ended: {error}");
            }
        });
    }
}

async fn connection(stream: impl AsyncRead + AsyncWrite + Unpin, cluster: Arc<Cluster>) -> Result<(), Failure> {
    let mut connection = h2::server::handshake(stream).await?;
    while let Some(accepted) = connection.accept().await {
        let (request, respond) = accepted?;
        let cluster = Arc::clone(&cluster);
        tokio::spawn(async move {
            let path = request.uri().path().to_owned();
            // a stream that the proxy has reset is no news
            if let Err(error) = call(request, respond, &cluster).await {
                eprintln!("{path}: {error}");
            }
        });
    }
    Ok(())
}

async fn call(
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    cluster: &Cluster,
) -> Result<(), Failure> {
    let (head, body) = request.into_parts();
    let message = message(body).await?;
    let answer = match message {
        Some(message) => cluster.answer(head.uri.path(), &message).map_err(|_| INVALID_ARGUMENT),
        None => Err(INVALID_ARGUMENT),
    };
    let (message, last) = match answer {
        Ok(Answer::Once(message)) => (message, true),
        Ok(Answer::Watched(message)) => (message, false),
        Ok(Answer::Unknown) => return refuse(respond, UNIMPLEMENTED),
        Err(status) => return refuse(respond, status),
    };
    let mut stream = respond.send_response(response(), false)?;
    stream.send_data(framed(&message)?, false)?;
    if last {
        return Ok(stream.send_trailers(status(OK))?);
    }
    abandoned(&mut stream).await
}

/// Keeps a stream open until the proxy gives it up.
async fn abandoned(stream: &mut SendStream<Bytes>) -> Result<(), Failure> {
    poll_fn(|context| stream.poll_reset(context)).await?;
    Ok(())
}

fn refuse(mut respond: SendResponse<Bytes>, code: u8) -> Result<(), Failure> {
    let mut response = response();
    response.headers_mut().extend(status(code));
    respond.send_response(response, true)?;
    Ok(())
}

fn response() -> Response<()> {
    let mut response = Response::new(());
    response.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
    response
}

fn status(code: u8) -> HeaderMap {
    HeaderMap::from_iter([(http::HeaderName::from_static("grpc-status"), HeaderValue::from(u16::from(code)))])
}

/// The one message of a request that is not compressed; none if it is anything else.
async fn message(mut body: RecvStream) -> Result<Option<Bytes>, Failure> {
    let mut bytes = BytesMut::new();
    while let Some(data) = body.data().await {
        let data = data?;
        body.flow_control().release_capacity(data.len())?;
        bytes.extend_from_slice(&data);
    }
    let mut bytes = bytes.freeze();
    if bytes.len() < PREFIX {
        return Ok(None);
    }
    let (compressed, length) = (bytes.get_u8(), bytes.get_u32());
    Ok((compressed == 0 && u32::try_from(bytes.len()) == Ok(length)).then_some(bytes))
}

fn framed(message: &[u8]) -> Result<Bytes, Failure> {
    let length = u32::try_from(message.len())?;
    Ok([&[0][..], &length.to_be_bytes(), message].concat().into())
}

/// Whether it is compressed, and its length.
const PREFIX: usize = 5;
const OK: u8 = 0;
const INVALID_ARGUMENT: u8 = 3;
const UNIMPLEMENTED: u8 = 12;

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::super::messages::{Certified, GetDestination, TrafficSpec, Update};
    use super::*;

    /// What a client of one call heard: the first message, if there was one, and the status, if the call ended.
    type Heard = (Option<Vec<u8>>, Option<String>);

    async fn ask(path: &str, request: &[u8]) -> Heard {
        let cluster = Cluster {
            server: [10, 42, 0, 2].into(),
            server_name: "server.test".to_owned(),
            client: "spiffe://client".to_owned(),
            leaf: vec![1, 2, 3],
            valid_until: 7,
        };
        let (ours, theirs) = tokio::io::duplex(64 * 1024);
        tokio::spawn(connection(theirs, Arc::new(cluster)));
        let (mut sender, connection) = h2::client::handshake(ours).await.unwrap();
        tokio::spawn(connection);
        let head = Request::post(format!("http://control-plane/io.linkerd.proxy.{path}")).body(()).unwrap();
        let (response, mut stream) = sender.send_request(head, false).unwrap();
        stream.send_data(request.to_vec().into(), true).unwrap();
        let (head, mut body) = response.await.unwrap().into_parts();
        let status = |headers: &HeaderMap| headers.get("grpc-status").map(|value| value.to_str().unwrap().to_owned());
        if body.is_end_stream() {
            return (None, status(&head.headers));
        }
        let said = body.data().await.unwrap().unwrap();
        assert_eq!(&said[..5], &framed(&said[5..]).unwrap()[..5]);
        let ended = match path.ends_with("/Certify") {
            true => body.trailers().await.unwrap().as_ref().and_then(status),
            false => None,
        };
        (Some(said[5..].to_vec()), ended)
    }

    fn runs<T>(test: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(test)
    }

    #[test]
    fn a_certificate_is_given_and_the_call_ends() {
        let (message, status) = runs(ask("identity.Identity/Certify", &framed(&[]).unwrap()));
        let certified = Certified::decode(&*message.unwrap()).unwrap();
        assert_eq!((certified.leaf, certified.valid_until.unwrap().seconds), (vec![1, 2, 3], 7));
        assert_eq!(status.as_deref(), Some("0"));
    }

    #[test]
    fn endpoints_are_said_on_a_stream_that_stays() {
        let request = GetDestination { path: "web.test.svc.cluster.local:8080".to_owned() }.encode_to_vec();
        let (message, status) = runs(ask("destination.Destination/Get", &framed(&request).unwrap()));
        let update = Update::decode(&*message.unwrap()).unwrap();
        let endpoints = update.add.unwrap().addresses;
        let address = endpoints[0].address.clone().unwrap();
        assert_eq!((endpoints.len(), address.port), (1, 8080));
        assert_eq!(status, None);
    }

    #[test]
    fn what_is_not_known_or_not_understood_is_refused_with_a_status() {
        let refused = |path: &'static str, request: &'static [u8]| runs(ask(path, request));
        assert_eq!(refused("tap.Tap/Observe", b"\0\0\0\0\0"), (None, Some("12".to_owned())));
        for bad in [&b"\0\0"[..], b"\x01\0\0\0\0", b"\0\0\0\0\x02\x08", b"\0\0\0\0\x01\xff"] {
            assert_eq!(refused("outbound.OutboundPolicies/Watch", bad), (None, Some("3".to_owned())), "{bad:?}");
        }
        assert!(TrafficSpec::decode(&b"\xff"[..]).is_err());
    }
}
