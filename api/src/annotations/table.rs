//! The annotations, in alphabetical order, and those of Linkerd that have nothing to do here.

use super::Effect::{Application, Live, Redirect, Resource, Sidecar, Written};
use super::Place::{Namespace, Pod, Route, Service};
use super::{Annotation, Foreign, Form};

/// What finished requests leave on stdout.
pub const ACCESS_LOG: Annotation = Annotation {
    name: "minimesh.io/access-log",
    aliases: &["config.linkerd.io/access-log"],
    on: &[Pod, Namespace],
    form: Form::Words(&["apache", "json", "off"]),
    default: "`off`",
    about: "A line on the sidecar's stdout for every finished request and opaque connection.",
    effect: Sidecar("MINIMESH_ACCESS_LOG"),
};

/// Headers in the access log.
pub const ACCESS_LOG_HEADERS: Annotation = Annotation {
    name: "minimesh.io/access-log-headers",
    aliases: &[],
    on: &[Pod, Namespace],
    form: Form::HeaderNames,
    default: "none",
    about: "Values of these request headers are recorded, in the access log and in spans.",
    effect: Sidecar("MINIMESH_ACCESS_LOG_HEADERS"),
};

/// Query strings in the access log.
pub const ACCESS_LOG_QUERY: Annotation = Annotation {
    name: "minimesh.io/access-log-query",
    aliases: &[],
    on: &[Pod, Namespace],
    form: Form::Words(&["true", "false"]),
    default: "`false`",
    about: "Query strings are recorded, in the access log and in spans.",
    effect: Sidecar("MINIMESH_ACCESS_LOG_QUERY"),
};

/// Who may connect.
pub const DEFAULT_INBOUND_POLICY: Annotation = Annotation {
    name: "minimesh.io/default-inbound-policy",
    aliases: &["config.linkerd.io/default-inbound-policy"],
    on: &[Pod, Namespace],
    form: Form::Words(POLICIES),
    default: "`all-unauthenticated`",
    about: "Who may connect to the pod's ports (docs/policy.md). A value that cannot be read keeps the pod from being made.",
    effect: Live,
};

/// A Service that the demo shows on its host.
pub const DEMO_EXPOSE: Annotation = Annotation {
    name: "minimesh.io/demo-expose",
    aliases: &[],
    on: &[Service],
    form: Form::Words(&["true", "false"]),
    default: "`front-end`, or the only one",
    about: "`minimesh demo` puts this Service on a port of the machine (docs/demo.md).",
    effect: Live,
};

/// Streams of HTTP/2 on a worker.
pub const MAX_STREAMS: Annotation = Annotation {
    name: "minimesh.io/max-streams",
    aliases: &[],
    on: &[Pod, Namespace],
    form: Form::Number(1_000_000),
    default: "`4096`",
    about: "HTTP/2 streams of clients on a worker of the sidecar, beyond which a connection that has 16 of them gets no more \
            (docs/protocols.md). Each takes 5 to 10 KiB while nobody answers it.",
    effect: Sidecar("MINIMESH_MAX_STREAMS"),
};

/// Ports without detection.
pub const OPAQUE_PORTS: Annotation = Annotation {
    name: "minimesh.io/opaque-ports",
    aliases: &["config.linkerd.io/opaque-ports"],
    on: &[Pod, Namespace, Service],
    form: Form::Ports,
    default: "none: the protocol is detected",
    about: "Connections to these ports are carried as bytes, over mutual TLS, and not looked into.",
    effect: Live,
};

/// Where spans go.
pub const OTLP_ENDPOINT: Annotation = Annotation {
    name: "minimesh.io/otlp-endpoint",
    aliases: &["config.linkerd.io/trace-collector"],
    on: &[Pod, Namespace],
    form: Form::Collector,
    default: "none: no spans",
    about: "Spans of sampled requests are sent to this OpenTelemetry collector (docs/observability.md).",
    effect: Sidecar("MINIMESH_OTLP_ENDPOINT"),
};

/// How the collector is spoken to.
pub const OTLP_PROTOCOL: Annotation = Annotation {
    name: "minimesh.io/otlp-protocol",
    aliases: &[],
    on: &[Pod, Namespace],
    form: Form::Words(&["grpc", "http"]),
    default: "`grpc`",
    about: "How the collector is spoken to.",
    effect: Sidecar("MINIMESH_OTLP_PROTOCOL"),
};

/// Policies of single ports.
pub const PORT_INBOUND_POLICIES: Annotation = Annotation {
    name: "minimesh.io/port-inbound-policies",
    aliases: &[],
    on: &[Pod, Namespace],
    form: Form::PortPolicies,
    default: "the default policy",
    about: "Who may connect to single ports (docs/policy.md). A value that cannot be read keeps the pod from being made.",
    effect: Live,
};

