//! The judgements: facts in, finding out. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;
use minimesh_api::annotations::PROXY_VERSION;
use minimesh_injector::{Inject, LABEL, SIDECAR, is_injected, wanted};
use serde_json::Value;

use super::{Facts, Finding};

pub(super) fn kubernetes_version(facts: &Facts) -> Finding {
    let number = |field: &str| {
        let text = facts.version[field].as_str().unwrap_or_default();
        text.trim_end_matches(|c: char| !c.is_ascii_digit()).parse::<u32>().unwrap_or_default()
    };
    let version = (number("major"), number("minor"));
    if version >= OLDEST {
        return Finding::Good;
    }
    let said = facts.version["gitVersion"].as_str().unwrap_or("unknown");
    Finding::wrong(format!("it is {said}"), format!("upgrade the cluster to {}.{} or newer", OLDEST.0, OLDEST.1))
}

pub(super) fn linux_nodes(facts: &Facts) -> Finding {
    let of = |node: &Value, field: &str| node["status"]["nodeInfo"][field].as_str().unwrap_or_default().to_owned();
    let linux: Vec<&Value> = facts.nodes.iter().filter(|node| of(node, "operatingSystem") == "linux").collect();
    if linux.is_empty() {
        return Finding::wrong("no node runs Linux", "add a Linux node; sidecars exist for Linux alone");
    }
    let old: Vec<String> =
        linux.iter().filter(|node| kernel(&of(node, "kernelVersion")) < OLDEST_KERNEL).map(|node| name(node)).collect();
    match old.is_empty() {
        true => Finding::Good,
        false => Finding::wrong(
            format!("older kernels than {}.{} on {}", OLDEST_KERNEL.0, OLDEST_KERNEL.1, some(&old)),
            "upgrade those nodes, or keep meshed pods away from them",
        ),
    }
}

pub(super) fn other_meshes(facts: &Facts) -> Finding {
    let foreign = |webhook: &Value| FOREIGN_WEBHOOKS.iter().any(|begin| name(webhook).starts_with(begin));
    let found: Vec<String> = facts.webhooks.iter().filter(|webhook| foreign(webhook)).map(name).collect();
    match found.is_empty() {
        true => Finding::Good,
        false => Finding::odd(
            format!("there are webhook configurations {}", some(&found)),
            "mesh a namespace by one of them only; docs/migrate-from-linkerd.md says how to move",
        ),
    }
}

pub(super) fn permissions(facts: &Facts) -> Finding {
    match facts.denied.is_empty() {
        true => Finding::Good,
        false => Finding::wrong(
            format!("you may not create {}", facts.denied.join(", ")),
            "use a kubeconfig of a cluster administrator",
        ),
    }
}

pub(super) fn not_installed(facts: &Facts) -> Finding {
    match facts.deployments.iter().any(|deployment| name(deployment) == CONTROL_PLANE) {
        false => Finding::Good,
        true => Finding::wrong(
            format!("namespace {} has a control plane", facts.mesh_namespace),
            "use `minimesh check` without --pre, and `minimesh upgrade` for another version",
        ),
    }
}

pub(super) fn control_plane(facts: &Facts) -> Finding {
    available(facts, CONTROL_PLANE)
}

pub(super) fn injector(facts: &Facts) -> Finding {
    available(facts, INJECTOR)
}

fn available(facts: &Facts, part: &str) -> Finding {
    let namespace = &facts.mesh_namespace;
    let Some(deployment) = facts.deployments.iter().find(|deployment| name(deployment) == part) else {
        return Finding::wrong(
            format!("there is no Deployment {part} in namespace {namespace}"),
            "`minimesh install | kubectl apply -f -`",
        );
    };
    let wanted = deployment["spec"]["replicas"].as_u64().unwrap_or(1);
    let ready = deployment["status"]["availableReplicas"].as_u64().unwrap_or(0);
    if ready > 0 && ready >= wanted {
        return Finding::Good;
    }
    let of_part = |pod: &&Value| pod["metadata"]["labels"]["app.kubernetes.io/name"] == part;
    let reason = facts.pods.iter().filter(of_part).find_map(waiting).map(|why| format!(" ({why})")).unwrap_or_default();
    Finding::not_yet(
        format!("{ready} of {wanted} are ready{reason}"),
        format!(
            "`kubectl describe pods -n {namespace} -l app.kubernetes.io/name={part}`, `kubectl logs -n {namespace} deployment/{part}`"
        ),
    )
}

