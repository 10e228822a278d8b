//! Any of the kinds, their keys, and the events that carry them.

use std::fmt;
use std::sync::Arc;

use serde::de::{DeserializeSeed, Deserializer};
use serde::{Deserialize, Serialize, Serializer};

use super::{
    Deployment, EndpointSlice, GrpcRoute, HttpRoute, Metadata, Namespace, Node, Pod, ReferenceGrant, Service,
    ServiceAccount,
};

/// An object of a kind that the mesh honours. Written with `apiVersion` and `kind`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Object {
    /// `apps/v1`
    Deployment(Deployment),
    /// `discovery.k8s.io/v1`
    EndpointSlice(EndpointSlice),
    /// `gateway.networking.k8s.io/v1`
    GrpcRoute(GrpcRoute),
    /// `gateway.networking.k8s.io/v1`
    HttpRoute(HttpRoute),
    /// `v1`
    Namespace(Namespace),
    /// `v1`
    Node(Node),
    /// `v1`
    Pod(Box<Pod>),
    /// `gateway.networking.k8s.io/v1`
    ReferenceGrant(ReferenceGrant),
    /// `v1`
    Service(Box<Service>),
    /// `v1`
    ServiceAccount(ServiceAccount),
}

/// The kinds, in the order in which a consistent set of objects is best applied: what is referred to comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// Cluster-scoped.
    Namespace,
    /// Cluster-scoped.
    Node,
    /// Namespaced.
    ServiceAccount,
    /// Namespaced.
    Service,
    /// Namespaced.
    Deployment,
    /// Namespaced.
    Pod,
    /// Namespaced.
    EndpointSlice,
    /// Namespaced.
    ReferenceGrant,
    /// Namespaced.
    HttpRoute,
    /// Namespaced.
    GrpcRoute,
}

/// Names an object.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectKey {
    /// Kind.
    pub kind: Kind,
    /// Empty for cluster-scoped kinds.
    pub namespace: Arc<str>,
    /// Name.
    pub name: Arc<str>,
}

/// What a source of objects reports.
#[allow(clippy::large_enum_variant, reason = "an event is made, moved once and taken apart")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The object is new or changed.
    Apply(Object),
    /// The object is gone.
    Delete(ObjectKey),
    /// These are all objects that there are. The first one makes an index synced.
    Replace(Vec<Object>),
}

impl Object {
    /// Its kind.
    pub fn kind(&self) -> Kind {
        match self {
            Object::Deployment(_) => Kind::Deployment,
            Object::EndpointSlice(_) => Kind::EndpointSlice,
            Object::GrpcRoute(_) => Kind::GrpcRoute,
            Object::HttpRoute(_) => Kind::HttpRoute,
            Object::Namespace(_) => Kind::Namespace,
            Object::Node(_) => Kind::Node,
            Object::Pod(_) => Kind::Pod,
            Object::ReferenceGrant(_) => Kind::ReferenceGrant,
            Object::Service(_) => Kind::Service,
            Object::ServiceAccount(_) => Kind::ServiceAccount,
        }
    }

    /// Its metadata.
    pub fn metadata(&self) -> &Metadata {
        match self {
            Object::Deployment(deployment) => &deployment.metadata,
            Object::EndpointSlice(slice) => &slice.metadata,
            Object::GrpcRoute(route) => &route.metadata,
            Object::HttpRoute(route) => &route.metadata,
            Object::Namespace(namespace) => &namespace.metadata,
            Object::Node(node) => &node.metadata,
            Object::Pod(pod) => &pod.metadata,
            Object::ReferenceGrant(grant) => &grant.metadata,
            Object::Service(service) => &service.metadata,
            Object::ServiceAccount(account) => &account.metadata,
        }
    }

    /// Its metadata, to fill in a default namespace.
    pub fn metadata_mut(&mut self) -> &mut Metadata {
        match self {
            Object::Deployment(deployment) => &mut deployment.metadata,
            Object::EndpointSlice(slice) => &mut slice.metadata,
            Object::GrpcRoute(route) => &mut route.metadata,
            Object::HttpRoute(route) => &mut route.metadata,
            Object::Namespace(namespace) => &mut namespace.metadata,
            Object::Node(node) => &mut node.metadata,
            Object::Pod(pod) => &mut pod.metadata,
            Object::ReferenceGrant(grant) => &mut grant.metadata,
            Object::Service(service) => &mut service.metadata,
            Object::ServiceAccount(account) => &mut account.metadata,
        }
    }

    /// Notes fields that were written and that nobody reads: of a route, which must not do in silence what is not written there.
    pub fn note_unread(&mut self, fields: Vec<String>) {
        match self {
            Object::GrpcRoute(route) => route.unread = fields,
            Object::HttpRoute(route) => route.unread = fields,
            _ => {}
        }
    }

    /// Its name among all objects.
    pub fn key(&self) -> ObjectKey {
        let metadata = self.metadata();
        ObjectKey::new(self.kind(), &metadata.namespace, &metadata.name)
    }
}

impl Kind {
    /// All kinds.
    pub const ALL: [Kind; 10] = [
        Kind::Namespace,
        Kind::Node,
        Kind::ServiceAccount,
        Kind::Service,
        Kind::Deployment,
        Kind::Pod,
        Kind::EndpointSlice,
        Kind::ReferenceGrant,
        Kind::HttpRoute,
        Kind::GrpcRoute,
    ];