/// The sidecar's CPU limit.
pub const PROXY_CPU_LIMIT: Annotation = Annotation {
    name: "minimesh.io/proxy-cpu-limit",
    aliases: &["config.linkerd.io/proxy-cpu-limit"],
    on: &[Pod, Namespace],
    form: Form::Quantity,
    default: "none; 1 where a ResourceQuota demands one",
    about: "The sidecar's CPU limit. It has as many workers as the limit, rounded up, at most 4.",
    effect: Resource("limits", "cpu"),
};

/// The sidecar's CPU request.
pub const PROXY_CPU_REQUEST: Annotation = Annotation {
    name: "minimesh.io/proxy-cpu-request",
    aliases: &["config.linkerd.io/proxy-cpu-request"],
    on: &[Pod, Namespace],
    form: Form::Quantity,
    default: "chart value `proxy.resources`",
    about: "What the scheduler sets aside for the sidecar.",
    effect: Resource("requests", "cpu"),
};

/// The sidecar's limit of ephemeral storage.
pub const PROXY_EPHEMERAL_STORAGE_LIMIT: Annotation = Annotation {
    name: "minimesh.io/proxy-ephemeral-storage-limit",
    aliases: &["config.linkerd.io/proxy-ephemeral-storage-limit"],
    on: &[Pod, Namespace],
    form: Form::Quantity,
    default: "none; 64Mi where a ResourceQuota demands one",
    about: "The sidecar writes no files; its log counts.",
    effect: Resource("limits", "ephemeral-storage"),
};

/// The sidecar's request of ephemeral storage.
pub const PROXY_EPHEMERAL_STORAGE_REQUEST: Annotation = Annotation {
    name: "minimesh.io/proxy-ephemeral-storage-request",
    aliases: &["config.linkerd.io/proxy-ephemeral-storage-request"],
    on: &[Pod, Namespace],
    form: Form::Quantity,
    default: "none; 16Mi where a ResourceQuota demands one",
    about: "The sidecar writes no files; its log counts.",
    effect: Resource("requests", "ephemeral-storage"),
};

/// Form of the sidecar's log.
pub const PROXY_LOG_FORMAT: Annotation = Annotation {
    name: "minimesh.io/proxy-log-format",
    aliases: &["config.linkerd.io/proxy-log-format"],
    on: &[Pod, Namespace],
    form: Form::Words(&["plain", "json"]),
    default: "`plain`",
    about: "Form of the sidecar's log.",
    effect: Sidecar("MINIMESH_LOG_FORMAT"),
};

/// Level of the sidecar's log.
pub const PROXY_LOG_LEVEL: Annotation = Annotation {
    name: "minimesh.io/proxy-log-level",
    aliases: &["config.linkerd.io/proxy-log-level"],
    on: &[Pod, Namespace],
    form: Form::LogLevel,
    default: "`info`",
    about: "Level of the sidecar's log.",
    effect: Sidecar("MINIMESH_LOG_LEVEL"),
};

/// The sidecar's memory limit.
pub const PROXY_MEMORY_LIMIT: Annotation = Annotation {
    name: "minimesh.io/proxy-memory-limit",
    aliases: &["config.linkerd.io/proxy-memory-limit"],
    on: &[Pod, Namespace],
    form: Form::Quantity,
    default: "chart value `proxy.resources`",
    about: "The sidecar is ended and started again beyond it, with its connections.",
    effect: Resource("limits", "memory"),
};

/// The sidecar's memory request.
pub const PROXY_MEMORY_REQUEST: Annotation = Annotation {
    name: "minimesh.io/proxy-memory-request",
    aliases: &["config.linkerd.io/proxy-memory-request"],
    on: &[Pod, Namespace],
    form: Form::Quantity,
    default: "chart value `proxy.resources`",
    about: "What the scheduler sets aside for the sidecar.",
    effect: Resource("requests", "memory"),
};

/// Ports that ask for an identity.
pub const PROXY_REQUIRE_IDENTITY_INBOUND_PORTS: Annotation = Annotation {
    name: "minimesh.io/proxy-require-identity-inbound-ports",
    aliases: &["config.linkerd.io/proxy-require-identity-inbound-ports"],
    on: &[Pod, Namespace],
    form: Form::Ports,
    default: "none",
    about: "On these ports a policy that lets in anyone lets in identities alone (docs/policy.md).",
    effect: Live,
};