/// Why a container of a pod does not run.
fn waiting(pod: &Value) -> Option<String> {
    let statuses =
        ["initContainerStatuses", "containerStatuses"].into_iter().filter_map(|field| pod["status"][field].as_array());
    let reason = statuses.flatten().find_map(|status| status["state"]["waiting"]["reason"].as_str());
    reason.map(|reason| format!("pod {}: {reason}", name(pod)))
}

pub(super) fn webhook(facts: &Facts) -> Finding {
    let Some(webhook) = facts.webhooks.iter().find(|webhook| name(webhook) == INJECTOR) else {
        return Finding::wrong(
            format!("there is no webhook configuration {INJECTOR}"),
            "`minimesh install | kubectl apply -f -`",
        );
    };
    let entries: BTreeSet<&str> = entries(webhook).filter_map(|entry| entry["name"].as_str()).collect();
    if entries == BTreeSet::from(["namespace.inject.minimesh.io", "pod.inject.minimesh.io"]) {
        return Finding::Good;
    }
    Finding::wrong(format!("its entries are {entries:?}"), "`minimesh install | kubectl apply -f -` puts both back")
}

pub(super) fn webhook_authority(facts: &Facts) -> Finding {
    let webhook = facts.webhooks.iter().find(|webhook| name(webhook) == INJECTOR);
    let without = |entry: &Value| entry["clientConfig"]["caBundle"].as_str().is_none_or(str::is_empty);
    match webhook.is_some_and(|webhook| entries(webhook).any(without)) {
        false => Finding::Good,
        true => Finding::not_yet(
            "an entry of the webhook configuration has no caBundle",
            format!(
                "the injector writes it within 15 s of its start; `kubectl logs -n {} deployment/{INJECTOR}` says what hinders it",
                facts.mesh_namespace
            ),
        ),
    }
}

pub(super) fn version(facts: &Facts) -> Finding {
    let label =
        |deployment: &Value| deployment["metadata"]["labels"]["app.kubernetes.io/version"].as_str().map(str::to_owned);
    let other: BTreeSet<String> =
        facts.deployments.iter().filter_map(label).filter(|version| *version != facts.program).collect();
    match other.is_empty() {
        true => Finding::Good,
        false => Finding::odd(
            format!("the cluster has {}, this program is {}", Vec::from_iter(other).join(", "), facts.program),
            "`minimesh upgrade | kubectl apply -f -`, or use the program of the cluster's version",
        ),
    }
}

pub(super) fn cluster_networks(facts: &Facts) -> Finding {
    let Some(said) = facts.deployments.iter().find_map(networks) else { return Finding::Good };
    let known: Vec<IpNet> = said.split(',').filter_map(|network| network.trim().parse().ok()).collect();
    let outside = |address: &IpAddr| !known.iter().any(|network| network.contains(address));
    let of_nodes = facts.nodes.iter().filter_map(|node| node["spec"]["podCIDRs"].as_array()).flatten();
    let strange: BTreeSet<String> = of_nodes
        .filter_map(|network| network.as_str()?.parse::<IpNet>().ok())
        .filter(|network| outside(&network.network()))
        .map(|network| network.to_string())
        .collect();
    match strange.is_empty() {
        true => Finding::Good,
        false => Finding::wrong(
            format!("pods have addresses in {}, and clusterNetworks is {said}", Vec::from_iter(strange).join(", ")),
            "`minimesh upgrade --set clusterNetworks='PODS\\,SERVICES' | kubectl apply -f -`, then restart what is meshed",
        ),
    }
}

