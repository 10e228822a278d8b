//! An object with a pod template: what is done to it, and what is said of it.

use std::fmt;

use minimesh_api::annotations::PROXY_VERSION;
use minimesh_injector::{self as injector, LABEL, Outcome, Settings, Surroundings};
use serde_json::{Map, Value, json};

/// What is to be done.
pub(crate) enum Change {
    /// The label, by which the injector knows what to do.
    Label,
    /// The sidecar itself.
    Manual(Box<Settings>),
    /// Out of the mesh.
    Remove,
}

/// What was done to one object.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Report {
    pub(crate) object: String,
    pub(crate) what: What,
    pub(crate) notes: Vec<String>,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum What {
    Changed(&'static str),
    Left(String),
    Refused(String),
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.what {
            What::Changed(how) => write!(f, "{}: {how}", self.object)?,
            What::Left(why) => write!(f, "{}: not changed: {why}", self.object)?,
            What::Refused(why) => write!(f, "{}: not changed: it could not run with a sidecar: {why}", self.object)?,
        }
        self.notes.iter().try_for_each(|note| write!(f, "\n  {note}"))
    }
}

/// Changes a document: an object, or a list of objects. Objects that have no pods pass, without what only the API server writes.
pub(crate) fn change(document: &mut Value, change: &Change, reports: &mut Vec<Report>) {
    let is_list = document["kind"].as_str().is_some_and(|kind| kind.ends_with("List"));
    if is_list && let Some(items) = document.get_mut("items").and_then(Value::as_array_mut) {
        for item in items {
            self::change(item, change, reports);
        }
        strip(document);
        return;
    }
    strip(document);
    let object = name(document);
    let namespace = document["metadata"]["namespace"].as_str().unwrap_or("default").to_owned();
    let mut notes = Vec::new();
    let what = if document["kind"] == "Namespace" {
        of_namespace(document, change)
    } else if let Some(template) = template(document) {
        match change {
            Change::Label => label(template, &namespace, &mut notes),
            Change::Manual(settings) => manual(template, &namespace, settings, &mut notes),
            Change::Remove => remove(template),
        }
    } else {
        // Services and such are not worth a line
        return;
    };
    reports.push(Report { object, what, notes });
}

/// What the API server writes: with it, `kubectl apply` would compare with a state of the past.
fn strip(object: &mut Value) {
    let Some(map) = object.as_object_mut() else { return };
    map.remove("status");
    if let Some(metadata) = map.get_mut("metadata").and_then(Value::as_object_mut) {
        for field in ["generation", "managedFields", "resourceVersion", "uid"] {
            metadata.remove(field);
        }
        if metadata.is_empty() {
            map.remove("metadata");
        }
    }
}

fn name(object: &Value) -> String {
    let kind = object["kind"].as_str().unwrap_or("object").to_lowercase();
    let metadata = &object["metadata"];
    let name = metadata["name"].as_str().or_else(|| metadata["generateName"].as_str()).unwrap_or("without name");
    match metadata["namespace"].as_str() {
        Some(namespace) => format!("{kind}/{name} in {namespace}"),
        None => format!("{kind}/{name}"),
    }
}

/// Whatever its kind: a pod, or what makes pods.
fn template(object: &mut Value) -> Option<&mut Value> {
    let has_containers = |value: &Value| value["spec"]["containers"].is_array();
    if object["kind"] == "Pod" && has_containers(object) {
        return Some(object);
    }
    let path = ["/spec/template", "/spec/jobTemplate/spec/template"];
    let path = path.into_iter().find(|path| object.pointer(path).is_some_and(has_containers))?;
    object.pointer_mut(path)
}

fn of_namespace(namespace: &mut Value, change: &Change) -> What {
    match change {
        Change::Label => set_label(namespace, "enabled", "pods that are made in it from now on are meshed"),
        Change::Manual(_) => What::Left("a namespace has no containers; its workloads do".into()),
        Change::Remove => set_label(namespace, "disabled", "pods that are made in it from now on are not meshed"),
    }
}

/// The label is written where the injector would give the pod a sidecar, and nowhere else.
fn label(template: &mut Value, namespace: &str, notes: &mut Vec<String>) -> What {
    let linkerd = template["metadata"]["annotations"][LINKERD].as_str().map(str::to_owned);
    if linkerd.as_deref() == Some("disabled") {
        drop_annotation(template, LINKERD);
        notes.push(format!("its annotation {LINKERD}: disabled became the label {LABEL}: disabled"));
        return set_label(template, "disabled", "left out of the mesh, as it was out of Linkerd's");
    }
    // the settings do not matter: nothing of the result is used
    match injector::inject(template, &around(namespace), &trial()) {
        Outcome::Skipped(skip) => return What::Left(skip.to_string()),
        Outcome::Refused(refusal) => return What::Refused(refusal.to_string()),
        Outcome::Injected { warnings, .. } => notes.extend(warnings),
    }
    if let Some(value) = linkerd {
        drop_annotation(template, LINKERD);
        notes.push(format!("its annotation {LINKERD}: {value} became the label {LABEL}: enabled"));
    }
    set_label(template, "enabled", "its pods are meshed from the next one on")
}

