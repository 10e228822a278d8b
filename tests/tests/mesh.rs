//! What Gateway API says of routes on Services, feature by feature of its mesh profiles, through real proxies: stricter than the
//! conformance suite, which looks neither at `Location`, nor at rewritten paths, nor at what a route must not do.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use minimesh_tests::apps::{Call, LoadPlan, LoadProtocol, Request, Response};
use minimesh_tests::protocol::Status;
use minimesh_tests::wait;
use minimesh_tests::world::{ControlPlane, HttpServer, Pod, World};

/// `echo` is both versions, of the others each is one.
const ECHO: Ipv4Addr = Ipv4Addr::new(10, 43, 0, 1);
const ECHO_1: Ipv4Addr = Ipv4Addr::new(10, 43, 0, 2);
const ECHO_2: Ipv4Addr = Ipv4Addr::new(10, 43, 0, 3);
/// In the namespace `other`.
const LEDGER: Ipv4Addr = Ipv4Addr::new(10, 43, 0, 4);

/// The Services' `http`, `http-alt` and `grpc`; the first two are one port of the pods.
const HTTP: u16 = 80;
const ALT: u16 = 8080;
const GRPC: u16 = 7070;

/// Two versions of a server and a client in one namespace, a second client in another.
struct Mesh<'w> {
    world: &'w World,
    client: Pod<'w>,
    consumer: Pod<'w>,
    pods: [Pod<'w>; 2],
    servers: Vec<HttpServer<'w>>,
    control_plane: ControlPlane<'w>,
}

#[test]
fn routes_of_services_do_what_gateway_api_says() {
    let world = World::start("mesh");
    let mesh = Mesh::new(&world);
    mesh.matching();
    mesh.headers_and_paths();
    mesh.redirects();
    mesh.addresses_and_ports();
    mesh.consumers();
    mesh.grants();
    mesh.refused_connections();
}

#[test]
fn grpc_routes_do_what_gateway_api_says() {
    let world = World::start("mesh-grpc");
    let mesh = Mesh::new(&world);
    mesh.grpc_matching();
    mesh.grpc_filters();
    mesh.grpc_weights();
}

