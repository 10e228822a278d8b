//! What is sent is what was meant; what is received is refused or valid, never a panic.

use minimesh_api::grpc;
use minimesh_api::model::{Endpoints, EndpointsDelta, Identities, ResourceKey};
use minimesh_api::wire::{
    Assembly, Certified, Certify, EndpointsPart, Report, Request, Response, State, Update, UpdateHead, version,
};
use proptest::collection::vec;
use proptest::prelude::*;
use prost::Message;

#[allow(dead_code)] // each test binary uses its share
mod samples;
#[allow(dead_code)] // each test binary uses its share
mod strategies;

/// Through the bytes, not only through the types.
fn through_bytes<M: Message + Default>(message: &M) -> M {
    M::decode(message.encode_to_vec().as_slice()).expect("just encoded")
}

fn state() -> impl Strategy<Value = (ResourceKey, State)> {
    let full = (strategies::endpoints(6), any::<bool>())
        .prop_map(|(endpoints, more)| EndpointsPart::Full { endpoints: endpoints.0, more });
    let delta = (1u64.., vec(strategies::endpoint(), 0..4), vec(strategies::address(), 0..4), any::<bool>()).prop_map(
        |(base_version, upserts, removed, more)| EndpointsPart::Delta {
            delta: EndpointsDelta { base_version, upserts, removed },
            more,
        },
    );
    let part = prop_oneof![full, delta];
    prop_oneof![
        (strategies::backend_key(), part).prop_map(|(key, part)| (ResourceKey::Endpoints(key), State::Endpoints(part))),
        (1u16.., strategies::port_policy()).prop_map(|(port, policy)| (ResourceKey::Port(port), State::Port(policy))),
        (strategies::address(), strategies::target()).prop_map(|(at, to)| (ResourceKey::Target(at), State::Target(to))),
        strategies::trust().prop_map(|trust| (ResourceKey::Trust, State::Trust(trust))),
        strategies::workload().prop_map(|workload| (ResourceKey::Workload, State::Workload(workload))),
    ]
}

#[test]
fn samples_survive_the_wire() {
    for (name, request) in samples::requests() {
        assert_eq!(Request::try_from(through_bytes(&grpc::WatchRequest::from(&request))), Ok(request), "{name}");
    }
    for (name, response) in samples::responses() {
        assert_eq!(Response::try_from(through_bytes(&grpc::WatchResponse::from(&response))), Ok(response), "{name}");
    }
    let certify = samples::certify();
    assert_eq!(Certify::try_from(through_bytes(&grpc::CertifyRequest::from(certify.clone()))), Ok(certify));
    let certified = samples::certified();
    assert_eq!(Certified::try_from(through_bytes(&grpc::CertifyResponse::from(&certified))), Ok(certified));
    let report = samples::report();
    assert_eq!(Report::try_from(through_bytes(&grpc::ReportRequest::from(&report))), Ok(report));
    let identities = samples::identities();
    assert_eq!(Identities::try_from(through_bytes(&grpc::IdentitiesResponse::from(&identities))), Ok(identities));
    let edges = samples::reported_edges();
    assert_eq!(Vec::try_from(through_bytes(&grpc::EdgesResponse::from(edges.as_slice()))), Ok(edges));
}

