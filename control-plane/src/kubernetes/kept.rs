//! What is kept of a watched object: the index's own type for its kind, read leniently.
//!
//! An object that cannot be read must not break the list that it stands in: it becomes the reason why. What the index never
//! looks at is dropped at once.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use kube::Resource;
use kube::api::{ApiResource, ObjectMeta};
use kube::core::DynamicResourceScope;
use minimesh_index::resource::{
    Container, EndpointSlice, GrpcRoute, HttpRoute, Namespace, Node, ParentRef, Pod, Probe, ReferenceGrant, Service,
};
use minimesh_index::{Kind, Object};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::unknown;

/// A kind that is watched.
pub(super) trait Kept: DeserializeOwned + Clone + fmt::Debug + Send + 'static + Into<Object> {
    /// Its kind.
    const KIND: Kind;

    /// Drops what the index never looks at.
    fn trim(&mut self) {}
}

/// An object as it came, or why it could not be read.
#[derive(Clone, Debug)]
pub(super) struct Watched<T> {
    metadata: ObjectMeta,
    /// What is kept of it.
    pub(super) body: Result<Object, Malformed>,
    kind: PhantomData<fn() -> T>,
}

/// Why an object could not be read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Malformed {
    /// Path of the field; `.`: none in particular.
    pub(super) field: String,
    /// What is wrong with it.
    pub(super) reason: String,
    /// Of a route: its Services, as far as these can be read.
    pub(super) parents: Vec<ParentRef>,
    /// Of the object that came.
    pub(super) uid: Option<Arc<str>>,
    /// Of the object that came.
    pub(super) generation: Option<i64>,
}

/// Where the API server keeps a kind.
pub(super) fn resource(kind: Kind) -> ApiResource {
    versioned(kind, kind.api_version())
}

/// The same in another version.
pub(super) fn versioned(kind: Kind, api_version: &str) -> ApiResource {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    ApiResource {
        group: group.to_owned(),
        version: version.to_owned(),
        api_version: api_version.to_owned(),
        kind: kind.name().to_owned(),
        plural: format!("{}s", kind.name().to_ascii_lowercase()),
    }
}

impl<T> Watched<T> {
    /// Namespace (empty for cluster-scoped kinds) and name.
    pub(super) fn names(&self) -> (&str, &str) {
        (self.metadata.namespace.as_deref().unwrap_or_default(), self.metadata.name.as_deref().unwrap_or_default())
    }
}

impl<'de, T: Kept> Deserialize<'de> for Watched<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Default, Deserialize)]
        #[serde(default, rename_all = "camelCase")]
        struct Names {
            name: Option<String>,
            namespace: Option<String>,
            resource_version: Option<String>,
        }

        let mut value = Value::deserialize(deserializer)?;
        let names = value.get_mut("metadata").map(|metadata| {
            if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
                annotations.remove(LAST_APPLIED);
            }
            Names::deserialize(&*metadata).unwrap_or_default()
        });
        let Names { name, namespace, resource_version } = names.unwrap_or_default();
        let body = match serde_path_to_error::deserialize(&value) {
            Ok(body) => judged::<T>(body, &value),
            Err(error) => Err(malformed(&value, error.path().to_string(), error.into_inner().to_string())),
        };
        let metadata = ObjectMeta { name, namespace, resource_version, ..ObjectMeta::default() };
        Ok(Watched { metadata, body, kind: PhantomData })
    }
}

/// What is kept of an object that could be read.
fn judged<T: Kept>(mut body: T, written: &Value) -> Result<Object, Malformed> {
    body.trim();
    let mut object = body.into();
    if unknown::matters(T::KIND) {
        let mut fields = unknown::fields(&object, written);
        if unknown::refuses(T::KIND)
            && let Some(field) = fields.pop()
        {
            return Err(malformed(written, field, unknown::REFUSED.to_owned()));
        }
        object.note_unread(fields);
    }
    Ok(object)
}

fn malformed(written: &Value, field: String, reason: String) -> Malformed {
    let parents = written["spec"]["parentRefs"].as_array().into_iter().flatten();
    let parents = parents.filter_map(|parent| ParentRef::deserialize(parent).ok()).filter(ParentRef::is_service);
    let metadata = &written["metadata"];
    Malformed {
        field,
        reason,
        parents: parents.collect(),
        uid: metadata["uid"].as_str().map(Arc::from),
        generation: metadata["generation"].as_i64(),
    }
}

impl<T> Resource for Watched<T> {
    type DynamicType = ApiResource;
    type Scope = DynamicResourceScope;

