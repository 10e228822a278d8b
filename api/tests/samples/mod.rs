//! One example of every message with every field set: what the golden files hold.

use std::sync::Arc;
use std::time::Duration;

use minimesh_api::grpc;
use minimesh_api::histogram::Histogram;
use minimesh_api::model::*;
use minimesh_api::wire::{Certified, Certify, EndpointsPart, Hello, Invalid, Report, Request, Response, State, Update};
use prost::Message;

/// A message by its file's name: its type's full name, its bytes, and its readable form.
pub(crate) struct Sample {
    pub(crate) name: &'static str,
    pub(crate) message: &'static str,
    pub(crate) bytes: Vec<u8>,
    pub(crate) text: String,
}

fn sample<M: Message + Default + std::fmt::Debug>(name: &'static str, message: &'static str, value: M) -> Sample {
    let bytes = value.encode_to_vec();
    // The text is made from the bytes, as a reader of them sees it.
    let text = format!("{:#?}\n", M::decode(bytes.as_slice()).expect("just encoded"));
    Sample { name, message, bytes, text }
}

/// All of them.
pub(crate) fn all() -> Vec<Sample> {
    let mut samples = Vec::new();
    for (name, request) in requests() {
        samples.push(sample(name, "minimesh.v1.WatchRequest", grpc::WatchRequest::from(&request)));
    }
    for (name, response) in responses() {
        samples.push(sample(name, "minimesh.v1.WatchResponse", grpc::WatchResponse::from(&response)));
    }
    samples.extend([
        sample("certify_request", "minimesh.v1.CertifyRequest", grpc::CertifyRequest::from(certify())),
        sample("certify_response", "minimesh.v1.CertifyResponse", grpc::CertifyResponse::from(&certified())),
        sample("report_request", "minimesh.v1.ReportRequest", grpc::ReportRequest::from(&report())),
        sample("report_response", "minimesh.v1.ReportResponse", grpc::ReportResponse { resend_all: true }),
        sample("edges_request", "minimesh.v1.EdgesRequest", grpc::EdgesRequest::from(Duration::from_millis(30_500))),
        sample("edges_response", "minimesh.v1.EdgesResponse", grpc::EdgesResponse::from(reported_edges().as_slice())),
        sample("identities_request", "minimesh.v1.IdentitiesRequest", grpc::IdentitiesRequest {}),
        sample("identities_response", "minimesh.v1.IdentitiesResponse", grpc::IdentitiesResponse::from(&identities())),
        sample("rotate_request", "minimesh.v1.RotateRequest", rotate()),
        sample("rotate_response", "minimesh.v1.RotateResponse", grpc::RotateResponse { phase: 3 }),
    ]);
    samples
}

pub(crate) fn requests() -> Vec<(&'static str, Request)> {
    let subscribe = |key, held_version| Request::Subscribe { key, held_version };
    vec![
        ("watch_request_ack", Request::Ack { key: ResourceKey::Port(8080), version: 7 }),
        ("watch_request_hello", Request::Hello(hello())),
        (
            "watch_request_nack",
            Request::Nack {
                key: ResourceKey::Target("10.43.0.9:80".parse().expect("an address")),
                version: u64::MAX,
                invalid: Invalid::new("service.http_routes[0].rules[2].matches[0].path", "does not begin with /"),
            },
        ),
        ("watch_request_subscribe_endpoints", subscribe(ResourceKey::Endpoints(backend()), Some(1))),
        ("watch_request_subscribe_port", subscribe(ResourceKey::Port(65535), None)),
        ("watch_request_subscribe_target", subscribe(ResourceKey::Target(address("[fd00::1]:80")), None)),
        ("watch_request_subscribe_trust", subscribe(ResourceKey::Trust, Some(u64::MAX))),
        ("watch_request_subscribe_workload", subscribe(ResourceKey::Workload, None)),
        ("watch_request_unsubscribe", Request::Unsubscribe { key: ResourceKey::Endpoints(backend()) }),
    ]
}

