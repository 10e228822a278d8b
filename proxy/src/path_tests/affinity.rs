//! `sessionAffinity: ClientIP`: all connections of a pod go to one endpoint.

use std::sync::Arc;
use std::time::Duration;

use minimesh_api::model::Protocol;
use minimesh_route::RouteTable;

use super::{Mesh, SERVICE, Server, echo, key};
use crate::control::TargetSnapshot;

#[tokio::test(flavor = "local")]
async fn connections_of_one_pod_stay_with_one_endpoint_while_it_serves() {
    let mesh = Mesh::new();
    let (a, b) = (mesh.server("catalogue", echo().await), mesh.server("catalogue", echo().await));
    let affinity = |client_affinity| {
        let routes = Arc::new(RouteTable::compile(&[]).expect("no routes"));
        let (service, protocol) = (key(), Protocol::Detect);
        let snapshot = TargetSnapshot::Service { service, protocol, routes, client_affinity };
        mesh.client.control.target(SERVICE.parse().expect("address"), snapshot);
    };
    affinity(Some(Duration::from_secs(10_800)));
    mesh.endpoints(vec![a.endpoint(), b.endpoint()]);
    for _ in 0..20 {
        mesh.connect().await.get().await;
    }
    let requests = |server: &Server| server.proxy.metrics.reports().iter().map(|edge| edge.requests).sum::<u64>();
    let served = || (requests(&a), requests(&b));
    assert!([(20, 0), (0, 20)].contains(&served()), "{:?}", served());
    let (held, other) = if served().0 == 20 { (&a, &b) } else { (&b, &a) };
    mesh.endpoints(vec![other.endpoint()]);
    mesh.connect().await.get().await;
    mesh.endpoints(vec![a.endpoint(), b.endpoint()]);
    for _ in 0..9 {
        mesh.connect().await.get().await;
    }
    assert_eq!((requests(held), requests(other)), (20, 10), "it stays where it went");
}
