//! Unknown is not ignorable, and what is refused is named by its path.

use minimesh_api::grpc;
use minimesh_api::grpc::{endpoint, filter, path_match, target, update};
use minimesh_api::model::{
    DefaultPolicy, Filter, HttpMatch, PortPolicy, Protocol, ResourceKey, ServiceTarget, Target, TrustBundle,
};
use minimesh_api::wire::{Assembly, EndpointsPart, Features, Invalid, Response, State, Update};

#[allow(dead_code)] // each test binary uses its share
mod samples;

/// The sample target after a change, as a proxy reads it.
fn service(change: impl FnOnce(&mut grpc::ServiceTarget)) -> Result<ServiceTarget, Invalid> {
    let mut service = grpc::ServiceTarget::from(&samples::service_target());
    change(&mut service);
    let resource = (&ResourceKey::Target("10.43.0.1:80".parse().expect("an address"))).into();
    let state = update::State::Target(grpc::Target { kind: Some(target::Kind::Service(service)) });
    let update = grpc::Update { resource: Some(resource), version: 1, state: Some(state) };
    match Update::try_from(update)?.state {
        State::Target(Target::Service(service)) => Ok(service),
        other => panic!("not a service: {other:?}"),
    }
}

fn refused(change: impl FnOnce(&mut grpc::ServiceTarget)) -> String {
    service(change).expect_err("must be refused").field
}

fn rule(service: &mut grpc::ServiceTarget) -> &mut grpc::HttpRule {
    &mut service.http_routes[0].rules[0]
}

fn the_match(service: &mut grpc::ServiceTarget) -> &mut grpc::HttpMatch {
    &mut rule(service).matches[0]
}

fn request_headers(service: &mut grpc::ServiceTarget) -> &mut grpc::HeaderModifier {
    match rule(service).filters[0].kind.as_mut() {
        Some(filter::Kind::RequestHeaders(headers)) => headers,
        other => panic!("not request headers: {other:?}"),
    }
}

#[test]
fn an_unknown_kind_in_a_match_is_an_unsupported_match() {
    let changes: [fn(&mut grpc::HttpMatch); 3] = [
        |the_match| the_match.path = Some(grpc::PathMatch { kind: None }),
        |the_match| the_match.headers[1].value = Some(grpc::StringMatch { kind: None }),
        |the_match| the_match.query[0].value = Some(grpc::StringMatch { kind: None }),
    ];
    for change in changes {
        let service = service(|service| change(the_match(service))).expect("valid");
        assert_eq!(service.http_routes[0].rules[0].matches[0], HttpMatch::Unsupported);
        assert_ne!(service.http_routes[0].rules[0].matches[1], HttpMatch::Unsupported);
    }
}

#[test]
fn an_unknown_kind_of_filter_is_an_unsupported_filter() {
    let service = service(|service| rule(service).filters[1].kind = None).expect("valid");
    assert_eq!(service.http_routes[0].rules[0].filters[1], Filter::Unsupported);
}

#[test]
fn an_unknown_policy_denies() {
    for policy in [0, 99] {
        let port = grpc::Port { protocol: grpc::Protocol::Http1.into(), policy };
        let denied = PortPolicy { protocol: Protocol::Http1, policy: DefaultPolicy::Deny };
        assert_eq!(PortPolicy::try_from(port), Ok(denied));
    }
}

#[test]
fn what_is_unknown_elsewhere_is_refused_by_its_path() {
    assert_eq!(refused(|service| service.protocol = 0), "service.protocol");
    assert_eq!(refused(|service| service.protocol = 77), "service.protocol");
    assert_eq!(refused(|service| service.service = None), "service.service");
    assert_eq!(refused(|service| service.http_routes[0].order = 0), "service.http_routes[0].order");
    assert_eq!(refused(|service| rule(service).matches.clear()), "service.http_routes[0].rules[0].matches");
    assert_eq!(refused(|service| rule(service).timeouts = None), "service.http_routes[0].rules[0].timeouts");
    assert_eq!(
        refused(|service| the_match(service).path =
            Some(grpc::PathMatch { kind: Some(path_match::Kind::Exact("a".into())) })),
        "service.http_routes[0].rules[0].matches[0].path"
    );
    assert_eq!(
        refused(|service| rule(service).backends[1].backend = None),
        "service.http_routes[0].rules[0].backends[1].backend"
    );
    assert_eq!(
        refused(|service| rule(service).backends[0].weight = 1_000_001),
        "service.http_routes[0].rules[0].backends[0].weight"
    );
}

#[test]
fn headers_that_could_end_their_line_are_refused() {
    let values: [&[u8]; 3] = [b"a\r\nhost: evil", b"a\nb", b"a\0"];
    for value in values {
        let field = refused(|service| request_headers(service).set[0].value = value.to_vec().into());
        assert_eq!(field, "service.http_routes[0].rules[0].filters[0].request_headers.set[0].value");
    }
    for name in ["", "a b", "a:", "a\r\n", "caf\u{e9}"] {
        let field = refused(|service| request_headers(service).add[0].name = name.to_owned());
        assert_eq!(field, "service.http_routes[0].rules[0].filters[0].request_headers.add[0].name");
        let field = refused(|service| request_headers(service).remove[0] = name.to_owned());
        assert_eq!(field, "service.http_routes[0].rules[0].filters[0].request_headers.remove[0]");
        let field = refused(|service| the_match(service).headers[0].name = name.to_owned());
        assert_eq!(field, "service.http_routes[0].rules[0].matches[0].headers[0].name");
    }
}

