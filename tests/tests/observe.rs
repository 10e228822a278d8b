//! What the proxies say of single requests: access logs on their stdout, spans to a collector, and what happens where nobody takes
//! either.

use std::collections::BTreeSet;
use std::fs::OpenOptions;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use minimesh_tests::apps::{LoadPlan, Request, Response, Span};
use minimesh_tests::protocol::Status;
use minimesh_tests::wait;
use minimesh_tests::world::manifests::Service;
use minimesh_tests::world::{Collector, Pod, World};
use serde_json::{Value, json};

const ONE: Service<'_> = service("one", 10);
const TWO: Service<'_> = service("two", 11);
const NOBODY: Service<'_> = service("nobody", 12);
/// Of gRPC; the one port is enough for both.
const OTLP: u16 = 4317;

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";

#[test]
fn both_proxies_log_every_request_in_the_form_and_with_the_details_asked_for() {
    let world = World::start("observe-log");
    let control_plane = world.control_plane(&[]);
    // one in each form, and each of them client and server
    let one = world.pod("one").proxy_argument("--access-log", "json").start(&control_plane);
    let two = world.pod("two").proxy_argument("--access-log", "apache");
    let two = two.annotation("minimesh.io/port-inbound-policies", "8081=deny").start(&control_plane);
    let asked = world.pod("asked").proxy_argument("--access-log", "json").proxy_flag("--access-log-query");
    let asked = asked.proxy_argument("--access-log-headers", "user-agent,x-seen-a").start(&control_plane);
    let _servers = [one.http_server(ONE.target_port), two.http_server(TWO.target_port), two.http_server(8081)];
    world.serve(&ONE, &[&one]);
    world.serve(&TWO, &[&two]);
    world.serve(&NOBODY, &[]);
    for pod in [&one, &two, &asked] {
        wait::eventually("the Services are reached", || {
            [&ONE, &TWO].iter().all(|service| ask(pod, service, "/ready").status == 200).then_some(())
        });
    }

    // JSON out, Apache in
    assert_eq!(ask(&one, &TWO, "/a?secret=1").status, 200);
    let out = json_line(&one, "outbound", "/a");
    let of = |name: &str| out[name].clone();
    assert_eq!([of("protocol"), of("method"), of("status")], [json!("HTTP/1.1"), json!("GET"), json!(200)]);
    assert_eq!([of("query"), of("headers"), of("error")], [Value::Null, Value::Null, Value::Null]);
    assert_eq!([of("client_identity"), of("server_identity")], [json!(one.identity()), json!(two.identity())]);
    assert_eq!([of("backend"), of("endpoint")], [json!("test/two:80"), json!(two.port(TWO.target_port).to_string())]);
    let sum: f64 =
        ["added_ms", "waited_ms", "upstream_ms"].map(|part| out[part].as_f64().expect("a time")).iter().sum();
    assert!((sum - out["duration_ms"].as_f64().expect("a time")).abs() < 0.01, "{out}");
    let line = line_with(&two, "GET /a HTTP/1.1");
    let beginning = format!("{} - {} [", one.address(), one.identity());
    assert!(line.starts_with(&beginning) && line.contains("\"GET /a HTTP/1.1\" 200 "), "{line}");

    // Apache out, JSON in
    assert_eq!(ask(&two, &ONE, "/b?secret=1").status, 200);
    let inbound = json_line(&one, "inbound", "/b");
    assert_eq!((&inbound["status"], &inbound["client_identity"]), (&json!(200), &json!(two.identity())));
    assert_eq!(inbound["endpoint"], one.port(ONE.target_port).to_string());
    let line = line_with(&two, "GET /b HTTP/1.1");
    assert!(line.contains(&format!(" - {} [", two.identity())), "the client is this pod itself: {line}");

    // query strings and headers where asked for; a line of the log cannot be forged
    let request =
        Request::get(address(&TWO), "/c?shown=1").header("User-Agent", "test\u{85}{\"x\":1}").header("X-Seen-A", "\"");
    assert_eq!(asked.request(&request.header("X-Seen-B", "hidden")).status, 200);
    let shown = json_line(&asked, "outbound", "/c");
    assert_eq!(shown["query"], "shown=1");
    assert_eq!(shown["headers"], json!({ "user-agent": "test\u{85}{\"x\":1}", "x-seen-a": "\"" }));
    assert!(!asked.proxy().output().contains("hidden"));

    // errors and denials, with the word that the client got
    assert_eq!(ask(&one, &NOBODY, "/d").verdict(), (503, Some("no_endpoints")));
    let failed = json_line(&one, "outbound", "/d");
    assert_eq!(
        (&failed["status"], &failed["error"], &failed["endpoint"]),
        (&json!(503), &json!("no_endpoints"), &Value::Null)
    );
    let denied = one.request(&Request::get(two.port(8081), "/e"));
    assert_eq!(denied.verdict(), (403, Some("policy_denied")));
    let line = line_with(&two, "GET /e HTTP/1.1");
    assert!(line.contains(&format!(" - {} [", one.identity())) && line.contains("\" 403 "), "{line}");
    assert_eq!(json_line(&one, "outbound", "/e")["status"], 403);
    assert!(!one.proxy().output().contains("secret") && !two.proxy().output().contains("secret"));

    // nothing is left behind
    assert_eq!(ask(&one, &TWO, "/last").status, 200);
    for pod in [&one, &two] {
        assert_eq!(pod.proxy().terminate(), Status::Exited(0), "{}", pod.proxy().log());
        assert!(pod.proxy().output().contains("/last"), "{}", pod.proxy().output());
    }
    let whole = |line: &str| serde_json::from_str::<Value>(line).is_ok();
    assert!(one.proxy().output().lines().all(whole), "stdout has lines of the access log alone");
}

