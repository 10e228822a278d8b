//! The shop's Kubernetes manifests, embedded: `minimesh demo` writes them out and runs them.
//!
//! Owns the list of files; the text is in `manifests/`, where `kubectl apply -f` finds it too.

/// Every manifest: file name and text, in the order in which they apply.
pub const MANIFESTS: &[(&str, &str)] = &[
    ("00-namespace.yaml", include_str!("../manifests/00-namespace.yaml")),
    ("carts.yaml", include_str!("../manifests/carts.yaml")),
    ("carts-db.yaml", include_str!("../manifests/carts-db.yaml")),
    ("catalogue.yaml", include_str!("../manifests/catalogue.yaml")),
    ("catalogue-db.yaml", include_str!("../manifests/catalogue-db.yaml")),
    ("front-end.yaml", include_str!("../manifests/front-end.yaml")),
    ("orders.yaml", include_str!("../manifests/orders.yaml")),
    ("orders-db.yaml", include_str!("../manifests/orders-db.yaml")),
    ("payment.yaml", include_str!("../manifests/payment.yaml")),
    ("queue-master.yaml", include_str!("../manifests/queue-master.yaml")),
    ("rabbitmq.yaml", include_str!("../manifests/rabbitmq.yaml")),
    ("routes.yaml", include_str!("../manifests/routes.yaml")),
    ("session-db.yaml", include_str!("../manifests/session-db.yaml")),
    ("shipping.yaml", include_str!("../manifests/shipping.yaml")),
    ("user.yaml", include_str!("../manifests/user.yaml")),
    ("user-db.yaml", include_str!("../manifests/user-db.yaml")),
    ("visitor.yaml", include_str!("../manifests/visitor.yaml")),
];

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use serde_json::{Value, json};

    use super::*;

    fn documents(text: &str) -> Vec<Value> {
        let all: Vec<Value> = serde_saphyr::from_multiple(text).unwrap();
        all.into_iter().filter(|document| !document.is_null()).collect()
    }

    fn ours() -> Vec<Value> {
        MANIFESTS.iter().flat_map(|(_, text)| documents(text)).collect()
    }

    fn of_kind<'d>(documents: &'d [Value], kind: &str) -> BTreeMap<&'d str, &'d Value> {
        let found = documents.iter().filter(|document| document["kind"] == kind);
        found.filter_map(|document| Some((document["metadata"]["name"].as_str()?, document))).collect()
    }

    fn containers(deployment: &Value) -> &Vec<Value> {
        deployment["spec"]["template"]["spec"]["containers"].as_array().unwrap()
    }

    #[test]
    fn every_file_of_the_folder_is_listed() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/manifests");
        let there: BTreeSet<String> =
            std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        assert_eq!(there, MANIFESTS.iter().map(|(name, _)| (*name).to_owned()).collect());
    }

    #[test]
    fn every_workload_runs_as_an_account_of_its_own_and_a_role_of_this_program() {
        let documents = ours();
        let (deployments, accounts) = (of_kind(&documents, "Deployment"), of_kind(&documents, "ServiceAccount"));
        assert_eq!(deployments.len(), 15);
        let mut served_twice = 0;
        for (name, deployment) in &deployments {
            assert!(accounts.contains_key(name), "{name}");
            assert_eq!(deployment["spec"]["template"]["spec"]["serviceAccountName"], json!(name));
            served_twice += usize::from(deployment["spec"]["replicas"] == 2);
            for container in containers(deployment) {
                let command = container["command"].as_array().unwrap();
                assert_eq!(command[..2], [json!("minimesh"), json!("sock-shop")]);
                let words = command.iter().skip(1).map(|word| word.as_str().unwrap());
                <Commands as clap::Parser>::try_parse_from(words).unwrap_or_else(|error| panic!("{name}: {error}"));
            }
        }
        assert!(served_twice >= 2);
    }

    #[derive(clap::Parser)]
    struct Commands {
        #[command(flatten)]
        _args: crate::Args,
    }

    #[test]
    fn the_namespace_asks_for_sidecars() {
        assert_eq!(of_kind(&ours(), "Namespace")["sock-shop"]["metadata"]["labels"]["minimesh.io/inject"], "enabled");
    }

    /// The manifest that people apply, where the project's reference material lies beside the repository.
    #[test]
    fn names_ports_and_security_are_those_of_the_original() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/sock-shop/complete-demo.yaml");
        let Ok(text) = std::fs::read_to_string(path) else { return };
        let (theirs, ours) = (documents(&text), ours());
        let (original, services) = (of_kind(&theirs, "Service"), of_kind(&ours, "Service"));
        assert_eq!(services.keys().collect::<Vec<_>>(), original.keys().collect::<Vec<_>>());
        for (name, service) in &original {
            let ports = |service: &Value| -> Vec<(Value, Value)> {
                let ports = service["spec"]["ports"].as_array().unwrap().iter();
                ports.map(|port| (port["port"].clone(), port["targetPort"].clone())).collect()
            };
            assert_eq!(ports(services[name]), ports(service), "{name}");
        }
        let (original, deployments) = (of_kind(&theirs, "Deployment"), of_kind(&ours, "Deployment"));
        for (name, deployment) in &original {
            let security = |deployment: &Value| containers(deployment)[0]["securityContext"].clone();
            let (theirs, ours) = (security(deployment), security(deployments[name]));
            let binds = |security: &Value| security["capabilities"]["add"].to_string().contains("NET_BIND_SERVICE");
            // queue-master has none in the original, and listens on 80 as root
            assert!(binds(&ours) == binds(&theirs) || *name == "queue-master", "{name}");
            assert_eq!(ours["readOnlyRootFilesystem"], true, "{name}");
            assert_eq!(ours["capabilities"]["drop"], json!(["ALL"]), "{name}");
        }
    }
}
