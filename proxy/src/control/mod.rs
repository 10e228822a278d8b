//! The control thread: one current-thread runtime that talks to the control plane.
//!
//! It owns the certificate, the `Watch` stream and the reports. Workers see it only through [`ControlHandle`] and the
//! snapshots published there; a snapshot is replaced by a complete one or not at all. Nothing here is on a request's path.

mod backoff;
mod certify;
mod client;
mod clock;
mod failure;
mod handle;
mod identity;
mod report;
mod resources;
mod stream;
#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use minimesh_api::model::PortPolicy;
use minimesh_identity::SpiffeId;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::metrics::{ControlMetrics, Metrics};
pub(crate) use backoff::{Backoff, seed};
use certify::Certifier;
pub(crate) use client::Dialer;
use client::{Client, Current};
pub(crate) use clock::Clock;
pub(crate) use handle::ControlEnds;
use handle::Request;
pub use handle::{ControlHandle, FakeControl, State, TargetSnapshot};
use identity::Identity;
use report::Reporter;
use resources::Resources;

/// What the control thread has to be told.
pub(crate) struct ControlConfig {
    /// The way to the control plane's replicas.
    pub(crate) dialer: Dialer,
    /// Who they must be.
    pub(crate) expected: SpiffeId,
    /// Public roots, PEM.
    pub(crate) trust_bundle: PathBuf,
    /// Read for every certificate.
    pub(crate) token_file: PathBuf,
    /// Between reports.
    pub(crate) report_interval: Duration,
    /// By which certificates are judged.
    pub(crate) clock: Clock,
}

/// The control thread's state: what `run` works with and `/dump` shows.
pub(crate) struct Control {
    client: Client,
    identity: Identity,
    resources: Resources,
    current: Current,
    requests: RefCell<Option<mpsc::Receiver<Request>>>,
    metrics: Arc<Metrics>,
    token_file: PathBuf,
    report_interval: Duration,
    seed: u64,
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
        let ControlConfig { dialer, expected, trust_bundle, token_file, report_interval, clock } = config;
        let ControlEnds { requests, workload, credentials } = ends;
        let trust_domain = expected.trust_domain().to_owned();
        let mut instance = [0; 16];
        rustls::crypto::aws_lc_rs::default_provider()
            .secure_random
            .fill(&mut instance)
            .map_err(|_| minimesh_identity::Error::Bundle("the system gave no randomness".to_owned()))?;
        let seed = backoff::seed();
        Ok(Rc::new(Control {
            client: Client::new(dialer, expected, clock.clone(), seed),
            identity: Identity::load(trust_bundle, &trust_domain, clock, credentials)?,
            resources: Resources::new(workload),
            current: Current::default(),
            requests: RefCell::new(Some(requests)),
            metrics,
            token_file,
            report_interval,
            seed,
            instance,
            started: Instant::now(),
        }))
    }

    /// The life of the control thread; never ends by itself.
    pub(crate) async fn run(&self) {
        let metrics = self.metrics.control();
        let certifier =
            Certifier { client: &self.client, identity: &self.identity, token_file: &self.token_file, metrics };
        let parts = stream::Parts {
            client: &self.client,
            identity: &self.identity,
            resources: &self.resources,
            metrics,
            instance: self.instance,
            current: &self.current,
        };
        let reporter = self.reporter();
        let requests = self.requests.take();
        // Boxed: together they would make a future of many kilobytes on the stack.
        tokio::join!(
            Box::pin(certifier.run(self.seed.rotate_left(31))),
            Box::pin(stream::run(&parts, self.seed.rotate_left(17))),
            Box::pin(reporter.run(self.report_interval)),
            stream::sweep(&self.resources, metrics),
            answer(requests, &self.resources, metrics),
        );
    }

    /// Says once more everything that was counted, before the process ends. The connection must still be there: nothing is
    /// dialled for it.
    pub(crate) async fn last_report(&self) {
        self.reporter().last().await;
    }

    /// Resources by name, with the version in force; 0 where nothing is known yet.
    pub(crate) fn describe(&self) -> Vec<(String, u64)> {
        let described = self.resources.describe().into_iter();
        described.map(|(key, version)| (stream::describe(&key), version)).collect()
    }

    /// Ports that workers asked for, with the policy in force; `None`: nothing is known of it yet.
    pub(crate) fn ports(&self) -> Vec<(u16, Option<PortPolicy>)> {
        self.resources.ports()
    }

    fn reporter(&self) -> Reporter<'_> {
        Reporter { current: &self.current, metrics: &self.metrics, instance: self.instance, started: self.started }
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