/// Which program made the sidecar.
pub const PROXY_VERSION: Annotation = Annotation {
    name: "minimesh.io/proxy-version",
    aliases: &[],
    on: &[Pod],
    form: Form::Text,
    default: "",
    about: "The version of the sidecar that was added to the pod.",
    effect: Written,
};

/// How rules of a route compete.
pub const RULE_ORDER: Annotation = Annotation {
    name: "minimesh.io/rule-order",
    aliases: &[],
    on: &[Route],
    form: Form::Words(&["specificity", "written"]),
    default: "`specificity`",
    about: "`written`: the first rule that matches wins, instead of the most specific (docs/routes.md).",
    effect: Live,
};

/// How long connections may take to end.
pub const SHUTDOWN_GRACE_PERIOD: Annotation = Annotation {
    name: "minimesh.io/shutdown-grace-period",
    aliases: &["config.linkerd.io/shutdown-grace-period"],
    on: &[Pod, Namespace],
    form: Form::Seconds,
    default: "`30s`",
    about: "How long connections may take to end once the application is gone.",
    effect: Sidecar("MINIMESH_DRAIN_TIMEOUT"),
};

/// Ports of the pod that are not intercepted.
pub const SKIP_INBOUND_PORTS: Annotation = Annotation {
    name: "minimesh.io/skip-inbound-ports",
    aliases: &["config.linkerd.io/skip-inbound-ports"],
    on: &[Pod, Namespace],
    form: Form::Ports,
    default: "none",
    about: "Connections to these ports of the pod go to the application directly: no mutual TLS, no policy, no metrics.",
    effect: Redirect("MINIMESH_SKIP_INBOUND_PORTS"),
};

/// Destination ports that are not intercepted.
pub const SKIP_OUTBOUND_PORTS: Annotation = Annotation {
    name: "minimesh.io/skip-outbound-ports",
    aliases: &["config.linkerd.io/skip-outbound-ports"],
    on: &[Pod, Namespace],
    form: Form::Ports,
    default: "none",
    about: "Connections that the pod makes to these ports bypass the mesh.",
    effect: Redirect("MINIMESH_SKIP_OUTBOUND_PORTS"),
};

/// Destinations that are not intercepted.
pub const SKIP_SUBNETS: Annotation = Annotation {
    name: "minimesh.io/skip-subnets",
    aliases: &["config.linkerd.io/skip-subnets"],
    on: &[Pod, Namespace],
    form: Form::Networks,
    default: "none",
    about: "Connections that the pod makes to these networks bypass the mesh.",
    effect: Redirect("MINIMESH_SKIP_SUBNETS"),
};

/// The application waits before it ends.
pub const TERMINATION_DELAY: Annotation = Annotation {
    name: "minimesh.io/termination-delay",
    aliases: &[],
    on: &[Pod, Namespace],
    form: Form::Seconds,
    default: "none",
    about: "A `preStop` hook that sleeps so long is given to the application's containers that have none: for programs that exit at \
            once on SIGTERM, while clients outside of the mesh still have their address.",
    effect: Application,
};

/// Authenticates a pod where there is no Kubernetes.
pub const TOKEN_SHA256: Annotation = Annotation {
    name: "minimesh.io/token-sha256",
    aliases: &[],
    on: &[Pod],
    form: Form::Sha256,
    default: "",
    about: "SHA-256 of the pod's token, where a folder of manifests takes the place of Kubernetes (`minimesh demo`).",
    effect: Written,
};

/// Worker threads.
pub const WORKERS: Annotation = Annotation {
    name: "minimesh.io/workers",
    aliases: &[],
    on: &[Pod, Namespace],
    form: Form::Number(64),
    default: "the CPU limit rounded up, at most 4; 1 without a limit",
    about: "Worker threads of the sidecar.",
    effect: Sidecar("MINIMESH_WORKERS"),
};

/// All of them.
pub const TABLE: &[&Annotation] = &[
    &ACCESS_LOG,
    &ACCESS_LOG_HEADERS,
    &ACCESS_LOG_QUERY,
    &DEFAULT_INBOUND_POLICY,
    &DEMO_EXPOSE,
    &MAX_STREAMS,
    &OPAQUE_PORTS,
    &OTLP_ENDPOINT,
    &OTLP_PROTOCOL,
    &PORT_INBOUND_POLICIES,
    &PROXY_CPU_LIMIT,
    &PROXY_CPU_REQUEST,
    &PROXY_EPHEMERAL_STORAGE_LIMIT,
    &PROXY_EPHEMERAL_STORAGE_REQUEST,
    &PROXY_LOG_FORMAT,
    &PROXY_LOG_LEVEL,
    &PROXY_MEMORY_LIMIT,
    &PROXY_MEMORY_REQUEST,
    &PROXY_REQUIRE_IDENTITY_INBOUND_PORTS,
    &PROXY_VERSION,
    &RULE_ORDER,
    &SHUTDOWN_GRACE_PERIOD,
    &SKIP_INBOUND_PORTS,
    &SKIP_OUTBOUND_PORTS,
    &SKIP_SUBNETS,
    &TERMINATION_DELAY,
    &TOKEN_SHA256,
    &WORKERS,
];

