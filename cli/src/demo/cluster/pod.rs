//! One pod: how it comes from a template, what its process is told, what it is known to be, and its live object.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr},
    path::Path,
};

use minimesh_index::resource::{
    Container, ContainerPort, EnvVar, IntOrString, OwnerReference, Pod, PodCondition, PodIp, PodSpec, PodTemplate,
    Probe, TcpSocketAction, TemplateMetadata, Timestamp,
};

use super::{CONTROL_PLANE, PodKey, Workload};
use crate::demo::{
    messages::{ContainerPlan, Exposed, FromPod, PodPlan, SidecarPlan},
    network::{CLUSTER_NETWORKS, NODE},
};

/// A pod that has been created and is not yet gone.
pub(crate) struct PodRecord {
    /// The Deployment.
    pub(super) workload: String,
    /// Of the template.
    pub(super) hash: u64,
    pod: Pod,
    ip: Ipv4Addr,
    meshed: bool,
    /// Flags of the sidecar that annotations ask for.
    recording: Vec<String>,
    sidecar_ready: bool,
    running: BTreeSet<String>,
    probed: BTreeSet<String>,
}

/// Name of the workload that the host's port is relayed from.
pub(super) const VISITOR: &str = "visitor";
pub(super) const CONTROL_PLANE_NAME: &str = "minimesh-control-plane";
pub(super) const CONTROL_PLANE_NAMESPACE: &str = "minimesh";

impl PodRecord {
    /// A new pod and its bootstrap token.
    pub(super) fn new(
        workload: &Workload,
        ip: Ipv4Addr,
        now: Timestamp,
        random: &mut dyn FnMut() -> u64,
    ) -> (PodRecord, String) {
        let replica_set = format!("{}-{:04x}", workload.name, workload.hash >> 48);
        let suffix: String = (0..4).map(|_| char::from(LETTERS[(random() % LETTERS.len() as u64) as usize])).collect();
        let token: String = (0..4).map(|_| format!("{:016x}", random())).collect();
        let template = &workload.template;

        let mut pod = Pod::default();
        let metadata = &mut pod.metadata;
        metadata.name = format!("{replica_set}-{suffix}");
        metadata.namespace = workload.namespace.clone();
        metadata.uid = Some(format!("{:016x}{:016x}", random(), random()));
        metadata.creation_timestamp = Some(now);
        metadata.labels = template.metadata.labels.clone();
        metadata.labels.insert("pod-template-hash".into(), format!("{:04x}", workload.hash >> 48));
        metadata.annotations = template.metadata.annotations.clone();
        metadata.annotations.insert("minimesh.io/token-sha256".into(), sha256(&token));
        metadata.owner_references = vec![OwnerReference {
            api_version: "apps/v1".into(),
            kind: "ReplicaSet".into(),
            name: replica_set,
            uid: None,
            controller: true,
        }];
        pod.spec = template.spec.clone();
        pod.spec.node_name = Some("demo".into());
        if workload.meshed {
            let name = Pod::SIDECAR.into();
            let sidecar = Container { name, restart_policy: Some("Always".into()), ..Container::default() };
            pod.spec.init_containers.insert(0, sidecar);
        }
        let record = PodRecord {
            workload: workload.name.clone(),
            hash: workload.hash,
            pod,
            ip,
            meshed: workload.meshed,
            recording: workload.recording.clone(),
            sidecar_ready: false,
            running: BTreeSet::new(),
            probed: BTreeSet::new(),
        };
        (record, token)
    }

    pub(crate) fn key(&self) -> PodKey {
        PodKey { namespace: self.pod.metadata.namespace.clone(), name: self.pod.metadata.name.clone() }
    }

    pub(crate) fn workload(&self) -> &str {
        &self.workload
    }

    pub(crate) fn ip(&self) -> Ipv4Addr {
        self.ip
    }

    /// Containers with a probe that this kubelet can run.
    pub(crate) fn probes(&self) -> impl Iterator<Item = (&str, &Probe)> {
        self.containers().filter_map(|container| {
            let probe = container.readiness_probe.as_ref()?;
            (probe.http_get.is_some() || probe.tcp_socket.is_some()).then_some((container.name.as_str(), probe))
        })
    }

    /// A port of the pod by number or name.
    pub(crate) fn port(&self, port: &IntOrString) -> Option<u16> {
        match port {
            IntOrString::Int(number) => Some(*number),
            IntOrString::String(name) => {
                let mut ports = self.pod.containers().flat_map(|container| &container.ports);
                ports.find(|port| port.name == *name).map(|port| port.container_port)
            }
        }
    }

    pub(super) fn namespace(&self) -> &str {
        &self.pod.metadata.namespace
    }

    pub(super) fn is_ending(&self) -> bool {
        self.pod.is_draining()
    }