    /// The kind that a manifest means; `None`: one that the mesh has no use for.
    pub fn from_api(api_version: &str, kind: &str) -> Option<Kind> {
        let found = Self::ALL.into_iter().find(|candidate| candidate.name() == kind)?;
        // v1beta1 of these has the same schema as v1 and is still served and written.
        let older = matches!(found, Kind::HttpRoute | Kind::ReferenceGrant);
        let served = api_version == found.api_version() || older && api_version == "gateway.networking.k8s.io/v1beta1";
        served.then_some(found)
    }

    /// As in a manifest's `kind`.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Deployment => "Deployment",
            Kind::EndpointSlice => "EndpointSlice",
            Kind::GrpcRoute => "GRPCRoute",
            Kind::HttpRoute => "HTTPRoute",
            Kind::Namespace => "Namespace",
            Kind::Node => "Node",
            Kind::Pod => "Pod",
            Kind::ReferenceGrant => "ReferenceGrant",
            Kind::Service => "Service",
            Kind::ServiceAccount => "ServiceAccount",
        }
    }

    /// As in a manifest's `apiVersion`.
    pub fn api_version(self) -> &'static str {
        match self {
            Kind::Deployment => "apps/v1",
            Kind::EndpointSlice => "discovery.k8s.io/v1",
            Kind::GrpcRoute | Kind::HttpRoute | Kind::ReferenceGrant => "gateway.networking.k8s.io/v1",
            Kind::Namespace | Kind::Node | Kind::Pod | Kind::Service | Kind::ServiceAccount => "v1",
        }
    }

    /// Whether its objects live in namespaces.
    pub fn is_namespaced(self) -> bool {
        !matches!(self, Kind::Namespace | Kind::Node)
    }
}

/// Reads the body of an object whose kind is known.
impl<'de> DeserializeSeed<'de> for Kind {
    type Value = Object;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Object, D::Error> {
        Ok(match self {
            Kind::Deployment => Object::Deployment(Deployment::deserialize(deserializer)?),
            Kind::EndpointSlice => Object::EndpointSlice(EndpointSlice::deserialize(deserializer)?),
            Kind::GrpcRoute => Object::GrpcRoute(GrpcRoute::deserialize(deserializer)?),
            Kind::HttpRoute => Object::HttpRoute(HttpRoute::deserialize(deserializer)?),
            Kind::Namespace => Object::Namespace(Namespace::deserialize(deserializer)?),
            Kind::Node => Object::Node(Node::deserialize(deserializer)?),
            Kind::Pod => Object::Pod(Box::deserialize(deserializer)?),
            Kind::ReferenceGrant => Object::ReferenceGrant(ReferenceGrant::deserialize(deserializer)?),
            Kind::Service => Object::Service(Box::deserialize(deserializer)?),
            Kind::ServiceAccount => Object::ServiceAccount(ServiceAccount::deserialize(deserializer)?),
        })
    }
}

impl Serialize for Object {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Manifest<'a, T: Serialize> {
            api_version: &'static str,
            kind: &'static str,
            #[serde(flatten)]
            body: &'a T,
        }

        fn write<S: Serializer, T: Serialize>(kind: Kind, body: &T, serializer: S) -> Result<S::Ok, S::Error> {
            Manifest { api_version: kind.api_version(), kind: kind.name(), body }.serialize(serializer)
        }

        let kind = self.kind();
        match self {
            Object::Deployment(body) => write(kind, body, serializer),
            Object::EndpointSlice(body) => write(kind, body, serializer),
            Object::GrpcRoute(body) => write(kind, body, serializer),
            Object::HttpRoute(body) => write(kind, body, serializer),
            Object::Namespace(body) => write(kind, body, serializer),
            Object::Node(body) => write(kind, body, serializer),
            Object::Pod(body) => write(kind, body, serializer),
            Object::ReferenceGrant(body) => write(kind, body, serializer),
            Object::Service(body) => write(kind, body, serializer),
            Object::ServiceAccount(body) => write(kind, body, serializer),
        }
    }
}

macro_rules! from_body {
    ($($body:ident => $wrap:expr),* $(,)?) => {
        $(impl From<$body> for Object {
            fn from(body: $body) -> Object {
                $wrap(body)
            }
        })*
    };
}

from_body! {
    Deployment => Object::Deployment,
    EndpointSlice => Object::EndpointSlice,
    GrpcRoute => Object::GrpcRoute,
    HttpRoute => Object::HttpRoute,
    Namespace => Object::Namespace,
    Node => Object::Node,
    Pod => |body| Object::Pod(Box::new(body)),
    ReferenceGrant => Object::ReferenceGrant,
    Service => |body| Object::Service(Box::new(body)),
    ServiceAccount => Object::ServiceAccount,
}

impl ObjectKey {
    /// Names an object; `namespace` is empty for cluster-scoped kinds.
    pub fn new(kind: Kind, namespace: &str, name: &str) -> Self {
        Self { kind, namespace: namespace.into(), name: name.into() }
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace.is_empty() {
            write!(f, "{} {}", self.kind.name(), self.name)
        } else {
            write!(f, "{} {}/{}", self.kind.name(), self.namespace, self.name)
        }
    }
}
