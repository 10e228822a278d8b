//! What annotations say of a sidecar's access log and traces: as flags of `minimesh proxy`, which whoever makes the pod passes on.
//!
//! They take effect when a pod is made, like everything that injection decides. A pod's word wins over its namespace's.

use std::collections::BTreeMap;

use minimesh_api::annotations::{
    ACCESS_LOG, ACCESS_LOG_HEADERS, ACCESS_LOG_QUERY, Annotation, OTLP_ENDPOINT, OTLP_PROTOCOL,
};

use crate::annotations::{Fault, field};

type Annotations = BTreeMap<String, String>;

/// Flags of a sidecar, in a fixed order. What cannot be read is left out; [`crate::faults`] names it.
pub fn recording(pod: &Annotations, namespace: &Annotations) -> Vec<String> {
    let flag = |known: &Known| {
        let value = known.annotation.find_for_pod(pod, namespace)?.1;
        known.annotation.form.accepts(value).then(|| (known.flag)(value)).flatten()
    };
    KNOWN.iter().filter_map(flag).collect()
}

/// Every annotation of these that cannot be read.
pub(crate) fn faults(annotations: &Annotations) -> impl Iterator<Item = Fault> {
    KNOWN.iter().filter_map(|Known { annotation, .. }| {
        let (name, value) = annotation.find(annotations)?;
        let reason = || format!("{value:?} is not {}; it is left out", annotation.form.description());
        (!annotation.form.accepts(value)).then(|| Fault { field: field(name), reason: reason() })
    })
}

/// One annotation, and its flag.
struct Known {
    annotation: Annotation,
    flag: fn(&str) -> Option<String>,
}

const KNOWN: [Known; 5] = [
    Known { annotation: ACCESS_LOG, flag: |value| Some(format!("--access-log={value}")) },
    Known { annotation: ACCESS_LOG_HEADERS, flag: |value| Some(format!("--access-log-headers={value}")) },
    Known { annotation: ACCESS_LOG_QUERY, flag: |value| (value == "true").then(|| "--access-log-query".to_owned()) },
    Known { annotation: OTLP_ENDPOINT, flag: |value| Some(format!("--otlp-endpoint={value}")) },
    Known { annotation: OTLP_PROTOCOL, flag: |value| Some(format!("--otlp-protocol={value}")) },
];

#[cfg(test)]
mod tests {
    use super::*;

    fn annotations(pairs: &[(&str, &str)]) -> Annotations {
        pairs.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
    }

    #[test]
    fn ours_and_linkerds_annotations_are_flags_and_the_pods_word_wins() {
        let namespace = annotations(&[
            ("config.linkerd.io/access-log", "apache"),
            ("config.linkerd.io/trace-collector", "collector.tracing:4317"),
        ]);
        assert_eq!(
            recording(&annotations(&[]), &namespace),
            ["--access-log=apache", "--otlp-endpoint=collector.tracing:4317"]
        );
        let pod = annotations(&[
            ("minimesh.io/access-log", "json"),
            ("minimesh.io/access-log-headers", "user-agent, referer"),
            ("minimesh.io/access-log-query", "true"),
            ("minimesh.io/otlp-endpoint", "http://10.0.0.1:4318/v1/traces"),
            ("minimesh.io/otlp-protocol", "http"),
        ]);
        let expected = [
            "--access-log=json",
            "--access-log-headers=user-agent, referer",
            "--access-log-query",
            "--otlp-endpoint=http://10.0.0.1:4318/v1/traces",
            "--otlp-protocol=http",
        ];
        assert_eq!(recording(&pod, &namespace), expected);
        let off = annotations(&[("minimesh.io/access-log", "off"), ("minimesh.io/access-log-query", "false")]);
        assert_eq!(recording(&off, &namespace)[0], "--access-log=off");
    }

    #[test]
    fn what_cannot_be_read_is_named_and_left_out() {
        let bad = annotations(&[
            ("minimesh.io/access-log", "yes"),
            ("minimesh.io/access-log-headers", "user agent"),
            ("minimesh.io/access-log-query", "1"),
            ("config.linkerd.io/trace-collector", "https://collector:4317"),
            ("minimesh.io/otlp-protocol", "udp"),
        ]);
        assert_eq!(recording(&bad, &annotations(&[])), Vec::<String>::new());
        let faults: Vec<Fault> = faults(&bad).collect();
        assert_eq!(faults.len(), 5, "{faults:#?}");
        assert_eq!(faults[3].field, "metadata.annotations[config.linkerd.io/trace-collector]");
        assert_eq!(faults[3].reason, "\"https://collector:4317\" is not of the form http://HOST:PORT; it is left out");
    }
}
