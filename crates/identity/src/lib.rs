//! Identities, verifiers, TLS configurations.
