//! Who this process is: shown on the page, so that balancing can be seen.

use std::sync::OnceLock;

use http::HeaderName;

/// The pod's name, which Kubernetes makes its host name.
pub(crate) fn name() -> &'static str {
    static NAME: OnceLock<String> = OnceLock::new();
    NAME.get_or_init(|| {
        let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let name = name.trim();
        if name.is_empty() { "unknown".to_owned() } else { name.to_owned() }
    })
}

/// Pods that took part in an answer, nearest first.
pub(crate) const SERVED_BY: HeaderName = HeaderName::from_static("x-served-by");
