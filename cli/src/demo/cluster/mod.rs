//! The demo's Kubernetes, without its machinery: what should run, what runs, and the live objects that follow from both.
//!
//! ```text
//! manifests, what pods tell, probes -> Cluster -> reconcile() -> pods to start, pods to stop
//!                                              -> live()      -> Services, Pods, EndpointSlices for the control plane
//!                                              -> names()     -> DNS
//! ```
//!
//! Called by the node. Pure: starts nothing, writes nothing, is told the time.

mod pod;
mod rollout;
mod service;

use std::{
    collections::{BTreeMap, HashMap},
    net::Ipv4Addr,
    path::PathBuf,
};

use minimesh_index::{
    Event, Kind, Object, ObjectKey,
    resource::{Deployment, Metadata, Pod, PodTemplate, Service, Timestamp},
};

pub(crate) use pod::{PodRecord, TOKEN, command_of, unsupported_env};
use service::ClusterIps;

use super::messages::{Exposed, FromPod, PodPlan};

/// What a cluster is made with.
pub(crate) struct Settings {
    /// The run's folder.
    pub(crate) run: PathBuf,
    /// Arguments of the control plane, after `minimesh`.
    pub(crate) control_plane: Vec<String>,
    /// The Service that the host's port leads to.
    pub(crate) exposed: Option<Exposed>,
    /// Random bits: names, tokens, uids.
    pub(crate) random: Box<dyn FnMut() -> u64>,
}

/// Everything that should run and that runs.
pub(crate) struct Cluster {
    settings: Settings,
    objects: BTreeMap<ObjectKey, Object>,
    pods: BTreeMap<PodKey, PodRecord>,
    cluster_ips: ClusterIps,
    next_address: u8,
    /// Shoppers come when the shop is open: everything else was ready once, or took too long.
    open: bool,
    stopping: bool,
}

/// Namespace and name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct PodKey {
    pub(crate) namespace: String,
    pub(crate) name: String,
}

/// What the node has to do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Write the token to the pod's folder, then start the pod's process.
    Start { key: PodKey, plan: Box<PodPlan>, token: String },
    /// Tell the pod's process to end.
    Stop { key: PodKey, grace_ms: u64 },
}

/// A Deployment as it is to run: the user's, or one of the demo's own.
struct Workload {
    namespace: String,
    name: String,
    replicas: usize,
    template: PodTemplate,
    meshed: bool,
    /// Flags of the sidecar that annotations ask for.
    recording: Vec<String>,
    /// Of all that.
    hash: u64,
}

impl Cluster {
    pub(crate) fn new(settings: Settings) -> Cluster {
        Cluster {
            settings,
            objects: BTreeMap::new(),
            pods: BTreeMap::new(),
            cluster_ips: ClusterIps::default(),
            next_address: CONTROL_PLANE.octets()[3],
            open: false,
            stopping: false,
        }
    }

    /// The user's manifests changed.
    pub(crate) fn apply(&mut self, events: Vec<Event>) {
        for event in events {
            match event {
                Event::Apply(object) => drop(self.objects.insert(object.key(), object)),
                Event::Delete(key) => drop(self.objects.remove(&key)),
                Event::Replace(objects) => {
                    self.objects = objects.into_iter().map(|object| (object.key(), object)).collect();
                }
            }
        }
    }

    /// The visitor has waited long enough for the others.
    pub(crate) fn open(&mut self) {
        self.open = true;
    }

    /// From now on nothing should run.
    pub(crate) fn stop(&mut self) {
        self.stopping = true;
    }

    /// A pod's process said something.
    pub(crate) fn heard(&mut self, key: &PodKey, message: &FromPod) {
        if let Some(pod) = self.pods.get_mut(key) {
            pod.heard(message);
        }
    }

    /// A readiness probe changed its mind.
    pub(crate) fn probed(&mut self, key: &PodKey, container: &str, ready: bool) {
        if let Some(pod) = self.pods.get_mut(key) {
            pod.probed(container, ready);
        }
    }

    /// A pod's process ended by itself: nothing of it runs, and it is not replaced before it is gone.
    pub(crate) fn died(&mut self, key: &PodKey) {
        if let Some(pod) = self.pods.get_mut(key) {
            pod.died();
        }
    }

