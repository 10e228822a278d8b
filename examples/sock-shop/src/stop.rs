//! SIGTERM and SIGINT, seen by everything that runs in the process.

use std::{io, time::Duration};

use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
};

/// Turns true once, when the process is asked to stop.
#[derive(Clone, Debug)]
pub(crate) struct Stop(watch::Receiver<bool>);

impl Stop {
    /// Watches the process's signals.
    pub(crate) fn on_signals() -> io::Result<Stop> {
        let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let (sender, receiver) = watch::channel(false);
        tokio::task::spawn_local(async move {
            tokio::select! { _ = terminate.recv() => {} _ = interrupt.recv() => {} }
            sender.send_replace(true);
            // kept so that receivers never see a closed channel
            sender.closed().await;
        });
        Ok(Stop(receiver))
    }

    /// One that a test pulls.
    #[cfg(test)]
    pub(crate) fn pulled_by_hand() -> (watch::Sender<bool>, Stop) {
        let (sender, receiver) = watch::channel(false);
        (sender, Stop(receiver))
    }

    /// Resolves when the process is asked to stop.
    pub(crate) async fn asked(&mut self) {
        // a sender that is gone can no longer ask
        if self.0.wait_for(|asked| *asked).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    pub(crate) fn is_asked(&self) -> bool {
        *self.0.borrow()
    }
}

/// After SIGTERM, connections are still accepted this long: the endpoint's removal is still on its way to clients.
pub(crate) const LINGER: Duration = Duration::from_millis(1500);
/// What is in flight may take this long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);