proptest! {
    #[test]
    fn updates_survive_the_wire((key, state) in state(), version in 1u64..) {
        let update = Update { key: key.clone(), version, state };
        let wire = through_bytes(&grpc::Update::from(&update));
        prop_assert_eq!(UpdateHead::try_from(&wire), Ok(UpdateHead { key, version }));
        prop_assert_eq!(Update::try_from(wire), Ok(update));
    }

    #[test]
    fn subscriptions_survive_the_wire(key in strategies::resource_key(), held in any::<u64>()) {
        let request = Request::Subscribe { key, held_version: Some(held).filter(|held| *held != 0) };
        prop_assert_eq!(Request::try_from(through_bytes(&grpc::WatchRequest::from(&request))), Ok(request));
    }

    #[test]
    fn edges_survive_the_wire(edges in vec(strategies::edge(), 0..4), complete in any::<bool>()) {
        let report = Report { edges, complete, ..samples::report() };
        prop_assert_eq!(Report::try_from(through_bytes(&grpc::ReportRequest::from(&report))), Ok(report));
    }

    #[test]
    fn equal_content_has_an_equal_version_and_other_content_another((_, a) in state(), (_, b) in state()) {
        let of = |state: &State| version(&state.into());
        prop_assert_eq!(of(&a), of(&a));
        prop_assert_eq!(of(&a) == of(&b), a == b);
        prop_assert_ne!(of(&a), 0);
    }

    #[test]
    fn a_delta_turns_the_base_into_the_new_endpoints(
        base in strategies::endpoints(12), kept in vec(any::<bool>(), 12), more in strategies::endpoints(6)
    ) {
        let kept = base.0.iter().zip(kept).filter(|(_, keep)| *keep).map(|(endpoint, _)| endpoint.clone());
        let new = Endpoints::new(kept.chain(more.0).collect());
        prop_assert_eq!(base.with(&new.delta(&base, 1)), new);
    }

    #[test]
    fn chunks_are_put_together_whatever_their_size(
        new in strategies::endpoints(12), base in strategies::endpoints(6), size in 1usize..5, as_delta in any::<bool>()
    ) {
        let delta = new.delta(&base, 9);
        let items = if as_delta { delta.upserts } else { new.0.clone() };
        let mut chunks: Vec<_> = items.chunks(size).map(<[_]>::to_vec).collect();
        chunks.push(Vec::new());
        let last = chunks.len() - 1;
        let mut assembly = Assembly::default();
        for (index, endpoints) in chunks.into_iter().enumerate() {
            let more = index < last;
            let part = if as_delta {
                let removed = if more { Vec::new() } else { delta.removed.clone() };
                EndpointsPart::Delta { delta: EndpointsDelta { base_version: 9, upserts: endpoints, removed }, more }
            } else {
                EndpointsPart::Full { endpoints, more }
            };
            let change = assembly.push(5, part).expect("chunks of one series");
            prop_assert_eq!(change.is_some(), !more);
            if let Some(change) = change {
                prop_assert_eq!(change.apply(Some((9, &base))), Ok(new.clone()));
            }
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in vec(any::<u8>(), 0..300)) {
        read_everything(&bytes);
    }

    #[test]
    fn damaged_messages_never_panic(
        sample in 0usize..25, at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<prop::sample::Index>()
    ) {
        let samples = samples::all();
        let mut bytes = samples[sample % samples.len()].bytes.clone();
        if !bytes.is_empty() {
            let at = at.index(bytes.len());
            bytes[at] = byte;
            read_everything(&bytes);
            bytes.truncate(cut.index(bytes.len()));
        }
        read_everything(&bytes);
    }
}

fn read_everything(bytes: &[u8]) {
    let _ = grpc::WatchRequest::decode(bytes).map(Request::try_from);
    if let Ok(Ok(Response::Update(update))) = grpc::WatchResponse::decode(bytes).map(Response::try_from)
        && let State::Endpoints(part) = update.state
    {
        let change = Assembly::default().push(update.version, part);
        let _ = change.map(|change| change.map(|change| change.apply(Some((3, &Endpoints::default())))));
    }
    let _ = grpc::Update::decode(bytes).map(Update::try_from);
    let _ = grpc::CertifyRequest::decode(bytes).map(Certify::try_from);
    let _ = grpc::CertifyResponse::decode(bytes).map(Certified::try_from);
    let _ = grpc::ReportRequest::decode(bytes).map(Report::try_from);
    let _ = grpc::EdgesRequest::decode(bytes).map(std::time::Duration::try_from);
    let _ = grpc::EdgesResponse::decode(bytes).map(Vec::<minimesh_api::model::ReportedEdge>::try_from);
}
