//! The one cryptography provider: aws-lc-rs, TLS 1.3 alone, in our order of preference.

use std::sync::{Arc, OnceLock};

use rustls::crypto::{CryptoProvider, aws_lc_rs as provider};

/// X25519MLKEM768 first: traffic recorded today stays secret when a quantum computer exists. AES-128-GCM first: it is as good as
/// AES-256 for connections that live for hours, and cheaper.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    let provider = PROVIDER.get_or_init(|| {
        Arc::new(CryptoProvider {
            cipher_suites: vec![
                provider::cipher_suite::TLS13_AES_128_GCM_SHA256,
                provider::cipher_suite::TLS13_AES_256_GCM_SHA384,
                provider::cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
            ],
            kx_groups: vec![
                provider::kx_group::X25519MLKEM768,
                provider::kx_group::X25519,
                provider::kx_group::SECP256R1,
            ],
            ..provider::default_provider()
        })
    });
    Arc::clone(provider)
}
