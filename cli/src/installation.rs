//! The chart, in the program: what `minimesh install`, `upgrade` and `uninstall` print. charts/minimesh is the only source of the
//! manifests; Helm renders the same objects from it.

use std::fs;
use std::path::PathBuf;

use minimesh_chart::{Chart, Manifest, Release};
use serde_json::{Value, json};

use crate::Failure;

/// How it is to be. Flatten this into a command's arguments.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Installation {
    /// Three of each part, on different nodes where there are so many
    #[arg(long)]
    ha: bool,
    /// A value of the chart, as KEY.KEY=VALUE; repeatable, wins over files
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// A file of values of the chart; repeatable, later ones win
    #[arg(short = 'f', long, value_name = "FILE")]
    values: Vec<PathBuf>,
    /// Namespace of the mesh's own parts
    #[arg(long, value_name = "NAMESPACE", default_value = "minimesh", value_parser = namespace)]
    mesh_namespace: String,
}

impl Installation {
    /// Every object, in the order in which it is to be applied.
    pub(crate) fn objects(&self) -> Result<Vec<Manifest>, Failure> {
        let chart = Chart::new(&FILES)?;
        let mut over = json!({ "createNamespace": true });
        if self.ha {
            minimesh_chart::merge(&mut over, minimesh_chart::parse_yaml("values-ha.yaml", HA)?);
        }
        for path in &self.values {
            let shown = path.display().to_string();
            let text =
                fs::read_to_string(path).map_err(|error| Failure::new(format!("cannot read {shown}: {error}")))?;
            self.add(&chart, &mut over, minimesh_chart::parse_yaml(&shown, &text)?, &shown)?;
        }
        for expression in &self.set {
            let mut set = json!({});
            minimesh_chart::set(&mut set, expression)?;
            self.add(&chart, &mut over, set, "--set")?;
        }
        let release = Release { name: "minimesh".into(), namespace: self.mesh_namespace.clone() };
        Ok(chart.render(&release, over)?)
    }

    /// The mesh's own namespace.
    pub(crate) fn namespace(&self) -> &str {
        &self.mesh_namespace
    }

    /// Helm takes values that the chart does not know in silence; a typing error would change nothing and say nothing.
    fn add(&self, chart: &Chart, over: &mut Value, more: Value, source: &str) -> Result<(), Failure> {
        let unknown = minimesh_chart::unknown(chart.values(), &more);
        if !unknown.is_empty() {
            let unknown = unknown.join(", ");
            return Err(Failure::new(format!(
                "{source}: the chart has no value {unknown}; docs/reference/chart.md names them all"
            )));
        }
        minimesh_chart::merge(over, more);
        Ok(())
    }
}

/// A stream for `kubectl apply -f -`, with the files that the objects come from, as Helm prints it.
pub(crate) fn stream(manifests: &[Manifest]) -> String {
    let document = |manifest: &Manifest| format!("---\n# Source: {}\n{}", manifest.source, manifest.text);
    manifests.iter().map(document).collect()
}

fn namespace(text: &str) -> Result<String, String> {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let good =
        (1..=63).contains(&text.len()) && text.bytes().all(allowed) && !text.starts_with('-') && !text.ends_with('-');
    if good { Ok(text.to_owned()) } else { Err("is no name of a namespace".to_owned()) }
}

const HA: &str = include_str!("../../charts/minimesh/values-ha.yaml");

