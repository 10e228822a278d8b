//! What a control plane would say to a pair of linkerd2-proxies: one Service for each port of the application, with one endpoint.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use minimesh_benches::origin::SINK;
use prost::{DecodeError, Message};

use super::messages::*;

/// The cluster, as far as anybody asks.
#[derive(Clone, Debug)]
pub(super) struct Cluster {
    /// Address of the server's pod.
    pub(super) server: Ipv4Addr,
    /// Name in the server's certificate.
    pub(super) server_name: String,
    /// Who may come to the server: an identity of the client's certificate, the first that it names.
    pub(super) client: String,
    /// Certificate of the proxy that asks, DER.
    pub(super) leaf: Vec<u8>,
    /// How long it is good, in seconds since 1970.
    pub(super) valid_until: i64,
}

/// An answer to a call.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Answer {
    /// A message, and that was all.
    Once(Vec<u8>),
    /// No such method is known.
    Unknown,
    /// A message, and more when there is news, which there never is.
    Watched(Vec<u8>),
}

/// Where the proxies take connections from outside of their pod.
pub(super) const INBOUND: u16 = 4143;

impl Cluster {
    /// Answers a call of that path.
    pub(super) fn answer(&self, path: &str, request: &[u8]) -> Result<Answer, DecodeError> {
        Ok(match path.trim_start_matches("/io.linkerd.proxy.") {
            "destination.Destination/Get" => {
                let port = port_of(&GetDestination::decode(request)?.path);
                Answer::Watched(self.endpoints(port).encode_to_vec())
            }
            "destination.Destination/GetProfile" => {
                let port = port_of(&GetDestination::decode(request)?.path);
                Answer::Watched(profile(port).encode_to_vec())
            }
            "identity.Identity/Certify" => {
                let valid_until = Some(Timestamp { seconds: self.valid_until });
                Answer::Once(Certified { leaf: self.leaf.clone(), valid_until }.encode_to_vec())
            }
            "inbound.InboundServerPolicies/WatchPort" => {
                let port = PortSpec::decode(request)?.port;
                Answer::Watched(self.inbound(port).encode_to_vec())
            }
            "outbound.OutboundPolicies/Watch" => {
                let port = TrafficSpec::decode(request)?.address.map_or(0, |address| address.port);
                Answer::Watched(outbound(port).encode_to_vec())
            }
            _ => Answer::Unknown,
        })
    }

    fn endpoints(&self, port: u32) -> Update {
        let hint = match is_opaque(port) {
            true => ProtocolHint {
                opaque: Some(()),
                opaque_transport: Some(OpaqueTransport { inbound_port: INBOUND.into() }),
                ..ProtocolHint::default()
            },
            false => ProtocolHint { h2: Some(()), ..ProtocolHint::default() },
        };
        let name = DnsLikeIdentity { name: self.server_name.clone() };
        let endpoint = WeightedAddress {
            address: Some(TcpAddress { address: Some(IpAddress { v4: Some(self.server.into()) }), port }),
            weight: 10_000,
            labels: labels([("pod", "server")]),
            identity: Some(TlsIdentity { dns_like: Some(name.clone()), server_name: Some(name) }),
            hint: Some(hint),
        };
        Update { add: Some(WeightedAddresses { addresses: vec![endpoint], labels: labels([("service", SERVICE)]) }) }
    }

    /// Of a port of the application: mutual TLS of the client, and of nobody else.
    fn inbound(&self, port: u32) -> Server {
        let everywhere = IpNetwork { address: Some(IpAddress { v4: Some(0) }), prefix: 0 };
        let client = ClientIdentities { identities: vec![Identity { name: self.client.clone() }] };
        let protocol = match is_opaque(port) {
            true => InboundProtocol { opaque: Some(()), ..InboundProtocol::default() },
            false => {
                let rules = vec![InboundRule { matches: vec![every_path()] }];
                let routes = vec![InboundRoute { metadata: Some(built_in("default")), rules }];
                let detect = InboundDetect { timeout: Some(DETECTION), routes };
                InboundProtocol { detect: Some(detect), ..InboundProtocol::default() }
            }
        };
        Server {
            protocol: Some(protocol),
            authorizations: vec![Authorization {
                networks: vec![Network { network: Some(everywhere) }],
                authentication: Some(Authentication { mesh_tls: Some(MeshTls { identities: Some(client) }) }),
                metadata: Some(built_in(POLICY)),
            }],
            labels: labels([("group", ""), ("kind", "default"), ("name", POLICY)]),
        }
    }
}

