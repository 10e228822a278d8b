//! Annotations that the mesh reads, with Linkerd's names as aliases.

/// SHA-256 of the pod's bootstrap token, in hex: how folder mode authenticates a pod.
pub(crate) const TOKEN_SHA256: &str = "minimesh.io/token-sha256";