    /// A pod's process has ended, and its place is free.
    pub(crate) fn gone(&mut self, key: &PodKey) {
        self.pods.remove(key);
    }

    /// Brings what runs closer to what should run. To be called after every change, until it returns nothing.
    pub(crate) fn reconcile(&mut self, now: Timestamp) -> Vec<Action> {
        let workloads = self.workloads();
        let mut actions = Vec::new();
        let others: Vec<&Workload> = workloads.iter().filter(|workload| !self.is_visitor(workload)).collect();
        self.open |= others.len() > 1
            && others
                .iter()
                .all(|workload| self.owned(workload).filter(|pod| pod.is_ready()).count() >= workload.replicas);
        for workload in &workloads {
            if !self.open && self.is_visitor(workload) {
                continue;
            }
            let own: Vec<rollout::Seen> = self.owned(workload).map(rollout::Seen::of).collect();
            let step = rollout::step(&own, workload.replicas, workload.hash);
            for _ in 0..step.create {
                actions.extend(self.create(workload, now));
            }
            for name in step.delete {
                let key = PodKey { namespace: workload.namespace.clone(), name };
                actions.extend(self.delete(&key, now));
            }
        }
        let is_wanted = |pod: &PodRecord| {
            workloads.iter().any(|workload| workload.namespace == pod.namespace() && workload.name == pod.workload)
        };
        let unwanted: Vec<PodKey> =
            self.pods.iter().filter(|(_, pod)| !is_wanted(pod)).map(|(key, _)| key.clone()).collect();
        for key in unwanted {
            actions.extend(self.delete(&key, now));
        }
        actions
    }

    /// Pods that there are.
    pub(crate) fn pods(&self) -> impl Iterator<Item = (&PodKey, &PodRecord)> {
        self.pods.iter()
    }

    /// Pods that are ready, and pods that there should be.
    pub(crate) fn progress(&self) -> (usize, usize) {
        let ready = self.pods.values().filter(|pod| pod.is_ready()).count();
        (ready, self.workloads().iter().map(|workload| workload.replicas).sum())
    }

    /// Whether the control plane serves.
    pub(crate) fn control_plane_is_ready(&self) -> bool {
        self.pods.values().any(|pod| pod.ip() == CONTROL_PLANE && pod.is_ready())
    }

    /// The live objects, which override the user's manifests of the same name.
    pub(crate) fn live(&mut self) -> Vec<Object> {
        let services = self.live_services();
        let pods: Vec<Pod> = self.pods.values().map(PodRecord::live).collect();
        let slices = services.iter().flat_map(|service| service::slices(service, &pods));
        let mut live: Vec<Object> = slices.map(Object::from).collect();
        live.extend(pods.into_iter().map(Object::from));
        live.extend(services.into_iter().map(Object::from));
        live
    }

    /// Addresses by name below the cluster's domain: `NAME.NAMESPACE`.
    pub(crate) fn names(&mut self) -> HashMap<String, Vec<Ipv4Addr>> {
        let pods: Vec<Pod> = self.pods.values().map(PodRecord::live).collect();
        let services = self.live_services();
        services.iter().map(|service| service::name_record(service, &pods)).collect()
    }

    fn live_services(&mut self) -> Vec<Service> {
        let services = self.objects.values().filter_map(|object| match object {
            Object::Service(service) if !service.is_external_name() => Some((**service).clone()),
            _ => None,
        });
        let services: Vec<Service> = services.collect();
        self.cluster_ips.assign(services)
    }

    fn workloads(&self) -> Vec<Workload> {
        if self.stopping {
            return Vec::new();
        }
        let visitor_of = |deployment: &Deployment| {
            self.settings.exposed.as_ref().filter(|exposed| {
                exposed.namespace == deployment.metadata.namespace && deployment.metadata.name == pod::VISITOR
            })
        };
        let mut workloads = vec![pod::control_plane(&self.settings.control_plane)];
        let mut has_visitor = false;
        for object in self.objects.values() {
            let Object::Deployment(deployment) = object else { continue };
            let mut template = deployment.spec.template.clone();
            if let Some(exposed) = visitor_of(deployment) {
                has_visitor = true;
                template.spec.containers.push(pod::relay(exposed));
            }
            let replicas = deployment.spec.replicas.unwrap_or(1) as usize;
            workloads.push(self.workload(&deployment.metadata, replicas, template));
        }
        if let Some(exposed) = self.settings.exposed.as_ref().filter(|_| !has_visitor) {
            workloads.push(self.workload(&Metadata::new(&*exposed.namespace, pod::VISITOR), 1, pod::visitor(exposed)));
        }
        workloads
    }

