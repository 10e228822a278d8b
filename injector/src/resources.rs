//! Requests and limits of what is added. A memory limit always; a CPU limit only where somebody asks for one, because it also
//! slows down a sidecar on an idle machine.

use std::collections::BTreeMap;

use minimesh_api::annotations::{self, Effect};
use serde_json::{Map, Value, json};

use crate::inject::Quota;
use crate::settings::Settings;

/// Of the sidecar, and what could not be read.
pub(crate) fn of_sidecar(
    pod: &BTreeMap<String, String>,
    namespace: &BTreeMap<String, String>,
    quota: Quota,
    settings: &Settings,
) -> (Value, Vec<String>) {
    let mut said: [BTreeMap<&str, String>; 2] = Default::default();
    let mut warnings = Vec::new();
    for annotation in annotations::TABLE {
        let Effect::Resource(field, resource) = annotation.effect else { continue };
        let Some((name, value)) = annotation.find_for_pod(pod, namespace) else { continue };
        if annotation.form.accepts(value) {
            said[usize::from(field == LIMITS)].insert(resource, value.to_owned());
        } else {
            let form = annotation.form.description();
            warnings.push(format!("annotation {name}: {value:?} is not {form}; it is left out"));
        }
    }
    let [requests, limits] = said;
    let of_requests = [
        ("cpu", Some(settings.sidecar_cpu_request.as_str())),
        ("ephemeral-storage", quota.ephemeral_request.then_some("16Mi")),
        ("memory", Some(&settings.sidecar_memory_request)),
    ];
    let of_limits = [
        ("cpu", quota.cpu_limit.then_some("1")),
        ("ephemeral-storage", quota.ephemeral_limit.then_some("64Mi")),
        ("memory", Some(&settings.sidecar_memory_limit)),
    ];
    let mut resources = (Map::new(), Map::new());
    for ((name, request), (_, limit)) in of_requests.into_iter().zip(of_limits) {
        let (request, limit) = settle((requests.get(name), request), (limits.get(name), limit));
        resources.0.extend(request.map(|value| (name.to_owned(), value.into())));
        resources.1.extend(limit.map(|value| (name.to_owned(), value.into())));
    }
    (json!({ "requests": resources.0, "limits": resources.1 }), warnings)
}

/// Of the step that programs interception: it runs for some milliseconds, before anything else does.
pub(crate) fn of_redirect(quota: Quota) -> Value {
    let mut resources = json!({ "requests": { "cpu": "10m", "memory": "16Mi" }, "limits": { "memory": "32Mi" } });
    if quota.cpu_limit {
        resources[LIMITS]["cpu"] = "1".into();
    }
    if quota.ephemeral_request {
        resources["requests"]["ephemeral-storage"] = "16Mi".into();
    }
    if quota.ephemeral_limit {
        resources[LIMITS]["ephemeral-storage"] = "64Mi".into();
    }
    resources
}

/// A request above its limit would be refused: the one that nobody asked for gives way.
fn settle(
    (request, usual_request): (Option<&String>, Option<&str>),
    (limit, usual_limit): (Option<&String>, Option<&str>),
) -> (Option<String>, Option<String>) {
    let asked = (request.is_some(), limit.is_some());
    let request = request.cloned().or(usual_request.map(str::to_owned));
    let limit = limit.cloned().or(usual_limit.map(str::to_owned));
    match (&request, &limit) {
        (Some(more), Some(less)) if amount(more) > amount(less) => match asked {
            (true, false) => (request.clone(), request),
            _ => (limit.clone(), limit),
        },
        _ => (request, limit),
    }
}

/// Close enough to compare.
fn amount(quantity: &str) -> f64 {
    let number = quantity.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    if let Ok(exponent) = quantity.parse::<f64>() {
        return exponent;
    }
    let factor = match &quantity[number.len()..] {
        "n" => 1e-9,
        "u" => 1e-6,
        "m" => 1e-3,
        "k" => 1e3,
        "M" => 1e6,
        "G" => 1e9,
        "T" => 1e12,
        "P" => 1e15,
        "E" => 1e18,
        "Ki" => 1024.0,
        "Mi" => 1024f64.powi(2),
        "Gi" => 1024f64.powi(3),
        "Ti" => 1024f64.powi(4),
        "Pi" => 1024f64.powi(5),
        "Ei" => 1024f64.powi(6),
        _ => 1.0,
    };
    number.parse::<f64>().unwrap_or_default() * factor
}

const LIMITS: &str = "limits";

#[cfg(test)]
mod tests {
    use super::*;

    fn resources(pod: &[(&str, &str)], quota: Quota) -> (Value, Vec<String>) {
        let pod = pod.iter().map(|(name, value)| (format!("minimesh.io/{name}"), value.to_string())).collect();
        of_sidecar(&pod, &BTreeMap::new(), quota, &Settings::example())
    }

    #[test]
    fn memory_is_limited_and_cpu_is_not() {
        let expected = json!({ "requests": { "cpu": "10m", "memory": "16Mi" }, "limits": { "memory": "128Mi" } });
        assert_eq!(resources(&[], Quota::default()), (expected, vec![]));
    }

    #[test]
    fn a_quota_that_demands_limits_gets_them() {
        let quota = Quota { cpu_limit: true, ephemeral_limit: true, ephemeral_request: true };
        let (sidecar, _) = resources(&[], quota);
        for resources in [sidecar, of_redirect(quota)] {
            assert_eq!(resources["limits"]["cpu"], "1");
            assert_eq!(resources["limits"]["ephemeral-storage"], "64Mi");
            assert_eq!(resources["requests"]["ephemeral-storage"], "16Mi");
        }
    }

    #[test]
    fn every_annotation_of_a_resource_sets_it() {
        for annotation in annotations::TABLE {
            let Effect::Resource(field, name) = annotation.effect else { continue };
            let (set, warnings) = resources(&[(annotation.short_name(), "100M")], Quota::default());
            assert_eq!((&set[field][name], warnings.len()), (&json!("100M"), 0), "{}", annotation.name);
            let (unset, warnings) = resources(&[(annotation.short_name(), "much")], Quota::default());
            assert_eq!((unset, warnings.len()), (resources(&[], Quota::default()).0, 1), "{}", annotation.name);
        }
    }

    #[test]
    fn a_request_is_never_above_its_limit() {
        let (low, _) = resources(&[("proxy-memory-limit", "8Mi")], Quota::default());
        assert_eq!((&low["requests"]["memory"], &low["limits"]["memory"]), (&json!("8Mi"), &json!("8Mi")));
        let (high, _) = resources(&[("proxy-memory-request", "1Gi")], Quota::default());
        assert_eq!((&high["requests"]["memory"], &high["limits"]["memory"]), (&json!("1Gi"), &json!("1Gi")));
    }

    #[test]
    fn amounts_compare() {
        assert!(amount("100m") < amount("0.2") && amount("64Mi") < amount("1G") && amount("1e3") < amount("1Ki"));
    }
}