fn manual(template: &mut Value, namespace: &str, settings: &Settings, notes: &mut Vec<String>) -> What {
    match injector::inject(template, &around(namespace), settings) {
        Outcome::Skipped(skip) => What::Left(skip.to_string()),
        Outcome::Refused(refusal) => What::Refused(refusal.to_string()),
        Outcome::Injected { pod, .. } if pod == *template => What::Left("it has this sidecar already".into()),
        Outcome::Injected { pod, warnings } => {
            *template = pod;
            notes.extend(warnings);
            What::Changed("has its sidecar")
        }
    }
}

fn remove(template: &mut Value) -> What {
    let manual = injector::is_injected(template);
    if manual {
        let spec = &mut template["spec"];
        retain(spec, "initContainers", &[injector::REDIRECT, injector::SIDECAR]);
        retain(spec, "volumes", &["minimesh-trust", "minimesh-token"]);
        for field in ["containers", "initContainers"] {
            for container in spec.get_mut(field).and_then(Value::as_array_mut).into_iter().flatten() {
                restore_probes(container);
            }
        }
        drop_annotation(template, PROXY_VERSION.name);
    }
    let how = if manual { "its sidecar is gone" } else { "its pods are not meshed from the next one on" };
    match set_label(template, "disabled", how) {
        What::Left(_) if manual => What::Changed(how),
        what => what,
    }
}

/// Back to what was asked of the application itself.
fn restore_probes(container: &mut Value) {
    for kind in ["livenessProbe", "readinessProbe", "startupProbe"] {
        let Some(probe) = container.get_mut(kind).and_then(Value::as_object_mut) else { continue };
        let path = probe.get("httpGet").and_then(|get| get["path"].as_str());
        let port = path.and_then(|path| path.strip_prefix("/probe/tcp/")).and_then(|port| port.parse::<u16>().ok());
        if let Some(port) = port {
            probe.remove("httpGet");
            probe.insert("tcpSocket".into(), json!({ "port": port }));
        }
    }
}

fn retain(spec: &mut Value, field: &str, without: &[&str]) {
    let Some(items) = spec.get_mut(field).and_then(Value::as_array_mut) else { return };
    items.retain(|item| item["name"].as_str().is_none_or(|name| !without.contains(&name)));
    if items.is_empty()
        && let Some(spec) = spec.as_object_mut()
    {
        spec.remove(field);
    }
}

fn set_label(object: &mut Value, value: &'static str, how: &'static str) -> What {
    let Some(object) = object.as_object_mut() else { return What::Left("it is no object".into()) };
    let Some(metadata) = map(object, "metadata") else { return What::Left("its metadata is no map".into()) };
    let Some(labels) = map(metadata, "labels") else { return What::Left("its labels are no map".into()) };
    match labels.insert(LABEL.into(), value.into()) {
        Some(was) if was == value => What::Left(format!("it has the label {LABEL}: {value} already")),
        _ => What::Changed(how),
    }
}

fn drop_annotation(object: &mut Value, name: &str) {
    let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) else { return };
    let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) else { return };
    annotations.remove(name);
    if annotations.is_empty() {
        metadata.remove("annotations");
    }
}

fn map<'m>(object: &'m mut Map<String, Value>, field: &str) -> Option<&'m mut Map<String, Value>> {
    let value = object.entry(field).or_insert_with(|| json!({}));
    if value.is_null() {
        *value = json!({});
    }
    value.as_object_mut()
}

/// The cluster is not asked: what a namespace says is looked at by the injector, when the pod is made.
fn around(namespace: &str) -> Surroundings {
    Surroundings { namespace: namespace.to_owned(), ..Surroundings::default() }
}

fn trial() -> Settings {
    use clap::Parser;
    #[derive(Parser)]
    struct Defaults {
        #[command(flatten)]
        settings: Settings,
    }
    Defaults::parse_from(["inject"]).settings
}

const LINKERD: &str = "linkerd.io/inject";

#[cfg(test)]
mod tests {
    use super::*;

    fn deployment(annotations: Value, spec: Value) -> Value {
        json!({
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": { "name": "web", "namespace": "shop", "uid": "u", "resourceVersion": "1", "generation": 2, "managedFields": [] },
            "spec": { "template": { "metadata": { "annotations": annotations }, "spec": spec } },
            "status": { "replicas": 1 },
        })
    }

    fn plain() -> Value {
        json!({ "containers": [{ "name": "web", "livenessProbe": { "tcpSocket": { "port": 80 } } }] })
    }

