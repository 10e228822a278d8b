//! Readiness probes, from the node's address as a kubelet's: `httpGet` and `tcpSocket`.
//!
//! Started and stopped by the node with the container. Says only what changed.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use minimesh_index::resource::Probe;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{sleep, timeout},
};

use super::cluster::PodRecord;

/// What to ask whom, how often.
pub(crate) struct Check {
    address: SocketAddr,
    /// Of the request; `None`: a connection is enough.
    path: Option<String>,
    initial_delay: Duration,
    period: Duration,
    timeout: Duration,
    failures: u32,
}

impl Check {
    /// `None` for a probe that cannot be run here, or whose port nobody names.
    pub(crate) fn new(pod: &PodRecord, probe: &Probe) -> Option<Check> {
        let (port, path) = match (&probe.http_get, &probe.tcp_socket) {
            (Some(http), _) => (&http.port, Some(http.path.clone().unwrap_or_else(|| "/".into()))),
            (None, Some(tcp)) => (&tcp.port, None),
            (None, None) => return None,
        };
        let seconds = |value: Option<u32>, default| Duration::from_secs(u64::from(value.unwrap_or(default)));
        Some(Check {
            address: SocketAddr::new(IpAddr::V4(pod.ip()), pod.port(port)?),
            path,
            initial_delay: seconds(probe.initial_delay_seconds, 0),
            period: seconds(probe.period_seconds, 10).max(Duration::from_secs(1)),
            timeout: seconds(probe.timeout_seconds, 1).max(Duration::from_secs(1)),
            failures: probe.failure_threshold.unwrap_or(3).max(1),
        })
    }

    /// Asks for ever; tells when the answer changes.
    pub(crate) async fn run(self, tell: impl Fn(bool)) {
        sleep(self.initial_delay).await;
        let mut ready = false;
        let mut failed = 0;
        loop {
            let passed = timeout(self.timeout, self.ask()).await.is_ok_and(|answer| answer.unwrap_or(false));
            failed = if passed { 0 } else { failed + 1 };
            if passed != ready && (passed || failed >= self.failures) {
                ready = passed;
                tell(ready);
            }
            // nobody should wait a whole period at a terminal for the first answer
            sleep(if ready { self.period } else { UNTIL_READY.min(self.period) }).await;
        }
    }

    async fn ask(&self) -> io::Result<bool> {
        let mut stream = TcpStream::connect(self.address).await?;
        let Some(path) = &self.path else { return Ok(true) };
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {}\r\nUser-Agent: kube-probe/1.34\r\nAccept: */*\r\nConnection: close\r\n\r\n",
            self.address
        );
        stream.write_all(request.as_bytes()).await?;
        let mut head = [0; 12];
        stream.read_exact(&mut head).await?;
        let success = head.starts_with(b"HTTP/1.") && matches!(head[9], b'2' | b'3');
        // reading to the end spares the server a reset
        let mut rest = [0; 4096];
        while stream.read(&mut rest).await? > 0 {}
        Ok(success)
    }
}

const UNTIL_READY: Duration = Duration::from_millis(250);
