//! Arbitrary values of the model: everything that may exist, so that whatever is found can be sent.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use minimesh_api::histogram::{BUCKETS, Histogram};
use minimesh_api::model::*;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

pub(crate) fn name() -> impl Strategy<Value = Arc<str>> {
    "[a-z0-9]([a-z0-9-]{0,10}[a-z0-9])?".prop_map(Arc::from)
}

fn word() -> impl Strategy<Value = Arc<str>> {
    "[A-Za-z0-9./-]{0,20}".prop_map(Arc::from)
}

pub(crate) fn address() -> impl Strategy<Value = SocketAddr> {
    let v6 = any::<u128>().prop_map(Ipv6Addr::from).prop_filter("mapped", |ip| ip.to_ipv4_mapped().is_none());
    let ip = prop_oneof![any::<u32>().prop_map(|ip| IpAddr::V4(Ipv4Addr::from(ip))), v6.prop_map(IpAddr::V6)];
    (ip, 1u16..).prop_map(|(ip, port)| SocketAddr::new(ip, port))
}

pub(crate) fn backend_key() -> impl Strategy<Value = BackendKey> {
    (name(), name(), 1u16..).prop_map(|(namespace, name, port)| BackendKey { namespace, name, port })
}

pub(crate) fn resource_key() -> impl Strategy<Value = ResourceKey> {
    prop_oneof![
        backend_key().prop_map(ResourceKey::Endpoints),
        (1u16..).prop_map(ResourceKey::Port),
        address().prop_map(ResourceKey::Target),
        Just(ResourceKey::Trust),
        Just(ResourceKey::Workload),
    ]
}

fn workload_ref() -> impl Strategy<Value = WorkloadRef> {
    (name(), word(), name(), name()).prop_map(|(namespace, kind, name, pod)| WorkloadRef { namespace, kind, name, pod })
}

fn identity() -> impl Strategy<Value = Arc<str>> {
    (name(), name())
        .prop_map(|(namespace, account)| format!("spiffe://cluster.local/ns/{namespace}/sa/{account}").into())
}

pub(crate) fn endpoint() -> impl Strategy<Value = Endpoint> {
    let transport = prop_oneof![
        identity().prop_map(|identity| Transport::MutualTls { identity }),
        prop_oneof![
            Just(PlaintextReason::HostNetwork),
            Just(PlaintextReason::NotMeshed),
            Just(PlaintextReason::PortSkipped)
        ]
        .prop_map(Transport::Plaintext),
    ];
    let state = prop_oneof![Just(EndpointState::Serving), Just(EndpointState::ServingTerminating)];
    (address(), transport, state, option::of(workload_ref()), option::of(name()))
        .prop_map(|(address, transport, state, workload, zone)| Endpoint { address, transport, state, workload, zone })
}

pub(crate) fn endpoints(most: usize) -> impl Strategy<Value = Endpoints> {
    vec(endpoint(), 0..most).prop_map(Endpoints::new)
}

fn text() -> impl Strategy<Value = Arc<str>> {
    "[^\\p{Cc}]{0,30}".prop_map(Arc::from)
}

fn string_match() -> impl Strategy<Value = StringMatch> {
    prop_oneof![text().prop_map(StringMatch::Exact), text().prop_map(StringMatch::Regex)]
}

fn http_match() -> impl Strategy<Value = HttpMatch> {
    let path = prop_oneof![
        "/[^\\p{Cc}]{0,20}".prop_map(|path| PathMatch::Exact(path.into())),
        "/[^\\p{Cc}]{0,20}".prop_map(|path| PathMatch::Prefix(path.into())),
        text().prop_map(PathMatch::Regex),
        (option::of(name()), option::of(name()))
            .prop_map(|(service, method)| PathMatch::GrpcMethod { service, method }),
    ];
    let header = (name(), string_match()).prop_map(|(name, value)| HeaderMatch { name, value });
    let query = (name(), string_match()).prop_map(|(name, value)| QueryMatch { name, value });
    let method = option::of("[A-Z]{1,10}".prop_map(Arc::from));
    let all = (path, vec(header, 0..3), vec(query, 0..3), method);
    prop_oneof![
        9 => all.prop_map(|(path, headers, query, method)| HttpMatch::All { path, headers, query, method }),
        1 => Just(HttpMatch::Unsupported),
    ]
}