fn networks(deployment: &Value) -> Option<String> {
    let containers = deployment["spec"]["template"]["spec"]["containers"].as_array()?;
    let variables = containers.iter().filter_map(|container| container["env"].as_array()).flatten();
    let mut networks = variables.filter(|variable| variable["name"] == "MINIMESH_CLUSTER_NETWORKS");
    networks.find_map(|variable| Some(variable["value"].as_str()?.to_owned()))
}

pub(super) fn pod_security(facts: &Facts) -> Finding {
    let strict = |namespace: &&Value| {
        let labels = &namespace["metadata"]["labels"];
        labels[LABEL] == "enabled"
            && matches!(labels["pod-security.kubernetes.io/enforce"].as_str(), Some("baseline" | "restricted"))
    };
    let found: Vec<String> = facts.namespaces.iter().filter(strict).map(name).collect();
    match found.first() {
        None => Finding::Good,
        Some(first) => Finding::wrong(
            format!("namespaces that are meshed and enforce Pod Security: {}", some(&found)),
            format!("`kubectl label namespace {first} pod-security.kubernetes.io/enforce=privileged --overwrite`"),
        ),
    }
}

pub(super) fn labels(facts: &Facts) -> Finding {
    let asks_another = |object: &Value| {
        let metadata = &object["metadata"];
        let linkerd = metadata["annotations"]["linkerd.io/inject"] == "enabled";
        let istio = metadata["labels"]["istio-injection"] == "enabled"
            || metadata["labels"]["sidecar.istio.io/inject"] == "true";
        (linkerd || istio) && metadata["labels"].get(LABEL).is_none()
    };
    let namespaces = facts
        .namespaces
        .iter()
        .filter(|namespace| asks_another(namespace))
        .map(|namespace| format!("namespace {}", name(namespace)));
    let alone = |pod: &&Value| asks_another(pod) && !is_injected(pod) && !has_other_sidecar(pod);
    let pods = facts.pods.iter().filter(alone).map(|pod| format!("pod {}/{}", namespace_of(pod), name(pod)));
    let found: Vec<String> = namespaces.chain(pods).collect();
    match found.is_empty() {
        true => Finding::Good,
        false => Finding::odd(
            some(&found),
            "`kubectl get deployments -n NAMESPACE -o yaml | minimesh inject - | kubectl apply -f -` turns Linkerd's annotation into the label",
        ),
    }
}

fn has_other_sidecar(pod: &Value) -> bool {
    let all = ["containers", "initContainers"].into_iter().filter_map(|field| pod["spec"][field].as_array()).flatten();
    all.filter_map(|container| container["name"].as_str()).any(|name| matches!(name, "istio-proxy" | "linkerd-proxy"))
}

pub(super) fn trust(facts: &Facts) -> Finding {
    let meshed: BTreeSet<&str> = facts.pods.iter().filter(|pod| is_injected(pod)).map(namespace_of).collect();
    let without: Vec<String> = meshed
        .iter()
        .filter(|namespace| !facts.trusting.iter().any(|known| known == *namespace))
        .map(ToString::to_string)
        .collect();
    match without.is_empty() {
        true => Finding::Good,
        false => Finding::not_yet(
            format!("no ConfigMap minimesh-trust in {}", some(&without)),
            format!(
                "the control plane writes it; `kubectl logs -n {} deployment/{CONTROL_PLANE}` says what hinders it",
                facts.mesh_namespace
            ),
        ),
    }
}

