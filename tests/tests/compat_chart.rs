//! `minimesh install` prints what the real Helm makes of charts/minimesh, and Helm's linter has nothing to say.

use std::path::{Path, PathBuf};
use std::process::Command;

use minimesh_tests::compat::{Kit, Need, skip};
use minimesh_tests::world::minimesh;
use serde_json::Value;

/// Flags that Helm and `minimesh install` share. Those of `--ha` are a file to Helm.
const MATRIX: [&[&str]; 5] = [
    &[],
    &["-f", HA],
    &[
        "--set",
        "image.repository=r.example/m,image.tag=2,image.pullPolicy=Always,imagePullSecrets={}",
        "--set",
        "logFormat=json",
    ],
    &[
        "--set",
        "networkPolicy.enabled=false,podMonitor.enabled=true,podMonitor.labels.release=prom,podAnnotations=null",
    ],
    &[
        "--set",
        "nodeSelector.disk=ssd,priorityClassName=system-cluster-critical,clusterNetworks=10.1.0.0/16\\,fd00::/8,controlPlane.replicas=2",
    ],
];
const HA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../charts/minimesh/values-ha.yaml");

fn chart() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../charts/minimesh")
}

/// In the kit's folder, once it is known to be there.
fn helm() -> Command {
    let kit = std::env::var_os("MINIMESH_KIT_HELM").expect("the kit is there");
    Command::new(Path::new(&kit).join("helm"))
}

fn said(command: &mut Command) -> String {
    let output = command.output().expect("a program");
    assert!(output.status.success(), "{command:?}\n{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

fn objects(stream: &str) -> Vec<Value> {
    let documents = stream.split("\n---\n").map(|document| document.trim_start_matches("---\n"));
    let objects = documents.map(|document| serde_saphyr::from_str::<Value>(document).expect("YAML"));
    objects.filter(|object| !object.is_null()).collect()
}

fn names(objects: &[Value]) -> Vec<String> {
    objects.iter().map(|object| format!("{} {}", object["kind"], object["metadata"]["name"])).collect()
}

#[test]
fn install_prints_what_helm_prints() {
    if skip("install_prints_what_helm_prints", &[Need::Kit(Kit::Helm)]) {
        return;
    }
    for flags in MATRIX {
        let mut template = helm();
        template.args(["template", "minimesh"]).arg(chart());
        // a Helm that is built without flags takes the cluster to be an ancient one
        template.args(["--kube-version", "1.34.0", "--namespace", "mesh", "--set", "createNamespace=true"]);
        let helms = objects(&said(template.args(flags)));
        let mut install = Command::new(minimesh());
        let ours =
            objects(&said(install.args(["install", "--ignore-cluster", "--mesh-namespace", "mesh"]).args(flags)));
        assert_eq!(names(&ours), names(&helms), "{flags:?}");
        for (ours, helms) in ours.iter().zip(&helms) {
            assert_eq!(ours, helms, "{flags:?}");
        }
        assert!(ours.len() > 10, "{flags:?}");
    }
}

#[test]
fn helms_linter_has_nothing_to_say() {
    if skip("helms_linter_has_nothing_to_say", &[Need::Kit(Kit::Helm)]) {
        return;
    }
    let said = said(helm().args(["lint", "--strict", "--quiet"]).arg(chart()));
    assert!(!said.contains("[ERROR]") && !said.contains("[WARNING]"), "{said}");
}
