//! Reports: golden metrics of the edges that changed, cumulative, over the stream's connection.

use std::cell::RefCell;
use std::collections::HashMap;
use std::time::Duration;

use minimesh_api::grpc;
use minimesh_api::grpc::telemetry_client::TelemetryClient;
use minimesh_api::model::{EdgeKey, EdgeReport};
use minimesh_api::wire::Report;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tonic::transport::Channel;
use tracing::debug;

use super::failure::Failure;
use crate::metrics::{ControlFailure, Metrics, ReportResult};

/// What the control plane has been told.
#[derive(Default)]
struct Told {
    edges: HashMap<EdgeKey, EdgeReport>,
    /// The next report has everything: a new connection may be another replica.
    incomplete: bool,
}

/// Runs as long as the proxy.
pub(super) async fn run(
    channel: &RefCell<Option<Channel>>,
    metrics: &Metrics,
    instance: [u8; 16],
    period: Duration,
    started: Instant,
) {
    let mut tick = interval(period);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut told = Told { incomplete: true, ..Told::default() };
    loop {
        tick.tick().await;
        let Some(channel) = channel.borrow().clone() else {
            told.incomplete = true;
            continue;
        };
        let all = metrics.reports();
        let changed: Vec<EdgeReport> =
            all.iter().filter(|edge| told.incomplete || told.edges.get(&edge.key) != Some(*edge)).cloned().collect();
        if changed.is_empty() && !told.incomplete {
            continue;
        }
        let report = Report { instance, uptime: started.elapsed(), edges: changed, complete: told.incomplete };
        match send(channel, &report).await {
            Ok(resend_all) => {
                metrics.control().reported(ReportResult::Accepted);
                told.edges = all.into_iter().map(|edge| (edge.key.clone(), edge)).collect();
                told.incomplete = resend_all;
            }
            Err(failure) => {
                metrics.control().reported(ReportResult::Failed);
                debug!(error = %failure, "report not taken; the next one says it again");
                told.incomplete = true;
            }
        }
    }
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