pub(super) fn meshed(facts: &Facts) -> Finding {
    let labels: BTreeMap<String, Inject> =
        facts.namespaces.iter().map(|namespace| (name(namespace), said(namespace))).collect();
    let missing = |pod: &&Value| {
        let namespace = namespace_of(pod);
        let of_namespace = labels.get(namespace).copied().unwrap_or(Inject::Unsaid);
        let lives = matches!(pod["status"]["phase"].as_str(), Some("Pending" | "Running"));
        let asked = wanted(namespace, &facts.mesh_namespace, of_namespace, said(pod)).is_ok();
        lives && asked && !is_injected(pod) && pod["spec"]["hostNetwork"] != true
    };
    let found: Vec<String> =
        facts.pods.iter().filter(missing).map(|pod| format!("{}/{}", namespace_of(pod), name(pod))).collect();
    match found.is_empty() {
        true => Finding::Good,
        false => Finding::wrong(
            format!("without a sidecar: {}", some(&found)),
            "`kubectl rollout restart` of what made them; pods get their sidecar when they are made",
        ),
    }
}

pub(super) fn sidecars_ready(facts: &Facts) -> Finding {
    let unready = |pod: &&Value| {
        let statuses = pod["status"]["initContainerStatuses"].as_array().into_iter().flatten();
        let sidecar = statuses.into_iter().find(|status| status["name"] == SIDECAR);
        let ended = matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed"));
        is_injected(pod) && !ended && sidecar.is_none_or(|status| status["started"] != true)
    };
    let found: Vec<&Value> = facts.pods.iter().filter(unready).collect();
    let Some(first) = found.first() else { return Finding::Good };
    let names: Vec<String> = found.iter().map(|pod| format!("{}/{}", namespace_of(pod), name(pod))).collect();
    Finding::not_yet(
        format!("not ready: {}", some(&names)),
        format!("`kubectl logs -n {} {} -c {SIDECAR}`", namespace_of(first), name(first)),
    )
}

pub(super) fn sidecar_versions(facts: &Facts) -> Finding {
    let other =
        |pod: &&Value| is_injected(pod) && pod["metadata"]["annotations"][PROXY_VERSION.name] != facts.program.as_str();
    let found: Vec<String> =
        facts.pods.iter().filter(other).map(|pod| format!("{}/{}", namespace_of(pod), name(pod))).collect();
    match found.is_empty() {
        true => Finding::Good,
        false => Finding::odd(
            format!("other versions than {}: {}", facts.program, some(&found)),
            "`kubectl rollout restart` of what made them",
        ),
    }
}

fn said(object: &Value) -> Inject {
    let labels = object["metadata"]["labels"].as_object().into_iter().flatten();
    Inject::of(&labels.filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned()))).collect())
}

fn entries(webhook: &Value) -> impl Iterator<Item = &Value> {
    webhook["webhooks"].as_array().into_iter().flatten()
}

fn name(object: &Value) -> String {
    object["metadata"]["name"].as_str().unwrap_or_default().to_owned()
}

fn namespace_of(object: &Value) -> &str {
    object["metadata"]["namespace"].as_str().unwrap_or_default()
}

/// The first two numbers.
fn kernel(version: &str) -> (u32, u32) {
    let mut numbers = version.split(['.', '-']).map(|part| part.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

/// A few names, and how many more there are.
fn some(names: &[String]) -> String {
    match names.len() {
        0..=MOST_NAMES => names.join(", "),
        all => format!("{} and {} more", names[..MOST_NAMES].join(", "), all - MOST_NAMES),
    }
}

/// `preStop: sleep` is on by default from here; native sidecars a version earlier.
const OLDEST: (u32, u32) = (1, 30);
/// nf_tables' nat chains in `ip` and `ip6` tables work from here on.
const OLDEST_KERNEL: (u32, u32) = (4, 18);
const MOST_NAMES: usize = 5;
const CONTROL_PLANE: &str = "minimesh-control-plane";
const INJECTOR: &str = "minimesh-injector";
const FOREIGN_WEBHOOKS: [&str; 3] = ["istio-", "kuma-", "linkerd-proxy-injector"];
