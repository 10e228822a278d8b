//! What becomes of pods. Golden files are pods as they go in (`NAME.pod.json`) and as they come out (`NAME.injected.json`); where
//! a change is meant, delete the second and run the test, which writes it again and fails.

use std::collections::BTreeMap;
use std::path::Path;

use clap::Parser;
use minimesh_injector::{Outcome, Quota, Refusal, Settings, Skip, Surroundings, inject};
use serde_json::{Value, json};

#[derive(Parser)]
struct Defaults {
    #[command(flatten)]
    settings: Settings,
}

fn settings() -> Settings {
    Settings { sidecar_image: "minimesh:1.2.3".into(), ..Defaults::parse_from(["x"]).settings }
}

fn shop() -> Surroundings {
    Surroundings { namespace: "shop".into(), ..Surroundings::default() }
}

fn web(pod: Value) -> Value {
    let mut base =
        json!({ "metadata": { "name": "web" }, "spec": { "containers": [{ "name": "web", "image": "web" }] } });
    if let (Some(base), Value::Object(more)) = (base.as_object_mut(), pod) {
        base.extend(more);
    }
    base
}

fn injected(pod: &Value, around: &Surroundings) -> (Value, Vec<String>) {
    match inject(pod, around, &settings()) {
        Outcome::Injected { pod, warnings } => (pod, warnings),
        other => panic!("{other:?}"),
    }
}

fn refused(pod: &Value, around: &Surroundings) -> Refusal {
    match inject(pod, around, &settings()) {
        Outcome::Refused(refusal) => refusal,
        other => panic!("{other:?}"),
    }
}

fn golden(name: &str, around: &Surroundings) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let read = |kind: &str| std::fs::read_to_string(folder.join(format!("{name}.{kind}.json")));
    let pod: Value = serde_json::from_str(&read("pod").expect("a pod")).expect("JSON");
    let (out, warnings) = injected(&pod, around);
    let mut shown = out.clone();
    assert_eq!(shown["metadata"]["annotations"]["minimesh.io/proxy-version"], env!("CARGO_PKG_VERSION"));
    shown["metadata"]["annotations"]["minimesh.io/proxy-version"] = "VERSION".into();
    let text = format!("{:#}\n", json!({ "pod": shown, "warnings": warnings }));
    match read("injected") {
        Ok(expected) => assert_eq!(text, expected, "{name}"),
        Err(_) => {
            std::fs::write(folder.join(format!("{name}.injected.json")), text).expect("written");
            panic!("{name}.injected.json was written; look at it");
        }
    }
    assert_eq!(injected(&out, around).0, out, "{name}: a second time changes nothing");
}

#[test]
fn a_deployments_pod() {
    golden("web", &shop());
}

#[test]
fn a_jobs_pod_with_init_containers_in_a_namespace_with_quota_and_annotations() {
    let annotations = [("config.linkerd.io/skip-outbound-ports", "25,587"), ("minimesh.io/access-log", "json")];
    let around = Surroundings {
        annotations: annotations.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
        quota: Quota { cpu_limit: true, ..Quota::default() },
        ..shop()
    };
    golden("job", &around);
}

#[test]
fn the_sidecar_stays_beside_a_job_and_ends_with_it() {
    let (pod, _) = injected(&web(json!({})), &shop());
    let init = &pod["spec"]["initContainers"];
    assert_eq!((&init[0]["name"], init[0].get("restartPolicy")), (&json!("minimesh-redirect"), None));
    assert_eq!((&init[1]["name"], &init[1]["restartPolicy"]), (&json!("minimesh-proxy"), &json!("Always")));
    assert_eq!(pod["spec"]["containers"].as_array().map(Vec::len), Some(1));
}

#[test]
fn a_second_time_with_another_container_keeps_the_order() {
    let (mut pod, _) = injected(&web(json!({})), &shop());
    let init = pod["spec"]["initContainers"].as_array_mut().expect("a list");
    init.insert(0, json!({ "name": "another-webhooks" }));
    pod["spec"]["containers"].as_array_mut().expect("a list").push(json!({
        "name": "late", "livenessProbe": { "tcpSocket": { "port": 5 } }
    }));
    let (again, _) = injected(&pod, &shop());
    let names: Vec<&str> =
        again["spec"]["initContainers"].as_array().expect("a list").iter().filter_map(|c| c["name"].as_str()).collect();
    assert_eq!(names, ["minimesh-redirect", "minimesh-proxy", "another-webhooks"]);
    assert_eq!(again["spec"]["volumes"].as_array().map(Vec::len), Some(2));
    assert_eq!(again["spec"]["containers"][1]["livenessProbe"]["httpGet"]["path"], "/probe/tcp/5");
}

