//! TLS of peers that mean harm, or whose certificate is nobody's any more.

use minimesh_identity::Alpn;
use rustls::pki_types::ServerName;

use super::*;

/// Speaks the mesh's TLS to a server with credentials of its choice; the answer to a request, or why there is none.
async fn ask_as(server: &Server, credentials: &Credentials, alpn: Alpn) -> Result<String, String> {
    let config = credentials.client_config(&server.proxy.identity, alpn).map_err(|error| error.to_string())?;
    ask_with(server, config).await
}

async fn ask_with(server: &Server, config: Arc<rustls::ClientConfig>) -> Result<String, String> {
    let tcp = TcpStream::connect(server.proxy.address).await.map_err(|error| error.to_string())?;
    let name = ServerName::IpAddress(server.proxy.address.ip().into());
    let connector = tokio_rustls::TlsConnector::from(config);
    let mut tls = connector.connect(name, tcp).await.map_err(|error| error.to_string())?;
    tls.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        .await
        .map_err(|error| error.to_string())?;
    let mut answer = Vec::new();
    tls.read_to_end(&mut answer).await.map_err(|error| error.to_string())?;
    if answer.is_empty() {
        Err("closed without an answer".to_owned())
    } else {
        Ok(String::from_utf8_lossy(&answer).into_owned())
    }
}

fn counted(proxy: &Proxy, error: &str) -> f64 {
    let text = super::super::policy::scrape(&proxy.metrics);
    let label = format!("error=\"{error}\"");
    let series = text.lines().filter(|line| !line.starts_with('#') && line.contains(&label));
    series.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}

/// A mesh whose server lets in nobody without identity, and counts who reaches its application.
async fn strict() -> (Mesh, Server, Rc<Cell<usize>>) {
    let (seen, count) = counter();
    let app = app(move |mut peer| {
        let seen = Rc::clone(&seen);
        async move {
            while peer.message().await.is_some() {
                seen.set(seen.get() + 1);
                peer.send(OK).await;
            }
        }
    })
    .await;
    let mesh = Mesh::new();
    let server = mesh.server_with("catalogue", app, DefaultPolicy::AllAuthenticated);
    (mesh, server, count)
}

#[tokio::test(flavor = "local")]
async fn only_a_valid_certificate_of_this_mesh_reaches_the_application() {
    let (mesh, server, reached) = strict().await;
    let hour = Duration::from_secs(3600);
    let caller = id("front-end");
    let answer = ask_as(&server, &mesh.credentials(&mesh.authority, &caller, hour), Alpn::Http).await;
    assert!(answer.expect("an answer").starts_with("HTTP/1.1 200 "));
    assert_eq!(reached.get(), 1);

    let foreign = Authority::create(DOMAIN).expect("authority");
    let other_domain = Authority::create("elsewhere.local").expect("authority");
    let stranger = SpiffeId::new("elsewhere.local", "shop", "front-end").expect("valid");
    for (authority, identity) in [(&foreign, &caller), (&other_domain, &stranger)] {
        let key = PrivateKey::generate().expect("key");
        let chain = authority.issue(&key.csr(None).expect("csr"), identity, hour).expect("issued");
        // it trusts the server, but the server not it
        let refused = presenting(&mesh, chain, key, &server).await;
        assert!(refused.is_err(), "{refused:?}");
    }
    let key = PrivateKey::generate().expect("key");
    let past = std::time::SystemTime::now() - Duration::from_secs(7200);
    let chain = mesh.authority.issue_at(&key.csr(None).expect("csr"), &caller, hour, past).expect("issued");
    let refused = presenting(&mesh, chain, key, &server).await;
    assert!(refused.is_err(), "{refused:?}");
    assert!(counted(&server.proxy, "tls_expired") >= 1.0);
    assert!(counted(&server.proxy, "tls_unknown_issuer") >= 1.0);
    assert_eq!(reached.get(), 1, "nobody else");
}

