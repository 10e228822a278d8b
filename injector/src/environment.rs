//! Annotations of a pod and its namespace, as environment variables of what is added.

use std::collections::BTreeMap;

use minimesh_api::annotations::{
    self, Annotation, DEFAULT_INBOUND_POLICY, Effect, Form, PROXY_LOG_FORMAT, PROXY_LOG_LEVEL,
};
use serde_json::{Value, json};

use crate::settings::Settings;

type Map = BTreeMap<String, String>;

/// Variables of both containers, in the order of the table, and what could not be read.
#[derive(Debug, Default)]
pub(crate) struct Variables {
    sidecar: Vec<(&'static str, String)>,
    redirect: Vec<(&'static str, String)>,
    pub(crate) warnings: Vec<String>,
}

impl Variables {
    pub(crate) fn new(
        pod: &Map,
        namespace: &Map,
        port_by_name: &dyn Fn(&str) -> Option<u16>,
        settings: &Settings,
    ) -> Variables {
        let mut variables = Variables::default();
        for annotation in annotations::TABLE {
            let (Effect::Sidecar(variable) | Effect::Redirect(variable)) = annotation.effect else { continue };
            let said = annotation.find_for_pod(pod, namespace);
            let read = said.and_then(|(name, value)| variables.read(annotation, name, value, port_by_name));
            let default = || match annotation.name {
                name if name == PROXY_LOG_FORMAT.name => Some(settings.sidecar_log_format.clone()),
                name if name == PROXY_LOG_LEVEL.name => Some(settings.sidecar_log_level.clone()),
                _ => None,
            };
            let Some(value) = read.or_else(default) else { continue };
            match annotation.effect {
                Effect::Redirect(_) => variables.redirect.push((variable, value)),
                _ => variables.sidecar.push((variable, value)),
            }
        }
        // What holds until the control plane has spoken. Its form was looked at before (`inject`).
        if let Some((_, policy)) = DEFAULT_INBOUND_POLICY.find_for_pod(pod, namespace) {
            variables.sidecar.push(("MINIMESH_DEFAULT_POLICY", policy.to_owned()));
        }
        variables
    }

    pub(crate) fn of_redirect(&self) -> Vec<Value> {
        entries(&self.redirect)
    }

    pub(crate) fn of_sidecar(&self) -> Vec<Value> {
        entries(&self.sidecar)
    }

    /// The value in the form that the flag takes.
    fn read(
        &mut self,
        annotation: &Annotation,
        name: &str,
        value: &str,
        port_by_name: &dyn Fn(&str) -> Option<u16>,
    ) -> Option<String> {
        match annotation.form {
            Form::Ports => Some(self.ports(name, value, port_by_name)),
            Form::Seconds if annotation.form.accepts(value) => {
                annotations::seconds(value).map(|seconds| format!("{seconds}s"))
            }
            Form::Networks if annotation.form.accepts(value) => {
                let networks = annotations::networks(value)?;
                Some(networks.iter().map(ToString::to_string).collect::<Vec<_>>().join(","))
            }
            form if form.accepts(value) => Some(value.to_owned()),
            form => {
                self.warnings
                    .push(format!("annotation {name}: {value:?} is not {}; it is left out", form.description()));
                None
            }
        }
    }

    /// Names become numbers. What is no port is left out: an intercepted port is the safe meaning.
    fn ports(&mut self, name: &str, value: &str, port_by_name: &dyn Fn(&str) -> Option<u16>) -> String {
        let mut ports = Vec::new();
        for entry in annotations::entries(value) {
            match annotations::port_range(entry).or_else(|| port_by_name(entry).map(|port| port..=port)) {
                Some(range) if range.start() == range.end() => ports.push(range.start().to_string()),
                Some(range) => ports.push(format!("{}-{}", range.start(), range.end())),
                None => self.warnings.push(format!(
                    "annotation {name}: {entry:?} is no port, range of ports or name of a container's port here; it is left out"
                )),
            }
        }
        ports.join(",")
    }
}

fn entries(variables: &[(&'static str, String)]) -> Vec<Value> {
    variables.iter().map(|(name, value)| json!({ "name": name, "value": value })).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&str, &str)]) -> Map {
        pairs.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
    }

    fn variables(pod: &[(&str, &str)], namespace: &[(&str, &str)]) -> Variables {
        let names = |name: &str| (name == "db").then_some(5432);
        Variables::new(&map(pod), &map(namespace), &names, &Settings::example())
    }

    fn value<'v>(variables: &'v Variables, name: &str) -> Option<&'v str> {
        let mut all = variables.sidecar.iter().chain(&variables.redirect);
        all.find(|(variable, _)| *variable == name).map(|(_, value)| value.as_str())
    }

    #[test]
    fn without_annotations_only_the_installations_defaults_are_set() {
        let plain = variables(&[], &[]);
        assert_eq!(plain.of_redirect(), Vec::<Value>::new());
        assert_eq!(
            plain.sidecar,
            [("MINIMESH_LOG_FORMAT", "plain".to_owned()), ("MINIMESH_LOG_LEVEL", "info".to_owned())]
        );
    }

    #[test]
    fn ports_are_numbers_for_the_one_who_cannot_know_their_names() {
        let skip = variables(&[("config.linkerd.io/skip-inbound-ports", " db,9000-9010 , web,")], &[]);
        assert_eq!(value(&skip, "MINIMESH_SKIP_INBOUND_PORTS"), Some("5432,9000-9010"));
        assert_eq!(skip.warnings.len(), 1);
        assert!(skip.warnings[0].contains("\"web\" is no port"), "{:?}", skip.warnings);
    }

    /// Every annotation of the table whose effect is a variable, with a value that has one.
    #[test]
    fn every_annotation_of_a_variable_sets_it() {
        for annotation in annotations::TABLE {
            let (Effect::Sidecar(variable) | Effect::Redirect(variable)) = annotation.effect else { continue };
            let (said, expected) = match annotation.form {
                Form::Collector => ("http://collector:4317", "http://collector:4317"),
                Form::HeaderNames => ("user-agent, referer", "user-agent, referer"),
                Form::LogLevel => ("warn,minimesh_proxy=debug", "warn,minimesh_proxy=debug"),
                Form::Networks => ("192.168.0.0/16, 10.0.0.1", "192.168.0.0/16,10.0.0.1/32"),
                Form::Number(_) => ("2", "2"),
                Form::Ports => ("25, db", "25,5432"),
                Form::Seconds => ("2m", "120s"),
                Form::Words(words) => (words[1], words[1]),
                form => panic!("{}: {form:?} has no value here", annotation.name),
            };
            for name in [annotation.name].iter().chain(annotation.aliases) {
                let set = variables(&[(name, said)], &[]);
                assert_eq!((value(&set, variable), set.warnings.as_slice()), (Some(expected), &[][..]), "{name}");
                let by_namespace = variables(&[], &[(name, said)]);
                assert_eq!(value(&by_namespace, variable), Some(expected), "{name} of the namespace");
            }
        }
    }

    #[test]
    fn what_cannot_be_read_is_left_out_and_named() {
        let bad = variables(&[("minimesh.io/workers", "0"), ("minimesh.io/proxy-log-level", "loud")], &[]);
        assert_eq!((value(&bad, "MINIMESH_WORKERS"), value(&bad, "MINIMESH_LOG_LEVEL")), (None, Some("info")));
        assert_eq!(bad.warnings.len(), 2, "{:?}", bad.warnings);
    }
}