#[test]
fn a_sampled_request_is_a_span_of_each_proxy_beside_the_applications() {
    let world = World::start("observe-spans");
    let control_plane = world.control_plane(&[]);
    let collectors = world.pod("collectors").unmeshed().start();
    let collector = collectors.collector("take", OTLP);
    let (one, two) = traced_pair(&world, &control_plane, &collectors.port(OTLP));

    // what the application sees is what was sent, sampled or not
    let parent = |flags: &str| format!("00-{TRACE}-{PARENT}-{flags}");
    let contexts = [
        vec![("traceparent", parent("00")), ("tracestate", "a=1".into())],
        vec![("b3", format!("{TRACE}-{PARENT}-0"))],
        vec![("X-B3-TraceId", TRACE.into()), ("X-B3-SpanId", PARENT.into()), ("X-B3-Sampled", "0".into())],
        vec![("traceparent", "rubbish".into()), ("traceparent", parent("01"))],
        vec![("traceparent", parent("01")), ("tracestate", "a=1,b=2".into()), ("TraceState", "c=3".into())],
        vec![("b3", format!("{TRACE}-{PARENT}-1")), ("tracestate", "not=ours".into())],
        vec![("x-b3-traceid", TRACE.into()), ("x-b3-spanid", PARENT.into()), ("x-b3-flags", "1".into())],
    ];
    for (number, context) in contexts.iter().enumerate() {
        let request = Request::get(address(&TWO), &format!("/{number}?secret=1")).header("X-Tell", TOLD);
        let request = context.iter().fold(request, |request, (name, value)| request.header(name, value));
        let told = told(&one.request(&request));
        assert_eq!(told, context.iter().map(|(name, value)| (name.to_lowercase(), value.clone())).collect::<Vec<_>>());
    }
    // of the first four none is to be recorded; each exporter sends in order
    let spans = wait::eventually("two spans of each of the last three", || some(&collector, 6));
    let paths: BTreeSet<&str> = spans.iter().filter_map(|span| span.attributes["url.path"].as_str()).collect();
    assert_eq!(paths, BTreeSet::from(["/4", "/5", "/6"]));
    for span in &spans {
        assert_eq!((&*span.trace_id, &*span.parent_span_id), (TRACE, PARENT), "below the span that sent the request");
        assert_eq!((&*span.name, span.flags & 1, span.status), ("GET", 1, 0), "{span:?}");
        assert!(span.nanos > 0 && !span.attributes.contains_key("url.query"), "{span:?}");
        assert!(!serde_json::to_string(span).expect("JSON").contains("secret"), "{span:?}");
        let wanted = if span.attributes["url.path"] == "/4" { "a=1,b=2,c=3" } else { "" };
        assert_eq!(span.trace_state, wanted, "it goes with a traceparent alone");
    }
    assert_eq!(spans.iter().map(|span| &*span.span_id).collect::<BTreeSet<_>>().len(), 6, "each is a span of its own");

    for (kind, over, pod) in [(3, "grpc", &one), (2, "http", &two)] {
        let own: Vec<&Span> = spans.iter().filter(|span| span.kind == kind).collect();
        assert_eq!(own.len(), 3, "{kind}");
        for span in own {
            assert_eq!(span.over, over);
            let of = |name: &str| span.resource.get(name).and_then(Value::as_str);
            assert_eq!((of("service.name"), of("service.namespace")), (Some(pod.name()), Some("test")));
            assert_eq!((of("k8s.pod.name"), of("k8s.namespace.name")), (Some(pod.name()), Some("test")));
            assert_eq!(
                (of("k8s.statefulset.name"), of("k8s.container.name")),
                (Some(pod.name()), Some("minimesh-proxy"))
            );
            assert!(of("service.instance.id").is_some_and(|id| !id.is_empty()));
            let attribute = |name: &str| span.attributes.get(name).cloned().unwrap_or_default();
            assert_eq!(attribute("http.response.status_code"), 200);
            assert_eq!(attribute("minimesh.client_identity"), one.identity());
            assert_eq!(attribute("minimesh.server_identity"), two.identity());
        }
    }
}

