//! What the injector counts. Written by its one thread.

use minimesh_runtime::metrics::{Counter, Exposed};
use minimesh_runtime::process;
use prometheus_client::registry::Registry;

use crate::review::Verdict;

/// The cells.
#[derive(Debug)]
pub(crate) struct Metrics {
    /// Pods that got a sidecar.
    injected: Exposed<Counter>,
    /// Bodies that were no AdmissionReview of a pod.
    pub(crate) malformed: Exposed<Counter>,
    /// Pods that were refused.
    refused: Exposed<Counter>,
    /// Pods that were left as they are.
    skipped: Exposed<Counter>,
    /// Pods that had their sidecar already.
    unchanged: Exposed<Counter>,
    /// Pods that were refused because their namespace could not be read.
    pub(crate) unknown: Exposed<Counter>,
    /// TLS handshakes that failed or were not finished in time.
    pub(crate) handshakes_failed: Exposed<Counter>,
}

impl Metrics {
    /// The cells and the registry that shows them.
    pub(crate) fn new() -> (Metrics, Registry) {
        let mut registry = Registry::default();
        process::register(&mut registry, "injector");
        let mut counter = |name, help| {
            let cell = Exposed::new(Counter::new());
            registry.register(name, help, cell.clone());
            cell
        };
        let metrics = Metrics {
            injected: counter("minimesh_injector_pods_injected", "Pods that got a sidecar"),
            malformed: counter("minimesh_injector_malformed", "Bodies that were no AdmissionReview of a pod"),
            refused: counter("minimesh_injector_pods_refused", "Pods that were refused"),
            skipped: counter("minimesh_injector_pods_skipped", "Pods that were left as they are"),
            unchanged: counter("minimesh_injector_pods_unchanged", "Pods that had their sidecar already"),
            unknown: counter(
                "minimesh_injector_namespace_unread",
                "Pods that were refused because their namespace could not be read",
            ),
            handshakes_failed: counter(
                "minimesh_injector_handshakes_failed",
                "TLS handshakes that failed or took too long",
            ),
        };
        (metrics, registry)
    }

    pub(crate) fn count(&self, verdict: Verdict) {
        match verdict {
            Verdict::Injected => self.injected.increment(),
            Verdict::Refused => self.refused.increment(),
            Verdict::Skipped => self.skipped.increment(),
            Verdict::Unchanged => self.unchanged.increment(),
        }
    }
}
