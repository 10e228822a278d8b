//! Our pair as it is shipped: control plane, interception, discovery, mTLS, metrics, reports, policy.

use std::fmt::Write as _;
use std::net::Ipv4Addr;

use minimesh_benches::load::Failure;
use minimesh_benches::origin::HTTP1;
use minimesh_tests::apps::Request;
use minimesh_tests::wait;
use minimesh_tests::world::manifests::Service;
use minimesh_tests::world::{ControlPlane, Pod, PodBuilder, World};

use crate::round::{Pair, SERVICES, origin, service};
use crate::subject::Variant;

pub(crate) fn start<'w>(
    world: &'w World,
    control_plane: &ControlPlane<'w>,
    variant: Variant,
) -> Result<Pair<'w>, Failure> {
    let described = |name| -> PodBuilder<'w> {
        let pod = world.pod(name);
        match variant {
            Variant::AccessLog => pod.proxy_argument("--access-log", "json"),
            Variant::Strict => pod.annotation("config.linkerd.io/default-inbound-policy", "all-authenticated"),
            Variant::Endpoints | Variant::Limit | Variant::Rules | Variant::Shipped => pod,
        }
    };
    let server = described("server").start(control_plane);
    let client = described("client").start(control_plane);
    let held = vec![origin(&server)?];
    for (name, port, address) in SERVICES {
        let service = Service { name, address, port, target_port: port, protocol: None };
        match variant {
            Variant::Rules if port == HTTP1 => world.manifest("rules.yaml", &rules()),
            Variant::Endpoints if port == HTTP1 => {
                world.apply(&service.object());
                world.apply(&service.endpoints(&endpoints(&server)));
                continue;
            }
            _ => {}
        }
        world.serve(&service, &[&server]);
    }
    if variant == Variant::Rules {
        // the last that was written is in force, and so are the others
        let refused = Request::get(service(HTTP1), "/refused");
        wait::eventually("the rules are in force", || (client.request(&refused).status == 500).then_some(()));
    }
    let proxies = [&client, &server].map(|pod| pod.proxy().id_outside());
    let proxies = proxies.into_iter().collect::<Option<Vec<u32>>>().ok_or("a sidecar is gone")?;
    Ok(Pair { client, proxies, held })
}

/// A hundred addresses of one pod, each an endpoint with connections of its own.
fn endpoints<'p>(server: &'p Pod<'_>) -> Vec<(Ipv4Addr, &'p str, bool)> {
    let more = (1..100).map(|number| Ipv4Addr::new(10, 42, 1, number));
    let mut all = vec![(server.address(), server.name(), false)];
    for address in more {
        server.add_address(address.into());
        all.push((address, server.name(), false));
    }
    all
}

/// A thousand rules, as many to a route as Gateway API allows. Requests of the load match the last that is looked at.
fn rules() -> String {
    let backend = format!("    backendRefs: [{{name: web, port: {HTTP1}}}]\n");
    let mut rules: Vec<String> = (0..998)
        .map(|number| format!("  - matches: [{{path: {{type: PathPrefix, value: /rule-{number}}}}}]\n{backend}"))
        .collect();
    rules.push(format!("  - matches: [{{path: {{type: PathPrefix, value: /}}}}]\n{backend}"));
    rules.push("  - matches: [{path: {type: Exact, value: /refused}}]\n".to_owned());
    let mut text = String::new();
    for (number, some) in rules.chunks(16).enumerate() {
        let separator = if number > 0 { "---\n" } else { "" };
        let rules = some.concat();
        let written = write!(
            text,
            "{separator}apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{name: rules-{number}, \
             namespace: test}}\nspec:\n  parentRefs: [{{group: '', kind: Service, name: web, port: {HTTP1}}}]\n  rules:\n{rules}"
        );
        written.expect("a String takes everything");
    }
    text
}