#[test]
fn what_is_queued_leaves_before_the_proxy_does() {
    let world = World::start("observe-flush");
    let control_plane = world.control_plane(&[]);
    let collectors = world.pod("collectors").unmeshed().start();
    let collector = collectors.collector("take", OTLP);
    let (one, two) = traced_pair(&world, &control_plane, &collectors.port(OTLP));
    assert_eq!(sampled(&one).status, 200);
    for pod in [&one, &two] {
        assert_eq!(pod.proxy().terminate(), Status::Exited(0), "{}", pod.proxy().log());
    }
    wait::eventually("both spans", || some(&collector, 2));
}

#[test]
fn a_collector_that_hangs_or_is_absent_costs_spans_and_no_request() {
    const REQUESTS: u64 = 5_000;
    /// In the exporter's hands, and in the queue (docs/observability.md).
    const HELD: u64 = 512 + 2_048;
    let world = World::start("observe-hang");
    let control_plane = world.control_plane(&[]);
    let collectors = world.pod("collectors").unmeshed().start();
    let _hanging = collectors.collector("hang", OTLP);
    let (one, two) = traced_pair(&world, &control_plane, &collectors.port(OTLP));
    let plan = LoadPlan {
        largest_body: 10,
        headers: vec![("traceparent".into(), format!("00-{TRACE}-{PARENT}-01"))],
        ..LoadPlan::new(address(&TWO), REQUESTS)
    };
    let (result, _) = one.load(&plan).finish(Duration::from_secs(120));
    assert_eq!((result.succeeded, result.examples), (REQUESTS, vec![]));
    for pod in [&one, &two] {
        let dropped = pod.metric("minimesh_spans_total", &[("result", "dropped")]);
        println!("{}: {dropped} of {REQUESTS} spans dropped", pod.name());
        assert!(dropped >= (REQUESTS - HELD) as f64, "{dropped}");
        assert_eq!(pod.metric("minimesh_spans_total", &[("result", "exported")]), 0.0);
    }
    // nor does it keep a proxy from ending
    assert_eq!(one.proxy().terminate(), Status::Exited(0), "{}", one.proxy().log());

    // one that is not there yet gets the spans when it comes
    let late = SocketAddr::from((collectors.address(), OTLP + 1));
    let waiting = world.pod("waiting").proxy_argument("--otlp-endpoint", &late.to_string());
    let waiting = waiting.proxy_argument("--log-level", "info,minimesh_proxy::observe=debug").start(&control_plane);
    wait::eventually("the Service is reached", || (ask(&waiting, &TWO, "/").status == 200).then_some(()));
    assert_eq!(sampled(&waiting).status, 200);
    // the first attempt was made in vain
    wait::eventually("it was asked for", || refused(&waiting).then_some(()));
    let collector = collectors.collector("take", late.port());
    wait::eventually("the span", || some(&collector, 1));
    let exported = || waiting.metric("minimesh_spans_total", &[("result", "exported")]);
    wait::eventually("it is counted", || (exported() == 1.0).then_some(()));
}

