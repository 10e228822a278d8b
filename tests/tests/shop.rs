//! The shop, as a newcomer starts it. (That nothing of it outlives its supervisor is tested in cli/tests/demo.rs.)

use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use minimesh_tests::apps::{Request, Response};
use minimesh_tests::demo::Demo;
use minimesh_tests::world::minimesh;
use serde_json::{Value, json};

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

#[test]
fn no_body_is_plaintext_on_any_veth_while_people_shop() {
    let demo = Demo::start("shop-veths", &["--port", "0", "-o", "plain"]);
    let watch = demo.watch(&[MARKER, SHOPPERS_TOWN, PROBE]);
    let (page, begun, mut orders) = (demo.page(), Instant::now(), 0);
    while orders < ORDERS || begun.elapsed() < CAPTURE {
        order(page, orders);
        orders += 1;
    }
    let seen = watch.finish();

    let mut ports = Vec::new();
    assert!(seen.len() >= PODS, "{} network namespaces: {:?}", seen.len(), seen.keys());
    for (pod, seen) in &seen {
        let veth = &seen.veth;
        println!(
            "{pod}: {} packets on its veth, {} on its loopback, TLS {:?}",
            veth.packets, seen.loopback.packets, veth.tls
        );
        for marker in [MARKER, SHOPPERS_TOWN] {
            assert_eq!(veth.markers.get(marker), None, "{pod}: {marker} is on its veth");
        }
        assert!(veth.plaintext.is_empty(), "{pod}: {:?}", veth.plaintext);
        // without root a socket has little room, and what the kernel dropped for want of it was not looked at
        assert!(veth.packets >= 100 && veth.packets * 10 >= seen.counted * 9, "{pod}: {seen:?}");
        let beside_reports: u64 =
            veth.tls.iter().filter(|(port, _)| **port != CONTROL_PLANE).map(|(_, count)| count).sum();
        assert!(beside_reports >= 10 || ["control-plane", "init"].contains(&&**pod), "{pod}: {veth:?}");
        ports.extend(veth.tls.keys());
    }
    // front-end and the other HTTP services, the queue, and each kind of database
    for port in [80, 3306, 5672, 6379, 27017] {
        assert!(ports.contains(&port), "no TLS to any port {port}: {ports:?}");
    }
    // all of it is there to be found where it may be plaintext: inside the pods …
    let pod = |name: &str| {
        let found =
            seen.iter().find(|(pod, _)| pod.strip_prefix(name).is_some_and(|rest| rest.matches('-').count() == 2));
        found.map(|(_, seen)| seen).unwrap_or_else(|| panic!("no pod of {name}: {:?}", seen.keys()))
    };
    for name in ["visitor", "front-end", "user", "user-db"] {
        for marker in [MARKER, SHOPPERS_TOWN] {
            assert!(pod(name).loopback.markers.contains_key(marker), "{name}: no {marker} on its loopback");
        }
    }
    // … and on the very same veths, in the kubelet's plaintext probes
    for name in ["front-end", "user", "orders"] {
        assert!(pod(name).veth.markers.contains_key(PROBE), "{name}: no probe on its veth");
    }
}

/// A customer who registers, orders a pair of socks and looks at what the shop knows.
fn order(page: SocketAddr, number: u32) {
    let ask = |cookie: &str, path: &str, body: Option<Value>| -> Response {
        let request = Request::get(page, path).header("Cookie", cookie);
        let request = match body {
            Some(body) => request.header("Content-Type", "application/json").body("POST", &body.to_string()),
            None => request,
        };
        let response = request.send().expect("the shop answers");
        assert!((200..300).contains(&response.status), "{path}: {response:?}");
        response
    };
    let socks: Value = serde_json::from_str(&ask("", "/catalogue", None).body).expect("JSON");
    let cheap = socks.as_array().and_then(|socks| socks.iter().find(|sock| sock["price"].as_f64() < Some(50.0)));
    let person = json!({ "username": format!("{MARKER}-{number}"), "password": MARKER, "firstName": MARKER, "lastName": MARKER, "email": MARKER });
    let welcome = ask("", "/register", Some(person));
    let cookie =
        welcome.header("set-cookie").and_then(|cookie| cookie.split(';').next()).expect("a session").to_owned();
    let address = json!({ "street": MARKER, "number": "1", "city": MARKER, "postcode": "1", "country": MARKER });
    ask(&cookie, "/addresses", Some(address));
    ask(&cookie, "/cards", Some(json!({ "longNum": "4000123412341234", "expires": "11/30" })));
    ask(&cookie, "/cart", Some(json!({ "id": cheap.expect("a cheap sock")["id"], "quantity": 1 })));
    ask(&cookie, "/orders", Some(json!({})));
    let known = ask(&cookie, "/addresses", None);
    assert!(known.body.contains(MARKER), "{}", known.body);
}

/// In bodies of requests and responses.
const MARKER: &str = "PLAINTEXT-MARKER";
/// In bodies of the demo's own load (examples/sock-shop/src/load.rs).
const SHOPPERS_TOWN: &str = "Heelbronn";
/// In heads of the demo's own probes, from the node.
const PROBE: &str = "kube-probe";
/// As a capture's length is given to tcpdump; the demo's own load goes on meanwhile.
const CAPTURE: Duration = Duration::from_secs(10);
const ORDERS: u32 = 20;
/// Where proxies report to.
const CONTROL_PLANE: u16 = 8086;
/// Fourteen services, some of them twice, the visitor, the control plane, and the node itself.
const PODS: usize = 20;
