//! Reports: golden metrics of the edges that changed, cumulative, over the stream's connection.

use std::collections::HashMap;
use std::time::Duration;

use minimesh_api::grpc;
use minimesh_api::grpc::telemetry_client::TelemetryClient;
use minimesh_api::model::{EdgeKey, EdgeReport};
use minimesh_api::wire::Report;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tonic::transport::Channel;
use tracing::debug;

use super::client::Current;
use super::failure::Failure;
use crate::metrics::{ControlFailure, Metrics, ReportResult};

/// Reports what this process counted.
pub(super) struct Reporter<'a> {
    pub(super) current: &'a Current,
    pub(super) metrics: &'a Metrics,
    /// 16 random bytes of this process.
    pub(super) instance: [u8; 16],
    /// When the process started.
    pub(super) started: Instant,
}

/// What the replica behind a connection has been told.
#[derive(Default)]
struct Told {
    /// 0: none, or a replica that wants to be told everything.
    connection: u64,
    edges: HashMap<EdgeKey, Counters>,
}

/// All counters of an edge. Its histograms change with `successes` and `failures` alone.
type Counters = [u64; 7];

impl Reporter<'_> {
    /// Runs as long as the proxy.
    pub(super) async fn run(&self, period: Duration) {
        let mut tick = interval(period);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut told = Told::default();
        loop {
            tick.tick().await;
            // A replica that does not know this process asks for everything, and gets it at once; asked again, at the next tick.
            if self.report(&mut told).await {
                self.report(&mut told).await;
            }
        }
    }

    /// Everything, once.
    pub(super) async fn last(&self) {
        self.report(&mut Told::default()).await;
    }

    /// Says what is new to the replica; answers whether it asks for everything.
    async fn report(&self, told: &mut Told) -> bool {
        let Some((connection, channel)) = self.current.get() else { return false };
        // A new connection may lead to another replica, or to one that was restarted.
        let complete = told.connection != connection;
        let all = self.metrics.reports();
        let now: HashMap<EdgeKey, Counters> = all.iter().map(|edge| (edge.key.clone(), counters(edge))).collect();
        let is_new = |edge: &EdgeReport| complete || told.edges.get(&edge.key) != now.get(&edge.key);
        let edges: Vec<EdgeReport> = all.into_iter().filter(is_new).collect();
        if edges.is_empty() && !complete {
            return false;
        }
        let report = Report { instance: self.instance, uptime: self.started.elapsed(), edges, complete };
        match send(channel, &report).await {
            Ok(resend_all) => {
                self.metrics.control().reported(ReportResult::Accepted);
                *told = Told { connection: if resend_all { 0 } else { connection }, edges: now };
                resend_all
            }
            Err(failure) => {
                self.metrics.control().reported(ReportResult::Failed);
                debug!(error = %failure, "report not taken; the next one says it again");
                false
            }
        }
    }
}

fn counters(edge: &EdgeReport) -> Counters {
    [
        edge.requests,
        edge.successes,
        edge.failures,
        edge.tcp_opened,
        edge.tcp_closed,
        edge.bytes_read,
        edge.bytes_written,
    ]
}

async fn send(channel: Channel, report: &Report) -> Result<bool, Failure> {
    let mut client = TelemetryClient::new(channel);
    match timeout(ANSWER, client.report(grpc::ReportRequest::from(report))).await {
        Ok(Ok(answer)) => Ok(answer.into_inner().resend_all),
        Ok(Err(status)) => Err(Failure::of_status(&status)),
        Err(_) => Err(Failure::new(ControlFailure::Unavailable, "no answer within 5 s")),
    }
}

/// A report is taken into memory; more is overload.
const ANSWER: Duration = Duration::from_secs(5);
