//! Telemetry: takes the proxies' reports, for `stat`, `edges` and the demo's table.
//!
//! ```text
//! Report (proxy's certificate) -> reporter's pod -> Store     answers (operator) <- Store
//! ```
//!
//! One task owns the store; both services ask it. Every number that a person sees comes from here, and here from a proxy.

mod ring;
mod store;
#[cfg(test)]
mod tests;
#[cfg(test)]
pub(crate) use tests::edge as an_edge;

use std::sync::Arc;
use std::time::Duration;

use minimesh_api::grpc::telemetry_server::Telemetry;
use minimesh_api::grpc::{ReportRequest, ReportResponse};
use minimesh_api::model::ReportedEdge;
use minimesh_api::wire::Report;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior, interval};
use tonic::{Request, Response, Status};

use crate::metrics::Metrics;
use crate::peer::Peer;
use crate::publish::Publisher;
use store::{Reporter, Store};

/// The store as the services see it. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Reports(mpsc::Sender<Command>);

#[derive(Debug)]
enum Command {
    Edges { window: Duration, reply: oneshot::Sender<Vec<ReportedEdge>> },
    Report { reporter: Reporter, report: Box<Report>, reply: oneshot::Sender<bool> },
}

impl Reports {
    /// Starts the task that owns the store; it ends with the last handle.
    pub(crate) fn spawn(metrics: Arc<Metrics>) -> Reports {
        let (sender, receiver) = mpsc::channel(COMMANDS);
        tokio::spawn(keep(receiver, metrics));
        Reports(sender)
    }

    /// Everything that was reported within the window.
    pub(crate) async fn edges(&self, window: Duration) -> Result<Vec<ReportedEdge>, Status> {
        self.ask(|reply| Command::Edges { window, reply }).await
    }

    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Result<T, Status> {
        let (reply, answer) = oneshot::channel();
        let ended = || Status::unavailable("the control plane is ending");
        self.0.send(command(reply)).await.map_err(|_| ended())?;
        answer.await.map_err(|_| ended())
    }
}

async fn keep(mut commands: mpsc::Receiver<Command>, metrics: Arc<Metrics>) {
    let mut store = Store::default();
    let mut sweep = interval(SWEEP);
    sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            command = commands.recv() => match command {
                // Whoever asked and is gone does not need the answer.
                Some(Command::Edges { window, reply }) => {
                    let _ = reply.send(store.edges(window, Instant::now()));
                }
                Some(Command::Report { reporter, report, reply }) => {
                    let taken = store.report(&reporter, *report, Instant::now());
                    metrics.reports.increment();
                    metrics.edges_dropped.add(taken.dropped as u64);
                    let _ = reply.send(taken.resend_all);
                }
                None => return,
            },
            _ = sweep.tick() => store.sweep(Instant::now()),
        }
    }
}

/// The gRPC service `minimesh.v1.Telemetry`.
#[derive(Debug)]
pub(crate) struct Collector {
    /// Where reports go.
    pub(crate) reports: Reports,
    /// Knows the pods.
    pub(crate) publisher: Publisher,
}

#[tonic::async_trait]
impl Telemetry for Collector {
    async fn report(&self, request: Request<ReportRequest>) -> Result<Response<ReportResponse>, Status> {
        let subscriber = Peer::authenticated(request.extensions())?;
        let report = Report::try_from(request.into_inner());
        let report = Box::new(report.map_err(|invalid| Status::invalid_argument(invalid.to_string()))?);
        let identity = subscriber.id.to_shared();
        let pod = self.publisher.pod_of(subscriber).await.map_err(|error| Status::unavailable(error.to_string()))?;
        // Reports are cumulative: the next one has everything, once the pod's address is known.
        let pod = pod.ok_or_else(|| Status::failed_precondition("no pod has this address and service account"))?;
        let reporter = Reporter { workload: pod.workload, identity };
        let resend_all = self.reports.ask(|reply| Command::Report { reporter, report, reply }).await?;
        Ok(Response::new(ReportResponse { resend_all }))
    }
}

/// Reports that wait while another is taken in; more of them wait in their connections.
const COMMANDS: usize = 64;
/// How often silent proxies are looked for.
const SWEEP: Duration = Duration::from_secs(30);
