//! `admission.k8s.io/v1`: an AdmissionReview is read, and answered.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::inject::{Outcome, Refusal};
use crate::patch;

/// What is asked.
#[derive(Debug)]
pub(crate) struct Question {
    pub(crate) uid: String,
    pub(crate) namespace: String,
    pub(crate) pod: Value,
}

/// Why a question cannot be answered, other than by an error of HTTP.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unreadable {
    #[error("the body is not JSON: {0}")]
    Json(String),
    #[error("the body has more than {MOST_VALUES} values: no pod has")]
    Large,
    #[error("the body is not an AdmissionReview of admission.k8s.io/v1: {0}")]
    Review(&'static str),
}

/// One admission, for the log and the metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Injected,
    Refused,
    Skipped,
    Unchanged,
}

impl Question {
    pub(crate) fn read(body: &[u8]) -> Result<Question, Unreadable> {
        if values(body) > MOST_VALUES {
            return Err(Unreadable::Large);
        }
        let mut review: Value = serde_json::from_slice(body).map_err(|error| Unreadable::Json(error.to_string()))?;
        let unreadable = |what| Err(Unreadable::Review(what));
        if review["kind"] != "AdmissionReview" || review["apiVersion"] != VERSION {
            return unreadable("kind or apiVersion is another");
        }
        let request = &mut review["request"];
        let uid = match request["uid"].as_str() {
            Some(uid) if !uid.is_empty() => uid.to_owned(),
            _ => return unreadable("it has no request.uid"),
        };
        if request["kind"]["kind"] != "Pod" {
            return unreadable("request.kind is not Pod");
        }
        let namespace = match request["namespace"].as_str() {
            Some(namespace) if is_name(namespace) => namespace.to_owned(),
            _ => return unreadable("it has no request.namespace"),
        };
        Ok(Question { uid, namespace, pod: request["object"].take() })
    }

    /// The pod's name, as far as it has one yet.
    pub(crate) fn pod_name(&self) -> &str {
        let metadata = &self.pod["metadata"];
        metadata["name"].as_str().or_else(|| metadata["generateName"].as_str()).unwrap_or("without name")
    }

    /// The answer to what became of the pod.
    pub(crate) fn answer(&self, outcome: &Outcome) -> (Value, Verdict) {
        match outcome {
            Outcome::Injected { pod, warnings } => {
                let operations = patch::difference(&self.pod, pod);
                let mut response = json!({ "uid": self.uid, "allowed": true });
                let verdict = if operations.is_empty() { Verdict::Unchanged } else { Verdict::Injected };
                if verdict == Verdict::Injected {
                    response["patchType"] = "JSONPatch".into();
                    response["patch"] = STANDARD.encode(Value::from(operations).to_string()).into();
                }
                if !warnings.is_empty() {
                    response["warnings"] = warnings.iter().map(|text| warning(text)).collect();
                }
                (review(response), verdict)
            }
            Outcome::Refused(refusal) => {
                let code = if matches!(refusal, Refusal::Malformed(_)) { 400 } else { 403 };
                (self.refuse(code, &refusal.to_string()), Verdict::Refused)
            }
            Outcome::Skipped(skip) => {
                let warnings = [warning(&format!("pod {} is not meshed: {skip}", self.pod_name()))];
                (review(json!({ "uid": self.uid, "allowed": true, "warnings": warnings })), Verdict::Skipped)
            }
        }
    }

    /// A refusal in words that whoever made the pod reads.
    pub(crate) fn refuse(&self, code: u16, why: &str) -> Value {
        let message = format!("minimesh cannot add its sidecar to pod {}/{}: {why}", self.namespace, self.pod_name());
        review(json!({ "uid": self.uid, "allowed": false, "status": { "code": code, "message": message } }))
    }
}

fn review(response: Value) -> Value {
    json!({ "apiVersion": VERSION, "kind": "AdmissionReview", "response": response })
}

/// How many values JSON has, about: each takes many times its text in memory. What stands in quotes counts once.
fn values(body: &[u8]) -> usize {
    let (mut count, mut quoted, mut escaped) = (0, false, false);
    for byte in body {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = quoted,
            b'"' => quoted = !quoted,
            b',' | b':' | b'[' | b'{' if !quoted => count += 1,
            _ => {}
        }
    }
    count
}

/// The API server cuts what is longer, and all of them where they are many.
fn warning(text: &str) -> Value {
    let text = format!("minimesh: {text}");
    text.chars().take(LONGEST_WARNING).collect::<String>().into()
}