fn filter() -> impl Strategy<Value = Filter> {
    let value = vec(any::<u8>().prop_filter("ends a line", |byte| !b"\r\n\0".contains(byte)), 0..20);
    let header =
        ("[A-Za-z0-9-]{1,10}", value).prop_map(|(name, value)| Header { name: name.into(), value: value.into() });
    let modifier = (vec(header.clone(), 0..3), vec(header, 0..3), vec(name(), 0..3));
    let modifier = modifier.prop_map(|(set, add, remove)| HeaderModifier { set, add, remove }).boxed();
    prop_oneof![
        4 => modifier.clone().prop_map(Filter::RequestHeaders),
        4 => modifier.prop_map(Filter::ResponseHeaders),
        2 => redirect().prop_map(Filter::Redirect),
        2 => rewrite().prop_map(Filter::Rewrite),
        2 => mirror().prop_map(Filter::Mirror),
        2 => cors().prop_map(Filter::Cors),
        1 => Just(Filter::Unsupported),
    ]
}

fn path_modifier() -> impl Strategy<Value = Option<PathModifier>> {
    let full = "/[a-z/]{0,10}".prop_map(|path| PathModifier::Full(path.into()));
    let prefix = "(/[a-z/]{0,10})?".prop_map(|path| PathModifier::Prefix(path.into()));
    option::of(prop_oneof![full, prefix])
}

fn redirect() -> impl Strategy<Value = Redirect> {
    let scheme = option::of(prop_oneof![Just(Scheme::Http), Just(Scheme::Https)]);
    let status = prop_oneof![Just(301), Just(302), Just(303), Just(307), Just(308)];
    (scheme, option::of(name()), path_modifier(), option::of(1u16..), status)
        .prop_map(|(scheme, hostname, path, port, status)| Redirect { scheme, hostname, path, port, status })
}

fn rewrite() -> impl Strategy<Value = Rewrite> {
    (option::of(name()), path_modifier()).prop_map(|(hostname, path)| Rewrite { hostname, path })
}

fn mirror() -> impl Strategy<Value = Mirror> {
    (reference(), 1u32..1000).prop_flat_map(|(backend, denominator)| {
        (0..=denominator).prop_map(move |numerator| Mirror { backend: backend.clone(), numerator, denominator })
    })
}

fn cors() -> impl Strategy<Value = Cors> {
    let words = || vec(word(), 0..3);
    (words(), any::<bool>(), words(), words(), words(), any::<u32>()).prop_map(
        |(origins, credentials, methods, headers, expose, max_age)| Cors {
            origins,
            credentials,
            methods,
            headers,
            expose,
            max_age,
        },
    )
}

fn reference() -> impl Strategy<Value = BackendRef> {
    prop_oneof![
        backend_key().prop_map(BackendRef::Service),
        text().prop_map(|reason| BackendRef::Unresolved { reason })
    ]
}

fn backend() -> impl Strategy<Value = WeightedBackend> {
    (0..=1_000_000u32, reference(), vec(filter(), 0..2)).prop_map(|(weight, backend, filters)| WeightedBackend {
        weight,
        backend,
        filters,
    })
}

fn limit() -> impl Strategy<Value = Option<Duration>> {
    option::of((0..315_576_000_000u64, 1..1_000_000_000u32).prop_map(|(seconds, nanos)| Duration::new(seconds, nanos)))
}

fn rule() -> impl Strategy<Value = HttpRule> {
    let timeouts = (limit(), limit()).prop_map(|(request, backend_request)| Timeouts { request, backend_request });
    let plain = (word(), vec(http_match(), 1..3), vec(filter(), 0..3), vec(backend(), 0..3), timeouts).prop_map(
        |(name, matches, filters, backends, timeouts)| HttpRule {
            name,
            matches,
            filters,
            backends,
            timeouts,
            retry: None,
            session: None,
        },
    );
    (plain, option::of(retry()), option::of(session())).prop_map(|(rule, retry, session)| HttpRule {
        retry,
        session,
        ..rule
    })
}

fn retry() -> impl Strategy<Value = Retry> {
    (vec(400..600u16, 0..4), 0u32.., limit()).prop_map(|(codes, attempts, backoff)| Retry { codes, attempts, backoff })
}

fn session() -> impl Strategy<Value = Session> {
    let cookie = ("/[a-z/]{0,10}", any::<bool>())
        .prop_map(|(path, permanent)| SessionKind::Cookie { path: path.into(), permanent });
    let kind = prop_oneof![cookie, Just(SessionKind::Header)];
    (name(), kind, limit(), limit(), vec(any::<u8>(), 16..65)).prop_map(
        |(name, kind, absolute_timeout, idle_timeout, key)| Session {
            name,
            kind,
            absolute_timeout,
            idle_timeout,
            key: key.into(),
        },
    )
}

fn route() -> impl Strategy<Value = HttpRoute> {
    let object = (word(), word(), name(), name()).prop_map(|(group, kind, namespace, name)| ObjectRef {
        group,
        kind,
        namespace,
        name,
    });
    let order = prop_oneof![Just(RuleOrder::Specificity), Just(RuleOrder::Written)];
    (object, order, vec(rule(), 0..3)).prop_map(|(object, order, rules)| HttpRoute { object, order, rules })
}