pub(crate) fn responses() -> Vec<(&'static str, Response)> {
    let update = |key, state| Response::Update(Box::new(Update { key, version: 0x0123_4567_89ab_cdef, state }));
    let target = |target| update(ResourceKey::Target(address("10.43.12.7:80")), State::Target(target));
    let endpoints = |part| update(ResourceKey::Endpoints(backend()), State::Endpoints(part));
    let delta = EndpointsDelta {
        base_version: 3,
        upserts: vec![meshed_endpoint()],
        removed: vec![address("10.42.0.4:80"), address("[fd00::4]:80")],
    };
    let port = PortPolicy { protocol: Protocol::Http1, policy: DefaultPolicy::AllAuthenticated };
    vec![
        ("watch_response_endpoints_delta", endpoints(EndpointsPart::Delta { delta, more: false })),
        ("watch_response_endpoints_empty", endpoints(EndpointsPart::Full { endpoints: Vec::new(), more: false })),
        ("watch_response_endpoints_full", endpoints(EndpointsPart::Full { endpoints: all_endpoints(), more: true })),
        ("watch_response_hello", Response::Hello(hello())),
        ("watch_response_port", update(ResourceKey::Port(8080), State::Port(port))),
        ("watch_response_target_endpoint", target(Target::Endpoint(meshed_endpoint()))),
        ("watch_response_target_passthrough", target(Target::Passthrough(PassthroughReason::UndefinedPort))),
        ("watch_response_target_service", target(Target::Service(service_target()))),
        ("watch_response_target_affinity", target(Target::Service(service_with_affinity()))),
        ("watch_response_target_features", target(Target::Service(service_with_features()))),
        ("watch_response_trust", update(ResourceKey::Trust, State::Trust(trust()))),
        ("watch_response_trust_issuing", update(ResourceKey::Trust, State::Trust(trust_while_rotating()))),
        ("watch_response_workload", update(ResourceKey::Workload, State::Workload(own_workload()))),
        ("watch_response_workload_probed", update(ResourceKey::Workload, State::Workload(probed_workload()))),
        (
            "watch_response_workload_probed_exactly",
            update(ResourceKey::Workload, State::Workload(workload_probed_exactly())),
        ),
        ("watch_response_workload_on_node", update(ResourceKey::Workload, State::Workload(workload_on_node()))),
    ]
}

pub(crate) fn hello() -> Hello {
    Hello {
        version: 1,
        features: vec!["mirror".into(), "grpc-routes".into()],
        instance: *b"0123456789abcdef",
        software: "minimesh/0.1.0".into(),
    }
}

pub(crate) fn certify() -> Certify {
    Certify { csr: vec![0x30, 0x82, 1, 2], token: "eyJhbGciOi".to_owned() }
}

pub(crate) fn certified() -> Certified {
    Certified {
        chain: vec![vec![0x30, 1], vec![0x30, 2]],
        expires_in: Duration::from_secs(86_400),
        renew_in: Duration::from_millis(28_800_250),
        trust: trust(),
    }
}

pub(crate) fn report() -> Report {
    let instance = *b"fedcba9876543210";
    Report { instance, uptime: Duration::from_nanos(1_000_000_001), edges: edges(), complete: true }
}

pub(crate) fn reported_edges() -> Vec<ReportedEdge> {
    let reported = |edge: EdgeReport| ReportedEdge {
        reporter: workload("front-end"),
        reporter_identity: "spiffe://cluster.local/ns/sock-shop/sa/front-end".into(),
        edge,
        over: Duration::from_secs(30),
        total_requests: 1_000_000,
        total_failures: 12,
        age: Duration::from_millis(1_700),
    };
    edges().into_iter().map(reported).collect()
}

fn rotate() -> grpc::RotateRequest {
    grpc::RotateRequest { from: grpc::RotationPhase::Added.into(), force: true }
}

pub(crate) fn identities() -> Identities {
    let root = |fingerprint: &str, issuer_expires_in| AuthorityCertificate {
        fingerprint: fingerprint.into(),
        expires_in: Duration::from_secs(315_360_000),
        issuer_expires_in,
    };
    let held = HeldCertificate {
        workload: workload("carts"),
        identity: "spiffe://cluster.local/ns/sock-shop/sa/carts".into(),
        expires_in: Duration::from_secs(86_399),
        root: "0123456789abcdef".into(),
        trusts_current: true,
        connected: true,
    };
    Identities {
        replica: "minimesh-control-plane-6d9f-abcde".into(),
        leads: true,
        trust_domain: "cluster.local".into(),
        phase: RotationPhase::Switched,
        roots: vec![root("0123456789abcdef", Some(Duration::from_secs(31_536_000))), root("fedcba9876543210", None)],
        held: vec![held],
    }
}

pub(crate) fn edges() -> Vec<EdgeReport> {
    let edge = |direction, protocol, security, service, peer| EdgeReport {
        key: EdgeKey { direction, protocol, service, peer, port: 80, security },
        requests: 100,
        successes: 98,
        failures: 2,
        tcp_opened: 5,
        tcp_closed: 3,
        bytes_read: 1 << 40,
        bytes_written: 77,
        latency: Histogram::from_counts([(0, 1), (130, 90), (527, 9)], 123_456_789),
        added: Histogram::from_counts([(17, 100)], 1_700),
    };
    let verified = Security::Verified("spiffe://cluster.local/ns/sock-shop/sa/catalogue".into());
    let plaintext = Security::None("not_provided_by_service_discovery".into());
    vec![
        edge(Direction::Outbound, EdgeProtocol::Http, verified, Some(backend()), Some(workload("catalogue"))),
        edge(Direction::Inbound, EdgeProtocol::Tcp, plaintext, None, None),
    ]
}