/// Every file of the chart that rendering reads; a test compares with the folder.
const FILES: [(&str, &str); 10] = [
    ("Chart.yaml", include_str!("../../charts/minimesh/Chart.yaml")),
    ("templates/NOTES.txt", include_str!("../../charts/minimesh/templates/NOTES.txt")),
    ("templates/_helpers.tpl", include_str!("../../charts/minimesh/templates/_helpers.tpl")),
    ("templates/control-plane.yaml", include_str!("../../charts/minimesh/templates/control-plane.yaml")),
    ("templates/injector.yaml", include_str!("../../charts/minimesh/templates/injector.yaml")),
    ("templates/namespace.yaml", include_str!("../../charts/minimesh/templates/namespace.yaml")),
    ("templates/network-policy.yaml", include_str!("../../charts/minimesh/templates/network-policy.yaml")),
    ("templates/pod-monitor.yaml", include_str!("../../charts/minimesh/templates/pod-monitor.yaml")),
    ("templates/webhook.yaml", include_str!("../../charts/minimesh/templates/webhook.yaml")),
    ("values.yaml", include_str!("../../charts/minimesh/values.yaml")),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::Path;

    use clap::Parser;
    use minimesh_injector::{Inject, LABEL, wanted};

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        installation: Installation,
    }

    fn objects(line: &str) -> Vec<Value> {
        let line = Line::parse_from(["install"].into_iter().chain(line.split_whitespace()));
        let manifests = line.installation.objects().expect("rendered");
        manifests.into_iter().map(|manifest| manifest.object).collect()
    }

    fn find<'o>(objects: &'o [Value], kind: &str, name: &str) -> &'o Value {
        let found = objects.iter().find(|object| object["kind"] == kind && object["metadata"]["name"] == name);
        found.unwrap_or_else(|| panic!("no {kind} {name}"))
    }

    fn names(objects: &[Value]) -> Vec<String> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        objects
            .iter()
            .map(|object| format!("{} {}", text(&object["kind"]), text(&object["metadata"]["name"])))
            .collect()
    }

    #[test]
    fn the_program_holds_every_file_of_the_chart() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../charts/minimesh");
        let mut files = vec!["Chart.yaml".to_owned(), "values.yaml".to_owned()];
        let templates = std::fs::read_dir(folder.join("templates")).expect("templates");
        files.extend(templates.flatten().map(|file| format!("templates/{}", file.file_name().to_string_lossy())));
        files.sort();
        assert_eq!(FILES.map(|(path, _)| path).to_vec(), files);
    }

    #[test]
    fn the_charts_version_is_the_programs() {
        let chart = Chart::new(&FILES).expect("a chart");
        assert_eq!(chart.app_version(), env!("CARGO_PKG_VERSION"));
    }

    #[test]
    fn objects_come_in_an_order_in_which_each_finds_what_it_needs() {
        let expected = [
            "Namespace minimesh",
            "NetworkPolicy minimesh-control-plane",
            "NetworkPolicy minimesh-injector",
            "ServiceAccount minimesh-control-plane",
            "ServiceAccount minimesh-injector",
            "ClusterRole minimesh-control-plane",
            "ClusterRole minimesh-injector",
            "ClusterRoleBinding minimesh-control-plane",
            "ClusterRoleBinding minimesh-injector",
            "Role minimesh-control-plane",
            "Role minimesh-injector",
            "RoleBinding minimesh-control-plane",
            "RoleBinding minimesh-injector",
            "Service minimesh-control-plane",
            "Service minimesh-injector",
            "Deployment minimesh-control-plane",
            "Deployment minimesh-injector",
            "MutatingWebhookConfiguration minimesh-injector",
        ];
        assert_eq!(names(&objects("")), expected);
    }

    #[test]
    fn ha_is_three_of_each_with_budgets() {
        let objects = objects("--ha");
        for part in ["minimesh-control-plane", "minimesh-injector"] {
            assert_eq!(find(&objects, "Deployment", part)["spec"]["replicas"], 3);
            assert_eq!(find(&objects, "PodDisruptionBudget", part)["spec"]["maxUnavailable"], 1);
        }
    }

    #[test]
    fn values_reach_the_objects_and_unknown_ones_are_refused() {
        let set = "--mesh-namespace mesh --set image.repository=r/m,image.tag=2,proxy.memoryLimit=1Gi --set podMonitor.enabled=true";
        let objects = objects(set);
        let container = &find(&objects, "Deployment", "minimesh-injector")["spec"]["template"]["spec"]["containers"][0];
        assert_eq!(container["image"], "r/m:2");
        let variables: BTreeMap<&str, &str> = container["env"]
            .as_array()
            .expect("a list")
            .iter()
            .filter_map(|variable| Some((variable["name"].as_str()?, variable["value"].as_str()?)))
            .collect();
        assert_eq!((variables["MINIMESH_SIDECAR_IMAGE"], variables["MINIMESH_SIDECAR_MEMORY_LIMIT"]), ("r/m:2", "1Gi"));
        assert_eq!(find(&objects, "PodMonitor", "minimesh-proxy")["metadata"]["namespace"], "mesh");
        let line = Line::parse_from(["install", "--set", "image.tga=2"]);
        let failure = format!("{:?}", line.installation.objects().expect_err("refused"));
        assert!(failure.contains("the chart has no value image.tga"), "{failure}");
    }

    #[test]
    fn no_secret_outside_of_the_own_namespace_can_be_read() {
        for role in objects("").iter().filter(|object| object["kind"] == "ClusterRole") {
            let rules = role["rules"].as_array().expect("rules");
            let all: Vec<&Value> =
                rules.iter().flat_map(|rule| rule["resources"].as_array().expect("resources")).collect();
            assert!(!all.contains(&&json!("secrets")) && !all.contains(&&json!("*")), "{role}");
        }
    }

    /// Every word of the injector's and the control plane's environment is one that the program reads.
    #[test]
    fn variables_of_the_chart_are_those_of_the_program() {
        use clap::CommandFactory;
        let mut cli = crate::Cli::command();
        cli.build();
        for part in ["control-plane", "injector"] {
            let command = cli.find_subcommand(part).expect(part);
            let flag = |flag: &str| command.get_arguments().any(|argument| argument.get_long() == Some(flag));
            // one that knows folders alone is not what the chart starts
            if part == "control-plane" && !flag("kubernetes") {
                continue;
            }
            let known: Vec<String> = command
                .get_arguments()
                .filter_map(|argument| Some(argument.get_env()?.to_string_lossy().into_owned()))
                .collect();
            let objects = objects("");
            let deployment = find(&objects, "Deployment", &format!("minimesh-{part}"));
            let env = deployment["spec"]["template"]["spec"]["containers"][0]["env"].as_array().expect("a list");
            let strange: Vec<&str> = env
                .iter()
                .filter_map(|variable| variable["name"].as_str())
                .filter(|name| !known.iter().any(|known| known == name))
                .collect();
            assert!(strange.is_empty(), "{part} reads no {strange:?}");
        }
    }

    /// The API server asks exactly about the pods that are wanted, and never twice.
    #[test]
    fn the_webhooks_selectors_are_the_injectors_own_judgement() {
        let objects = objects("");
        let webhooks = find(&objects, "MutatingWebhookConfiguration", "minimesh-injector")["webhooks"]
            .as_array()
            .expect("webhooks");
        for namespace in ["shop", "minimesh", "kube-system"] {
            for of_namespace in [None, Some("enabled"), Some("disabled")] {
                for of_pod in [None, Some("enabled"), Some("disabled")] {
                    let labels = |value: Option<&str>| -> BTreeMap<String, String> {
                        value.map(|value| (LABEL.to_owned(), value.to_owned())).into_iter().collect()
                    };
                    let mut around = labels(of_namespace);
                    around.insert("kubernetes.io/metadata.name".into(), namespace.into());
                    let selected = webhooks
                        .iter()
                        .filter(|webhook| {
                            selects(&webhook["namespaceSelector"], &around)
                                && selects(&webhook["objectSelector"], &labels(of_pod))
                        })
                        .count();
                    let wanted = wanted(namespace, "minimesh", Inject::of(&around), Inject::of(&labels(of_pod)));
                    assert_eq!(selected, usize::from(wanted.is_ok()), "{namespace} {of_namespace:?} {of_pod:?}");
                }
            }
        }
        for webhook in webhooks {
            assert_eq!(
                (&webhook["failurePolicy"], &webhook["sideEffects"], &webhook["timeoutSeconds"]),
                (&json!("Fail"), &json!("None"), &json!(5))
            );
        }
    }

    /// Kubernetes' LabelSelector, the two operators that the chart uses. NotIn holds where the label is absent.
    fn selects(selector: &Value, labels: &BTreeMap<String, String>) -> bool {
        let expressions = selector["matchExpressions"].as_array().expect("expressions");
        expressions.iter().all(|expression| {
            let value = labels.get(expression["key"].as_str().expect("a key"));
            let values = expression["values"].as_array().expect("values");
            let within = value.is_some_and(|value| values.iter().any(|known| *known == *value));
            match expression["operator"].as_str() {
                Some("In") => within,
                Some("NotIn") => !within,
                other => panic!("{other:?}"),
            }
        })
    }
}
