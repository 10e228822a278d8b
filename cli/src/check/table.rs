//! The checks, in the order in which they are made.

use super::{Facts, Finding, judge};

/// When a check is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Always.
    Cluster,
    /// `--pre`.
    Before,
    /// Without `--pre`.
    Installed,
    /// `--proxy`.
    Proxies,
}

/// One check.
pub(crate) struct Check {
    pub(crate) name: &'static str,
    pub(crate) stage: Stage,
    /// What is so when it is good.
    pub(crate) what: &'static str,
    /// Why it matters.
    pub(crate) why: &'static str,
    pub(crate) judge: fn(&Facts) -> Finding,
}

pub(crate) const CHECKS: &[Check] = &[
    Check {
        name: "kubernetes-version",
        stage: Stage::Cluster,
        what: "Kubernetes is new enough",
        why: "the sidecar is a native one (an init container that stays), and termination-delay a hook that sleeps",
        judge: judge::kubernetes_version,
    },
    Check {
        name: "linux-nodes",
        stage: Stage::Cluster,
        what: "nodes run Linux with a kernel that has nf_tables",
        why: "interception is programmed in the pod's network namespace by nf_tables; without it no meshed pod starts",
        judge: judge::linux_nodes,
    },
    Check {
        name: "other-meshes",
        stage: Stage::Cluster,
        what: "no other mesh injects sidecars",
        why: "a pod with two sidecars has neither mesh's guarantees; the injector leaves such pods alone",
        judge: judge::other_meshes,
    },
    Check {
        name: "permissions",
        stage: Stage::Before,
        what: "you may install",
        why: "an installation that stops half-way leaves a webhook without an injector behind",
        judge: judge::permissions,
    },
    Check {
        name: "not-installed",
        stage: Stage::Before,
        what: "nothing is installed yet",
        why: "an installation over another one is an upgrade, and keeps its certificates",
        judge: judge::not_installed,
    },
    Check {
        name: "control-plane",
        stage: Stage::Installed,
        what: "the control plane runs",
        why: "without it no new pod becomes ready and no change reaches a proxy; what runs goes on",
        judge: judge::control_plane,
    },
    Check {
        name: "injector",
        stage: Stage::Installed,
        what: "the injector runs",
        why: "without it labelled pods are not made at all: they wait (failurePolicy Fail)",
        judge: judge::injector,
    },
    Check {
        name: "webhook",
        stage: Stage::Installed,
        what: "the webhook configuration is whole",
        why: "by it the API server knows which pods to ask the injector about",
        judge: judge::webhook,
    },
    Check {
        name: "webhook-authority",
        stage: Stage::Installed,
        what: "the API server trusts the injector",
        why: "otherwise every labelled pod is refused with a certificate error",
        judge: judge::webhook_authority,
    },
    Check {
        name: "version",
        stage: Stage::Installed,
        what: "this program and the cluster have the same version",
        why: "what one of them does not know, the other cannot show",
        judge: judge::version,
    },
    Check {
        name: "cluster-networks",
        stage: Stage::Installed,
        what: "the mesh knows the networks of pods",
        why: "addresses outside of them are passed through unmeshed while the control plane is away",
        judge: judge::cluster_networks,
    },
    Check {
        name: "pod-security",
        stage: Stage::Installed,
        what: "meshed namespaces allow NET_ADMIN",
        why: "a namespace that enforces Pod Security baseline or restricted refuses every meshed pod",
        judge: judge::pod_security,
    },
    Check {
        name: "labels",
        stage: Stage::Installed,
        what: "nobody is meshed by another mesh's word alone",
        why: "linkerd.io/inject and istio-injection are not read: such pods run without a sidecar, and nobody says so",
        judge: judge::labels,
    },
    Check {
        name: "trust",
        stage: Stage::Proxies,
        what: "namespaces with meshed pods have the roots",
        why: "a sidecar mounts the ConfigMap minimesh-trust; without it the pod does not start",
        judge: judge::trust,
    },
    Check {
        name: "meshed",
        stage: Stage::Proxies,
        what: "pods that should be meshed are",
        why: "pods that were made before the label, or while the webhook was away, run without mutual TLS",
        judge: judge::meshed,
    },
    Check {
        name: "sidecars-ready",
        stage: Stage::Proxies,
        what: "sidecars are ready",
        why: "an application starts after its sidecar, and only a ready one has a certificate and its policy",
        judge: judge::sidecars_ready,
    },
    Check {
        name: "sidecar-versions",
        stage: Stage::Proxies,
        what: "sidecars have the version of the control plane",
        why: "older ones go on working, without what is new",
        judge: judge::sidecar_versions,
    },
];