/// A name of a namespace goes into a path.
fn is_name(name: &str) -> bool {
    (1..=63).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

const VERSION: &str = "admission.k8s.io/v1";
const LONGEST_WARNING: usize = 256;
/// Twenty times what a pod of a large chart has.
pub(crate) const MOST_VALUES: usize = 50_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inject::{Skip, Surroundings, inject};
    use crate::patch::tests::applied;
    use crate::settings::Settings;

    fn question(pod: Value) -> Question {
        let review = json!({
            "apiVersion": VERSION,
            "kind": "AdmissionReview",
            "request": {
                "uid": "u-1",
                "kind": { "group": "", "version": "v1", "kind": "Pod" },
                "namespace": "shop",
                "operation": "CREATE",
                "dryRun": true,
                "object": pod,
            },
        });
        Question::read(review.to_string().as_bytes()).expect("a review")
    }

    fn answer(question: &Question) -> (Value, Verdict) {
        let around = Surroundings { namespace: "shop".into(), ..Surroundings::default() };
        let (review, verdict) = question.answer(&inject(&question.pod, &around, &Settings::example()));
        assert_eq!((&review["apiVersion"], &review["kind"]), (&json!(VERSION), &json!("AdmissionReview")));
        assert_eq!(review["response"]["uid"], "u-1");
        (review["response"].clone(), verdict)
    }

    #[test]
    fn the_patch_makes_the_injected_pod_and_a_second_call_changes_nothing() {
        let pod = json!({ "metadata": { "generateName": "web-" }, "spec": { "containers": [{ "name": "web", "image": "web" }] } });
        let first = question(pod.clone());
        let (response, verdict) = answer(&first);
        assert_eq!(
            (verdict, &response["allowed"], &response["patchType"]),
            (Verdict::Injected, &json!(true), &json!("JSONPatch"))
        );
        let patch = STANDARD.decode(response["patch"].as_str().expect("a patch")).expect("base64");
        let operations: Vec<Value> = serde_json::from_slice(&patch).expect("a list");
        let patched = applied(&pod, &operations);
        assert!(crate::is_injected(&patched), "{patched}");
        let (response, verdict) = answer(&question(patched));
        assert_eq!((verdict, response), (Verdict::Unchanged, json!({ "uid": "u-1", "allowed": true })));
    }

    #[test]
    fn what_is_skipped_is_allowed_with_the_reason() {
        let host = question(
            json!({ "metadata": { "name": "node-exporter" }, "spec": { "hostNetwork": true, "containers": [{ "name": "a" }] } }),
        );
        let (response, verdict) = answer(&host);
        assert_eq!((verdict, &response["allowed"]), (Verdict::Skipped, &json!(true)));
        let expected = format!("minimesh: pod node-exporter is not meshed: {}", Skip::HostNetwork);
        assert_eq!(response["warnings"], json!([expected]));
    }

    #[test]
    fn broken_pods_are_refused_in_words() {
        for (pod, said) in [
            (json!(null), "it has no spec.containers"),
            (json!("pod"), "it has no spec.containers"),
            (json!({ "spec": [] }), "it has no spec.containers"),
            (json!({ "spec": { "containers": [] } }), "spec.containers is empty"),
            (json!({ "spec": { "containers": { "a": 1 } } }), "spec.containers is not a list"),
            (json!({ "spec": { "containers": [{}] } }), "spec.containers is not a list of containers with names"),
            (json!({ "spec": { "containers": [{ "name": "a" }], "initContainers": 5 } }), "spec.initContainers"),
            (json!({ "spec": { "containers": [{ "name": "a" }], "volumes": [7] } }), "spec.volumes"),
            (json!({ "metadata": 5, "spec": { "containers": [{ "name": "a" }] } }), "metadata is not an object"),
            (
                json!({ "metadata": { "annotations": [] }, "spec": { "containers": [{ "name": "a" }] } }),
                "metadata.annotations",
            ),
            (
                json!({ "metadata": { "annotations": { "a": 1 } }, "spec": { "containers": [{ "name": "a" }] } }),
                "is not a text",
            ),
        ] {
            let (response, verdict) = answer(&question(pod.clone()));
            assert_eq!(
                (verdict, &response["allowed"], &response["status"]["code"]),
                (Verdict::Refused, &json!(false), &json!(400)),
                "{pod}"
            );
            let message = response["status"]["message"].as_str().expect("a message");
            assert!(
                message.starts_with("minimesh cannot add its sidecar to pod shop/") && message.contains(said),
                "{message}"
            );
        }
    }

    #[test]
    fn values_are_counted_outside_of_texts() {
        assert_eq!(values(br#"{"a": [1, 2], "b": ",,[{\\", "c\"": {}}"#), 9);
    }

    #[test]
    fn what_is_no_review_of_a_pod_is_named() {
        let read = |text: &str| Question::read(text.as_bytes()).expect_err("unreadable").to_string();
        assert!(read("{").starts_with("the body is not JSON"), "{}", read("{"));
        assert!(read("[]").contains("kind or apiVersion"), "{}", read("[]"));
        let review = |request: Value| {
            json!({ "apiVersion": VERSION, "kind": "AdmissionReview", "request": request }).to_string()
        };
        assert!(read(&review(json!({}))).contains("request.uid"));
        assert!(read(&review(json!({ "uid": "u", "kind": { "kind": "Secret" } }))).contains("not Pod"));
        let odd = json!({ "uid": "u", "kind": { "kind": "Pod" }, "namespace": "../secrets" });
        assert!(read(&review(odd)).contains("request.namespace"));
    }
}