/// Of a Service, by name or address.
fn profile(port: u32) -> Profile {
    Profile { opaque: is_opaque(port), name: name(), parent: Some(service(port)) }
}

/// Of a Service: the routes that one has to which nobody has attached a route.
fn outbound(port: u32) -> OutboundPolicy {
    let opaque = OpaqueRoutes {
        routes: vec![OpaqueRoute {
            metadata: Some(built_in("opaque")),
            rules: vec![OpaqueRule { backends: Some(only(port)) }],
        }],
    };
    let protocol = match is_opaque(port) {
        true => OutboundProtocol { opaque: Some(opaque), ..OutboundProtocol::default() },
        false => {
            let rules = vec![HttpRule { matches: vec![every_path()], backends: Some(only(port)) }];
            let http = HttpRoutes { routes: vec![HttpRoute { metadata: Some(built_in("http")), rules }] };
            let detect = OutboundDetect {
                timeout: Some(DETECTION),
                opaque: Some(opaque),
                http1: Some(http.clone()),
                http2: Some(http),
            };
            OutboundProtocol { detect: Some(detect), ..OutboundProtocol::default() }
        }
    };
    OutboundPolicy { protocol: Some(protocol), metadata: Some(service(port)) }
}

/// The Service's endpoints, balanced as its control plane has it by default.
fn only(port: u32) -> Distribution {
    let discovery = Discovery { destination: Some(DestinationPath { path: format!("{}:{port}", name()) }) };
    let round_trip = Duration { seconds: 0, nanos: 30_000_000 };
    let balancer = Balancer {
        discovery: Some(discovery),
        peak_ewma: Some(PeakEwma { default_round_trip: Some(round_trip), decay: Some(seconds(10)) }),
    };
    let backend = Backend {
        metadata: Some(service(port)),
        balancer: Some(balancer),
        queue: Some(Queue { capacity: 100, failfast_timeout: Some(seconds(3)) }),
    };
    let backends = vec![RouteBackend { backend: Some(backend) }];
    Distribution { first_available: Some(RouteBackends { backends }) }
}

fn service(port: u32) -> Metadata {
    let resource = Resource {
        group: "core".to_owned(),
        kind: "Service".to_owned(),
        name: SERVICE.to_owned(),
        namespace: "test".to_owned(),
        port,
    };
    Metadata { resource: Some(resource), ..Metadata::default() }
}

fn built_in(name: &str) -> Metadata {
    Metadata { built_in: Some(name.to_owned()), ..Metadata::default() }
}

fn every_path() -> RouteMatch {
    RouteMatch { path: Some(PathMatch { prefix: Some("/".to_owned()) }) }
}

