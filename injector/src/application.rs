//! What is changed of the application's containers: probes that a transparent proxy would answer itself, and how they end.

use serde_json::{Map, Value, json};

use crate::containers::ADMIN;
use crate::inject::Refusal;

/// A connection to an intercepted port is always accepted, by the sidecar. So `tcpSocket` probes become requests to the sidecar,
/// which connects to the application's port and says whether that worked.
pub(crate) fn rewrite_probes(container: &mut Map<String, Value>, warnings: &mut Vec<String>) {
    let name = container.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
    let ports = container.get("ports").cloned().unwrap_or_default();
    for kind in PROBES {
        let Some(probe) = container.get_mut(kind).and_then(Value::as_object_mut) else { continue };
        let Some(socket) = probe.get("tcpSocket") else { continue };
        if socket.get("host").and_then(Value::as_str).is_some_and(|host| !host.is_empty()) {
            warnings.push(format!("{kind} of container {name} names a host of its own and stays as it is"));
            continue;
        }
        let Some(port) = socket.get("port").and_then(|port| number(port, &ports)) else {
            warnings
                .push(format!("{kind} of container {name} names no port that the container lists and stays as it is"));
            continue;
        };
        probe.remove("tcpSocket");
        let rewritten = json!({ "path": format!("/probe/tcp/{port}"), "port": ADMIN, "scheme": "HTTP" });
        probe.insert("httpGet".into(), rewritten);
    }
}

/// `minimesh.io/termination-delay`: a hook that sleeps, for containers that have none.
pub(crate) fn delay_end(container: &mut Map<String, Value>, seconds: u32) {
    let lifecycle = container.entry("lifecycle").or_insert_with(|| json!({}));
    if let Some(lifecycle) = lifecycle.as_object_mut().filter(|lifecycle| !lifecycle.contains_key("preStop")) {
        lifecycle.insert("preStop".into(), json!({ "sleep": { "seconds": seconds } }));
    }
}

/// The hook's time is part of the pod's grace period, and Kubernetes refuses a longer one without naming this annotation.
pub(crate) fn check_delay(seconds: u32, spec: &Map<String, Value>) -> Result<(), Refusal> {
    let grace = spec.get("terminationGracePeriodSeconds").and_then(Value::as_u64).unwrap_or(USUAL_GRACE);
    if u64::from(seconds) >= grace { Err(Refusal::Delay { seconds, grace }) } else { Ok(()) }
}

fn number(port: &Value, ports: &Value) -> Option<u64> {
    let named = |name: &str| {
        let port = ports.as_array()?.iter().find(|port| port["name"] == name)?;
        port["containerPort"].as_u64()
    };
    let found = port.as_u64().or_else(|| port.as_str().and_then(|name| name.parse().ok().or_else(|| named(name))));
    found.filter(|port| (1..=65535).contains(port))
}

pub(crate) const PROBES: [&str; 3] = ["livenessProbe", "readinessProbe", "startupProbe"];
const USUAL_GRACE: u64 = 30;

#[cfg(test)]
mod tests {
    use super::*;

    fn rewritten(container: Value) -> (Value, Vec<String>) {
        let Value::Object(mut container) = container else { panic!("an object") };
        let mut warnings = Vec::new();
        rewrite_probes(&mut container, &mut warnings);
        (container.into(), warnings)
    }

    #[test]
    fn tcp_probes_ask_the_sidecar_and_keep_their_times() {
        let (container, warnings) = rewritten(json!({
            "name": "db",
            "ports": [{ "name": "sql", "containerPort": 3306 }],
            "livenessProbe": { "tcpSocket": { "port": 3306 }, "periodSeconds": 7 },
            "readinessProbe": { "tcpSocket": { "port": "sql" }, "failureThreshold": 2 },
            "startupProbe": { "exec": { "command": ["true"] } },
        }));
        let get = json!({ "path": "/probe/tcp/3306", "port": 4191, "scheme": "HTTP" });
        assert_eq!(container["livenessProbe"], json!({ "httpGet": get, "periodSeconds": 7 }));
        assert_eq!(container["readinessProbe"], json!({ "httpGet": get, "failureThreshold": 2 }));
        assert_eq!(container["startupProbe"], json!({ "exec": { "command": ["true"] } }));
        assert_eq!(warnings, Vec::<String>::new());
    }

    #[test]
    fn probes_of_unknown_ports_or_other_hosts_stay() {
        let probes = json!({
            "name": "db",
            "livenessProbe": { "tcpSocket": { "port": "sql" } },
            "readinessProbe": { "tcpSocket": { "port": 80, "host": "10.0.0.1" } },
        });
        let (container, warnings) = rewritten(probes.clone());
        assert_eq!((container, warnings.len()), (probes, 2));
    }

    #[test]
    fn a_hook_of_the_applications_own_is_kept() {
        let own = json!({ "lifecycle": { "preStop": { "exec": { "command": ["bye"] } } } });
        let Value::Object(mut container) = own.clone() else { panic!("an object") };
        delay_end(&mut container, 5);
        assert_eq!(Value::Object(container), own);
        let mut bare = Map::new();
        delay_end(&mut bare, 5);
        assert_eq!(Value::Object(bare), json!({ "lifecycle": { "preStop": { "sleep": { "seconds": 5 } } } }));
    }
}
