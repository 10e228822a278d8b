//! The wire API: any bytes are refused or become a model, and a model that goes over the wire comes back as it was. What a
//! control plane could say of routes compiles or is refused.

use std::fmt::Debug;

use minimesh_api::grpc;
use minimesh_api::model::{ReportedEdge, Target};
use minimesh_api::wire::{Certified, Certify, Features, Report, Request, Response, State, UpdateHead, version};
use minimesh_route::RouteTable;
use prost::Message;

/// The first byte says which message.
pub(crate) fn run(bytes: &[u8]) {
    let Some((kind, bytes)) = bytes.split_first() else { return };
    match kind % 6 {
        0 => drop(round::<grpc::WatchRequest, Request>(bytes, |model| model.into())),
        1 => response(bytes),
        2 => drop(round::<grpc::ReportRequest, Report>(bytes, |model| model.into())),
        3 => drop(round::<grpc::EdgesResponse, Vec<ReportedEdge>>(bytes, |model| model.as_slice().into())),
        // a CSR is moved into its message: there is nothing to compare
        4 => drop(grpc::CertifyRequest::decode(bytes).ok().map(Certify::try_from)),
        _ => drop(round::<grpc::CertifyResponse, Certified>(bytes, |model| model.into())),
    }
}

fn response(bytes: &[u8]) {
    if let Ok(grpc::WatchResponse { message: Some(grpc::watch_response::Message::Update(update)) }) =
        grpc::WatchResponse::decode(bytes)
    {
        let _ = UpdateHead::try_from(&update);
        let _ = update.state.as_ref().map(version);
    }
    let response = round::<grpc::WatchResponse, Response>(bytes, |model| model.into());
    let Some(Response::Update(update)) = response else { return };
    let State::Target(mut target) = update.state else { return };
    if let Target::Service(service) = &target {
        let _ = RouteTable::compile(&service.http_routes);
    }
    Features::of(&[]).restrict(&mut target);
}

/// What the bytes mean, if anything.
fn round<W, M>(bytes: &[u8], back: fn(&M) -> W) -> Option<M>
where
    W: Message + Default,
    M: TryFrom<W> + PartialEq + Debug,
    M::Error: Debug,
{
    let model = M::try_from(W::decode(bytes).ok()?).ok()?;
    let again = W::decode(back(&model).encode_to_vec().as_slice()).map_err(|error| format!("{error}"));
    match again.map(M::try_from) {
        Ok(Ok(again)) => assert_eq!(again, model),
        other => panic!("{model:?} does not come back: {other:?}"),
    }
    Some(model)
}
