//! An API server in memory: lists in pages, watches with bookmarks and 410, writes with versions, TokenReview.
//!
//! A tower service under kube's client: no socket, so that tests run in paused time.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{Method, Request, Response, StatusCode};
use http_body_util::StreamBody;
use hyper::body::Frame;
use kube::client::{Body, ClientBuilder};
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tower::service_fn;

use super::{Cluster, Heard};

/// The server. Cheap to clone; every clone is the same one.
#[derive(Clone)]
pub(crate) struct Fake(Arc<watch::Sender<State>>);

#[derive(Default)]
struct State {
    version: u64,
    /// By collection (as `v1/pods`) and namespace/name.
    objects: BTreeMap<String, BTreeMap<String, Value>>,
    /// What happened: version, collection, type, object.
    log: Vec<(u64, String, &'static str, Value)>,
    /// Versions up to here are forgotten.
    compacted: u64,
    /// Served kinds of the Gateway API, as `v1/HTTPRoute`.
    gateway: BTreeSet<String>,
    /// Answers TokenReviews by token.
    tokens: BTreeMap<String, Value>,
    /// Collections whose requests fail with that status.
    failing: BTreeMap<String, u16>,
    /// Every watch that is open ends when this changes.
    cut: u64,
    /// Requests so far, as `GET v1/pods`.
    requests: Vec<String>,
}

/// A request's path, taken apart.
struct Place {
    collection: String,
    namespace: Option<String>,
    name: Option<String>,
}

type Stream = StreamBody<ReceiverStream<Result<Frame<Bytes>, Infallible>>>;

impl Fake {
    pub(crate) fn new() -> Fake {
        Fake(Arc::new(watch::channel(State { version: 1, ..State::default() }).0))
    }

    /// A way to it.
    pub(crate) fn cluster(&self) -> Cluster {
        let heard = Heard::default();
        let fake = self.clone();
        let service =
            service_fn(move |request: Request<Body>| -> BoxFuture<'static, Result<Response<Stream>, Infallible>> {
                let fake = fake.clone();
                Box::pin(async move { Ok(fake.answer(request).await) })
            });
        let client = ClientBuilder::new(service, "minimesh").with_layer(&heard).build();
        Cluster { client, heard }
    }

    /// Creates or changes an object, as kubectl would.
    pub(crate) fn apply(&self, collection: &str, object: Value) {
        self.change(|state| state.put(collection, object));
    }

    pub(crate) fn delete(&self, collection: &str, key: &str) {
        self.change(|state| state.remove(collection, key));
    }

    pub(crate) fn get(&self, collection: &str, key: &str) -> Option<Value> {
        self.0.borrow().objects.get(collection)?.get(key).cloned()
    }

    /// Every object of a collection.
    pub(crate) fn all(&self, collection: &str) -> Vec<Value> {
        self.0.borrow().objects.get(collection).into_iter().flat_map(|objects| objects.values().cloned()).collect()
    }

    pub(crate) fn token(&self, token: &str, status: Value) {
        self.change(|state| drop(state.tokens.insert(token.to_owned(), status)));
    }

    /// Serves a kind of the Gateway API, as `v1/HTTPRoute`, or no longer.
    pub(crate) fn serve(&self, kind: &str, served: bool) {
        self.change(|state| {
            match served {
                true => state.gateway.insert(kind.to_owned()),
                false => state.gateway.remove(kind),
            };
            state.cut += 1;
        });
    }

    /// Requests to a collection fail from now on, or no longer; what is open ends.
    pub(crate) fn fail(&self, collection: &str, status: Option<u16>) {
        self.change(|state| {
            match status {
                Some(status) => drop(state.failing.insert(collection.to_owned(), status)),
                None => drop(state.failing.remove(collection)),
            }
            state.cut += 1;
        });
    }

    /// Forgets what happened, and ends every watch: who watched must list again.
    pub(crate) fn compact(&self) {
        self.change(|state| {
            state.compacted = state.version;
            state.log.clear();
            state.cut += 1;
        });
    }

    pub(crate) fn count(&self, request: &str) -> usize {
        self.0.borrow().requests.iter().filter(|seen| *seen == request).count()
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        self.0.send_modify(change);
    }

    async fn answer(self, request: Request<Body>) -> Response<Stream> {
        let (head, body) = request.into_parts();
        let body = body.collect_bytes().await.unwrap_or_default();
        let query: BTreeMap<String, String> = head
            .uri
            .query()
            .unwrap_or_default()
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .map(|(name, value)| (name.to_owned(), value.replace("%3D", "=")))
            .collect();
        let Some(place) = Place::of(head.uri.path()) else { return self.discovery(head.uri.path()) };
        self.change(|state| state.requests.push(format!("{} {}", head.method, place.collection)));
        if let Some(status) = self.0.borrow().failing.get(&place.collection) {
            return failure(*status, "made to fail");
        }
        if place.collection.starts_with("gateway.networking.k8s.io/") && !self.is_served(&place.collection) {
            return failure(404, "the server could not find the requested resource");
        }
        match head.method {
            Method::GET if place.name.is_some() => self.read(&place),
            Method::GET if query.get("watch").is_some_and(|word| word == "true") => self.watch(&place, &query),
            Method::GET => self.list(&place, &query),
            method => self.write(&method, &place, &body),
        }
    }

