//! The core: a pod goes in, the pod with its sidecar comes out, or why it has none. Pure, and idempotent: what was injected
//! before is replaced by the same (the API server calls a second time when another webhook changed the pod after us).

use std::collections::BTreeMap;

use minimesh_api::annotations::{
    self, DEFAULT_INBOUND_POLICY, Effect, PORT_INBOUND_POLICIES, PROXY_REQUIRE_IDENTITY_INBOUND_PORTS, PROXY_VERSION,
    Place, TERMINATION_DELAY,
};
use minimesh_api::injection::NotWanted;
use serde_json::{Map, Value, json};

use crate::application::{check_delay, delay_end, rewrite_probes};
use crate::containers::{self, PORTS, REDIRECT, SIDECAR, TOKEN, TRUST, USER};
use crate::environment::Variables;
use crate::resources;
use crate::settings::Settings;

/// What matters of a pod's namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Surroundings {
    /// Its name.
    pub namespace: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its annotations.
    pub annotations: BTreeMap<String, String>,
    /// What its ResourceQuotas demand of every container.
    pub quota: Quota,
}

/// What ResourceQuotas demand of every container.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quota {
    /// A CPU limit.
    pub cpu_limit: bool,
    /// A limit of ephemeral storage.
    pub ephemeral_limit: bool,
    /// A request of ephemeral storage.
    pub ephemeral_request: bool,
}

/// What became of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It has its sidecar.
    Injected {
        /// The whole pod.
        pod: Value,
        /// What its author should know.
        warnings: Vec<String>,
    },
    /// It must not be made as it is.
    Refused(Refusal),
    /// It is left as it is.
    Skipped(Skip),
}

/// Why a pod is left as it is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Skip {
    /// It has no network of its own.
    #[error("it uses its node's network (hostNetwork: true), where its connections cannot be told from others'")]
    HostNetwork,
    /// Labels say so.
    #[error("{0}")]
    NotWanted(NotWanted),
    /// Two meshes would fight over its connections.
    #[error("it has the sidecar of another mesh already (container {0}); remove that one first")]
    OtherMesh(String),
    /// There is no sidecar for it.
    #[error("it runs on Windows")]
    Windows,
}

/// Why a pod must not be made as it is: it would be refused later for a reason that nobody understands, or run and be wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The delay would eat the whole grace period.
    #[error(
        "annotation {}: {seconds} s are not less than the pod's terminationGracePeriodSeconds of {grace}; raise that, or shorten the delay",
        TERMINATION_DELAY.name
    )]
    Delay {
        /// The delay.
        seconds: u32,
        /// From SIGTERM to SIGKILL.
        grace: u64,
    },
    /// It is no pod.
    #[error("it is not a Pod: {0}")]
    Malformed(String),
    /// Namespaces that enforce these levels take no pod with NET_ADMIN.
    #[error(
        "namespace {namespace} enforces Pod Security level {level}, which does not allow the NET_ADMIN that programs interception; \
         `kubectl label namespace {namespace} pod-security.kubernetes.io/enforce=privileged --overwrite`, or leave this pod out of \
         the mesh by the label minimesh.io/inject=disabled"
    )]
    PodSecurity {
        /// Which namespace.
        namespace: String,
        /// Which level.
        level: String,
    },
    /// A policy that cannot be read must not let anyone in.
    #[error("annotation {name}: {value:?} is not {form}")]
    Policy {
        /// Of the annotation.
        name: String,
        /// As written.
        value: String,
        /// What it should be.
        form: String,
    },
    /// Both would listen on it.
    #[error(
        "container {container} listens on port {port}, which is the sidecar's own; give the application another port"
    )]
    Port {
        /// Whose port.
        container: String,
        /// Which.
        port: i64,
    },
    /// Its connections would be taken for the sidecar's and never be intercepted.
    #[error(
        "container {container} runs as user {USER}, which is the sidecar's own and by which its connections are told apart; give it \
         another runAsUser"
    )]
    User {
        /// Whose user.
        container: String,
    },
}

/// Whether a pod, or a pod template, has a sidecar.
pub fn is_injected(pod: &Value) -> bool {
    containers_of(&pod["spec"], "initContainers").any(|container| container["name"] == SIDECAR)
}

/// Adds the sidecar to a pod or a pod template. Whether it is wanted has been asked before.
pub fn inject(pod: &Value, around: &Surroundings, settings: &Settings) -> Outcome {
    match inner(pod, around, settings) {
        Ok((pod, warnings)) => Outcome::Injected { pod, warnings },
        Err(Stop::Refuse(refusal)) => Outcome::Refused(refusal),
        Err(Stop::Skip(skip)) => Outcome::Skipped(skip),
    }
}