#[test]
fn names_to_compare_with_become_lower_case() {
    let service = service(|service| the_match(service).headers[0].name = "X-Version".to_owned()).expect("valid");
    assert_eq!(service, samples::service_target());
}

#[test]
fn an_endpoint_without_a_transport_is_never_plaintext() {
    let endpoint = || grpc::Endpoint::from(&samples::meshed_endpoint());
    let field = |endpoint: grpc::Endpoint| {
        minimesh_api::model::Endpoint::try_from(endpoint).expect_err("must be refused").field
    };
    assert_eq!(field(grpc::Endpoint { transport: None, ..endpoint() }), "transport");
    let plaintext = |reason| Some(endpoint::Transport::Plaintext(reason));
    assert_eq!(field(grpc::Endpoint { transport: plaintext(0), ..endpoint() }), "plaintext");
    assert_eq!(field(grpc::Endpoint { transport: plaintext(9), ..endpoint() }), "plaintext");
    for id in ["", "catalogue", "spiffe://td", "spiffe://td/ns/a/sa/", "spiffe://td/ns/a/sa/b/c", "spiffe:///ns/a/sa/b"]
    {
        let transport = Some(endpoint::Transport::Identity(id.to_owned()));
        assert_eq!(field(grpc::Endpoint { transport, ..endpoint() }), "identity", "{id}");
    }
    assert_eq!(field(grpc::Endpoint { state: 0, ..endpoint() }), "state");
}

#[test]
fn a_broken_hint_is_dropped() {
    let workload = Some(grpc::WorkloadRef { name: "a\nb".to_owned(), ..grpc::WorkloadRef::default() });
    let endpoint = grpc::Endpoint { workload, zone: "\n".to_owned(), ..(&samples::meshed_endpoint()).into() };
    let expected = minimesh_api::model::Endpoint { workload: None, zone: None, ..samples::meshed_endpoint() };
    assert_eq!(endpoint.try_into(), Ok(expected));
}

#[test]
fn addresses_have_one_spelling() {
    let mapped = std::net::Ipv4Addr::new(10, 42, 0, 1).to_ipv6_mapped().octets().to_vec();
    for ip in [Vec::new(), vec![1; 5], vec![1; 17], mapped] {
        let address = grpc::SocketAddress { ip: ip.into(), port: 80 };
        assert_eq!(std::net::SocketAddr::try_from(address).expect_err("must be refused").field, "ip");
    }
    for port in [0, 65_536] {
        let address = grpc::SocketAddress { ip: vec![10, 42, 0, 1].into(), port };
        assert_eq!(std::net::SocketAddr::try_from(address).expect_err("must be refused").field, "port");
    }
}

#[test]
fn a_bundle_without_roots_is_refused() {
    for roots in [Vec::new(), vec![Vec::new().into()]] {
        let bundle = grpc::TrustBundle { trust_domain: "cluster.local".to_owned(), roots, issuing: 0 };
        assert!(TrustBundle::try_from(bundle).is_err());
    }
}

#[test]
fn a_state_must_fit_its_resource_and_have_a_version() {
    let update = |resource: ResourceKey, version| grpc::Update {
        resource: Some((&resource).into()),
        version,
        state: Some(update::State::Trust((&samples::trust()).into())),
    };
    let field = |update: grpc::Update| Update::try_from(update).expect_err("must be refused").field;
    assert_eq!(field(update(ResourceKey::Workload, 1)), "state");
    assert_eq!(field(update(ResourceKey::Trust, 0)), "version");
    assert!(Update::try_from(update(ResourceKey::Trust, 1)).is_ok());
}

#[test]
fn a_delta_against_another_version_is_refused() {
    let part = EndpointsPart::Delta {
        delta: minimesh_api::model::EndpointsDelta { base_version: 4, upserts: Vec::new(), removed: Vec::new() },
        more: false,
    };
    let change = Assembly::default().push(5, part).expect("a series of one").expect("complete");
    let held = minimesh_api::model::Endpoints::default();
    assert!(change.clone().apply(None).is_err());
    assert!(change.clone().apply(Some((3, &held))).is_err());
    assert_eq!(change.apply(Some((4, &held))), Ok(held));
}

/// What an old proxy is sent of a rule that uses what it does not know.
#[test]
fn what_a_proxy_did_not_announce_is_said_to_be_not_understood() {
    let rule = |features: &[&str]| {
        let responses = samples::responses();
        let (_, response) =
            responses.iter().find(|(name, _)| *name == "watch_response_target_features").expect("there");
        let Response::Update(update) = response else { panic!("an update") };
        let State::Target(mut target) = update.state.clone() else { panic!("a target") };
        Features::of(&features.iter().map(|word| (*word).into()).collect::<Vec<_>>()).restrict(&mut target);
        let Target::Service(service) = target else { panic!("a Service") };
        service.http_routes[0].rules[0].clone()
    };
    let bare = rule(&["some-later-word"]);
    assert_eq!(bare.matches, [HttpMatch::Unsupported]);
    assert_eq!((bare.retry, bare.session), (None, None));
    assert_eq!(bare.filters, vec![Filter::Unsupported; 5]);

    let most = rule(&["grpc_method", "cors", "redirect"]);
    assert!(!most.matches.contains(&HttpMatch::Unsupported));
    assert!(matches!(most.filters[0], Filter::Cors(_)) && most.filters[3] == Filter::Unsupported, "{most:?}");
}
