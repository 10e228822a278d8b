//! TLS of the gRPC connection between proxy and control plane. It lives for minutes to hours, so there is nothing to resume: no
//! tickets, no session cache. Both ends use tokio-rustls through tonic or hyper.

use std::sync::Arc;

use rustls::client::Resumption;
use rustls::server::NoServerSessionStorage;
use rustls::time_provider::{DefaultTimeProvider, TimeProvider};
use rustls::{ClientConfig, ServerConfig};

use crate::provider::provider;
use crate::verify::{ClientVerifier, ServerVerifier, Trust};
use crate::{Credentials, Error, SpiffeId, TrustBundle};

/// For a proxy. The control plane must be exactly `expected`. Without credentials only `Certify` can be called.
pub fn client_config(
    bundle: &TrustBundle,
    expected: &SpiffeId,
    credentials: Option<&Credentials>,
) -> Result<Arc<ClientConfig>, Error> {
    let clock = credentials.map_or_else(|| Arc::new(DefaultTimeProvider) as _, Credentials::clock);
    client_config_with_clock(bundle, expected, credentials, clock)
}

/// The same by a clock of the caller's.
pub fn client_config_with_clock(
    bundle: &TrustBundle,
    expected: &SpiffeId,
    credentials: Option<&Credentials>,
    clock: Arc<dyn TimeProvider>,
) -> Result<Arc<ClientConfig>, Error> {
    let trust = match credentials {
        Some(credentials) if credentials.bundle() == bundle => credentials.trust(),
        _ => Arc::new(Trust::new(bundle.clone())),
    };
    let builder = ClientConfig::builder_with_details(provider(), clock)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(ServerVerifier { trust, expected: expected.clone() }));
    let mut config = match credentials {
        Some(credentials) => builder.with_client_cert_resolver(credentials.resolver()),
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.enable_sni = false;
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

/// For the control plane. A client certificate is optional and verified when given; who presents none may call `Certify` alone,
/// which is the service's to enforce ([`peer_id`](crate::peer_id) of the connection's first certificate).
pub fn server_config(credentials: &Credentials) -> Result<Arc<ServerConfig>, Error> {
    let verifier = ClientVerifier { trust: credentials.trust(), optional: true };
    let mut config = ServerConfig::builder_with_details(provider(), credentials.clock())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(Arc::new(verifier))
        .with_cert_resolver(credentials.resolver());
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.max_early_data_size = 0;
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    Ok(Arc::new(config))
}

/// HTTP/2, as gRPC wants it.
const ALPN: &[u8] = b"h2";