impl<'w> Mesh<'w> {
    fn new(world: &'w World) -> Mesh<'w> {
        let control_plane = world.control_plane(&[]);
        let start = |name: &str| world.pod(name).start(&control_plane);
        let (client, pods) = (start("client"), [start("echo-v1"), start("echo-v2")]);
        let consumer = world.pod("consumer").namespace("consumer").start(&control_plane);
        let servers = pods.iter().flat_map(|pod| [pod.http_server(ALT), pod.http_server(GRPC)]).collect();
        world.manifest("services.yaml", &services(&pods));
        let mesh = Mesh { world, client, consumer, pods, servers, control_plane };
        wait::eventually("the Services are reached", || {
            let all = [ECHO, ECHO_1, ECHO_2].map(|address| mesh.get(address, "/").status);
            (all == [200; 3]).then_some(())
        });
        mesh
    }

    /// Puts routes in place of those before, and waits until requests show it.
    fn routes(&self, routes: &[String], in_force: impl Fn() -> bool) {
        self.world.manifest("routes.yaml", &routes.concat());
        wait::eventually("the routes are in force", || in_force().then_some(()));
    }

    fn get(&self, address: Ipv4Addr, path: &str) -> Response {
        self.client.request(&Request::get((address, HTTP).into(), path))
    }

    fn matching(&self) {
        let version = |value: &str| format!("{{headers: [{{name: version, value: {value}}}]}}");
        let prefix = |path: &str| format!("{{path: {{type: PathPrefix, value: {path}}}}}");
        let to = |name: &str, matches: [String; 2]| {
            format!("{{name: to-{name}, matches: [{}], backendRefs: [{{name: {name}, port: 80}}]}}", matches.join(", "))
        };
        let one = to("echo-v1", [prefix("/"), version("one")]);
        let two = to("echo-v2", [prefix("/v2"), version("two")]);
        let query = "{matches: [{path: {type: Exact, value: /q}, queryParams: [{name: a, value: '1'}]}, {path: {type: Exact, value: \
                     /q}, queryParams: [{name: a, value: '2'}, {name: b, value: '3'}], method: POST}], filters: [{type: \
                     ResponseHeaderModifier, responseHeaderModifier: {set: [{name: x-query, value: 'yes'}]}}], backendRefs: [{name: \
                     echo-v2, port: 80}]}";
        // by its mark: without a route either version may have answered
        self.routes(&[route("HTTPRoute", "test", &echo(), &[&one, &two, query])], || {
            self.get(ECHO, "/q?a=1").header("x-query").is_some()
        });
        for (path, header, expected) in [
            ("/", None, "echo-v1"),
            ("/example", None, "echo-v1"),
            ("/", Some("one"), "echo-v1"),
            ("/v2", None, "echo-v2"),
            ("/v2/example", None, "echo-v2"),
            ("/v2?x=/", None, "echo-v2"),
            // by element of the path
            ("/v2example", None, "echo-v1"),
            ("/foo/v2/example", None, "echo-v1"),
            // more headers before an equally long path
            ("/", Some("two"), "echo-v2"),
            // a longer path before more headers
            ("/v2", Some("one"), "echo-v2"),
        ] {
            let request = Request::get((ECHO, HTTP).into(), path);
            let request = header.iter().fold(request, |request, value| request.header("Version", value));
            assert_eq!(server(&self.client.request(&request)), expected, "{path} {header:?}");
        }
        let asked = |method: &str, path: &str| {
            let request = Request::get((ECHO, HTTP).into(), path).body(method, "");
            self.client.request(&request).header("x-query").is_some()
        };
        assert!(asked("GET", "/q?a=1") && asked("PUT", "/q?b&a=1&a=9") && asked("POST", "/q?b=3&a=2"));
        assert!(
            !asked("GET", "/q") && !asked("GET", "/q?a=2&b=3") && !asked("POST", "/q?a=2") && !asked("GET", "/q?A=1")
        );

        // Exact is not a prefix, and where no rule matches the Service itself gets nothing
        let exact = "{matches: [{path: {type: Exact, value: /v1}}], backendRefs: [{name: echo-v1, port: 80}]}";
        self.routes(&[route("HTTPRoute", "test", "name: echo", &[exact])], || self.get(ECHO, "/").status == 404);
        assert_eq!(server(&self.get(ECHO, "/v1")), "echo-v1");
        for path in ["/v1/", "/v1/a", "/V1", "/v"] {
            assert_eq!(self.get(ECHO, path).verdict(), (404, Some("no_route")), "{path}");
        }
        // the parent without a port means all of them
        assert_eq!(self.client.request(&Request::get((ECHO, ALT).into(), "/other")).status, 404);
    }

    fn headers_and_paths(&self) {
        let modifier = "{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: X-Seen-Set, value: set}], add: [{name: \
                        X-Seen-Add, value: added}], remove: [X-Seen-Gone]}}";
        let rewrite = |kind: &str, to: &str| {
            let field = if kind == "ReplaceFullPath" { "replaceFullPath" } else { "replacePrefixMatch" };
            format!("{{type: URLRewrite, urlRewrite: {{path: {{type: {kind}, {field}: {to}}}}}}}")
        };
        let rule = |path: &str, filters: &[&str], more: &str| {
            format!(
                "{{matches: [{{path: {{value: {path}}}}}], filters: [{}], backendRefs: [{{name: echo-v1, port: 8080{more}}}]}}",
                filters.join(", ")
            )
        };
        let backend = format!(", filters: [{modifier}]");
        let rules = [
            rule("/rule", &[modifier], ""),
            rule("/backend", &[], &backend),
            rule("/prefix/one", &[&rewrite("ReplacePrefixMatch", "/one")], ""),
            rule("/strip", &[&rewrite("ReplacePrefixMatch", "/")], ""),
            rule("/full", &[&rewrite("ReplaceFullPath", "/one"), modifier], ""),
        ];
        let rules = rules.each_ref().map(String::as_str);
        self.routes(&[route("HTTPRoute", "test", &echo(), &rules)], || self.get(ECHO, "/rule").status == 200);
        for path in ["/rule", "/backend", "/full"] {
            let request =
                Request::get((ECHO, HTTP).into(), path).header("x-seen-ADD", "own").header("x-seen-set", "own");
            let response = self.client.request(&request.header("x-seen-gone", "1").header("x-seen-kept", "1"));
            assert_eq!(server(&response), "echo-v1", "{path}");
            let seen = |name: &str| -> Vec<&str> {
                let same = response.headers.iter().filter(|(own, _)| own.eq_ignore_ascii_case(name));
                same.map(|(_, value)| &**value).collect()
            };
            assert_eq!((seen("x-seen-set"), seen("x-seen-add")), (vec!["set"], vec!["own", "added"]), "{path}");
            assert_eq!((seen("x-seen-gone"), seen("x-seen-kept")), (vec![], vec!["1"]), "{path}");
        }
        for (path, rewritten) in [
            ("/prefix/one/two?x=1", "/one/two?x=1"),
            ("/prefix/one", "/one"),
            ("/strip/three", "/three"),
            ("/strip", "/"),
            ("/strip/", "/"),
            ("/full/two?x=1", "/one?x=1"),
        ] {
            assert_eq!(self.get(ECHO, path).header("x-received-target"), Some(rewritten), "{path}");
        }
    }

    fn redirects(&self) {
        let rule = |path: &str, redirect: &str| {
            format!(
                "{{matches: [{{path: {{value: {path}}}}}], filters: [{{type: RequestRedirect, requestRedirect: {{{redirect}}}}}]}}"
            )
        };
        let table = [
            ("/host", "hostname: example.org", 302, "http://example.org/host/a?x=1"),
            ("/host-301", "hostname: example.org, statusCode: 301", 301, "http://example.org/host-301/a?x=1"),
            ("/303", "statusCode: 303, hostname: example.org", 303, "http://example.org/303/a?x=1"),
            ("/307", "statusCode: 307, hostname: example.org", 307, "http://example.org/307/a?x=1"),
            ("/308", "statusCode: 308, hostname: example.org", 308, "http://example.org/308/a?x=1"),
            ("/port", "port: 8083", 302, "http://echo:8083/port/a?x=1"),
            ("/port-80", "port: 80", 302, "http://echo/port-80/a?x=1"),
            ("/scheme", "scheme: https", 302, "https://echo/scheme/a?x=1"),
            ("/scheme-port", "scheme: https, port: 8443", 302, "https://echo:8443/scheme-port/a?x=1"),
            ("/prefix", "path: {type: ReplacePrefixMatch, replacePrefixMatch: /new}", 302, "http://echo/new/a?x=1"),
            (
                "/whole",
                "path: {type: ReplaceFullPath, replaceFullPath: /new}, statusCode: 301",
                301,
                "http://echo/new?x=1",
            ),
        ];
        let rules = table.map(|(path, redirect, ..)| rule(path, redirect));
        let rules = rules.each_ref().map(String::as_str);
        self.routes(&[route("HTTPRoute", "test", &echo(), &rules)], || self.get(ECHO, "/host").status == 302);
        for (path, _, status, location) in table {
            let request = Request::get((ECHO, HTTP).into(), &format!("{path}/a?x=1")).header("Host", "echo");
            let response = self.client.request(&request);
            assert_eq!((response.status, response.header("location")), (status, Some(location)), "{path}");
            assert_eq!(response.header("x-server"), None);
        }
    }

    fn addresses_and_ports(&self) {
        let (v1, v2, both) = (marks("v1", "echo-v1"), marks("v2", "echo-v2"), marks("both", "echo-v1"));
        let two_parents = "name: echo, port: 8080}, {group: '', kind: Service, name: echo, sectionName: http";
        self.routes(
            &[
                route("HTTPRoute", "test", "name: echo-v1, port: 80", &[&v1]),
                route("HTTPRoute", "test", "name: echo-v2", &[&v2]).replacen("name: r", "name: r2", 1),
                route("HTTPRoute", "test", two_parents, &[&both]).replacen("name: r", "name: r3", 1),
            ],
            || self.get(ECHO, "/").header("x-marked") == Some("both"),
        );
        let mark_at = |address: Ipv4Addr, port| mark(&self.client.request(&Request::get((address, port).into(), "/")));
        let (both, v1, v2) = (Some("both".to_owned()), Some("v1".to_owned()), Some("v2".to_owned()));
        for (address, port, expected) in [
            (ECHO_1, HTTP, &v1),
            (ECHO_1, ALT, &None),
            // no port: every port
            (ECHO_2, HTTP, &v2),
            (ECHO_2, ALT, &v2),
            // two parents, one by section and one by port
            (ECHO, HTTP, &both),
            (ECHO, ALT, &both),
            (ECHO, GRPC, &None),
        ] {
            let found = || (mark_at(address, port) == *expected).then_some(());
            wait::eventually(&format!("{address}:{port} is marked with {expected:?}"), found);
        }

        // by the address that was dialled, whatever the Host; a pod's own address has no routes
        let named = Request::get((ECHO_2, HTTP).into(), "/").header("Host", "echo-v1");
        assert_eq!(mark(&self.client.request(&named)), v2);
        let pod = self.client.request(&Request::get(self.pods[1].port(ALT), "/").header("Host", "echo-v2"));
        assert_eq!((server(&pod), mark(&pod)), ("echo-v2", None));
    }

    fn consumers(&self) {
        let (own, theirs) = (marks("consumer", "echo-v1, namespace: test"), marks("producer", "echo-v1"));
        let parent = "name: echo-v1, namespace: test";
        let ask = |client: &Pod<'_>| mark(&client.request(&Request::get((ECHO_1, HTTP).into(), "/")));
        // for clients of its own namespace
        self.routes(&[route("HTTPRoute", "consumer", parent, &[&own])], || {
            ask(&self.consumer).as_deref() == Some("consumer") && ask(&self.client).is_none()
        });
        let both =
            [route("HTTPRoute", "consumer", parent, &[&own]), route("HTTPRoute", "test", "name: echo-v1", &[&theirs])];
        self.routes(&both, || ask(&self.client).as_deref() == Some("producer"));
        assert_eq!(ask(&self.consumer).as_deref(), Some("consumer"), "instead of the producer's, not beside it");
        self.routes(&both[1..], || ask(&self.consumer).as_deref() == Some("producer"));
    }

    fn grants(&self) {
        let rule = "{backendRefs: [{name: ledger, namespace: other, port: 80}, {name: echo-v1, port: 80}]}";
        let routes = [route("HTTPRoute", "test", &echo(), &[rule])];
        let refused = || self.get(ECHO, "/").verdict() == (500, Some("unresolved_backend"));
        self.routes(&routes, refused);
        let outcomes = |count: usize| (0..count).map(|_| self.get(ECHO, "/").status).collect::<Vec<_>>();
        let drawn = outcomes(60);
        assert!(drawn.contains(&200) && drawn.contains(&500), "each has its share: {drawn:?}");
        let grant = |to: &str| {
            format!(
                "apiVersion: gateway.networking.k8s.io/v1beta1\nkind: ReferenceGrant\nmetadata: {{name: g, namespace: other}}\nspec:\n  \
                 from: [{{group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: test}}]\n  to: [{{group: '', kind: Service{to}}}]\n"
            )
        };
        self.world.manifest("grant.yaml", &grant(", name: ledger"));
        wait::eventually("the grant is in force", || (outcomes(20) == [200; 20]).then_some(()));
        self.world.manifest("grant.yaml", &grant(", name: another"));
        wait::eventually("it was taken back", || refused().then_some(()));
        // half a grant is none: the last good state stays in force, and this one's field is named
        self.world.manifest("grant.yaml", &grant(", nmae: ledger"));
        let log = || self.control_plane.process().log();
        wait::eventually("the fault is named", || {
            log().lines().any(|line| line.contains("grant.yaml:") && line.contains("spec.to[0].nmae")).then_some(())
        });
        assert!(outcomes(60).contains(&500));
        self.world.remove_manifest("grant.yaml");
    }

    /// HTTPRouteRetryConnectionError: a backend of two endpoints, of which one listens to nothing.
    fn refused_connections(&self) {
        let [alive, dead] = &self.pods;
        let service = service("half", "test", LEDGER.to_bits().wrapping_add(1).into(), &[("http", 80, 3000, "http")]);
        let slice = slice("half", "test", &[("http", 3000)], &[alive, dead]);
        let server_of_one = alive.http_server(3000);
        self.world.manifest("half.yaml", &(service + &slice));
        let rule = |retry: &str| format!("{{{retry}backendRefs: [{{name: half, port: 80}}]}}");
        let retried = rule("retry: {attempts: 100}, ");
        self.routes(&[route("HTTPRoute", "test", &echo(), &[&retried])], || {
            self.get(ECHO, "/").header("x-received-target").is_some()
        });
        for method in ["GET", "POST"].repeat(10) {
            let request = Request::get((ECHO, HTTP).into(), "/").body(method, "");
            assert_eq!(server(&self.client.request(&request)), "echo-v1", "{method}");
        }
        // nobody is left
        self.routes(&[route("HTTPRoute", "test", &echo(), &[&rule("")])], || self.get(ECHO, "/").status == 200);
        assert_eq!(server_of_one.process.terminate(), Status::Exited(0));
        self.routes(&[route("HTTPRoute", "test", &echo(), &[&rule("name: last, ")])], || {
            self.get(ECHO, "/").verdict() == (502, Some("connect_refused"))
        });
    }

    fn call(&self, call: Call) -> (Option<u32>, Option<String>) {
        let result = self.client.call(&call);
        assert_eq!((result.status, result.error.clone()), (200, None), "{result:?}");
        (result.grpc_status, result.header("x-server").map(str::to_owned))
    }

    fn grpc_matching(&self) {
        let to = |name: &str, matches: &str| {
            format!("{{matches: [{matches}], backendRefs: [{{name: {name}, port: 7070}}]}}")
        };
        let rules = [
            to("echo-v1", "{method: {service: shop.Carts}}, {method: {method: Ping}}"),
            to("echo-v2", "{method: {service: shop.Carts, method: Get}}, {headers: [{name: Version, value: two}]}"),
            to("echo-v2", "{method: {type: RegularExpression, service: 'shop[.]Or.*', method: 'List|Get'}}"),
            to("nowhere", "{method: {service: shop.Nowhere}}"),
        ];
        let rules = rules.each_ref().map(String::as_str);
        let at = |path: &str| Call::new((ECHO, GRPC).into(), path);
        self.routes(&[route("GRPCRoute", "test", "name: echo, port: 7070", &rules)], || {
            self.call(at("/x.Y/Z")).0 == Some(12)
        });
        let served = |name: &str| (Some(0), Some(name.to_owned()));
        let unimplemented = (Some(12), None);
        for (path, expected) in [
            ("/shop.Carts/Get", served("echo-v2")),
            ("/shop.Carts/Add", served("echo-v1")),
            ("/other.Service/Ping", served("echo-v1")),
            ("/shop.Orders/List", served("echo-v2")),
            ("/shop.Orders/Get", served("echo-v2")),
            ("/shop.Orders/Delete", unimplemented.clone()),
            ("/xshop.Orders/List", unimplemented.clone()),
            ("/shop.carts/Get", unimplemented.clone()),
            ("/shop.CartsX/Get", unimplemented),
            // gRPC's UNAVAILABLE for the share of a backend that is none
            ("/shop.Nowhere/Get", (Some(14), None)),
        ] {
            assert_eq!(self.call(at(path)), expected, "{path}");
        }
        assert_eq!(self.call(at("/shop.carts/Get").header("version", "two")), served("echo-v2"));
        let refused = self.client.call(&at("/shop.carts/Get"));
        assert!(refused.trailers_only, "{refused:?}");
        assert_eq!(refused.header("minimesh-error"), Some("no_route"));
    }

    fn grpc_filters(&self) {
        let rule = "{filters: [{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: x-seen-set, value: set}], add: [{name: \
                    x-seen-add, value: added}], remove: [x-seen-gone]}}, {type: ResponseHeaderModifier, responseHeaderModifier: {set: \
                    [{name: x-marked, value: 'yes'}]}}, {type: RequestMirror, requestMirror: {backendRef: {name: echo-v2, port: \
                    7070}}}], backendRefs: [{name: echo-v1, port: 7070}]}";
        let call = || Call::new((ECHO, GRPC).into(), "/shop.Carts/Get");
        self.routes(&[route("GRPCRoute", "test", "name: echo, port: 7070", &[rule])], || {
            self.client.call(&call()).header("x-marked").is_some()
        });
        let call = call()
            .header("x-id", 4711)
            .header("x-seen-set", "own")
            .header("x-seen-add", "own")
            .header("x-seen-gone", "1");
        let result = self.client.call(&call);
        let seen = |name: &str| -> Vec<&str> {
            result.headers.iter().filter(|(own, _)| own == name).map(|(_, value)| &**value).collect()
        };
        assert_eq!((result.grpc_status, seen("x-server")), (Some(0), vec!["echo-v1"]));
        assert_eq!((seen("x-seen-set"), seen("x-seen-add")), (vec!["set"], vec!["own", "added"]));
        assert_eq!((seen("x-seen-gone"), seen("x-marked")), (vec![], vec!["yes"]));
        let mirrored = || self.servers[3].received().iter().any(|line| line.starts_with("4711 "));
        wait::eventually("the copy of a call", || mirrored().then_some(()));
    }

    fn grpc_weights(&self) {
        let rule = "{backendRefs: [{name: echo-v1, port: 7070, weight: 70}, {name: echo-v2, port: 7070, weight: 30}, {name: echo-v3, \
                    port: 7070, weight: 0}]}";
        let probe = || self.client.call(&Call::new((ECHO, GRPC).into(), "/a.B/C").header("x-id", 1));
        // the route before this one marked its answers
        self.routes(&[route("GRPCRoute", "test", "name: echo, port: 7070", &[rule])], || {
            probe().header("x-marked").is_none()
        });
        let received = || [1, 3].map(|server| self.servers[server].received().len());
        let before = received();
        let plan = LoadPlan {
            connections: 1,
            protocols: vec![LoadProtocol::Grpc],
            requests_per_connection: None,
            largest_body: 100,
            ..LoadPlan::new(SocketAddr::from((ECHO, GRPC)), CALLS)
        };
        let (result, _) = self.client.load(&plan).finish(Duration::from_secs(120));
        assert_eq!((result.succeeded, result.examples), (CALLS, vec![]));
        let after = received();
        let (one, two) = (after[0] - before[0], after[1] - before[1]);
        println!("{one} and {two} of {CALLS} calls");
        // sigma is the square root of 3 000 × 0.7 × 0.3
        assert!((2_100 - 4 * 25..=2_100 + 4 * 25).contains(&one) && one + two == CALLS as usize, "{one}, {two}");
    }
}

/// On one connection.
const CALLS: u64 = 3_000;

fn server(response: &Response) -> &str {
    response.header("x-server").unwrap_or_default()
}

/// What a rule of `marks` has set.
fn mark(response: &Response) -> Option<String> {
    assert_eq!(response.status, 200, "{response:?}");
    response.header("x-marked").map(str::to_owned)
}

/// A rule that sends everything to a backend's port 80, and marks the answers.
fn marks(value: &str, backend: &str) -> String {
    format!(
        "{{filters: [{{type: ResponseHeaderModifier, responseHeaderModifier: {{set: [{{name: x-marked, value: {value}}}]}}}}], \
         backendRefs: [{{name: {backend}, port: 80}}]}}"
    )
}

/// The parent of most routes.
fn echo() -> String {
    "name: echo, port: 80".to_owned()
}

/// A route of a Service.
fn route(kind: &str, namespace: &str, parent: &str, rules: &[&str]) -> String {
    let rules: String = rules.iter().map(|rule| format!("  - {rule}\n")).collect();
    format!(
        "---\napiVersion: gateway.networking.k8s.io/v1\nkind: {kind}\nmetadata: {{name: r, namespace: {namespace}}}\nspec:\n  \
         parentRefs: [{{group: '', kind: Service, {parent}}}]\n  rules:\n{rules}"
    )
}

/// The Services with their endpoints; `ledger` is the first pod under another name.
fn services(pods: &[Pod<'_>; 2]) -> String {
    let [one, two] = pods;
    let ports = [("http", HTTP, ALT, "http"), ("http-alt", ALT, ALT, "http"), ("grpc", GRPC, GRPC, "")];
    let numbers = ports.map(|(name, _, target, _)| (name, target));
    let mut text = String::new();
    for (name, address, pods) in
        [("echo", ECHO, &[one, two][..]), ("echo-v1", ECHO_1, &[one]), ("echo-v2", ECHO_2, &[two])]
    {
        text += &service(name, "test", address, &ports);
        text += &slice(name, "test", &numbers, pods);
    }
    // of another namespace: addresses alone, since slices name pods of their own
    text += &service("ledger", "other", LEDGER, &ports[..1]);
    text + &slice("ledger", "other", &numbers[..1], &[one])
}

fn service(name: &str, namespace: &str, address: Ipv4Addr, ports: &[(&str, u16, u16, &str)]) -> String {
    let port = |(name, port, target, protocol): &(&str, u16, u16, &str)| {
        let protocol = if protocol.is_empty() { String::new() } else { format!(", appProtocol: {protocol}") };
        format!("{{name: {name}, port: {port}, targetPort: {target}{protocol}}}")
    };
    let ports: Vec<String> = ports.iter().map(port).collect();
    format!(
        "---\napiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: {namespace}}}\nspec: {{clusterIP: {address}, \
         clusterIPs: [{address}], ports: [{}]}}\n",
        ports.join(", ")
    )
}

fn slice(service: &str, namespace: &str, ports: &[(&str, u16)], pods: &[&Pod<'_>]) -> String {
    let ports: Vec<String> = ports.iter().map(|(name, port)| format!("{{name: {name}, port: {port}}}")).collect();
    let endpoint = |pod: &&Pod<'_>| {
        let reference = format!(", targetRef: {{kind: Pod, name: {}, namespace: {namespace}}}", pod.name());
        let reference = if namespace == "test" { reference } else { String::new() };
        format!("{{addresses: [{}]{reference}}}", pod.address())
    };
    let endpoints: Vec<String> = pods.iter().map(endpoint).collect();
    format!(
        "---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {{name: {service}-1, namespace: {namespace}, labels: \
         {{kubernetes.io/service-name: {service}}}}}\naddressType: IPv4\nports: [{}]\nendpoints: [{}]\n",
        ports.join(", "),
        endpoints.join(", ")
    )
}
