//! The folder source against real files.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use minimesh_index::{Event, Object};
use tokio::time::timeout;

use super::*;

/// A folder of this test's own, gone at the end.
struct Temporary(PathBuf);

impl Temporary {
    fn new() -> Temporary {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("minimesh-folder-{}-{number}", std::process::id()));
        fs::create_dir(&path).expect("a new folder");
        Temporary(path)
    }

    fn write(&self, name: &str, text: &str) {
        // as careful writers do, so that no test depends on when a half-written file is looked at
        let temporary = self.0.join(format!(".{}.tmp", name.replace('/', "-")));
        fs::write(&temporary, text).expect("written");
        fs::rename(temporary, self.0.join(name)).expect("renamed");
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn account(name: &str) -> String {
    format!("apiVersion: v1\nkind: ServiceAccount\nmetadata:\n  name: {name}\n")
}

fn names(objects: &[(Object, u32)]) -> Vec<(String, u32)> {
    objects.iter().map(|(object, line)| (object.key().to_string(), *line)).collect()
}

async fn next(folder: &mut Folder) -> Vec<String> {
    let events = timeout(Duration::from_secs(20), folder.events.recv()).await.expect("in time").expect("still running");
    let mut told = Vec::new();
    for event in events {
        match event {
            Event::Apply(object) => told.push(format!("apply {}", object.key())),
            Event::Delete(key) => told.push(format!("delete {key}")),
            Event::Replace(objects) => told.extend(objects.iter().map(|object| format!("replace {}", object.key()))),
        }
    }
    told
}

async fn problems(folder: &mut Folder, wanted: impl Fn(&[Problem]) -> bool) -> Arc<[Problem]> {
    let found = timeout(Duration::from_secs(20), folder.problems.wait_for(|problems| wanted(problems)));
    found.await.expect("in time").expect("still running").clone()
}

#[test]
fn documents_are_read_with_their_lines_and_namespaces() {
    let text =
        format!("# shop\n---\n{}---\n\n# second\n{}  namespace: b\n---\n# nothing\n", account("a"), account("b"));
    let parsed = parse("x.yaml", &text);
    assert_eq!(parsed.problems, []);
    assert_eq!(
        names(&parsed.objects),
        [("ServiceAccount default/a".to_owned(), 3), ("ServiceAccount b/b".to_owned(), 10)]
    );
}

#[test]
fn kinds_without_use_are_named() {
    let parsed = parse("x.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n");
    assert_eq!((parsed.objects.len(), parsed.ignored), (0, vec!["v1 ConfigMap".to_owned()]));
}

#[test]
fn lists_and_json_are_read() {
    let item = r#"{"apiVersion":"v1","kind":"ServiceAccount","metadata":{"name":"a","namespace":"n"}}"#;
    let list = format!(r#"{{"apiVersion":"v1","kind":"List","items":[{item}]}}"#);
    for (file, text) in [("x.json", item.to_owned()), ("x.json", list.clone()), ("x.yaml", list)] {
        assert_eq!(names(&parse(file, &text).objects), [("ServiceAccount n/a".to_owned(), 1)], "{file}: {text}");
    }
}

#[test]
fn a_wrong_type_is_named_with_line_and_field() {
    let text = "apiVersion: v1\nkind: Service\nmetadata:\n  name: a\nspec:\n  ports:\n  - port: eighty\n";
    let parsed = parse("dir/x.yaml", &format!("{}---\n{text}", account("first")));
    let [problem] = parsed.problems.as_slice() else { panic!("one problem: {:?}", parsed.problems) };
    assert_eq!((problem.line, problem.field.as_str()), (12, "spec.ports[0].port"), "{problem}");
    assert!(problem.to_string().starts_with("dir/x.yaml:12:"), "{problem}");
}

#[test]
fn broken_texts_are_problems_and_never_panics() {
    let texts = [
        "apiVersion: v1\nkind: [",
        "kind: Service\n",
        "- a\n- b\n",
        "\u{1}",
        "a: &x [*x]\n",
        "apiVersion: v1\nkind: Service\nmetadata: {}\n",
        "apiVersion: v1\nkind: List\nitems: [{}]\n",
        "{\"apiVersion\": 1}",
    ];
    for text in texts {
        for file in ["x.yaml", "x.json"] {
            let parsed = parse(file, text);
            assert_eq!((parsed.objects.len(), parsed.problems.len()), (0, 1), "{file} {text:?}: {parsed:?}");
        }
    }
    assert_eq!(parse("x.yaml", ""), Parsed::default());
    assert_eq!(parse("x.yaml", "\u{feff}# only a comment\n"), Parsed::default());
}

#[test]
fn the_real_sock_shop_is_read_where_it_is_at_hand() {
    let name = "shared/sock-shop/complete-demo.yaml";
    let above = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().map(|folder| folder.join(name));
    let Some(text) = above.into_iter().find_map(|path| fs::read_to_string(path).ok()) else {
        println!("skipped: no folder above this one has {name}");
        return;
    };
    let parsed = parse("complete-demo.yaml", &text);
    assert_eq!(parsed.problems, []);
    let count = |kind| parsed.objects.iter().filter(|(object, _)| object.kind() == kind).count();
    assert_eq!((count(minimesh_index::Kind::Deployment), count(minimesh_index::Kind::Service)), (14, 14));
}

#[tokio::test]
async fn changes_are_told_and_a_broken_file_keeps_its_last_good_state() {
    let dir = Temporary::new();
    dir.write("a.yaml", &account("a"));
    let mut folder = watch(vec![dir.0.clone()]).expect("readable");
    assert_eq!(next(&mut folder).await, ["replace ServiceAccount default/a"]);

    dir.write("b.yml", &account("b"));
    assert_eq!(next(&mut folder).await, ["apply ServiceAccount default/b"]);

    dir.write("a.yaml", "apiVersion: v1\nkind: ServiceAccount\nmetadata:\n  name: [1]\n");
    let found = problems(&mut folder, |problems| !problems.is_empty()).await;
    assert!(found[0].reason.ends_with("the file's last good state stays in force"), "{}", found[0]);
    assert_eq!((found[0].line, found[0].field.as_str()), (4, "metadata.name"), "{}", found[0]);

    dir.write("a.yaml", &account("c"));
    assert_eq!(next(&mut folder).await, ["apply ServiceAccount default/c", "delete ServiceAccount default/a"]);
    problems(&mut folder, <[Problem]>::is_empty).await;

    fs::remove_file(dir.0.join("b.yml")).expect("removed");
    assert_eq!(next(&mut folder).await, ["delete ServiceAccount default/b"]);
}

#[tokio::test]
async fn folders_inside_are_watched_and_hidden_files_are_not() {
    let dir = Temporary::new();
    let mut folder = watch(vec![dir.0.clone()]).expect("readable");
    assert_eq!(next(&mut folder).await, Vec::<String>::new());
    dir.write(".hidden.yaml", &account("hidden"));
    dir.write("saved.yaml~", &account("saved"));
    fs::create_dir(dir.0.join("inside")).expect("made");
    dir.write("inside/a.yaml", &account("a"));
    assert_eq!(next(&mut folder).await, ["apply ServiceAccount default/a"]);
}

#[tokio::test]
async fn a_later_folder_overrides_and_falls_back() {
    let (first, second) = (Temporary::new(), Temporary::new());
    first.write("a.yaml", &format!("{}  labels: {{from: first}}\n", account("a")));
    second.write("a.yaml", &format!("{}  labels: {{from: second}}\n", account("a")));
    let mut folder = watch(vec![first.0.clone(), second.0.clone()]).expect("readable");
    let from = |events: Vec<Event>| match events.as_slice() {
        [Event::Apply(object)] => object.metadata().labels["from"].clone(),
        [Event::Replace(objects)] if objects.len() == 1 => objects[0].metadata().labels["from"].clone(),
        other => panic!("one object: {other:?}"),
    };
    assert_eq!(from(folder.events.recv().await.expect("told")), "second");
    fs::remove_file(second.0.join("a.yaml")).expect("removed");
    assert_eq!(from(folder.events.recv().await.expect("told")), "first");
}

#[test]
fn a_duplicate_inside_one_folder_names_both_places() {
    let dir = Temporary::new();
    dir.write("a.yaml", &account("a"));
    dir.write("b.yaml", &account("a"));
    let found = scan::Scanner::new(vec![dir.0.clone()]).scan();
    let [problem] = found.problems.as_slice() else { panic!("one problem: {:?}", found.problems) };
    assert!(problem.file.ends_with("b.yaml") && problem.reason.contains("a.yaml:1"), "{problem}");
}

#[test]
fn a_folder_that_goes_away_keeps_its_state() {
    let dir = Temporary::new();
    dir.write("a.yaml", &account("a"));
    let mut scanner = scan::Scanner::new(vec![dir.0.clone()]);
    scanner.scan();
    fs::remove_dir_all(&dir.0).expect("removed");
    let found = scanner.scan();
    assert_eq!(found.events, []);
    assert!(found.problems[0].reason.contains("stays in force"), "{:?}", found.problems);
}

#[test]
fn file_rewritten_in_place_is_believed_when_two_looks_found_the_same() {
    let dir = Temporary::new();
    let path = dir.0.join("a.yaml");
    fs::write(&path, account("a")).expect("written");
    let mut scanner = scan::Scanner::new(vec![dir.0.clone()]);
    scanner.scan();
    // an editor at work: truncated, half written, written
    for text in ["", "apiVersion: v1\nkind: Servi", &account("longer")] {
        fs::write(&path, text).expect("written");
        let found = scanner.scan();
        assert_eq!((found.events, found.problems, found.again), (vec![], vec![], scan::Again::Soon), "{text:?}");
    }
    assert_eq!(scanner.scan().events.len(), 2);
}

#[test]
fn what_cannot_be_text_is_a_problem() {
    let dir = Temporary::new();
    fs::write(dir.0.join("a.yaml"), b"# \xc3\xa9\nname: \xff").expect("written");
    let found = scan::Scanner::new(vec![dir.0.clone()]).scan();
    let problem = &found.problems[0];
    assert_eq!(problem.line, 2);
    assert!(problem.reason.contains("byte 12 is not UTF-8"), "{problem}");
    assert!(matches!(watch(vec![dir.0.join("none")]), Err(FolderError::Unreadable { .. })));
}

/// The folder's link structure as a kubelet mounts a ConfigMap: everything through `..data`, which is swapped.
fn mount(dir: &Temporary, version: &str, text: &str) {
    use std::os::unix::fs::symlink;
    let data = dir.0.join(format!("..{version}"));
    fs::create_dir(&data).expect("made");
    fs::write(data.join("a.yaml"), text).expect("written");
    symlink(format!("..{version}"), dir.0.join("..data_tmp")).expect("linked");
    fs::rename(dir.0.join("..data_tmp"), dir.0.join("..data")).expect("swapped");
    if fs::symlink_metadata(dir.0.join("a.yaml")).is_err() {
        symlink("..data/a.yaml", dir.0.join("a.yaml")).expect("linked");
    }
}

#[tokio::test]
async fn config_map_that_is_swapped_is_read_again() {
    let dir = Temporary::new();
    mount(&dir, "one", &account("a"));
    let mut folder = watch(vec![dir.0.clone()]).expect("readable");
    assert_eq!(next(&mut folder).await, ["replace ServiceAccount default/a"]);
    mount(&dir, "two", &account("b"));
    assert_eq!(next(&mut folder).await, ["apply ServiceAccount default/b", "delete ServiceAccount default/a"]);
}

#[tokio::test]
async fn file_that_an_editor_writes_in_place_is_told_once_it_is_whole() {
    let dir = Temporary::new();
    let path = dir.0.join("a.yaml");
    fs::write(&path, account("a")).expect("written");
    let mut folder = watch(vec![dir.0.clone()]).expect("readable");
    assert_eq!(next(&mut folder).await, ["replace ServiceAccount default/a"]);
    fs::write(&path, format!("{}---\n{}", account("a"), account("b"))).expect("written");
    assert_eq!(next(&mut folder).await, ["apply ServiceAccount default/b"]);
    fs::write(&path, "").expect("written");
    assert_eq!(next(&mut folder).await, ["delete ServiceAccount default/b", "delete ServiceAccount default/a"]);
}

#[tokio::test]
async fn folder_that_comes_back_is_read_again() {
    let dir = Temporary::new();
    dir.write("a.yaml", &account("a"));
    let mut folder = watch(vec![dir.0.clone()]).expect("readable");
    assert_eq!(next(&mut folder).await, ["replace ServiceAccount default/a"]);
    let away = dir.0.with_extension("away");
    fs::rename(&dir.0, &away).expect("moved");
    problems(&mut folder, |problems| problems.iter().any(|problem| problem.reason.contains("stays in force"))).await;
    fs::remove_dir_all(&away).expect("removed");
    fs::create_dir(&dir.0).expect("made");
    dir.write("b.yaml", &account("b"));
    // The folder may have been looked at while it was still empty.
    let mut told = next(&mut folder).await;
    if told.len() < 2 {
        told.extend(next(&mut folder).await);
    }
    told.sort();
    assert_eq!(told, ["apply ServiceAccount default/b", "delete ServiceAccount default/a"]);
    problems(&mut folder, <[Problem]>::is_empty).await;
}

#[tokio::test]
async fn where_inotify_is_refused_a_clock_finds_changes() {
    let dir = Temporary::new();
    let (changes, events) = mpsc::channel(1);
    let (report, problems) = watch::channel(Arc::from([]));
    tokio::spawn(run(Scanner::new(vec![dir.0.clone()]), Notice::clock(), changes, report));
    let mut folder = Folder { events, problems };
    assert_eq!(next(&mut folder).await, Vec::<String>::new());
    dir.write("a.yaml", &account("a"));
    assert_eq!(next(&mut folder).await, ["apply ServiceAccount default/a"]);
}

#[test]
fn links_that_lead_in_circles_end() {
    let dir = Temporary::new();
    dir.write("a.yaml", &account("a"));
    for name in ["one", "two"] {
        std::os::unix::fs::symlink(".", dir.0.join(name)).expect("linked");
    }
    std::os::unix::fs::symlink("nowhere", dir.0.join("b.yaml")).expect("linked");
    let found = scan::Scanner::new(vec![dir.0.clone()]).scan();
    let [problem] = found.problems.as_slice() else { panic!("one problem: {:?}", found.problems) };
    assert!(problem.file.ends_with("b.yaml"), "{problem}");
}

#[test]
fn folder_that_cannot_be_read_at_first_is_no_empty_list() {
    let dir = Temporary::new();
    let mut scanner = scan::Scanner::new(vec![dir.0.clone(), dir.0.join("later")]);
    let first = scanner.scan();
    assert_eq!((first.events, first.again), (vec![], scan::Again::Regularly));
    fs::create_dir(dir.0.join("later")).expect("made");
    assert_eq!(scanner.scan().events, [Event::Replace(vec![])]);
}

#[test]
fn file_that_is_too_large_is_a_problem() {
    let dir = Temporary::new();
    fs::File::create(dir.0.join("a.yaml")).and_then(|file| file.set_len(16 * 1024 * 1024 + 1)).expect("made");
    let found = scan::Scanner::new(vec![dir.0.clone()]).scan();
    assert!(found.problems[0].reason.contains("16777217 bytes"), "{:?}", found.problems);
}

#[test]
fn object_with_a_meaningless_annotation_is_in_force_and_a_problem() {
    let dir = Temporary::new();
    let annotations = "  annotations:\n    minimesh.io/opaque-ports: 3306, redis";
    dir.write("a.yaml", &format!("apiVersion: v1\nkind: Namespace\nmetadata:\n  name: shop\n{annotations}\n"));
    let found = scan::Scanner::new(vec![dir.0.clone()]).scan();
    let [Event::Replace(objects)] = found.events.as_slice() else { panic!("{:?}", found.events) };
    assert_eq!(objects.len(), 1);
    assert_eq!(found.problems[0].field, "metadata.annotations[minimesh.io/opaque-ports]");
    assert_eq!(found.problems[0].line, 6);
}

#[test]
fn policy_that_cannot_be_read_is_refused_and_the_last_one_stays() {
    let dir = Temporary::new();
    let manifest = |policy: &str| {
        let namespace = "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: shop\n  annotations:\n";
        format!(
            "{}---\n{namespace}    # who may connect\n    minimesh.io/default-inbound-policy: {policy}\n",
            account("a")
        )
    };
    dir.write("a.yaml", &manifest("all-authenticated"));
    let mut scanner = scan::Scanner::new(vec![dir.0.clone()]);
    assert_eq!(scanner.scan().problems, []);
    dir.write("a.yaml", &manifest("all-authentcated"));
    let found = scanner.scan();
    assert_eq!(found.events, []);
    let [problem] = found.problems.as_slice() else { panic!("{:?}", found.problems) };
    let expected = "a.yaml:12: metadata.annotations[minimesh.io/default-inbound-policy]: \"all-authentcated\" is no policy; \
                    policies are all-authenticated, all-unauthenticated, audit, cluster-authenticated, \
                    cluster-unauthenticated, deny; the file's last good state stays in force";
    assert!(problem.to_string().ends_with(expected), "{problem}");
    let deployment = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a}\nspec:\n  selector: {matchLabels: {a: b}}\n  \
                      template:\n    metadata:\n      annotations:\n        minimesh.io/port-inbound-policies: 80\n    \
                      spec: {containers: []}\n";
    let parsed = parse("x.yaml", &deployment.replace(": 80", ": '80'"));
    let field = "spec.template.metadata.annotations[minimesh.io/port-inbound-policies]";
    assert_eq!((parsed.objects.len(), parsed.problems[0].line, &*parsed.problems[0].field), (0, 9, field));
}

#[test]
fn content_beside_a_marker_and_directives_are_read() {
    let text = format!(
        "%YAML 1.2\n---\n{}...\n--- # b\n{}--- {{apiVersion: v1, kind: Namespace, metadata: {{name: c}}}}\n---\t\r\n",
        account("a"),
        account("b")
    );
    let parsed = parse("x.yaml", &text);
    assert_eq!(parsed.problems, []);
    let expected = [("ServiceAccount default/a", 3), ("ServiceAccount default/b", 9), ("Namespace c", 13)];
    assert_eq!(names(&parsed.objects), expected.map(|(name, line)| (name.to_owned(), line)));
}

#[test]
fn items_of_lists_have_lines_and_fields_of_their_own() {
    let text = "apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: Secret\n- kind: Namespace\n  apiVersion: v1\n  metadata:\n    name: NAME\n";
    let parsed = parse("x.yaml", &text.replace("NAME", "a"));
    assert_eq!((parsed.problems, parsed.ignored), (vec![], vec!["v1 Secret".to_owned()]));
    assert_eq!(names(&parsed.objects), [("Namespace a".to_owned(), 6)]);
    let problem = &parse("x.yaml", &text.replace("NAME", "A")).problems[0];
    assert_eq!((problem.line, problem.field.as_str()), (9, "items[1].metadata.name"), "{problem}");
    let typed =
        parse("x.yaml", "apiVersion: v1\nkind: NamespaceList\nitems: [{metadata: {name: a}}, {metadata: {name: b}}]\n");
    assert_eq!(typed.objects.len(), 2, "{typed:?}");
}

#[test]
fn string_that_reads_as_something_else_needs_quotes_and_is_written_with_them() {
    let manifest = |value: &str| format!("{}  annotations: {{a: {value}}}\n", account("a"));
    for value in ["true", "1", "1.5", "no"] {
        let problem = &parse("x.yaml", &manifest(value)).problems[0];
        assert_eq!(problem.field, "metadata.annotations.a", "{problem}");
        assert!(problem.reason.contains("without quotes"), "{problem}");
    }
    for value in ["0.4.8", "2026-01-01", "10.43.0.1", "5m", "\"1\""] {
        assert_eq!(parse("x.yaml", &manifest(value)).problems, []);
    }
    for value in
        ["true", "1", "1e3", "0x1f", "1_000", ".5", "on", "n", "~", "null", "", " a", "a: b", "# a", "a\nb", "-"]
    {
        let mut object = parse("x.yaml", &account("a")).objects.remove(0).0;
        object.metadata_mut().annotations.insert("a".to_owned(), value.to_owned());
        let written = serde_saphyr::to_string(&object).expect("written");
        let read = parse("x.yaml", &written);
        assert_eq!((read.objects, read.problems), (vec![(object, 1)], vec![]), "{written}");
    }
}

#[test]
fn fields_of_routes_that_are_not_known_are_named_with_file_and_line() {
    let route = "metadata: { name: r }\nspec:\n  parentRefs: [{ name: a, kind: Service, group: \"\" }]\n  rules:\n  - matches: []\n    \
                 speed: 5\n    backendRefs: [{ name: b, port: 80, weight: 0, colour: red }]\n";
    let header = "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\n";
    let told = |parsed: Parsed| -> Vec<(u32, String)> {
        assert_eq!(parsed.problems, []);
        parsed.faults.into_iter().map(|fault| (fault.line, fault.field)).collect()
    };
    let unknown = |line| {
        ["spec.rules[0].backendRefs[0].colour", "spec.rules[0].speed"].map(|field| (line, field.to_owned())).to_vec()
    };
    let mut found = told(parse("r.yaml", &format!("# a comment\n---\n{}---\n{header}{route}", account("a"))));
    found.sort();
    assert_eq!(found, unknown(8));

    let item = format!("{header}{route}").replace('\n', "\n  ");
    let list = format!(
        "apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: ServiceAccount\n  metadata: {{ name: r }}\n- {item}"
    );
    let mut found = told(parse("r.yaml", list.trim_end()));
    found.sort();
    assert_eq!(found, unknown(7));

    let grpc = route.replace("    speed: 5\n", "    timeouts: { request: 1s }\n").replace(", colour: red", "");
    let found = told(parse("r.yaml", &format!("{}{grpc}", header.replace("HTTP", "GRPC"))));
    assert_eq!(found, [(1, "spec.rules[0].timeouts".to_owned())], "a field of the other kind of route");
}

#[test]
fn a_match_that_says_more_than_is_read_is_handed_on_as_such() {
    let parsed = parse(
        "r.yaml",
        "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: { name: r }\nspec:\n  rules:\n  - matches: [{ \
         header: [{ name: a, value: b }] }]\n",
    );
    let [(Object::HttpRoute(route), 1)] = &parsed.objects[..] else { panic!("{parsed:?}") };
    assert_eq!(route.unread, ["spec.rules[0].matches[0].header"]);
    let fault = parsed.faults[0].to_string();
    assert_eq!(fault, "r.yaml:1: spec.rules[0].matches[0].header: is not known to this version; the rule answers 500");
}

#[test]
fn a_grant_with_a_field_that_is_not_known_is_refused() {
    let grant = |to: &str| {
        format!(
            "apiVersion: gateway.networking.k8s.io/v1beta1\nkind: ReferenceGrant\nmetadata: {{ name: g }}\nspec:\n  from: [{{ \
             group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: a }}]\n  to: [{{ group: \"\", kind: Service{to} }}]\n"
        )
    };
    assert_eq!(parse("g.yaml", &grant(", name: a")).objects.len(), 1);
    let refused = parse("g.yaml", &grant(", nmae: a"));
    let problems: Vec<_> = refused.problems.iter().map(|problem| (problem.line, &*problem.field)).collect();
    assert_eq!((refused.objects, problems), (vec![], vec![(1, "spec.to[0].nmae")]));
}