enum Stop {
    Refuse(Refusal),
    Skip(Skip),
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Stop {
        Stop::Refuse(refusal)
    }
}

fn inner(pod: &Value, around: &Surroundings, settings: &Settings) -> Result<(Value, Vec<String>), Stop> {
    check_shape(pod)?;
    if let Some(skip) = skip(&pod["spec"]) {
        return Err(Stop::Skip(skip));
    }
    let said = annotations_of(pod)?;
    refuse(pod, &said, around)?;

    let ports = |name: &str| port_named(&pod["spec"], name);
    let variables = Variables::new(&said, &around.annotations, &ports, settings);
    let (of_sidecar, unread) = resources::of_sidecar(&said, &around.annotations, around.quota, settings);
    let mut warnings = annotations::without_effect(&said);
    warnings.extend(variables.warnings.iter().cloned());
    warnings.extend(unread);

    let mut pod = pod.clone();
    let spec = object(&mut pod, "spec");
    if matches!(spec.get("dnsPolicy").and_then(Value::as_str), Some("None" | "Default")) {
        warnings.push(
            "dnsPolicy is not the cluster's: the sidecar must be able to resolve the control plane's name".into(),
        );
    }
    change_application(spec, &said, around, &mut warnings)?;
    let added = [
        containers::redirect(settings, &variables, resources::of_redirect(around.quota)),
        containers::sidecar(settings, &variables, of_sidecar),
    ];
    put(spec, "initContainers", added, &[REDIRECT, SIDECAR], Position::First);
    put(spec, "volumes", containers::volumes(), &[TRUST, TOKEN], Position::Last);
    note(&mut pod, &said, around);
    Ok((pod, warnings))
}

/// What the rest relies on.
fn check_shape(pod: &Value) -> Result<(), Refusal> {
    let malformed = |what: &str| Err(Refusal::Malformed(what.to_owned()));
    let named = |container: &Value| container.get("name").is_some_and(Value::is_string);
    match pod.get("spec").and_then(|spec| spec.get("containers")) {
        Some(Value::Array(containers)) if !containers.is_empty() && containers.iter().all(named) => {}
        Some(Value::Array(containers)) if containers.is_empty() => return malformed("spec.containers is empty"),
        Some(_) => return malformed("spec.containers is not a list of containers with names"),
        None => return malformed("it has no spec.containers"),
    }
    for (field, of) in [("initContainers", &pod["spec"]), ("volumes", &pod["spec"])] {
        match of.get(field) {
            None | Some(Value::Null) => {}
            Some(Value::Array(items)) if items.iter().all(named) => {}
            Some(_) => return malformed(&format!("spec.{field} is not a list of objects with names")),
        }
    }
    if !matches!(pod.get("metadata"), None | Some(Value::Null | Value::Object(_))) {
        return malformed("metadata is not an object");
    }
    Ok(())
}

fn skip(spec: &Value) -> Option<Skip> {
    if spec["hostNetwork"] == true {
        return Some(Skip::HostNetwork);
    }
    if spec["os"]["name"] == "windows" {
        return Some(Skip::Windows);
    }
    let names = all_containers(spec).filter_map(|container| container["name"].as_str());
    let other = names.into_iter().find(|name| OTHER_MESHES.contains(name));
    other.map(|name| Skip::OtherMesh(name.to_owned()))
}

fn annotations_of(pod: &Value) -> Result<BTreeMap<String, String>, Refusal> {
    match &pod["metadata"]["annotations"] {
        Value::Null => Ok(BTreeMap::new()),
        Value::Object(map) => {
            let text = |(name, value): (&String, &Value)| Some((name.clone(), value.as_str()?.to_owned()));
            let texts: Option<BTreeMap<_, _>> = map.iter().map(text).collect();
            texts.ok_or_else(|| Refusal::Malformed("a value in metadata.annotations is not a text".into()))
        }
        _ => Err(Refusal::Malformed("metadata.annotations is not an object".into())),
    }
}

