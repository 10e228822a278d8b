//! Who is let in, who is not, and that nobody in between can read.

use std::net::{Ipv4Addr, SocketAddr};

use minimesh_tests::apps::{Exchange, Request, Rogue, RogueResult};
use minimesh_tests::wait;
use minimesh_tests::world::manifests::Service;
use minimesh_tests::world::{Pair, TRUST_DOMAIN, World};

const SERVICE: Service<'_> =
    Service { name: "echo", address: Ipv4Addr::new(10, 43, 0, 10), port: 80, target_port: 8080, protocol: None };
const BYTES: Service<'_> =
    Service { name: "bytes", address: Ipv4Addr::new(10, 43, 0, 11), port: 7, target_port: 7, protocol: None };
const STRICT: (&str, &str) = ("config.linkerd.io/default-inbound-policy", "all-authenticated");

#[test]
fn a_server_with_another_identity_than_expected_gets_nothing() {
    let world = World::start("identity-of-server");
    let Pair { client, server, http, .. } = &world.pair(&SERVICE);

    // the cluster now says that another account's pod is there; the process has still the old one's certificate
    server.claim_account("someone-else");
    let request = Request::get(SERVICE.socket(), "/").header("x-id", 1);
    let refused = wait::eventually("the client expects someone else", || {
        let response = client.request(&request);
        (response.status != 200).then_some(response)
    });
    assert_eq!(refused.verdict(), (502, Some("tls_identity_mismatch")));
    let before = http.received().len();
    assert_eq!(client.request(&request).verdict(), (502, Some("tls_identity_mismatch")));
    assert_eq!(http.received().len(), before);
    assert!(client.errors("tls_identity_mismatch") >= 2.0);
}

#[test]
fn clients_without_a_valid_certificate_do_not_reach_the_application() {
    let world = World::start("identity-of-client");
    let control_plane = world.control_plane(&[]);
    let server = world.pod("server").annotation(STRICT.0, STRICT.1).start(&control_plane);
    let http = server.http_server(SERVICE.target_port);
    let outsider = world.pod("outsider").unmeshed().start();
    let honest = Rogue {
        address: server.port(SERVICE.target_port),
        server: server.identity(),
        client: format!("spiffe://{TRUST_DOMAIN}/ns/test/sa/outsider"),
        authority: world.authority(),
        foreign: false,
        expired_seconds: 0,
        id: 1,
    };
    assert_eq!(outsider.attack(&honest), RogueResult::Answered(200));
    for (id, what, rogue) in [
        (2, "tls_unknown_issuer", Rogue { foreign: true, ..honest.clone() }),
        (3, "tls_expired", Rogue { expired_seconds: 60, ..honest }),
    ] {
        let result = outsider.attack(&Rogue { id, ..rogue });
        assert!(matches!(result, RogueResult::Refused(_)), "{what}: {result:?}");
        assert!(server.errors(what) >= 1.0, "{what} is not counted");
    }
    assert_eq!(http.received().len(), 1, "{:?}", http.received());
}

#[test]
fn plaintext_does_not_pass_a_strict_port() {
    let world = World::start("identity-strict");
    let control_plane = world.control_plane(&[]);
    let server = world.pod("server").annotation(STRICT.0, STRICT.1).start(&control_plane);
    let http = server.http_server(SERVICE.target_port);
    let _bytes = server.tcp_server("echo", BYTES.target_port);
    let outsider = world.pod("outsider").unmeshed().start();

    let response = outsider.request(&Request::get(server.port(SERVICE.target_port), "/").header("x-id", 1));
    assert_eq!(response.verdict(), (403, Some("policy_denied")));
    let exchange = Exchange { send: 100, ..quiet(server.port(BYTES.target_port)) };
    let result = outsider.exchange(&exchange);
    assert!(result.error.is_some() && result.received == 0, "{result:?}");
    assert_eq!(http.received(), Vec::<String>::new());
    assert!(server.errors("policy_denied") >= 2.0);
}

#[test]
fn no_plaintext_is_on_any_veth() {
    let world = World::start("identity-capture");
    let Pair { client, server, http, .. } = &world.pair(&SERVICE);
    let outsider = world.pod("outsider").unmeshed().start();
    let capture = world.run_app("capture", &["--marker", "MARKER"]);
    wait::eventually("the capture is ready", || capture.output().contains("ready").then_some(()));

    let secret = "MARKERsecret ".repeat(10_000);
    let request = Request::get(SERVICE.socket(), "/MARKERsecret").header("x-id", 1).body("POST", &secret[..100_000]);
    assert_eq!(client.request(&request).status, 200);
    assert_eq!(http.received().len(), 1);
    // packets are seen in order: once this one is, all before it were
    let control = Request::get(server.port(SERVICE.target_port), "/").body("POST", "MARKERcontrol ");
    outsider.request(&control);
    wait::eventually("the capture sees plaintext", || capture.output().contains("found control").then_some(()));
    assert!(!capture.output().contains("secret"), "{}", capture.output());
}

fn quiet(address: SocketAddr) -> Exchange {
    Exchange { address, wait_for_greeting: false, idle_millis: 0, send: 0, lines_first: 0 }
}
