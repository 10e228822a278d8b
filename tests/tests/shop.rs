//! The shop, as a newcomer starts it. (That nothing of it outlives its supervisor is tested in cli/tests/demo.rs.)

use std::process::{Command, Stdio};

use minimesh_tests::world::minimesh;
use serde_json::Value;

/// Edges of which the shop's traffic cannot do without one (shared by the README and the manifests).
const SOME_EDGES: [(&str, &str); 6] = [
    ("front-end", "catalogue"),
    ("front-end", "orders"),
    ("catalogue", "catalogue-db"),
    ("orders", "payment"),
    ("orders", "shipping"),
    ("shipping", "rabbitmq"),
];

#[test]
fn the_shop_runs_for_half_a_minute_with_every_edge_secured_and_none_failing() {
    let mut demo = Command::new(minimesh());
    demo.args(["demo", "--duration", "30s", "-o", "json", "--port", "0"]).stdin(Stdio::null()).stderr(Stdio::piped());
    let output = demo.output().expect("the program starts");
    let errors = String::from_utf8_lossy(&output.stderr);
    let document: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}\n{errors}", String::from_utf8_lossy(&output.stdout)));
    let edges = document["edges"].as_array().expect("a list of edges");
    for edge in edges {
        assert_eq!(edge["secured"], Value::Bool(true), "{edge}");
    }
    let name = |value: &Value| value.as_str().unwrap_or_default().rsplit('/').next().unwrap_or_default().to_owned();
    for (source, destination) in SOME_EDGES {
        let there =
            edges.iter().any(|edge| name(&edge["source"]) == source && name(&edge["destination"]) == destination);
        assert!(there, "no edge {source} -> {destination} in {document}");
    }
    assert!(output.status.success(), "{}\n{errors}\n{document}", output.status);
}