fn refuse(pod: &Value, said: &BTreeMap<String, String>, around: &Surroundings) -> Result<(), Refusal> {
    if let Some(level) =
        around.labels.get(POD_SECURITY).filter(|level| matches!(level.as_str(), "baseline" | "restricted"))
    {
        return Err(Refusal::PodSecurity { namespace: around.namespace.clone(), level: level.clone() });
    }
    for annotation in [DEFAULT_INBOUND_POLICY, PORT_INBOUND_POLICIES, PROXY_REQUIRE_IDENTITY_INBOUND_PORTS] {
        if let Some((name, value)) = annotation.find(said).filter(|(_, value)| !annotation.form.accepts(value)) {
            let form = annotation.form.description();
            return Err(Refusal::Policy { name: name.into(), value: value.into(), form });
        }
    }
    let spec = &pod["spec"];
    let of_pod = spec["securityContext"]["runAsUser"].as_i64();
    let foreign = |container: &&Value| container["name"] != SIDECAR && container["name"] != REDIRECT;
    for container in all_containers(spec).filter(foreign) {
        let name = container["name"].as_str().unwrap_or_default().to_owned();
        if container["securityContext"]["runAsUser"].as_i64().or(of_pod) == Some(USER) {
            return Err(Refusal::User { container: name });
        }
        let ports = container["ports"].as_array().into_iter().flatten();
        let taken = ports.filter_map(|port| port["containerPort"].as_i64()).find(|port| PORTS.contains(port));
        if let Some(port) = taken {
            return Err(Refusal::Port { container: name, port });
        }
    }
    Ok(())
}

fn change_application(
    spec: &mut Map<String, Value>,
    said: &BTreeMap<String, String>,
    around: &Surroundings,
    warnings: &mut Vec<String>,
) -> Result<(), Refusal> {
    let delay = match TERMINATION_DELAY.find_for_pod(said, &around.annotations) {
        Some((name, value)) => {
            let seconds = annotations::seconds(value);
            if seconds.is_none() {
                let form = TERMINATION_DELAY.form.description();
                warnings.push(format!("annotation {name}: {value:?} is not {form}; it is left out"));
            }
            seconds.filter(|seconds| *seconds > 0)
        }
        None => None,
    };
    if let Some(seconds) = delay {
        check_delay(seconds, spec)?;
    }
    for field in ["containers", "initContainers"] {
        let items = spec.get_mut(field).and_then(Value::as_array_mut).into_iter().flatten();
        let own = |name: &Value| name == SIDECAR || name == REDIRECT;
        for container in items.filter_map(Value::as_object_mut).filter(|container| !own(&container["name"])) {
            rewrite_probes(container, warnings);
            if let Some(seconds) = delay.filter(|_| field == "containers") {
                delay_end(container, seconds);
            }
        }
    }
    Ok(())
}

/// What the pod was made with, on the pod itself: its namespace may say something else tomorrow.
fn note(pod: &mut Value, said: &BTreeMap<String, String>, around: &Surroundings) {
    let metadata = object(pod, "metadata");
    let annotations = metadata.entry("annotations").or_insert_with(|| json!({}));
    if annotations.is_null() {
        *annotations = json!({});
    }
    let Some(annotations) = annotations.as_object_mut() else { return };
    annotations.insert(PROXY_VERSION.name.into(), env!("CARGO_PKG_VERSION").into());
    for annotation in annotations::TABLE {
        let settled =
            !matches!(annotation.effect, Effect::Live | Effect::Written) && annotation.on.contains(&Place::Namespace);
        if settled
            && annotation.find(said).is_none()
            && let Some((_, value)) = annotation.find(&around.annotations)
        {
            annotations.insert(annotation.name.into(), value.into());
        }
    }
}

enum Position {
    First,
    Last,
}

/// Puts items into a list, in the place of those of the same names.
fn put<const N: usize>(spec: &mut Map<String, Value>, field: &str, added: [Value; N], names: &[&str], at: Position) {
    let mut items = match spec.remove(field) {
        Some(Value::Array(items)) => items,
        _ => Vec::new(),
    };
    items.retain(|item| item["name"].as_str().is_none_or(|name| !names.contains(&name)));
    let at = match at {
        Position::First => 0,
        Position::Last => items.len(),
    };
    items.splice(at..at, added);
    spec.insert(field.into(), items.into());
}

fn object<'v>(value: &'v mut Value, field: &str) -> &'v mut Map<String, Value> {
    if !value[field].is_object() {
        value[field] = json!({});
    }
    value[field].as_object_mut().expect("it was just made one")
}

fn all_containers(spec: &Value) -> impl Iterator<Item = &Value> {
    containers_of(spec, "containers").chain(containers_of(spec, "initContainers"))
}

fn containers_of<'v>(spec: &'v Value, field: &str) -> impl Iterator<Item = &'v Value> + use<'v> {
    spec[field].as_array().into_iter().flatten()
}

fn port_named(spec: &Value, name: &str) -> Option<u16> {
    let mut ports = all_containers(spec).filter_map(|container| container["ports"].as_array()).flatten();
    let port = ports.find(|port| port["name"] == name)?;
    u16::try_from(port["containerPort"].as_u64()?).ok()
}

/// Kubernetes' label of what a namespace enforces.
pub(crate) const POD_SECURITY: &str = "pod-security.kubernetes.io/enforce";
const OTHER_MESHES: [&str; 4] = ["envoy-sidecar", "istio-proxy", "kuma-sidecar", "linkerd-proxy"];