#[test]
fn pods_without_a_network_of_their_own_and_pods_of_other_meshes_are_skipped() {
    let skip = |spec: Value| match inject(&json!({ "spec": spec }), &shop(), &settings()) {
        Outcome::Skipped(skip) => skip,
        other => panic!("{other:?}"),
    };
    assert_eq!(skip(json!({ "hostNetwork": true, "containers": [{ "name": "a" }] })), Skip::HostNetwork);
    assert_eq!(skip(json!({ "os": { "name": "windows" }, "containers": [{ "name": "a" }] })), Skip::Windows);
    let both = json!({ "containers": [{ "name": "a" }], "initContainers": [{ "name": "linkerd-proxy" }] });
    assert_eq!(skip(both), Skip::OtherMesh("linkerd-proxy".into()));
}

#[test]
fn a_container_that_runs_as_the_sidecars_user_is_refused() {
    let as_user = |user: i64| json!({ "runAsUser": user });
    let user = Refusal::User { container: "web".into() };
    let of_container = json!({ "spec": { "containers": [{ "name": "web", "securityContext": as_user(2102) }] } });
    assert_eq!(refused(&of_container, &shop()), user);
    let of_pod = json!({ "spec": { "securityContext": as_user(2102), "containers": [{ "name": "web" }] } });
    assert_eq!(refused(&of_pod, &shop()), user);
    let own_word = json!({
        "spec": { "securityContext": as_user(2102), "containers": [{ "name": "web", "securityContext": as_user(1000) }] }
    });
    injected(&own_word, &shop());
}

#[test]
fn namespaces_that_enforce_pod_security_are_named_with_the_remedy() {
    for level in ["baseline", "restricted"] {
        let labels = BTreeMap::from([("pod-security.kubernetes.io/enforce".to_owned(), level.to_owned())]);
        let said = refused(&web(json!({})), &Surroundings { labels, ..shop() }).to_string();
        assert!(said.contains(level) && said.contains("kubectl label namespace shop pod-security"), "{said}");
    }
    let labels = BTreeMap::from([("pod-security.kubernetes.io/enforce".to_owned(), "privileged".to_owned())]);
    injected(&web(json!({})), &Surroundings { labels, ..shop() });
}

#[test]
fn a_port_of_the_sidecars_own_is_refused() {
    let pod = json!({ "spec": { "containers": [{ "name": "web", "ports": [{ "containerPort": 4143 }] }] } });
    assert_eq!(refused(&pod, &shop()), Refusal::Port { container: "web".into(), port: 4143 });
}

#[test]
fn a_policy_that_cannot_be_read_keeps_the_pod_from_being_made() {
    for (name, value) in [
        ("config.linkerd.io/default-inbound-policy", "all-authentcated"),
        ("minimesh.io/port-inbound-policies", "80"),
        ("minimesh.io/proxy-require-identity-inbound-ports", "80 90"),
    ] {
        let said = refused(&web(json!({ "metadata": { "annotations": { name: value } } })), &shop()).to_string();
        assert!(said.contains(name) && said.contains(value), "{said}");
    }
}

#[test]
fn a_termination_delay_sleeps_before_the_application_ends_and_must_fit_the_grace_period() {
    let delayed = |delay: &str, grace: u64| {
        web(json!({
            "metadata": { "annotations": { "minimesh.io/termination-delay": delay } },
            "spec": { "terminationGracePeriodSeconds": grace, "containers": [{ "name": "web" }] },
        }))
    };
    let (pod, _) = injected(&delayed("5s", 30), &shop());
    assert_eq!(pod["spec"]["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"], 5);
    assert!(
        pod["spec"]["initContainers"]
            .as_array()
            .expect("a list")
            .iter()
            .all(|container| container.get("lifecycle").is_none())
    );
    assert_eq!(refused(&delayed("30s", 30), &shop()), Refusal::Delay { seconds: 30, grace: 30 });
    let (pod, warnings) = injected(&delayed("soon", 30), &shop());
    assert_eq!((pod["spec"]["containers"][0].get("lifecycle"), warnings.len()), (None, 1));
}

#[test]
fn unknown_annotations_are_warned_about() {
    let (_, warnings) =
        injected(&web(json!({ "metadata": { "annotations": { "minimesh.io/skip-inbound-port": "80" } } })), &shop());
    assert!(warnings[0].ends_with("did you mean minimesh.io/skip-inbound-ports?"), "{warnings:?}");
}