    fn changed(document: &Value, how: &Change) -> (Value, Vec<Report>) {
        let mut document = document.clone();
        let mut reports = Vec::new();
        change(&mut document, how, &mut reports);
        (document, reports)
    }

    #[test]
    fn a_label_is_set_and_what_the_api_server_wrote_is_gone() {
        let (after, reports) = changed(&deployment(json!({}), plain()), &Change::Label);
        assert_eq!(after["spec"]["template"]["metadata"]["labels"], json!({ LABEL: "enabled" }));
        assert_eq!((after.get("status"), &after["metadata"]), (None, &json!({ "name": "web", "namespace": "shop" })));
        assert_eq!(reports[0].to_string(), "deployment/web in shop: its pods are meshed from the next one on");
        let (again, reports) = changed(&after, &Change::Label);
        assert_eq!((again, reports[0].what != What::Changed("")), (after, true));
    }

    #[test]
    fn linkerds_annotation_becomes_the_label() {
        let meshed = deployment(json!({ LINKERD: "enabled", "config.linkerd.io/proxy-await": "enabled" }), plain());
        let (after, reports) = changed(&meshed, &Change::Label);
        let metadata = &after["spec"]["template"]["metadata"];
        assert_eq!(metadata["labels"], json!({ LABEL: "enabled" }));
        assert_eq!(metadata["annotations"], json!({ "config.linkerd.io/proxy-await": "enabled" }));
        assert_eq!(reports[0].notes.len(), 2, "{reports:?}");
        let (after, _) = changed(&deployment(json!({ LINKERD: "disabled" }), plain()), &Change::Label);
        assert_eq!(after["spec"]["template"]["metadata"], json!({ "labels": { LABEL: "disabled" } }));
    }

    #[test]
    fn what_cannot_be_meshed_is_left_with_the_reason() {
        let host = json!({ "hostNetwork": true, "containers": [{ "name": "web" }] });
        let (after, reports) = changed(&deployment(json!({}), host), &Change::Label);
        assert_eq!(after["spec"]["template"]["metadata"].get("labels"), None);
        assert!(matches!(&reports[0].what, What::Left(why) if why.contains("hostNetwork")), "{reports:?}");
        let user = json!({ "containers": [{ "name": "web", "securityContext": { "runAsUser": 2102 } }] });
        let (_, reports) = changed(&deployment(json!({}), user), &Change::Label);
        assert!(matches!(&reports[0].what, What::Refused(why) if why.contains("2102")), "{reports:?}");
    }

    #[test]
    fn a_sidecar_made_by_hand_goes_without_a_trace_but_the_label() {
        let before = deployment(json!({ "a": "b" }), plain());
        let (injected, reports) = changed(&before, &Change::Manual(Box::new(trial())));
        assert_eq!(reports[0].what, What::Changed("has its sidecar"));
        let template = &injected["spec"]["template"];
        assert!(injector::is_injected(template), "{template}");
        assert_eq!(template["spec"]["containers"][0]["livenessProbe"]["httpGet"]["path"], "/probe/tcp/80");
        let (after, _) = changed(&injected, &Change::Remove);
        let template = &after["spec"]["template"];
        assert_eq!(template["spec"], plain());
        assert_eq!(template["metadata"], json!({ "annotations": { "a": "b" }, "labels": { LABEL: "disabled" } }));
    }

    #[test]
    fn lists_cron_jobs_pods_namespaces_and_strangers() {
        let cron = json!({ "kind": "CronJob", "metadata": { "name": "c" }, "spec": { "jobTemplate": { "spec": { "template": { "spec": plain() } } } } });
        let pod = json!({ "kind": "Pod", "metadata": { "name": "p" }, "spec": plain() });
        let rollout =
            json!({ "kind": "Rollout", "metadata": { "name": "r" }, "spec": { "template": { "spec": plain() } } });
        let namespace = json!({ "kind": "Namespace", "metadata": { "name": "shop" } });
        let service = json!({ "kind": "Service", "metadata": { "name": "s", "uid": "u" }, "spec": {} });
        let list = json!({ "kind": "List", "metadata": { "resourceVersion": "" }, "items": [cron, pod, rollout, namespace, service] });
        let (after, reports) = changed(&list, &Change::Label);
        let label = json!("enabled");
        for path in ["/items/0/spec/jobTemplate/spec/template", "/items/1", "/items/2/spec/template", "/items/3"] {
            assert_eq!(after.pointer(&format!("{path}/metadata/labels/minimesh.io~1inject")), Some(&label), "{path}");
        }
        assert_eq!(after["items"][4], json!({ "kind": "Service", "metadata": { "name": "s" }, "spec": {} }));
        assert_eq!((reports.len(), after.get("metadata")), (4, None));
        let (after, _) = changed(&after, &Change::Remove);
        assert_eq!(after["items"][3]["metadata"]["labels"], json!({ LABEL: "disabled" }));
    }
}
