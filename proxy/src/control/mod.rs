//! The control thread: one current-thread runtime that talks to the control plane.
//!
//! It owns the certificate, the `Watch` stream and the reports. Workers see it only through [`ControlHandle`] and the
//! snapshots published there; a snapshot is replaced by a complete one or not at all. Nothing here is on a request's path.

mod backoff;
mod certify;
mod client;
mod failure;
mod handle;
mod identity;
mod report;
mod resources;
mod stream;

use std::cell::RefCell;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use minimesh_identity::SpiffeId;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::metrics::{ControlMetrics, Metrics};
use client::{Client, Dialer};
pub(crate) use handle::ControlEnds;
use handle::Request;
pub use handle::{ControlHandle, FakeControl, State, TargetSnapshot};
use identity::Identity;
use resources::Resources;

/// What the control thread has to be told.
#[derive(Clone, Debug)]
pub(crate) struct ControlConfig {
    /// `HOST:PORT` of the control plane's replicas.
    pub(crate) replicas: Vec<String>,
    /// Who they must be.
    pub(crate) expected: SpiffeId,
    /// Public roots, PEM.
    pub(crate) trust_bundle: PathBuf,
    /// Read for every certificate.
    pub(crate) token_file: PathBuf,
    /// SO_MARK of its connections.
    pub(crate) mark: Option<u32>,
    /// Between reports.
    pub(crate) report_interval: Duration,
}

/// The control thread's state: what `run` works with and `/dump` shows.
pub(crate) struct Control {
    config: ControlConfig,
    identity: Identity,
    resources: Resources,
    requests: RefCell<Option<mpsc::Receiver<Request>>>,
    metrics: Arc<Metrics>,
    instance: [u8; 16],
    started: Instant,
}

impl Control {
    /// Fails where the trust bundle cannot be read: without it nobody can be trusted.
    pub(crate) fn new(
        config: ControlConfig,
        ends: ControlEnds,
        metrics: Arc<Metrics>,
    ) -> Result<Rc<Control>, minimesh_identity::Error> {
        let ControlEnds { requests, workload, credentials } = ends;
        let trust_domain = config.expected.trust_domain().to_owned();
        let mut instance = [0; 16];
        rustls::crypto::aws_lc_rs::default_provider()
            .secure_random
            .fill(&mut instance)
            .map_err(|_| minimesh_identity::Error::Bundle("the system gave no randomness".to_owned()))?;
        Ok(Rc::new(Control {
            identity: Identity::load(config.trust_bundle.clone(), &trust_domain, credentials)?,
            resources: Resources::new(workload),
            requests: RefCell::new(Some(requests)),
            config,
            metrics,
            instance,
            started: Instant::now(),
        }))
    }

    /// The life of the control thread; never ends by itself.
    pub(crate) async fn run(&self) {
        let seed = backoff::seed();
        let dialer = Dialer::Tcp { replicas: self.config.replicas.clone(), mark: self.config.mark };
        let client = Client::new(dialer, self.config.expected.clone(), seed);
        let channel = RefCell::new(None);
        let metrics = self.metrics.control();
        let parts = stream::Parts {
            client: &client,
            identity: &self.identity,
            resources: &self.resources,
            metrics,
            instance: self.instance,
            channel: &channel,
        };
        let requests = self.requests.take();
        // Boxed: together they would make a future of many kilobytes on the stack.
        tokio::join!(
            Box::pin(certify::run(&client, &self.identity, &self.config.token_file, metrics, seed)),
            Box::pin(stream::run(&parts, seed.rotate_left(17))),
            Box::pin(report::run(&channel, &self.metrics, self.instance, self.config.report_interval, self.started)),
            stream::sweep(&self.resources, metrics),
            answer(requests, &self.resources, metrics),
        );
    }

    /// Resources by name, with the version in force; 0 where nothing is known yet.
    pub(crate) fn describe(&self) -> Vec<(String, u64)> {
        let described = self.resources.describe().into_iter();
        described.map(|(key, version)| (stream::describe(&key), version)).collect()
    }
}

/// Workers are answered at once, connected or not: what is not known yet is pending.
async fn answer(requests: Option<mpsc::Receiver<Request>>, resources: &Resources, metrics: &ControlMetrics) {
    let Some(mut requests) = requests else { return };
    while let Some(Request { key, reply }) = requests.recv().await {
        if let Some(receiver) = resources.ask(&key, metrics) {
            // A worker that no longer waits needs no answer.
            let _ = reply.send(receiver);
        }
    }
}