fn trust_while_rotating() -> TrustBundle {
    TrustBundle { issuing: Some(1), ..trust() }
}

pub(crate) fn trust() -> TrustBundle {
    let roots = vec![vec![0x30, 0x82, 1], vec![0x30, 0x82, 2]];
    TrustBundle { trust_domain: "cluster.local".to_owned(), roots, issuing: None }
}

pub(crate) fn own_workload() -> Workload {
    let networks = ["10.42.0.0/16", "fd00::/48"].map(|network| network.parse().expect("a network"));
    Workload {
        workload: workload("front-end"),
        draining: true,
        cluster_networks: networks.to_vec(),
        node_ips: Vec::new(),
        probes: Vec::new(),
        grpc_probes: Vec::new(),
    }
}

/// As control planes say it since they tell of nodes.
pub(crate) fn workload_on_node() -> Workload {
    let node_ips = ["192.0.2.10", "2001:db8::10"].map(|ip| ip.parse().expect("an address"));
    Workload { node_ips: node_ips.to_vec(), ..own_workload() }
}

/// As control planes say it since they tell of probes.
pub(crate) fn probed_workload() -> Workload {
    let probe = |port, path: &str| HttpProbe { port, path: path.into(), query: "".into() };
    Workload { probes: vec![probe(8080, "/health"), probe(9090, "/")], ..workload_on_node() }
}

/// As control planes say it since they tell of queries and of gRPC.
fn workload_probed_exactly() -> Workload {
    let probe = HttpProbe { port: 8080, path: "/health".into(), query: "full=1".into() };
    Workload { probes: vec![probe], grpc_probes: vec![9000], ..workload_on_node() }
}

pub(crate) fn all_endpoints() -> Vec<Endpoint> {
    let plaintext = |text, reason| Endpoint {
        address: address(text),
        transport: Transport::Plaintext(reason),
        state: EndpointState::ServingTerminating,
        workload: None,
        zone: None,
    };
    vec![
        meshed_endpoint(),
        plaintext("10.42.0.8:8080", PlaintextReason::HostNetwork),
        plaintext("10.42.0.9:8080", PlaintextReason::NotMeshed),
        plaintext("[fd00::9]:8080", PlaintextReason::PortSkipped),
    ]
}

pub(crate) fn meshed_endpoint() -> Endpoint {
    let identity = "spiffe://cluster.local/ns/sock-shop/sa/catalogue".into();
    Endpoint {
        address: address("10.42.0.7:8080"),
        transport: Transport::MutualTls { identity },
        state: EndpointState::Serving,
        workload: Some(workload("catalogue")),
        zone: Some("eu-1a".into()),
    }
}

pub(crate) fn service_target() -> ServiceTarget {
    let object = ObjectRef {
        group: "gateway.networking.k8s.io".into(),
        kind: "HTTPRoute".into(),
        namespace: "sock-shop".into(),
        name: "catalogue".into(),
    };
    let order = RuleOrder::Specificity;
    let written = HttpRoute { object: object.clone(), order: RuleOrder::Written, rules: Vec::new() };
    let routes = vec![HttpRoute { object, order, rules: vec![full_rule(), unsupported_rule()] }, written];
    ServiceTarget { service: backend(), protocol: Protocol::Detect, http_routes: routes, client_affinity: None }
}

fn service_with_affinity() -> ServiceTarget {
    let client_affinity = Some(Duration::from_secs(10_800));
    ServiceTarget { service: backend(), protocol: Protocol::Opaque, http_routes: Vec::new(), client_affinity }
}

