//! What annotations say of a sidecar's access log and traces: as flags of `minimesh proxy`, which whoever makes the pod passes on.
//!
//! They take effect when a pod is made, like everything that injection decides. A pod's word wins over its namespace's.

use std::collections::BTreeMap;

use crate::annotations::{Fault, field, find};

type Annotations = BTreeMap<String, String>;

/// Flags of a sidecar, in a fixed order. What cannot be read is left out; [`crate::faults`] names it.
pub fn recording(pod: &Annotations, namespace: &Annotations) -> Vec<String> {
    let flag = |known: &Known| {
        let value = known.found(pod).or_else(|| known.found(namespace))?.1;
        (known.accept)(value).then(|| (known.flag)(value)).flatten()
    };
    KNOWN.iter().filter_map(flag).collect()
}

/// Every annotation of these that cannot be read.
pub(crate) fn faults(annotations: &Annotations) -> impl Iterator<Item = Fault> {
    KNOWN.iter().filter_map(|known| {
        let (name, value) = known.found(annotations)?;
        let Known { accept, form, .. } = known;
        (!accept(value))
            .then(|| Fault { field: field(&name), reason: format!("{value:?} is not {form}; it is left out") })
    })
}

/// One annotation.
struct Known {
    name: &'static str,
    /// Linkerd's name, where it is another one.
    alias: Option<&'static str>,
    accept: fn(&str) -> bool,
    flag: fn(&str) -> Option<String>,
    form: &'static str,
}

impl Known {
    fn found<'a>(&self, annotations: &'a Annotations) -> Option<(String, &'a str)> {
        find(annotations, self.name).or_else(|| find(annotations, self.alias?))
    }
}

const KNOWN: [Known; 5] = [
    Known {
        name: "access-log",
        alias: None,
        accept: |value| matches!(value, "apache" | "json" | "off"),
        flag: |value| Some(format!("--access-log={value}")),
        form: "apache, json or off",
    },
    Known {
        name: "access-log-headers",
        alias: None,
        accept: |value| value.split(',').all(|name| is_header_name(name.trim())),
        flag: |value| Some(format!("--access-log-headers={value}")),
        form: "a list of header names",
    },
    Known {
        name: "access-log-query",
        alias: None,
        accept: |value| matches!(value, "true" | "false"),
        flag: |value| (value == "true").then(|| "--access-log-query".to_owned()),
        form: "true or false",
    },
    Known {
        name: "otlp-endpoint",
        alias: Some("trace-collector"),
        accept: is_collector,
        flag: |value| Some(format!("--otlp-endpoint={value}")),
        form: "of the form http://HOST:PORT",
    },
    Known {
        name: "otlp-protocol",
        alias: None,
        accept: |value| matches!(value, "grpc" | "http"),
        flag: |value| Some(format!("--otlp-protocol={value}")),
        form: "grpc or http",
    },
];

/// RFC 9110 section 5.6.2.
fn is_header_name(name: &str) -> bool {
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !name.is_empty() && name.bytes().all(token)
}

/// As the proxy's flag takes it: `http://HOST:PORT[/PATH]`, or without the scheme.
fn is_collector(value: &str) -> bool {
    let rest = value.strip_prefix("http://").unwrap_or(value);
    let authority = rest.split('/').next().unwrap_or_default();
    let printable = rest.bytes().all(|byte| byte.is_ascii_graphic());
    let host_and_port = |(host, port): (&str, &str)| {
        let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let plain = host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte)) && !host.is_empty();
        port.parse::<u16>().is_ok() && bracketed.map_or(plain, |host| host.parse::<std::net::Ipv6Addr>().is_ok())
    };
    printable && authority.rsplit_once(':').is_some_and(host_and_port)
}

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

    #[test]
    fn collectors() {
        for good in ["a:1", "http://a.b:4317", "http://[::1]:4318/x", "[::1]:4318"] {
            assert!(is_collector(good), "{good}");
        }
        for bad in ["", "a", "http://", ":1", "a:", "a:99999", "https://a:1", "u@a:1", "a b:1", "::1:4317"] {
            assert!(!is_collector(bad), "{bad}");
        }
    }
}