    fn is_served(&self, collection: &str) -> bool {
        let (version, plural) = collection.rsplit_once('/').unwrap_or_default();
        let version = version.rsplit('/').next().unwrap_or_default();
        let state = self.0.borrow();
        state.gateway.iter().any(|kind| format!("{}s", kind.to_ascii_lowercase()) == format!("{version}/{plural}"))
    }

    /// `/apis/GROUP/VERSION`: which kinds there are.
    fn discovery(&self, path: &str) -> Response<Stream> {
        let Some(group_version) = path.strip_prefix("/apis/") else { return failure(404, "not found") };
        let (_, version) = group_version.split_once('/').unwrap_or_default();
        let state = self.0.borrow();
        let kinds = state.gateway.iter().filter_map(|kind| kind.strip_prefix(&format!("{version}/")));
        let resource = |kind: &str| {
            json!({"name": format!("{}s", kind.to_ascii_lowercase()), "kind": kind, "namespaced": true,
                "singularName": "", "verbs": ["list", "watch"]})
        };
        let resources: Vec<Value> = kinds.map(resource).collect();
        if resources.is_empty() {
            return failure(404, "the server could not find the requested resource");
        }
        answer(200, &json!({"kind": "APIResourceList", "groupVersion": group_version, "resources": resources}))
    }

    fn read(&self, place: &Place) -> Response<Stream> {
        match self.get(&place.collection, &place.key()) {
            Some(object) => answer(200, &object),
            None => failure(404, "not found"),
        }
    }

    fn list(&self, place: &Place, query: &BTreeMap<String, String>) -> Response<Stream> {
        let state = self.0.borrow();
        let none = BTreeMap::new();
        let all = state.objects.get(&place.collection).unwrap_or(&none);
        let all: Vec<&Value> =
            all.iter().filter(|(key, _)| place.holds(key, query)).map(|(_, object)| object).collect();
        let limit = query.get("limit").and_then(|limit| limit.parse().ok()).unwrap_or(usize::MAX);
        let start: usize = query.get("continue").and_then(|at| at.parse().ok()).unwrap_or(0);
        let end = all.len().min(start.saturating_add(limit));
        let go_on = if end < all.len() { json!(end.to_string()) } else { json!("") };
        let metadata = json!({"resourceVersion": state.version.to_string(), "continue": go_on});
        answer(200, &json!({"kind": "List", "apiVersion": "v1", "metadata": metadata, "items": &all[start..end]}))
    }

    fn watch(&self, place: &Place, query: &BTreeMap<String, String>) -> Response<Stream> {
        let mut since: u64 = query.get("resourceVersion").and_then(|version| version.parse().ok()).unwrap_or(0);
        let life = query.get("timeoutSeconds").and_then(|seconds| seconds.parse().ok()).unwrap_or(290);
        let (lines, body) = mpsc::channel(64);
        let mut state = self.0.subscribe();
        let (place, query) = (Place { name: None, ..place.clone() }, query.clone());
        let cut = state.borrow().cut;
        tokio::spawn(async move {
            let end = tokio::time::sleep(Duration::from_secs(life));
            tokio::pin!(end);
            loop {
                let (events, ends) = {
                    let state = state.borrow_and_update();
                    let gone = since < state.compacted;
                    let events = match gone {
                        true => vec![json!({"type": "ERROR", "object": {"kind": "Status", "apiVersion": "v1",
                            "metadata": {}, "status": "Failure", "message": "too old resource version",
                            "reason": "Expired", "code": 410}})],
                        false => state.since(&place, &query, since),
                    };
                    since = since.max(state.version);
                    (events, gone || state.cut != cut)
                };
                for event in events {
                    let line = Bytes::from(format!("{event}\n"));
                    if lines.send(Ok(Frame::data(line))).await.is_err() {
                        return;
                    }
                }
                if ends {
                    return;
                }
                tokio::select! {
                    changed = state.changed() => if changed.is_err() { return },
                    () = &mut end => return,
                    () = lines.closed() => return,
                }
            }
        });
        stream(200, body)
    }

    fn write(&self, method: &Method, place: &Place, body: &[u8]) -> Response<Stream> {
        let Ok(mut object) = serde_json::from_slice::<Value>(body) else { return failure(400, "no JSON") };
        if place.collection.ends_with("/tokenreviews") {
            let token = object["spec"]["token"].as_str().unwrap_or_default().to_owned();
            let status = self.0.borrow().tokens.get(&token).cloned();
            object["status"] =
                status.unwrap_or_else(|| json!({"authenticated": false, "error": "invalid bearer token"}));
            return answer(201, &object);
        }
        let name = place.name.clone().or_else(|| object["metadata"]["name"].as_str().map(str::to_owned));
        let place = Place { name, ..place.clone() };
        if let Some(namespace) = &place.namespace {
            object["metadata"]["namespace"] = json!(namespace);
        }
        let present = self.get(&place.collection, &place.key());
        let version = |object: &Value| object["metadata"]["resourceVersion"].as_str().unwrap_or_default().to_owned();
        match (method.as_str(), present) {
            ("POST", Some(_)) => return failure(409, "already exists"),
            ("PUT", None) => return failure(404, "not found"),
            ("PUT", Some(present)) if version(&present) != version(&object) => return failure(409, "has been changed"),
            _ => {}
        }
        self.apply(&place.collection, object);
        self.read(&place)
    }
}