fn full_rule() -> HttpRule {
    let all = |path| HttpMatch::All { path, headers: Vec::new(), query: Vec::new(), method: None };
    let conditions = HttpMatch::All {
        path: PathMatch::Prefix("/catalogue".into()),
        headers: vec![
            HeaderMatch { name: "x-version".into(), value: StringMatch::Exact("2".into()) },
            HeaderMatch { name: "cookie".into(), value: StringMatch::Regex("user=.*".into()) },
        ],
        query: vec![
            QueryMatch { name: "tag".into(), value: StringMatch::Exact("blue".into()) },
            QueryMatch { name: "page".into(), value: StringMatch::Regex("[0-9]+".into()) },
        ],
        method: Some("GET".into()),
    };
    let unresolved = BackendRef::Unresolved { reason: "Service sock-shop/none does not exist".into() };
    HttpRule {
        name: "canary".into(),
        matches: vec![conditions, all(PathMatch::Exact("/".into())), all(PathMatch::Regex("/[a-z]+".into()))],
        filters: vec![Filter::RequestHeaders(modifier()), Filter::ResponseHeaders(modifier())],
        backends: vec![
            WeightedBackend { weight: 90, backend: BackendRef::Service(backend()), filters: Vec::new() },
            WeightedBackend { weight: 10, backend: unresolved, filters: vec![Filter::RequestHeaders(modifier())] },
        ],
        timeouts: Timeouts {
            request: Some(Duration::from_secs(10)),
            backend_request: Some(Duration::from_millis(2_500)),
        },
        retry: None,
        session: None,
    }
}

/// What came after the first messages of the release stands in a sample of its own: bytes that were golden stay so.
fn service_with_features() -> ServiceTarget {
    let object = ObjectRef {
        group: "gateway.networking.k8s.io".into(),
        kind: "GRPCRoute".into(),
        namespace: "sock-shop".into(),
        name: "catalogue".into(),
    };
    let words = |words: &[&str]| words.iter().map(|word| (*word).into()).collect();
    let redirect = Redirect {
        scheme: Some(Scheme::Https),
        hostname: Some("example.org".into()),
        path: Some(PathModifier::Prefix("/new".into())),
        port: Some(8443),
        status: 308,
    };
    let rewrite = Rewrite { hostname: Some("one.example".into()), path: Some(PathModifier::Full("/one".into())) };
    let unresolved = BackendRef::Unresolved { reason: "RefNotPermitted".into() };
    let cors = Cors {
        origins: words(&["https://*.example.org"]),
        credentials: true,
        methods: words(&["GET", "PUT"]),
        headers: words(&["x-a"]),
        expose: words(&["x-b"]),
        max_age: 600,
    };
    let session = |kind| Session {
        name: "shop".into(),
        kind,
        absolute_timeout: Some(Duration::from_secs(3600)),
        idle_timeout: Some(Duration::from_secs(60)),
        key: Arc::from(&b"0123456789abcdef"[..]),
    };
    let rule = |filters, session| HttpRule {
        name: "".into(),
        matches: vec![HttpMatch::All {
            path: PathMatch::GrpcMethod { service: Some("shop.Catalogue".into()), method: Some("List".into()) },
            headers: Vec::new(),
            query: Vec::new(),
            method: None,
        }],
        filters,
        backends: Vec::new(),
        timeouts: Timeouts::default(),
        retry: Some(Retry { codes: vec![503, 429], attempts: 3, backoff: Some(Duration::from_millis(100)) }),
        session: Some(session),
    };
    let filters = vec![
        Filter::Cors(cors),
        Filter::Mirror(Mirror { backend: BackendRef::Service(backend()), numerator: 1, denominator: 3 }),
        Filter::Mirror(Mirror { backend: unresolved, numerator: 100, denominator: 100 }),
        Filter::Rewrite(rewrite),
    ];
    let cookie = session(SessionKind::Cookie { path: "/shop".into(), permanent: true });
    let rules = vec![rule(filters, cookie), rule(vec![Filter::Redirect(redirect)], session(SessionKind::Header))];
    let routes = vec![HttpRoute { object, order: RuleOrder::Specificity, rules }];
    ServiceTarget { service: backend(), protocol: Protocol::Http2, http_routes: routes, client_affinity: None }
}

fn unsupported_rule() -> HttpRule {
    HttpRule {
        name: "".into(),
        matches: vec![HttpMatch::Unsupported],
        filters: vec![Filter::Unsupported],
        backends: Vec::new(),
        timeouts: Timeouts::default(),
        retry: None,
        session: None,
    }
}

fn modifier() -> HeaderModifier {
    let header = |name: &str, value: &[u8]| Header { name: name.into(), value: Arc::from(value) };
    HeaderModifier {
        set: vec![header("X-Env", b"canary")],
        add: vec![header("via", b"caf\xe9")],
        remove: vec!["x-debug".into()],
    }
}

pub(crate) fn backend() -> BackendKey {
    BackendKey { namespace: "sock-shop".into(), name: "catalogue".into(), port: 80 }
}

fn workload(name: &str) -> WorkloadRef {
    let pod = format!("{name}-6d9f-abcde").into();
    WorkloadRef { namespace: "sock-shop".into(), kind: "Deployment".into(), name: name.into(), pod }
}

fn address(text: &str) -> std::net::SocketAddr {
    text.parse().expect("an address")
}
