//! Manifests: any text is read or refused with a place in it, reading is repeatable, and whatever was read can be asked about.

use std::net::SocketAddr;

use minimesh_api::model::DefaultPolicy;
use minimesh_control_plane::folder::parse;
use minimesh_index::{Event, Index, Settings};

/// The first byte says whether it is YAML or JSON.
pub(crate) fn run(bytes: &[u8]) {
    let Some((json, text)) = bytes.split_first() else { return };
    let Ok(text) = std::str::from_utf8(text) else { return };
    let file = if json % 4 == 1 { "a.json" } else { "a.yaml" };
    let parsed = parse(file, text);
    assert_eq!(parse(file, text), parsed, "reading is repeatable");
    // YAML 1.2 section 5.4: a carriage return ends a line as well
    let lines = 1 + text.matches(['\n', '\r']).count() as u32;
    for problem in parsed.problems.iter().chain(&parsed.faults) {
        assert!(problem.line <= lines, "line {} of {lines}: {problem:?}", problem.line);
        assert!(!problem.reason.is_empty());
    }
    let objects: Vec<_> = parsed.objects.into_iter().map(|(object, _)| object).collect();
    let mut whole = index();
    whole.apply(Event::Replace(objects.clone()));
    let mut single = index();
    single.apply(Event::Replace(vec![]));
    for object in objects {
        single.apply(Event::Apply(object));
    }
    assert_eq!(whole.route_statuses(), single.route_statuses(), "one by one or all at once");
    for address in ["10.43.0.10:80", "10.42.0.5:8080", "[fd00::1]:443"] {
        let Ok(address) = address.parse::<SocketAddr>() else { continue };
        assert_eq!(whole.target("default", address), single.target("default", address), "one by one or all at once");
    }
}

fn index() -> Index {
    let networks = ["10.42.0.0/15", "fd00::/8"].iter().filter_map(|network| network.parse().ok()).collect();
    Index::new(Settings {
        mesh_namespace: "minimesh".to_owned(),
        trust_domain: "cluster.local".to_owned(),
        cluster_networks: networks,
        session_key: [7; 32].into(),
        default_policy: DefaultPolicy::AllUnauthenticated,
    })
}
