//! HTTPRoutes in files: where requests go, how fast a change arrives, and what is answered where they go nowhere.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use minimesh_tests::apps::{LoadPlan, LoadProtocol, Request, Response};
use minimesh_tests::wait;
use minimesh_tests::world::manifests::Service;
use minimesh_tests::world::{ControlPlane, HttpServer, Pod, World};

const FRONT: Service<'_> = service("front", 10);
const ONE: Service<'_> = service("one", 11);
const TWO: Service<'_> = service("two", 12);
const EMPTY: Service<'_> = service("empty", 13);

#[test]
fn a_changed_file_moves_traffic_and_a_malformed_one_does_not() {
    let world = World::start("routes-change");
    let control_plane = world.control_plane(&[]);
    let (client, _servers) = two_backends(&world, &control_plane);
    world.manifest("route.yaml", &route(&to("/", "one")));
    let server = || ask(&client, "/").header("x-server").map(str::to_owned);
    wait::eventually("the first route", || (server().as_deref() == Some("one")).then_some(()));

    for (target, other) in [("two", "one"), ("one", "two")] {
        world.manifest("route.yaml", &route(&to("/", target)));
        let begun = Instant::now();
        wait::eventually("the changed route", || {
            let now = server();
            assert!(now.as_deref() == Some(target) || now.as_deref() == Some(other), "{now:?}");
            (now.as_deref() == Some(target)).then_some(())
        });
        println!("a changed route arrived within {} ms (each look takes some)", begun.elapsed().as_millis());
    }

    world.manifest("route.yaml", &route("  - backendRefs: [{name: two, port: eighty}]\n"));
    wait::eventually("the fault is reported with file and line", || {
        let process = control_plane.process();
        let said = process.log() + &process.output();
        said.lines().any(|line| line.contains("route.yaml:") && line.contains("port")).then_some(())
    });
    assert_eq!(server().as_deref(), Some("one"));
    world.manifest("route.yaml", &route(&to("/", "two")));
    wait::eventually("the mended route", || (server().as_deref() == Some("two")).then_some(()));
}

#[test]
fn requests_that_go_nowhere_are_answered_by_the_table() {
    let world = World::start("routes-errors");
    let control_plane = world.control_plane(&[]);
    let (client, one) = (world.pod("client").start(&control_plane), world.pod("one").start(&control_plane));
    let http = one.http_server(ONE.target_port);
    world.serve(&FRONT, &[&one]);
    world.serve(&ONE, &[&one]);
    world.serve(&EMPTY, &[]);
    let rules = [
        to("/one", "one"),
        to("/unresolved", "nowhere"),
        to("/empty", "empty"),
        to("/slow", "one") + "    timeouts: {request: 500ms}\n",
        "  - matches: [{path: {type: PathPrefix, value: /nobody}}]\n".to_owned(),
    ];
    world.manifest("route.yaml", &route(&rules.concat()));
    wait::eventually("the route", || (ask(&client, "/one").status == 200).then_some(()));
    wait::eventually("the route is in force", || (ask(&client, "/other").status != 200).then_some(()));

    let verdict = |path: &str| {
        let response = client.request(&Request::get(address(&FRONT), path).header("x-answer", "never"));
        assert_eq!(response.header("content-type"), Some("application/problem+json"), "{path}: {response:?}");
        (response.status, response.header("minimesh-error").map(str::to_owned))
    };
    let wanted = |status: u16, code: &str| (status, Some(code.to_owned()));
    assert_eq!(verdict("/other"), wanted(404, "no_route"));
    assert_eq!(verdict("/oneself"), wanted(404, "no_route"));
    assert_eq!(verdict("/unresolved"), wanted(500, "unresolved_backend"));
    assert_eq!(verdict("/nobody"), wanted(500, "no_backend"));
    assert_eq!(verdict("/empty"), wanted(503, "no_endpoints"));
    assert_eq!(verdict("/slow"), wanted(504, "request_timeout"));
    assert_eq!(http.received(), Vec::<String>::new());
}