    pub(super) fn end(&mut self, now: Timestamp) {
        self.pod.metadata.deletion_timestamp = Some(now);
    }

    pub(super) fn grace_ms(&self) -> u64 {
        self.pod.spec.termination_grace_period_seconds.unwrap_or(30).saturating_mul(1000)
    }

    pub(super) fn heard(&mut self, message: &FromPod) {
        match message {
            FromPod::SidecarReady => self.sidecar_ready = true,
            FromPod::Started { container } => drop(self.running.insert(container.clone())),
            FromPod::Ended { container, .. } => {
                self.running.remove(container);
                self.probed.remove(container);
                // a sidecar that ended tells again when it is ready
                self.sidecar_ready &= container != Pod::SIDECAR;
            }
            FromPod::Failed(_) => {}
        }
    }

    pub(super) fn died(&mut self) {
        self.sidecar_ready = false;
        self.running.clear();
        self.probed.clear();
    }

    pub(super) fn probed(&mut self, container: &str, ready: bool) {
        if ready && self.running.contains(container) {
            self.probed.insert(container.to_owned());
        } else {
            self.probed.remove(container);
        }
    }

    /// All containers run, their probes pass, and so does the sidecar.
    pub(super) fn is_ready(&self) -> bool {
        !self.is_ending()
            && (self.sidecar_ready || !self.meshed)
            && self.containers().all(|container| self.running.contains(&container.name))
            && self.probes().all(|(container, _)| self.probed.contains(container))
    }

    /// The object as the API server would show it.
    pub(super) fn live(&self) -> Pod {
        let mut pod = self.pod.clone();
        // a pod that ends may still serve what it has
        let serves = self.probes().all(|(container, _)| self.probed.contains(container)) && self.sidecar_or_none();
        let ready = if self.is_ending() { serves && !self.running.is_empty() } else { self.is_ready() };
        pod.status.phase = Some(if self.running.is_empty() { "Pending" } else { "Running" }.into());
        pod.status.host_ip = Some(IpAddr::V4(NODE));
        pod.status.pod_ip = Some(IpAddr::V4(self.ip));
        pod.status.pod_ips = vec![PodIp { ip: IpAddr::V4(self.ip) }];
        let status = if ready { "True" } else { "False" };
        pod.status.conditions = vec![PodCondition { condition_type: "Ready".into(), status: status.into() }];
        pod
    }

    /// What the pod's process is told.
    pub(super) fn plan(&self, run: &Path) -> PodPlan {
        let (namespace, name) = (self.pod.metadata.namespace.clone(), self.pod.metadata.name.clone());
        let folder = run.join("pods").join(format!("{namespace}_{name}"));
        let (beside, before): (Vec<&Container>, Vec<&Container>) =
            self.own_init_containers().partition(|container| container.restart_policy.as_deref() == Some("Always"));
        let containers = beside.into_iter().chain(&self.pod.spec.containers);
        PodPlan {
            sidecar: self.meshed.then(|| self.sidecar(run, &folder)),
            init_containers: before.into_iter().map(|container| self.container(container)).collect(),
            containers: containers.map(|container| self.container(container)).collect(),
            ip: self.ip,
            namespace,
            name,
            folder,
        }
    }

    fn sidecar(&self, run: &Path, folder: &Path) -> SidecarPlan {
        let trust_bundle = run.join("ca").join("trust-bundle.pem");
        let identity = format!("spiffe://cluster.local/ns/{CONTROL_PLANE_NAMESPACE}/sa/{CONTROL_PLANE_NAME}");
        let metadata = &self.pod.metadata;
        let proxy = [
            "proxy".into(),
            format!("--control-plane={CONTROL_PLANE}:8086"),
            format!("--control-plane-identity={identity}"),
            format!("--trust-bundle={}", trust_bundle.display()),
            format!("--token-file={}", folder.join(TOKEN).display()),
            format!("--pod-namespace={}", metadata.namespace),
            format!("--pod-name={}", metadata.name),
            format!("--cluster-networks={CLUSTER_NETWORKS}"),
            format!("--mark={MARK}"),
            // somebody watches the table
            "--report-interval=1s".into(),
        ];
        SidecarPlan {
            redirect: vec!["redirect".into(), format!("--exempt-mark={MARK}")],
            proxy: proxy.into_iter().chain(self.recording.iter().cloned()).collect(),
            trust_bundle,
        }
    }