fn protocol() -> impl Strategy<Value = Protocol> {
    prop_oneof![
        Just(Protocol::Detect),
        Just(Protocol::Http1),
        Just(Protocol::Http2),
        Just(Protocol::Opaque),
        Just(Protocol::Tls)
    ]
}

pub(crate) fn target() -> impl Strategy<Value = Target> {
    let affinity = option::of((0..1_000_000u64).prop_map(Duration::from_secs));
    let service = (backend_key(), protocol(), vec(route(), 0..3), affinity).prop_map(
        |(service, protocol, http_routes, client_affinity)| ServiceTarget {
            service,
            protocol,
            http_routes,
            client_affinity,
        },
    );
    let reason = prop_oneof![
        Just(PassthroughReason::OutsideCluster),
        Just(PassthroughReason::UndefinedPort),
        Just(PassthroughReason::UnknownAddress)
    ];
    prop_oneof![
        endpoint().prop_map(Target::Endpoint),
        reason.prop_map(Target::Passthrough),
        service.prop_map(Target::Service)
    ]
}

pub(crate) fn port_policy() -> impl Strategy<Value = PortPolicy> {
    let policy = prop_oneof![
        Just(DefaultPolicy::AllAuthenticated),
        Just(DefaultPolicy::AllUnauthenticated),
        Just(DefaultPolicy::Audit),
        Just(DefaultPolicy::ClusterAuthenticated),
        Just(DefaultPolicy::ClusterUnauthenticated),
        Just(DefaultPolicy::Deny),
    ];
    (protocol(), policy).prop_map(|(protocol, policy)| PortPolicy { protocol, policy })
}

pub(crate) fn workload() -> impl Strategy<Value = Workload> {
    let network = (address(), 0..=32u8).prop_map(|(address, length)| {
        IpNet::new(address.ip(), length).expect("short enough for both families").trunc()
    });
    // A cut IPv6 address may become an IPv4-mapped one, which cannot travel.
    let network = network.prop_filter("mapped", |network| network.network().to_canonical() == network.network());
    let node_ips = vec(address().prop_map(|address| address.ip()), 0..3);
    let probe = (1u16.., "/[a-z]{0,9}", "[a-z=]{0,9}").prop_map(|(port, path, query)| HttpProbe {
        port,
        path: path.into(),
        query: query.into(),
    });
    let grpc = vec(1u16.., 0..3);
    (workload_ref(), any::<bool>(), vec(network, 0..4), node_ips, vec(probe, 0..3), grpc).prop_map(
        |(workload, draining, cluster_networks, node_ips, probes, grpc_probes)| Workload {
            workload,
            draining,
            cluster_networks,
            node_ips,
            probes,
            grpc_probes,
        },
    )
}

pub(crate) fn trust() -> impl Strategy<Value = TrustBundle> {
    (name(), vec(vec(any::<u8>(), 1..50), 1..4), option::of(0..4usize)).prop_map(|(trust_domain, roots, issuing)| {
        let issuing = issuing.filter(|place| *place < roots.len());
        TrustBundle { trust_domain: trust_domain.to_string(), roots, issuing }
    })
}

fn histogram() -> impl Strategy<Value = Histogram> {
    (vec((0..BUCKETS as u32, any::<u32>().prop_map(u64::from)), 0..10), any::<u64>())
        .prop_map(|(counts, sum)| Histogram::from_counts(counts, sum))
}

pub(crate) fn edge() -> impl Strategy<Value = EdgeReport> {
    let direction = prop_oneof![Just(Direction::Inbound), Just(Direction::Outbound)];
    let protocol = prop_oneof![Just(EdgeProtocol::Http), Just(EdgeProtocol::Tcp)];
    let security = prop_oneof![identity().prop_map(Security::Verified), name().prop_map(Security::None)];
    let key = (direction, protocol, option::of(backend_key()), option::of(workload_ref()), any::<u16>(), security);
    let key = key.prop_map(|(direction, protocol, service, peer, port, security)| EdgeKey {
        direction,
        protocol,
        service,
        peer,
        port,
        security,
    });
    (key, any::<[u64; 7]>(), histogram(), histogram()).prop_map(|(key, counters, latency, added)| {
        let [requests, successes, failures, tcp_opened, tcp_closed, bytes_read, bytes_written] = counters;
        EdgeReport {
            key,
            requests,
            successes,
            failures,
            tcp_opened,
            tcp_closed,
            bytes_read,
            bytes_written,
            latency,
            added,
        }
    })
}