#[test]
fn matches_filters_and_weights_are_honoured() {
    let world = World::start("routes-rules");
    let control_plane = world.control_plane(&[]);
    let (client, _servers) = two_backends(&world, &control_plane);
    world.manifest("route.yaml", &route(RULES));
    wait::eventually("the route", || (ask(&client, "/marked").header("x-marked").is_some()).then_some(()));

    let server = |request: Request| client.request(&request).header("x-server").map(str::to_owned);
    let get = |path: &str| Request::get(address(&FRONT), path);
    let (one, two) = (Some("one".to_owned()), Some("two".to_owned()));
    assert_eq!(server(get("/")), one);
    assert_eq!(server(get("/?version=2")), two);
    assert_eq!(server(get("/").header("X-Version", "2")), two);
    assert_eq!(server(get("/").body("PUT", "")), two);
    assert_eq!(server(get("/never-two")), one);
    let marked = client.request(&get("/marked").header("x-seen-old", "1"));
    assert_eq!(marked.header("x-seen-new"), Some("2"));
    assert_eq!(marked.header("x-seen-old"), None);
    assert_eq!(marked.header("x-marked"), Some("yes"));
}

#[test]
fn requests_on_one_connection_are_split_by_weight() {
    let world = World::start("routes-weights");
    let control_plane = world.control_plane(&[]);
    let (client, servers) = two_backends(&world, &control_plane);
    world.manifest(
        "route.yaml",
        &route("  - backendRefs: [{name: one, port: 80, weight: 7}, {name: two, port: 80, weight: 3}]\n"),
    );
    wait::eventually("the route", || (ask(&client, "/").header("x-server") == Some("two")).then_some(()));
    for protocol in [LoadProtocol::Http11, LoadProtocol::Http2] {
        let before = servers.each_ref().map(|server| server.received().len());
        let plan = LoadPlan {
            connections: 1,
            protocols: vec![protocol],
            requests_per_connection: None,
            largest_body: 1_000,
            ..LoadPlan::new(address(&FRONT), REQUESTS)
        };
        let (result, _) = client.load(&plan).finish(PATIENCE);
        assert_eq!((result.succeeded, result.examples), (REQUESTS, vec![]), "{protocol:?}");
        let after = servers.each_ref().map(|server| server.received().len());
        let (one, two) = (after[0] - before[0], after[1] - before[1]);
        println!("{protocol:?}: {one} and {two}");
        // 7 000 expected, and sigma is the square root of 10 000 × 0.7 × 0.3
        assert!((7_000 - 4 * 46..=7_000 + 4 * 46).contains(&one) && one + two == 10_000, "{protocol:?}: {one}, {two}");
    }
}

#[test]
fn what_a_rule_says_is_done_to_requests() {
    let world = World::start("routes-filters");
    let control_plane = world.control_plane(&[]);
    let (client, [one, two]) = two_backends(&world, &control_plane);
    world.manifest("route.yaml", &route(FILTERS));
    wait::eventually("the route", || (ask(&client, "/moved").status == 308).then_some(()));
    let get = |path: &str| Request::get(address(&FRONT), path);

    let moved = client.request(&get("/moved/a?x=1"));
    assert_eq!(moved.header("location"), Some("https://example.org:8443/new/a?x=1"));
    assert_eq!(ask(&client, "/old/a?x=1").header("x-received-target"), Some("/new/a?x=1"));

    let of = |server: &HttpServer<'_>, id: &str| server.received().iter().filter(|line| line.starts_with(id)).count();
    let busy = client.request(&get("/again").header("x-id", 77).header("x-answer-status", 503));
    assert_eq!((busy.status, of(&one, "77 ")), (503, 3), "two attempts after the first");
    let well = client.request(&get("/again").header("x-id", 78));
    assert_eq!((well.status, of(&one, "78 ")), (200, 1));

    let copied = client.request(&get("/copied").header("x-id", 79).body("POST", "with a body"));
    assert_eq!((copied.status, copied.header("x-server")), (200, Some("one")));
    wait::eventually("the copy", || (of(&two, "79 ") == 1).then_some(()));
    let lines = |server: &HttpServer<'_>| server.received().into_iter().find(|line| line.starts_with("79 "));
    assert_eq!(lines(&one), lines(&two), "the same body");

    let origin = get("/shared").header("origin", "https://www.example.org");
    let preflight = origin.header("access-control-request-method", "PUT").body("OPTIONS", "");
    let answer = client.request(&preflight);
    assert_eq!((answer.status, answer.header("x-server")), (204, None));
    assert_eq!(answer.header("access-control-allow-origin"), Some("https://www.example.org"));
    assert_eq!(answer.header("access-control-allow-methods"), Some("PUT"));
    let actual = client.request(&get("/shared").header("origin", "https://www.example.org"));
    assert_eq!(actual.header("access-control-allow-origin"), Some("https://www.example.org"));

    let first = ask(&client, "/kept");
    let cookie = first.header("set-cookie").expect("a session").split(';').next().expect("a value").to_owned();
    let again = client.request(&get("/kept").header("cookie", &cookie));
    assert_eq!((again.status, again.header("set-cookie")), (200, None));
}

