//! Files of a chart, a release of it, and Helm's order of objects.

use serde_json::{Value, json};

use crate::Error;
use crate::execute::{Defined, execute};
use crate::parse::{Node, parse};
use crate::values::{merge, parse_yaml, without_nulls};

/// A chart, read.
pub struct Chart {
    about: Value,
    values: Value,
    /// Path and template, in the order of paths.
    templates: Vec<(String, Vec<Node>)>,
    defined: Defined,
}

/// What a chart is rendered for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Release {
    /// Its name.
    pub name: String,
    /// Where it goes.
    pub namespace: String,
}

/// One object.
#[derive(Clone, Debug, PartialEq)]
pub struct Manifest {
    /// `CHART/templates/FILE`, as Helm names it.
    pub source: String,
    /// As rendered, comments and all.
    pub text: String,
    /// The same, read.
    pub object: Value,
}

impl Chart {
    /// Reads the files of a chart, by their paths in it.
    pub fn new(files: &[(&str, &str)]) -> Result<Chart, Error> {
        let text = |name: &str| {
            let found = files.iter().find(|(path, _)| *path == name).map(|(_, text)| *text);
            found.ok_or_else(|| Error::Value(format!("the chart has no {name}")))
        };
        let about = parse_yaml("Chart.yaml", text("Chart.yaml")?)?;
        let values = parse_yaml("values.yaml", text("values.yaml")?)?;
        let mut paths: Vec<&(&str, &str)> = files.iter().filter(|(path, _)| path.starts_with("templates/")).collect();
        paths.sort();
        let (mut templates, mut defined) = (Vec::new(), Defined::new());
        for (path, text) in paths {
            let parsed = parse(path, text)?;
            defined.extend(parsed.defined.into_iter().map(|(name, nodes)| (name, ((*path).to_owned(), nodes))));
            let name = path.rsplit('/').next().unwrap_or(path);
            if !name.starts_with('_') && name != "NOTES.txt" {
                templates.push(((*path).to_owned(), parsed.main));
            }
        }
        Ok(Chart { about, values, templates, defined })
    }

    /// The chart's defaults.
    pub fn values(&self) -> &Value {
        &self.values
    }

    /// Version of what it installs.
    pub fn app_version(&self) -> &str {
        self.about["appVersion"].as_str().unwrap_or_default()
    }

    /// Every object of a release, in the order in which Helm applies them.
    pub fn render(&self, release: &Release, over: Value) -> Result<Vec<Manifest>, Error> {
        let mut values = self.values.clone();
        merge(&mut values, over);
        let data = json!({
            "Values": without_nulls(values),
            "Chart": {
                "Name": self.about["name"],
                "Version": self.about["version"],
                "AppVersion": self.about["appVersion"],
            },
            "Release": { "Name": release.name, "Namespace": release.namespace, "Service": "Helm" },
        });
        let mut manifests = Vec::new();
        for (path, nodes) in &self.templates {
            let text = execute(path, nodes, &data, &self.defined)?;
            let source = format!("{}/{path}", self.about["name"].as_str().unwrap_or_default());
            for document in documents(&text) {
                let bad = |reason: String| Error::Yaml { file: format!("{path} as rendered"), reason };
                let object: Value = serde_saphyr::from_str(document).map_err(|error| bad(error.to_string()))?;
                if object.is_null() {
                    continue;
                }
                if !object["kind"].is_string() {
                    return Err(bad("an object has no kind".into()));
                }
                manifests.push(Manifest { source: source.clone(), text: format!("{}\n", document.trim()), object });
            }
        }
        manifests.sort_by_key(|manifest| order(manifest.object["kind"].as_str().unwrap_or_default()));
        Ok(manifests)
    }
}

/// Separated by lines that begin with `---`.
fn documents(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        let mut at = 0;
        for line in text.split_inclusive('\n') {
            if line.trim_end() == "---" {
                rest = Some(&text[at + line.len()..]);
                return Some(&text[..at]);
            }
            at += line.len();
        }
        rest = None;
        Some(text)
    })
    .filter(|document| document.lines().any(|line| !line.trim().is_empty() && !line.trim_start().starts_with('#')))
}

/// Where Helm has a kind in its order (pkg/release/util/kind_sorter); other kinds come last.
fn order(kind: &str) -> usize {
    ORDER.iter().position(|known| *known == kind).unwrap_or(ORDER.len())
}

/// Helm's order, of the kinds that the chart has or may come to have.
const ORDER: [&str; 16] = [
    "Namespace",
    "NetworkPolicy",
    "ResourceQuota",
    "LimitRange",
    "PodDisruptionBudget",
    "ServiceAccount",
    "Secret",
    "ConfigMap",
    "CustomResourceDefinition",
    "ClusterRole",
    "ClusterRoleBinding",
    "Role",
    "RoleBinding",
    "Service",
    "Deployment",
    "MutatingWebhookConfiguration",
];

#[cfg(test)]
mod tests {
    use super::*;

    const FILES: [(&str, &str); 4] = [
        ("Chart.yaml", "name: c\nversion: 1.0.0\nappVersion: \"2.0\"\n"),
        ("values.yaml", "name: web\nmore: {a: 1}\n"),
        ("templates/_helpers.tpl", "{{- define \"c.name\" -}}\n{{ .Values.name }}\n{{- end }}\n"),
        (
            "templates/b.yaml",
            "# first\nkind: Deployment\nname: {{ include \"c.name\" . }}\n---\n# nothing\n---\nkind: Service\nmore:\n  {{- toYaml .Values.more | nindent 2 }}\n\
             namespace: {{ .Release.Namespace }}\n",
        ),
    ];

    #[test]
    fn objects_come_in_helms_order_with_their_comments() {
        let chart = Chart::new(&FILES).expect("a chart");
        let release = Release { name: "r".into(), namespace: "ns".into() };
        let manifests = chart.render(&release, json!({ "more": { "b": "x" } })).expect("rendered");
        let expected = [
            Manifest {
                source: "c/templates/b.yaml".into(),
                text: "kind: Service\nmore:\n  a: 1\n  b: x\nnamespace: ns\n".into(),
                object: json!({ "kind": "Service", "more": { "a": 1, "b": "x" }, "namespace": "ns" }),
            },
            Manifest {
                source: "c/templates/b.yaml".into(),
                text: "# first\nkind: Deployment\nname: web\n".into(),
                object: json!({ "kind": "Deployment", "name": "web" }),
            },
        ];
        assert_eq!(manifests, expected);
        assert_eq!(chart.app_version(), "2.0");
    }

    #[test]
    fn what_renders_to_no_object_is_named() {
        let mut files = FILES;
        files[3] = ("templates/b.yaml", "a: {{ .Values.name }}\n");
        let chart = Chart::new(&files).expect("a chart");
        let release = Release { name: "r".into(), namespace: "ns".into() };
        let error = chart.render(&release, json!({})).expect_err("no kind").to_string();
        assert_eq!(error, "templates/b.yaml as rendered: an object has no kind");
    }
}
