//! The cluster itself, and the image: what later tests of the mesh stand on, seen to work without the mesh.

use minimesh_tests::apps::OpenLoopPlan;
use minimesh_tests::cluster::{Cluster, NODE, SERVERS};
use minimesh_tests::wait;

#[test]
fn a_pod_of_the_image_says_its_version_as_an_ordinary_user_on_a_read_only_root() {
    let Some(cluster) =
        Cluster::of_this_run("a_pod_of_the_image_says_its_version_as_an_ordinary_user_on_a_read_only_root")
    else {
        return;
    };
    let namespace = cluster.namespace("image");
    namespace.apply(&IMAGE.replace("VERSION", env!("CARGO_PKG_VERSION")));
    for (pod, expected) in
        [("program", format!("minimesh {}\n", env!("CARGO_PKG_VERSION"))), ("link", "Usage".to_owned())]
    {
        wait::within(minimesh_tests::cluster::PATIENCE, &format!("{pod} ends"), || {
            let phase = namespace.kubectl(&["get", "pod", pod, "--output", "jsonpath={.status.phase}"]);
            assert_ne!(phase, "Failed", "{}", namespace.kubectl(&["describe", "pod", pod]));
            (phase == "Succeeded").then_some(())
        });
        let said = namespace.kubectl(&["logs", pod]);
        assert!(said.contains(&expected), "{pod}: {said}");
    }
}

#[test]
fn a_port_of_the_nodes_is_one_services_until_that_is_gone() {
    let Some(cluster) = Cluster::of_this_run("a_port_of_the_nodes_is_one_services_until_that_is_gone") else { return };
    let namespace = cluster.namespace("addresses");
    let service = |name: &str| namespace.apply(&LOAD_BALANCER.replace("NAME", name));
    service("first");
    assert_eq!(namespace.load_balancer("first"), NODE);
    service("second");
    service("elsewhere-first");
    let elsewhere = r#"{"spec":{"ports":[{"port":7002}]}}"#;
    namespace.kubectl(&["patch", "service", "elsewhere-first", "--type", "merge", "--patch", elsewhere]);
    // an address for the third shows that the second had its turn
    assert_eq!(namespace.load_balancer("elsewhere-first"), NODE);
    assert_eq!(namespace.object(&["service", "second"])["status"]["loadBalancer"], serde_json::json!({}));
    namespace.kubectl(&["delete", "service", "first"]);
    assert_eq!(namespace.load_balancer("second"), NODE);
}

#[test]
fn the_shop_fails_nobody_outside_while_its_front_end_is_restarted() {
    let test = "the_shop_fails_nobody_outside_while_its_front_end_is_restarted";
    let Some(cluster) = Cluster::of_this_run(test).filter(|cluster| cluster.has_time(test)) else { return };
    let shop = cluster.namespace("sock-shop");
    let target = shop.open_shop();
    let paths = ["/", "/catalogue?size=5", "/catalogue/size", "/tags"].map(str::to_owned).to_vec();
    let load = cluster.load(&OpenLoopPlan { target, paths, per_second: 20 });
    shop.kubectl(&["rollout", "restart", "deployment", "front-end"]);
    shop.rolled_out();
    let result = load.finish();
    assert!(result.failed == 0 && result.succeeded >= 20, "{result:?}");
}

#[test]
fn servers_of_debian_run_and_find_each_other_by_pod_dns() {
    let test = "servers_of_debian_run_and_find_each_other_by_pod_dns";
    let cluster = Cluster::of_this_run(test);
    let cluster = cluster.filter(|cluster| cluster.has_time(test) && cluster.has_images(test, &SERVERS));
    let Some(cluster) = cluster else { return };
    let namespace = cluster.namespace("servers");
    namespace.open_servers();
    namespace.use_servers();
}

const IMAGE: &str = r#"
apiVersion: v1
kind: List
items:
  - apiVersion: v1
    kind: Pod
    metadata: {name: program}
    spec:
      restartPolicy: Never
      containers:
        - name: minimesh
          image: minimesh:VERSION
          args: [version]
          securityContext:
            runAsNonRoot: true
            readOnlyRootFilesystem: true
            allowPrivilegeEscalation: false
            capabilities: {drop: [ALL]}
  - apiVersion: v1
    kind: Pod
    metadata: {name: link}
    spec:
      restartPolicy: Never
      containers: [{name: minimesh, image: "minimesh:VERSION", command: [minimesh-proxy, --help]}]
"#;

const LOAD_BALANCER: &str = r#"
apiVersion: v1
kind: Service
metadata: {name: NAME}
spec: {type: LoadBalancer, ports: [{port: 7001}]}
"#;
