//! The control thread against a control plane in process: real TLS and gRPC over memory, in paused time.
//!
//! A test is a story told by the control plane's side (`plane`) and by a worker's (`world.proxy`); time passes whenever both wait.

mod certificates;
mod clocks;
mod plane;
mod reports;
mod resources;
mod streams;

use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};
use std::time::Duration;

use minimesh_api::model::{BackendKey, PortPolicy, Protocol, ResourceKey};
use minimesh_api::wire;
use minimesh_identity::SpiffeId;
use prometheus_client::registry::Registry;
use rustls::pki_types::UnixTime;
use rustls::time_provider::TimeProvider;
use tokio::time::Instant;

use super::client::Dialer;
use super::{Clock, Control, ControlConfig, ControlHandle};
use crate::metrics::{Exposition, Metrics};
use plane::{Plane, Stream};

/// A control plane, a proxy's control thread, and a worker's handle of it.
struct World {
    plane: Plane,
    proxy: ControlHandle,
    metrics: Arc<Metrics>,
    control: Rc<Control>,
    folder: Folder,
    clock: Arc<TestClock>,
}

/// The proxy's wall clock: the host's, set wrong by so many seconds.
#[derive(Debug, Default)]
struct TestClock(AtomicI64);

impl TestClock {
    fn set(&self, seconds: i64) {
        self.0.store(seconds, Ordering::Relaxed);
    }
}

impl TimeProvider for TestClock {
    fn current_time(&self) -> Option<UnixTime> {
        let now = UnixTime::now().as_secs().checked_add_signed(self.0.load(Ordering::Relaxed))?;
        Some(UnixTime::since_unix_epoch(Duration::from_secs(now)))
    }
}

/// Tells a story while the control thread runs.
async fn story(test: impl AsyncFnOnce(&mut World)) {
    // so far apart that stories of something else hear nothing of reports
    story_with_reports(Duration::from_secs(100_000), test).await;
}

async fn story_with_reports(every: Duration, test: impl AsyncFnOnce(&mut World)) {
    let mut world = World::new(every);
    let control = Rc::clone(&world.control);
    tokio::select! {
        () = control.run() => panic!("the control thread ended"),
        () = test(&mut world) => {}
    }
}

impl World {
    fn new(report_interval: Duration) -> World {
        let (folder, clock) = (Folder::new(), Arc::new(TestClock::default()));
        let (plane, dialer) = Plane::new();
        folder.write(BUNDLE, &plane.bundle().to_pem());
        folder.write(TOKEN, "first\n");
        let metrics = Metrics::new(&[]);
        let (proxy, ends) = ControlHandle::new(Arc::clone(&metrics), Arc::from([]));
        let config = ControlConfig {
            dialer: Dialer::Memory(dialer),
            expected: plane::identity(),
            trust_bundle: folder.path(BUNDLE),
            token_file: folder.path(TOKEN),
            report_interval,
            clock: Clock::of(Arc::clone(&clock) as _),
        };
        let control = Control::new(config, ends, Arc::clone(&metrics)).expect("a bundle");
        World { plane, proxy, metrics, control, folder, clock }
    }

    /// Gives the proxy its certificate, takes its stream, and hears what every proxy asks for.
    async fn admitted(&mut self) -> Stream {
        self.plane.certify().await.grant(LIFE, LIFE / 3);
        let mut stream = self.plane.stream().await;
        assert_eq!(stream.subscriptions(2).await, [(ResourceKey::Trust, None), (ResourceKey::Workload, None)]);
        stream
    }

    /// The value of a series.
    fn metric(&self, series: &str) -> u64 {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Exposition(Arc::clone(&self.metrics))));
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).expect("text");
        let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {series} in {text}")).parse::<f64>().expect("a number") as u64
    }
}

/// Files of one proxy.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Folder {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("minimesh-control-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).expect("made");
        Folder(path)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).expect("written");
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// How long a story's step took, in paused time.
async fn took<T>(step: impl Future<Output = T>) -> (T, Duration) {
    let begun = Instant::now();
    let value = step.await;
    (value, begun.elapsed())
}

fn front_end() -> SpiffeId {
    SpiffeId::new("cluster.local", "shop", "front-end").expect("valid")
}

fn carts() -> BackendKey {
    BackendKey { namespace: "shop".into(), name: "carts".into(), port: 80 }
}

fn port_policy() -> PortPolicy {
    PortPolicy { protocol: Protocol::Detect, policy: minimesh_api::model::DefaultPolicy::AllAuthenticated }
}

fn port_state() -> wire::State {
    wire::State::Port(port_policy())
}

const BUNDLE: &str = "bundle.pem";
const TOKEN: &str = "token";
/// Of certificates.
const LIFE: Duration = Duration::from_secs(3_600);