fn labels<const N: usize>(pairs: [(&str, &str); N]) -> BTreeMap<String, String> {
    pairs.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

fn name() -> String {
    format!("{SERVICE}.test.svc.cluster.local")
}

/// Of a name or an address with a port; 0 without one.
fn port_of(path: &str) -> u32 {
    path.rsplit_once(':').and_then(|(_, port)| port.parse().ok()).unwrap_or(0)
}

fn is_opaque(port: u32) -> bool {
    port == u32::from(SINK)
}

const fn seconds(seconds: i64) -> Duration {
    Duration { seconds, nanos: 0 }
}

const SERVICE: &str = "web";
const POLICY: &str = "all-authenticated";
/// How long bytes may take to say what they are.
const DETECTION: Duration = seconds(10);

#[cfg(test)]
mod tests {
    use super::*;

    fn cluster() -> Cluster {
        Cluster {
            server: [10, 42, 0, 2].into(),
            server_name: "server.test".to_owned(),
            client: "spiffe://client".to_owned(),
            leaf: vec![1],
            valid_until: 300,
        }
    }

    /// Answers a question about a port.
    fn answer(path: &str, request: &impl Message) -> Vec<u8> {
        match cluster().answer(&format!("/io.linkerd.proxy.{path}"), &request.encode_to_vec()).unwrap() {
            Answer::Once(message) | Answer::Watched(message) => message,
            Answer::Unknown => panic!("{path} is unknown"),
        }
    }

    #[test]
    fn bytes_are_those_of_the_published_protocol() {
        let asked = GetDestination { path: "10.43.0.12:8082".to_owned() };
        assert_eq!(
            answer("destination.Destination/Get", &asked),
            b"\x0a\x59\x0a\x47\x0a\x0a\x0a\x05\x0d\x02\x00\x2a\x0a\x10\x92\x3f\x18\x90\x4e\x22\x0d\x0a\x03pod\x12\x06server\
              \x2a\x1e\x0a\x0d\x0a\x0bserver.test\x22\x0d\x0a\x0bserver.test\x32\x07\x12\x03\x08\xaf\x20\x1a\x00\
              \x12\x0e\x0a\x07service\x12\x03web"
        );
        assert_eq!(
            answer("destination.Destination/GetProfile", &asked),
            b"\x20\x01\x2a\x1aweb.test.svc.cluster.local\x3a\x1f\x12\x1d\x0a\x04core\x12\x07Service\x1a\x03web\x22\x04test\x30\x92\x3f"
        );
        assert_eq!(answer("identity.Identity/Certify", &()), b"\x0a\x01\x01\x1a\x03\x08\xac\x02");
    }

    #[test]
    fn bytes_are_bytes_and_http_is_detected_at_both_ends() {
        let ends = |port| {
            let address = Some(TcpAddress { address: None, port });
            let outbound = answer("outbound.OutboundPolicies/Watch", &TrafficSpec { address });
            let inbound = answer("inbound.InboundServerPolicies/WatchPort", &PortSpec { port });
            let outbound = OutboundPolicy::decode(&*outbound).unwrap().protocol.unwrap();
            let inbound = Server::decode(&*inbound).unwrap().protocol.unwrap();
            [
                (outbound.detect.is_some(), outbound.opaque.is_some()),
                (inbound.detect.is_some(), inbound.opaque.is_some()),
            ]
        };
        assert_eq!(ends(8080), [(true, false); 2]);
        assert_eq!(ends(8081), [(true, false); 2]);
        assert_eq!(ends(8082), [(false, true); 2]);
    }

    #[test]
    fn every_backend_is_looked_up_under_the_name_and_port_that_was_asked_for() {
        let OutboundPolicy { protocol, .. } = outbound(8081);
        let detect = protocol.unwrap().detect.unwrap();
        let http = [detect.http1, detect.http2].map(|routes| routes.unwrap().routes[0].rules[0].backends.clone());
        let opaque = detect.opaque.unwrap().routes[0].rules[0].backends.clone();
        for backends in http.into_iter().chain([opaque]) {
            let backend = backends.unwrap().first_available.unwrap().backends[0].backend.clone().unwrap();
            let path = backend.balancer.unwrap().discovery.unwrap().destination.unwrap().path;
            assert_eq!(path, "web.test.svc.cluster.local:8081");
        }
    }

    #[test]
    fn nobody_gets_in_but_the_client_by_mutual_tls() {
        let [only] = &cluster().inbound(8080).authorizations[..] else { panic!("there is one authorization") };
        let identities = only.authentication.clone().unwrap().mesh_tls.unwrap().identities.unwrap();
        assert_eq!(identities.identities, [Identity { name: "spiffe://client".to_owned() }]);
    }
}