/// Enough to see weights in.
const REQUESTS: u64 = 10_000;
/// For so many on a machine that is busy with other things.
const PATIENCE: Duration = Duration::from_secs(120);

const RULES: &str = r"  - matches:
    - queryParams: [{name: version, value: '2'}]
    - headers: [{name: x-version, value: '2'}]
    - method: PUT
    backendRefs: [{name: two, port: 80}]
  - matches: [{path: {type: PathPrefix, value: /never-two}}]
    backendRefs: [{name: two, port: 80, weight: 0}, {name: one, port: 80, weight: 1}]
  - matches: [{path: {type: Exact, value: /marked}}]
    filters:
    - type: RequestHeaderModifier
      requestHeaderModifier: {set: [{name: X-Seen-New, value: '2'}], remove: [x-seen-old]}
    - type: ResponseHeaderModifier
      responseHeaderModifier: {add: [{name: X-Marked, value: 'yes'}]}
    backendRefs: [{name: one, port: 80}]
  - backendRefs: [{name: one, port: 80}]
";

const FILTERS: &str = r"  - matches: [{path: {type: PathPrefix, value: /moved}}]
    filters:
    - type: RequestRedirect
      requestRedirect:
        {scheme: https, hostname: example.org, port: 8443, statusCode: 308, path: {type: ReplacePrefixMatch, replacePrefixMatch: /new}}
  - matches: [{path: {type: PathPrefix, value: /old}}]
    filters: [{type: URLRewrite, urlRewrite: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /new}}}]
    backendRefs: [{name: one, port: 80}]
  - matches: [{path: {type: PathPrefix, value: /again}}]
    retry: {codes: [503], attempts: 2, backoff: 5ms}
    backendRefs: [{name: one, port: 80}]
  - matches: [{path: {type: PathPrefix, value: /copied}}]
    filters: [{type: RequestMirror, requestMirror: {backendRef: {name: two, port: 80}}}]
    backendRefs: [{name: one, port: 80}]
  - matches: [{path: {type: PathPrefix, value: /shared}}]
    filters: [{type: CORS, cors: {allowOrigins: ['https://*.example.org'], allowMethods: [PUT]}}]
    backendRefs: [{name: one, port: 80}]
  - matches: [{path: {type: PathPrefix, value: /kept}}]
    sessionPersistence: {sessionName: shop}
    backendRefs: [{name: one, port: 80}]
";

/// A client, and two servers: `front` and `one` are the first, `two` is the second.
fn two_backends<'w>(world: &'w World, control_plane: &ControlPlane<'w>) -> (Pod<'w>, [HttpServer<'w>; 2]) {
    let pod = |name| world.pod(name).start(control_plane);
    let (client, one, two) = (pod("client"), pod("one"), pod("two"));
    let servers = [one.http_server(ONE.target_port), two.http_server(TWO.target_port)];
    for (service, pod) in [(&FRONT, &one), (&ONE, &one), (&TWO, &two)] {
        world.serve(service, &[pod]);
    }
    (client, servers)
}

const fn service(name: &str, last: u8) -> Service<'_> {
    Service { name, address: Ipv4Addr::new(10, 43, 0, last), port: 80, target_port: 8080, protocol: Some("http") }
}

fn route(rules: &str) -> String {
    FRONT.http_route(rules)
}

fn to(path: &str, backend: &str) -> String {
    format!(
        "  - matches: [{{path: {{type: PathPrefix, value: {path}}}}}]
    backendRefs: [{{name: {backend}, port: 80}}]
"
    )
}

fn address(service: &Service<'_>) -> SocketAddr {
    (service.address, service.port).into()
}

fn ask(client: &Pod<'_>, path: &str) -> Response {
    client.request(&Request::get(address(&FRONT), path))
}