/// The words of inbound policy.
pub const POLICIES: &[&str] =
    &["all-authenticated", "all-unauthenticated", "audit", "cluster-authenticated", "cluster-unauthenticated", "deny"];

/// Annotations of Linkerd that people carry and that have nothing to do here; and one that people take for one of ours.
pub const FOREIGN: &[Foreign] = &[
    Foreign { name: "config.alpha.linkerd.io/proxy-enable-native-sidecar", why: NATIVE },
    Foreign {
        name: "config.alpha.linkerd.io/proxy-wait-before-exit-seconds",
        why: "a native sidecar ends after the application; to delay the application's own end, use minimesh.io/termination-delay",
    },
    Foreign { name: "config.beta.linkerd.io/proxy-enable-native-sidecar", why: NATIVE },
    Foreign { name: "config.linkerd.io/admin-port", why: PORTS },
    Foreign {
        name: "config.linkerd.io/close-wait-timeout",
        why: "connections have time-outs of their own; no setting of the kernel is changed",
    },
    Foreign { name: "config.linkerd.io/control-port", why: PORTS },
    Foreign {
        name: "config.linkerd.io/enable-debug-sidecar",
        why: "use `kubectl debug`, which needs no restart of the pod",
    },
    Foreign { name: "config.linkerd.io/image-pull-policy", why: IMAGE },
    Foreign { name: "config.linkerd.io/inbound-port", why: PORTS },
    Foreign { name: "config.linkerd.io/outbound-port", why: PORTS },
    Foreign {
        name: "config.linkerd.io/pod-inbound-ports",
        why: "every port of a pod is intercepted, whoever added its container",
    },
    Foreign { name: "config.linkerd.io/proxy-additional-env", why: "no annotation chooses variables of the sidecar" },
    Foreign {
        name: "config.linkerd.io/proxy-admin-shutdown",
        why: "Jobs complete by themselves: the sidecar is a native one",
    },
    Foreign { name: "config.linkerd.io/proxy-await", why: "the application always starts after the sidecar is ready" },
    Foreign { name: "config.linkerd.io/proxy-cpu-ratio-limit", why: "use minimesh.io/workers" },
    Foreign { name: "config.linkerd.io/proxy-disable-inbound-protocol-detect-timeout", why: DETECTION },
    Foreign { name: "config.linkerd.io/proxy-disable-outbound-protocol-detect-timeout", why: DETECTION },
    Foreign { name: "config.linkerd.io/proxy-enable-native-sidecar", why: NATIVE },
    Foreign { name: "config.linkerd.io/proxy-gid", why: USER },
    Foreign { name: "config.linkerd.io/proxy-image", why: IMAGE },
    Foreign { name: "config.linkerd.io/proxy-inbound-connect-timeout", why: CONNECT },
    Foreign {
        name: "config.linkerd.io/proxy-inbound-discovery-cache-unused-timeout",
        why: "what is unused is forgotten by itself",
    },
    Foreign {
        name: "config.linkerd.io/proxy-log-http-headers",
        why: "use minimesh.io/access-log-headers, which names the headers",
    },
    Foreign { name: "config.linkerd.io/proxy-outbound-connect-timeout", why: CONNECT },
    Foreign {
        name: "config.linkerd.io/proxy-outbound-discovery-cache-unused-timeout",
        why: "what is unused is forgotten by itself",
    },
    Foreign { name: "config.linkerd.io/proxy-uid", why: USER },
    Foreign { name: "config.linkerd.io/proxy-version", why: IMAGE },
    Foreign {
        name: "minimesh.io/inject",
        why: "it is a label, so that the API server can select by it; put it under metadata.labels",
    },
];

const CONNECT: &str = "a connection that is not made in time is tried on another endpoint";
const DETECTION: &str = "detection never waits for a time-out";
const IMAGE: &str = "no annotation chooses the sidecar's image; the injector's own is used";
const NATIVE: &str = "the sidecar is always a native one";
const PORTS: &str = "the sidecar's ports are fixed";
const USER: &str = "the sidecar's user is 2102, by which interception knows it";
