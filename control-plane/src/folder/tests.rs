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
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/sock-shop/complete-demo.yaml");
    let Ok(text) = fs::read_to_string(&path) else {
        println!("skipped: {} is not here", path.display());
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
fn an_emptied_file_is_believed_at_the_second_look() {
    let dir = Temporary::new();
    dir.write("a.yaml", &account("a"));
    let mut scanner = scan::Scanner::new(vec![dir.0.clone()]);
    scanner.scan();
    dir.write("a.yaml", "");
    let first = scanner.scan();
    assert_eq!((first.events, first.unsure), (vec![], true));
    assert_eq!(scanner.scan().events.len(), 1);
}

#[test]
fn what_cannot_be_text_is_a_problem() {
    let dir = Temporary::new();
    fs::write(dir.0.join("a.yaml"), b"name: \xff").expect("written");
    let found = scan::Scanner::new(vec![dir.0.clone()]).scan();
    assert!(found.problems[0].reason.contains("byte 7 is not UTF-8"), "{:?}", found.problems);
    assert!(matches!(watch(vec![dir.0.join("none")]), Err(FolderError::Unreadable { .. })));
}