    fn workload(&self, metadata: &Metadata, replicas: usize, template: PodTemplate) -> Workload {
        let namespace = metadata.namespace.clone();
        let (labels, annotations) = match self.objects.get(&ObjectKey::new(Kind::Namespace, "", &namespace)) {
            Some(Object::Namespace(found)) => (found.metadata.labels.clone(), found.metadata.annotations.clone()),
            _ => Default::default(),
        };
        let meshed =
            template.metadata.labels.get(INJECT).or_else(|| labels.get(INJECT)).is_some_and(|on| on == "enabled");
        let recording = minimesh_index::recording(&template.metadata.annotations, &annotations);
        Workload::new(metadata, replicas, template, meshed, recording)
    }

    fn is_visitor(&self, workload: &Workload) -> bool {
        let exposed = self.settings.exposed.as_ref();
        exposed.is_some_and(|exposed| exposed.namespace == workload.namespace && workload.name == pod::VISITOR)
    }

    /// Pods of a workload that are not on their way out.
    fn owned(&self, workload: &Workload) -> impl Iterator<Item = &PodRecord> {
        let same = move |pod: &&PodRecord| pod.namespace() == workload.namespace && pod.workload == workload.name;
        self.pods.values().filter(same).filter(|pod| !pod.is_ending())
    }

    /// `None` when the network has no address left: the pod waits for one.
    fn create(&mut self, workload: &Workload, now: Timestamp) -> Option<Action> {
        let ip = if workload.is_control_plane() { CONTROL_PLANE } else { self.free_address()? };
        let (pod, token) = PodRecord::new(workload, ip, now, &mut *self.settings.random);
        let key = pod.key();
        let plan = Box::new(pod.plan(&self.settings.run));
        self.pods.insert(key.clone(), pod);
        Some(Action::Start { key, plan, token })
    }

    fn delete(&mut self, key: &PodKey, now: Timestamp) -> Option<Action> {
        let pod = self.pods.get_mut(key).filter(|pod| !pod.is_ending())?;
        pod.end(now);
        let grace_ms = if self.stopping { STOPPING_GRACE_MS } else { pod.grace_ms() };
        Some(Action::Stop { key: key.clone(), grace_ms })
    }

    /// Round robin, so that an address rests before it is somebody else's.
    fn free_address(&mut self) -> Option<Ipv4Addr> {
        let [a, b, c, first] = CONTROL_PLANE.octets();
        for _ in first..LAST_ADDRESS {
            self.next_address = if self.next_address >= LAST_ADDRESS { first + 1 } else { self.next_address + 1 };
            let ip = Ipv4Addr::new(a, b, c, self.next_address);
            if self.pods.values().all(|pod| pod.ip() != ip) {
                return Some(ip);
            }
        }
        None
    }
}

impl Workload {
    fn new(
        metadata: &Metadata,
        replicas: usize,
        template: PodTemplate,
        meshed: bool,
        recording: Vec<String>,
    ) -> Workload {
        let text = serde_json::to_string(&(&template, meshed, &recording)).unwrap_or_default();
        let (namespace, name) = (metadata.namespace.clone(), metadata.name.clone());
        Workload { namespace, name, replicas, template, meshed, recording, hash: fnv(text.as_bytes()) }
    }

    fn is_control_plane(&self) -> bool {
        self.namespace == pod::CONTROL_PLANE_NAMESPACE && self.name == pod::CONTROL_PLANE_NAME
    }
}

/// FNV-1a: the same on every machine and in every release, which std's hashers do not promise.
fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

/// The control plane's address: the proxies know it before there is a DNS to ask.
pub(crate) const CONTROL_PLANE: Ipv4Addr = Ipv4Addr::new(10, 42, 0, 2);
/// Of the pods' /24.
const LAST_ADDRESS: u8 = 254;
/// Ctrl-C ends the demo within three seconds.
const STOPPING_GRACE_MS: u64 = 1_500;
/// The label that asks for a sidecar.
const INJECT: &str = "minimesh.io/inject";

#[cfg(test)]
mod tests;