impl State {
    fn put(&mut self, collection: &str, mut object: Value) {
        self.version += 1;
        let metadata = &mut object["metadata"];
        metadata["resourceVersion"] = json!(self.version.to_string());
        let key = format!(
            "{}/{}",
            metadata["namespace"].as_str().unwrap_or_default(),
            metadata["name"].as_str().unwrap_or_default()
        );
        let known = self.objects.entry(collection.to_owned()).or_default().insert(key, object.clone()).is_some();
        self.log.push((self.version, collection.to_owned(), if known { "MODIFIED" } else { "ADDED" }, object));
    }

    fn remove(&mut self, collection: &str, key: &str) {
        let removed = self.objects.get_mut(collection).and_then(|objects| objects.remove(key));
        if let Some(mut object) = removed {
            self.version += 1;
            object["metadata"]["resourceVersion"] = json!(self.version.to_string());
            self.log.push((self.version, collection.to_owned(), "DELETED", object));
        }
    }

    /// What happened since, and a bookmark.
    fn since(&self, place: &Place, query: &BTreeMap<String, String>, since: u64) -> Vec<Value> {
        let of_place = self.log.iter().filter(|(version, collection, _, object)| {
            let key = format!(
                "{}/{}",
                object["metadata"]["namespace"].as_str().unwrap_or_default(),
                object["metadata"]["name"].as_str().unwrap_or_default()
            );
            *version > since && *collection == place.collection && place.holds(&key, query)
        });
        let mut events: Vec<Value> =
            of_place.map(|(_, _, kind, object)| json!({"type": kind, "object": object})).collect();
        let version = self.version.to_string();
        events.push(json!({"type": "BOOKMARK", "object": {"kind": "Any", "apiVersion": "v1",
            "metadata": {"resourceVersion": version}}}));
        events
    }
}

impl Clone for Place {
    fn clone(&self) -> Place {
        Place { collection: self.collection.clone(), namespace: self.namespace.clone(), name: self.name.clone() }
    }
}

impl Place {
    fn of(path: &str) -> Option<Place> {
        let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
        let (group_version, rest) = match parts.as_slice() {
            ["api", version, rest @ ..] => ((*version).to_owned(), rest),
            ["apis", group, version, rest @ ..] => (format!("{group}/{version}"), rest),
            _ => return None,
        };
        let (namespace, plural, name) = match rest {
            ["namespaces", namespace, plural] => (Some(*namespace), *plural, None),
            ["namespaces", namespace, plural, name] | ["namespaces", namespace, plural, name, "status"] => {
                (Some(*namespace), *plural, Some(*name))
            }
            [plural] => (None, *plural, None),
            [plural, name] => (None, *plural, Some(*name)),
            _ => return None,
        };
        Some(Place {
            collection: format!("{group_version}/{plural}"),
            namespace: namespace.map(str::to_owned),
            name: name.map(str::to_owned),
        })
    }

    fn key(&self) -> String {
        format!("{}/{}", self.namespace.as_deref().unwrap_or_default(), self.name.as_deref().unwrap_or_default())
    }

    fn holds(&self, key: &str, query: &BTreeMap<String, String>) -> bool {
        let (namespace, name) = key.split_once('/').unwrap_or_default();
        let wanted = query.get("fieldSelector").and_then(|selector| selector.strip_prefix("metadata.name="));
        self.namespace.as_deref().is_none_or(|own| own == namespace) && wanted.is_none_or(|wanted| wanted == name)
    }
}

fn failure(status: u16, message: &str) -> Response<Stream> {
    // clients look at the word before the number
    let reason = match status {
        403 => "Forbidden",
        404 => "NotFound",
        409 => "Conflict",
        _ => "InternalError",
    };
    let body = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message,
        "reason": reason, "code": status});
    answer(status, &body)
}

fn answer(status: u16, body: &Value) -> Response<Stream> {
    let (sender, receiver) = mpsc::channel(1);
    // there is room for one
    let _ = sender.try_send(Ok(Frame::data(Bytes::from(body.to_string()))));
    stream(status, receiver)
}

fn stream(status: u16, body: mpsc::Receiver<Result<Frame<Bytes>, Infallible>>) -> Response<Stream> {
    let mut response = Response::new(StreamBody::new(ReceiverStream::new(body)));
    *response.status_mut() = StatusCode::from_u16(status).expect("a status");
    response
}