    fn container(&self, container: &Container) -> ContainerPlan {
        let value = |variable: &EnvVar| match (&variable.value, &variable.value_from) {
            (Some(value), _) => Some(value.clone()),
            (None, Some(source)) => self.field(&source.field_ref.as_ref()?.field_path),
            (None, None) => Some(String::new()),
        };
        let mut env = BTreeMap::from([("HOSTNAME".to_owned(), self.pod.metadata.name.clone())]);
        env.extend(container.env.iter().filter_map(|variable| Some((variable.name.clone(), value(variable)?))));
        let command = command_of(container);
        ContainerPlan {
            name: container.name.clone(),
            takes_listener: command.iter().take(3).eq(RELAY.iter()),
            command,
            env,
            working_dir: container.working_dir.as_ref().map(Into::into),
        }
    }

    fn field(&self, path: &str) -> Option<String> {
        let metadata = &self.pod.metadata;
        Some(match path {
            "metadata.name" => metadata.name.clone(),
            "metadata.namespace" => metadata.namespace.clone(),
            "metadata.uid" => metadata.uid.clone()?,
            "spec.nodeName" => self.pod.spec.node_name.clone()?,
            "spec.serviceAccountName" => self.pod.service_account().to_owned(),
            "status.hostIP" => NODE.to_string(),
            "status.podIP" | "status.podIPs" => self.ip.to_string(),
            _ => return None,
        })
    }

    fn sidecar_or_none(&self) -> bool {
        self.sidecar_ready || !self.meshed
    }

    /// Everything that is kept running, but for our own sidecar.
    fn containers(&self) -> impl Iterator<Item = &Container> {
        let beside =
            self.own_init_containers().filter(|container| container.restart_policy.as_deref() == Some("Always"));
        self.pod.spec.containers.iter().chain(beside)
    }

    fn own_init_containers(&self) -> impl Iterator<Item = &Container> {
        self.pod.spec.init_containers.iter().filter(|container| container.name != Pod::SIDECAR)
    }
}

/// What a container runs: in Kubernetes `command` replaces the image's entry point; here there is no image.
pub(crate) fn command_of(container: &Container) -> Vec<String> {
    container.command.iter().chain(&container.args).cloned().collect()
}

/// A variable whose value this kubelet cannot have.
pub(crate) fn unsupported_env(container: &Container) -> Option<&EnvVar> {
    let known = |path: &str| FIELDS.contains(&path);
    container.env.iter().find(|variable| {
        let source = variable.value_from.as_ref();
        variable.value.is_none()
            && source.is_some_and(|source| !source.field_ref.as_ref().is_some_and(|field| known(&field.field_path)))
    })
}

/// The control plane's own Deployment: unmeshed, one replica.
pub(super) fn control_plane(arguments: &[String]) -> Workload {
    let command = [&["minimesh".to_owned()], arguments].concat();
    let port = |name: &str, container_port| ContainerPort { name: name.into(), container_port, protocol: None };
    let container = Container {
        name: "control-plane".into(),
        command,
        ports: vec![port("grpc", 8086), port("admin", 8087)],
        readiness_probe: Some(Probe {
            tcp_socket: Some(TcpSocketAction { port: IntOrString::Int(8086) }),
            period_seconds: Some(1),
            ..Probe::default()
        }),
        ..Container::default()
    };
    let mut template = template(CONTROL_PLANE_NAME, container);
    template.spec.service_account_name = CONTROL_PLANE_NAME.into();
    let metadata = minimesh_index::resource::Metadata::new(CONTROL_PLANE_NAMESPACE, CONTROL_PLANE_NAME);
    Workload::new(&metadata, 1, template, false, Vec::new())
}

/// A pod that does nothing but carry the browser's traffic, where the user's manifests have none of that name.
pub(super) fn visitor(exposed: &Exposed) -> PodTemplate {
    template(VISITOR, relay(exposed))
}

/// The container that accepts on the host's port.
pub(super) fn relay(exposed: &Exposed) -> Container {
    let target = format!("{}.{}.svc:{}", exposed.service, exposed.namespace, exposed.port);
    let rest = [format!("--to={target}"), format!("--host-port={}", exposed.host_port)];
    let command = RELAY.iter().map(|word| (*word).to_owned()).chain(rest).collect();
    Container { name: "browser".into(), command, ..Container::default() }
}

fn template(name: &str, container: Container) -> PodTemplate {
    let labels = BTreeMap::from([("name".to_owned(), name.to_owned())]);
    PodTemplate {
        metadata: TemplateMetadata { labels, ..TemplateMetadata::default() },
        spec: PodSpec { containers: vec![container], ..PodSpec::default() },
    }
}

fn sha256(text: &str) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes());
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The token's file in a pod's folder.
pub(crate) const TOKEN: &str = "token";
/// The proxy's own connections carry it: inside a user namespace there is but one UID to tell it by.
const MARK: u32 = 2102;
const RELAY: [&str; 3] = ["minimesh", "demo-role", "relay"];
/// Kubernetes' alphabet for generated names: no vowels, so no words.
const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
const FIELDS: [&str; 8] = [
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.podIP",
    "status.podIPs",
];