/// A client that trusts this mesh, with any certificate.
async fn presenting(
    mesh: &Mesh,
    chain: Vec<rustls::pki_types::CertificateDer<'static>>,
    key: PrivateKey,
    server: &Server,
) -> Result<String, String> {
    let leaf = Leaf::new(chain, key).map_err(|error| error.to_string())?;
    let bundle = mesh.authority.bundle().expect("bundle");
    let credentials = Credentials::new(leaf, bundle, &mesh.tickets, 99).map_err(|error| error.to_string())?;
    ask_as(server, &credentials, Alpn::Http).await
}

/// A client of the mesh's protocols that presents nothing, and believes anything.
fn anonymous(protocols: &[&[u8]]) -> Arc<rustls::ClientConfig> {
    let mut config =
        rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("TLS 1.3")
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Credulous))
            .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    Arc::new(config)
}

#[derive(Debug)]
struct Credulous;

impl rustls::client::danger::ServerCertVerifier for Credulous {
    fn verify_server_cert(
        &self,
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &[rustls::pki_types::CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: rustls::pki_types::UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        unreachable!("it speaks TLS 1.3 alone")
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        rustls::crypto::aws_lc_rs::default_provider().signature_verification_algorithms.supported_schemes()
    }
}

#[tokio::test(flavor = "local")]
async fn no_certificate_and_no_protocol_of_ours_reach_nobody() {
    let (_mesh, server, reached) = strict().await;
    for protocols in [
        &[&b"minimesh-http/1"[..]][..],
        &[b"minimesh-raw/1"],
        &[b"minimesh-other/1"],
        &[b"minimesh-http/9"],
        &[b"minimesh-http/1x"],
        &[b"h2", b"minimesh-http/1"],
        &[b"h2"],
        &[],
    ] {
        let refused = ask_with(&server, anonymous(protocols)).await;
        assert!(refused.is_err(), "{refused:?}");
    }
    assert!(counted(&server.proxy, "tls_no_certificate") >= 1.0);
    assert!(counted(&server.proxy, "tls_no_protocol") >= 1.0);
    assert_eq!(reached.get(), 0);
}

#[tokio::test(flavor = "local")]
async fn garbage_for_tls_is_refused_and_counted() {
    let (mesh, server, reached) = strict().await;
    // a real greeting, of the mesh's protocol, and then nothing that follows from it
    let name: ServerName<'static> = "catalogue".try_into().expect("a name");
    let mut greeting = Vec::new();
    let mut client = rustls::ClientConnection::new(anonymous(&[b"minimesh-http/1"]), name).expect("a client");
    client.write_tls(&mut greeting).expect("memory");
    for tail in [
        &b"\x17\x03\x03\x00\x05hello"[..],
        b"\x16\x03\x03\x40\x01",
        b"\x15\x03\x03\x00\x02\x02\x28",
        b"GET / HTTP/1.1\r\n\r\n",
        &[0xff; 20_000],
        b"\x14\x03\x03\x00\x01\x01\x14\x03\x03\x00\x01\x01",
    ] {
        let before = counted(&server.proxy, "tls_handshake_failed") + counted(&server.proxy, "tls_refused");
        let mut client = direct(&server).await;
        client.send(&[&greeting, tail].concat()).await;
        client.tcp.shutdown().await.expect("shutdown");
        let _ = client.is_reset().await;
        let after = counted(&server.proxy, "tls_handshake_failed") + counted(&server.proxy, "tls_refused");
        // who goes away in the middle is not to be told from a client that found out that it speaks HTTP
        assert!(after > before || matches!(tail[0], 0x14 | 0x16), "{}", shown(&tail[..tail.len().min(20)]));
    }
    assert_eq!(reached.get(), 0);
    // and the others are served
    mesh.service(Protocol::Detect, vec![server.endpoint()]);
    assert!(mesh.connect().await.get().await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test(flavor = "local")]
async fn a_greeting_in_many_segments_is_a_greeting() {
    let (mesh, server, reached) = strict().await;
    let config = mesh
        .credentials(&mesh.authority, &id("front-end"), Duration::from_secs(3600))
        .client_config(&server.proxy.identity, Alpn::Http)
        .expect("a configuration");
    // between the client and the proxy stands somebody who passes on a byte at a time
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let near = listener.local_addr().expect("bound");
    let far = server.proxy.address;
    tokio::task::spawn_local(async move {
        let (near, _) = listener.accept().await.expect("a client");
        let far = TcpStream::connect(far).await.expect("the proxy");
        far.set_nodelay(true).expect("nodelay");
        let ((mut from, mut back), (mut answers, mut to)) = (near.into_split(), far.into_split());
        tokio::task::spawn_local(async move { tokio::io::copy(&mut answers, &mut back).await });
        let mut byte = [0];
        while from.read_exact(&mut byte).await.is_ok() {
            to.write_all(&byte).await.expect("the proxy reads");
            tokio::task::yield_now().await;
        }
    });
    let tcp = TcpStream::connect(near).await.expect("the one between");
    let name = ServerName::IpAddress(near.ip().into());
    let mut tls = tokio_rustls::TlsConnector::from(config).connect(name, tcp).await.expect("a handshake");
    tls.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await.expect("sent");
    let mut answer = Vec::new();
    tls.read_to_end(&mut answer).await.expect("an answer");
    assert!(answer.starts_with(b"HTTP/1.1 200 "), "{}", shown(&answer));
    assert_eq!(reached.get(), 1);
}

/// Answers of the mesh's client through connections that are not kept.
async fn get(mesh: &Mesh) -> String {
    mesh.connect().await.ask("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await
}

#[tokio::test(flavor = "local")]
async fn a_session_is_not_resumed_with_somebody_else_at_the_same_address() {
    let (mesh, server) = one_server().await;
    assert!(get(&mesh).await.starts_with("HTTP/1.1 200 "));
    // the address is another workload's now, and the old one still answers there
    mesh.endpoints(vec![server.endpoint_as(&id("payment"))]);
    for _ in 0..3 {
        let answer = get(&mesh).await;
        assert!(answer.contains("minimesh-error: tls_identity_mismatch"), "{answer}");
    }
    // and when it is back, it is trusted again
    mesh.endpoints(vec![server.endpoint()]);
    assert!(get(&mesh).await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test(flavor = "local")]
async fn a_session_does_not_outlive_the_root_that_it_rests_on() {
    let (mesh, server) = one_server().await;
    for _ in 0..3 {
        assert!(get(&mesh).await.starts_with("HTTP/1.1 200 "));
    }
    // the mesh has another root from now on; the client is not told yet, and has tickets and connections of the old one
    let new = Authority::create(DOMAIN).expect("authority");
    server.proxy.control.credentials(mesh.credentials(&new, &server.proxy.identity, Duration::from_secs(3600)));
    for _ in 0..3 {
        let answer = get(&mesh).await;
        assert!(!answer.starts_with("HTTP/1.1 200 ") && answer.contains("minimesh-error: tls_"), "{answer}");
    }
    mesh.client.control.credentials(mesh.credentials(&new, &mesh.client.identity, Duration::from_secs(3600)));
    assert!(get(&mesh).await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test(flavor = "local")]
async fn a_renewed_certificate_is_presented_and_accepted_at_once() {
    let (mesh, server) = one_server().await;
    assert!(get(&mesh).await.starts_with("HTTP/1.1 200 "));
    for _ in 0..3 {
        mesh.certify(&mesh.client);
        mesh.certify(&server.proxy);
        assert!(get(&mesh).await.starts_with("HTTP/1.1 200 "));
    }
    assert_eq!(counted(&mesh.client, "tls_handshake_failed"), 0.0);
}