    fn kind(resource: &ApiResource) -> Cow<'_, str> {
        resource.kind.as_str().into()
    }

    fn group(resource: &ApiResource) -> Cow<'_, str> {
        resource.group.as_str().into()
    }

    fn version(resource: &ApiResource) -> Cow<'_, str> {
        resource.version.as_str().into()
    }

    fn plural(resource: &ApiResource) -> Cow<'_, str> {
        resource.plural.as_str().into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

impl Kept for EndpointSlice {
    const KIND: Kind = Kind::EndpointSlice;
}

impl Kept for GrpcRoute {
    const KIND: Kind = Kind::GrpcRoute;
}

impl Kept for HttpRoute {
    const KIND: Kind = Kind::HttpRoute;
}

impl Kept for Namespace {
    const KIND: Kind = Kind::Namespace;
}

impl Kept for Node {
    const KIND: Kind = Kind::Node;

    fn trim(&mut self) {
        self.metadata.annotations = BTreeMap::new();
    }
}

impl Kept for Pod {
    const KIND: Kind = Kind::Pod;

    /// What only a kubelet needs.
    fn trim(&mut self) {
        for container in self.spec.containers.iter_mut().chain(&mut self.spec.init_containers) {
            let probe = |probe: &mut Option<Probe>| probe.take();
            *container = Container {
                startup_probe: probe(&mut container.startup_probe),
                readiness_probe: probe(&mut container.readiness_probe),
                liveness_probe: probe(&mut container.liveness_probe),
                name: std::mem::take(&mut container.name),
                ports: std::mem::take(&mut container.ports),
                ..Container::default()
            };
        }
        self.status.conditions = Vec::new();
    }
}

impl Kept for ReferenceGrant {
    const KIND: Kind = Kind::ReferenceGrant;
}

impl Kept for Service {
    const KIND: Kind = Kind::Service;
}

/// The whole object once more, for kubectl.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_that_cannot_be_read_names_itself_and_the_field_and_leaves_the_list_whole() {
        let list = r#"[
            {"metadata": {"name": "good", "namespace": "shop", "resourceVersion": "7"}, "spec": {"ports": [{"port": 80}]}},
            {"metadata": {"name": "bad", "namespace": "shop", "resourceVersion": "8"}, "spec": {"ports": [{"port": 0}]}}
        ]"#;
        let list: Vec<Watched<Service>> = serde_json::from_str(list).unwrap();
        assert!(list[0].body.is_ok());
        assert_eq!((list[1].names(), list[1].meta().resource_version.as_deref()), (("shop", "bad"), Some("8")));
        let malformed = list[1].body.clone().unwrap_err();
        assert_eq!(malformed.field, "spec.ports[0].port");
        assert!(malformed.reason.contains("from 1 to 65535"), "{malformed:?}");
    }

    #[test]
    fn of_a_pod_only_what_the_index_reads_is_kept() {
        let pod = r#"{"metadata": {"name": "a", "namespace": "s", "managedFields": [{"manager": "x"}],
            "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "{}", "minimesh.io/opaque-ports": "1"}},
            "spec": {"containers": [{"name": "a", "image": "i", "args": ["x"], "env": [{"name": "A"}],
            "ports": [{"containerPort": 80}], "readinessProbe": {"grpc": {"port": 9000}}}]}, "status": {}}"#;
        let Ok(Object::Pod(pod)) = serde_json::from_str::<Watched<Pod>>(pod).unwrap().body else { panic!("a pod") };
        assert_eq!(pod.metadata.annotations.keys().collect::<Vec<_>>(), ["minimesh.io/opaque-ports"]);
        let container = &pod.spec.containers[0];
        assert_eq!((container.image.as_deref(), container.args.len(), container.env.len()), (None, 0, 0));
        assert_eq!((container.ports.len(), container.probes().count()), (1, 1));
    }

    #[test]
    fn kinds_are_found_where_the_api_server_keeps_them() {
        let path = |kind| Watched::<Pod>::url_path(&resource(kind), None);
        assert_eq!(path(Kind::Pod), "/api/v1/pods");
        assert_eq!(path(Kind::EndpointSlice), "/apis/discovery.k8s.io/v1/endpointslices");
        assert_eq!(path(Kind::HttpRoute), "/apis/gateway.networking.k8s.io/v1/httproutes");
        assert_eq!(path(Kind::GrpcRoute), "/apis/gateway.networking.k8s.io/v1/grpcroutes");
    }
}