#[test]
fn a_stdout_that_nobody_reads_or_that_is_closed_costs_lines_and_no_request() {
    /// Each a line of some 500 bytes: more than the pipe, the writer and the worker hold.
    const REQUESTS: u64 = 8_000;
    let world = World::start("observe-stdout");
    let control_plane = world.control_plane(&[]);
    let pipe = world.path("stdout");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).expect("a pipe");
    // for both ends, so that it opens at once
    let reader = OpenOptions::new().read(true).write(true).open(&pipe).expect("it was just made");
    let one = world.pod("one").proxy_argument("--access-log", "json").proxy_stdout(pipe).start(&control_plane);
    let two = world.pod("two").start(&control_plane);
    let _server = two.http_server(TWO.target_port);
    world.serve(&TWO, &[&two]);
    wait::eventually("the Service is reached", || (ask(&one, &TWO, "/").status == 200).then_some(()));
    let run = |first_id| {
        let plan = LoadPlan { largest_body: 10, first_id, ..LoadPlan::new(address(&TWO), REQUESTS) };
        let (result, _) = one.load(&plan).finish(Duration::from_secs(120));
        assert_eq!((result.succeeded, result.examples), (REQUESTS, vec![]));
        one.metric("minimesh_access_log_dropped_total", &[])
    };
    let blocked = run(1);
    println!("blocked: {blocked} lines dropped of {REQUESTS}");
    assert!(blocked > 0.0 && blocked < REQUESTS as f64, "{blocked}");

    drop(reader);
    let closed = run(1 + REQUESTS);
    println!("closed: {} lines dropped", closed - blocked);
    assert!(closed - blocked >= REQUESTS as f64 / 2.0, "{closed}");
    let warnings = one.proxy().log().lines().filter(|line| line.contains("access log cannot be written")).count();
    assert_eq!(warnings, 1, "{}", one.proxy().log());
    assert_eq!(one.proxy().terminate(), Status::Exited(0));
}

/// Headers that the server tells of.
const TOLD: &str = "traceparent,tracestate,b3,x-b3-traceid,x-b3-spanid,x-b3-sampled,x-b3-flags";

/// A client whose spans go by gRPC, and a server whose spans go by HTTP.
fn traced_pair<'w>(
    world: &'w World,
    control_plane: &minimesh_tests::world::ControlPlane<'w>,
    collector: &SocketAddr,
) -> (Pod<'w>, Pod<'w>) {
    let traced = |name| world.pod(name).proxy_argument("--otlp-endpoint", &format!("http://{collector}"));
    let one = traced("one").start(control_plane);
    let two = traced("two").proxy_argument("--otlp-protocol", "http").start(control_plane);
    // it ends with the world
    let _server = two.http_server(TWO.target_port);
    world.serve(&TWO, &[&two]);
    wait::eventually("the Service is reached", || (ask(&one, &TWO, "/").status == 200).then_some(()));
    (one, two)
}

fn sampled(client: &Pod<'_>) -> Response {
    client.request(&Request::get(address(&TWO), "/").header("traceparent", format!("00-{TRACE}-{PARENT}-01")))
}

/// Spans, once there are so many.
fn some(collector: &Collector<'_>, count: usize) -> Option<Vec<Span>> {
    collector.process.expect_running();
    let spans = collector.spans();
    assert!(spans.len() <= count, "{spans:#?}");
    (spans.len() == count).then_some(spans)
}

/// What the server was told of trace contexts, in order.
fn told(response: &Response) -> Vec<(String, String)> {
    assert_eq!(response.status, 200, "{response:?}");
    let headers = response.headers.iter().map(|(name, value)| (name.to_lowercase(), value.clone()));
    headers.filter_map(|(name, value)| Some((name.strip_prefix("x-told-")?.to_owned(), value))).collect()
}

/// The JSON line of a request, once it is written.
fn json_line(pod: &Pod<'_>, direction: &str, path: &str) -> Value {
    wait::eventually(&format!("{}'s {direction} line of {path}", pod.name()), || {
        let lines = pod.proxy().output();
        let mut lines = lines.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines.find(|line| line["direction"] == direction && line["path"] == path)
    })
}

/// The line that has this in it, once it is written.
fn line_with(pod: &Pod<'_>, text: &str) -> String {
    wait::eventually(&format!("{}'s line with {text}", pod.name()), || {
        pod.proxy().output().lines().find(|line| line.contains(text)).map(str::to_owned)
    })
}

/// Whether an export was tried in vain.
fn refused(pod: &Pod<'_>) -> bool {
    pod.proxy().log().contains("the trace collector is asked again")
}

const fn service(name: &str, last: u8) -> Service<'_> {
    Service { name, address: Ipv4Addr::new(10, 43, 0, last), port: 80, target_port: 8080, protocol: None }
}

fn address(service: &Service<'_>) -> SocketAddr {
    (service.address, service.port).into()
}

fn ask(client: &Pod<'_>, service: &Service<'_>, path: &str) -> Response {
    client.request(&Request::get(address(service), path))
}
