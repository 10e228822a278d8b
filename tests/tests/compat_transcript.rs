//! What the comparisons of `compat` can see, and that docs/compatibility.md tells of each.

use std::collections::BTreeSet;
use std::path::Path;

use minimesh_tests::compat::Transcript;

#[test]
fn dates_of_now_are_left_out_and_those_of_files_are_not() {
    let said = |text: &str| Transcript::default().with("head", text);
    let first = said("Date: Sun, 22 Nov 2026 18:26:50 GMT\r\nLast-Modified: Sun, 09 Sep 2001 01:46:40 GMT\r\n");
    let later = said("Date: Mon, 23 Nov 2026 00:00:01 GMT\r\nLast-Modified: Sun, 09 Sep 2001 01:46:40 GMT\r\n");
    let other = said("Date: Sun, 22 Nov 2026 18:26:50 GMT\r\nLast-Modified: Sun, 09 Sep 2001 01:46:41 GMT\r\n");
    assert_eq!(first.difference(&later), None);
    assert!(first.difference(&other).is_some());
}

#[test]
fn what_neighbours_say_about_their_connection_is_left_out() {
    let said = |text: &str| Transcript::default().with("head", text);
    let close = said("HTTP/1.1 200 OK\r\nConnection: close\r\nServer: x\r\n\r\n");
    let keep = said("HTTP/1.1 200 OK\r\nServer: x\r\nconnection: keep-alive\r\n\r\n");
    let upgrade = said("HTTP/1.1 200 OK\r\nConnection: upgrade\r\nServer: x\r\n\r\n");
    assert_eq!(close.difference(&keep), None);
    assert!(close.difference(&upgrade).is_some());
}

#[test]
fn the_first_difference_is_named_with_its_section() {
    let direct = Transcript::default().with("one", "a").with("two", "b\nc");
    let meshed = Transcript::default().with("one", "a").with("two", "b\nd");
    let said = direct.difference(&meshed).expect("they differ");
    assert!(said.starts_with("from line 5 on, in ==== two"), "{said}");
}

#[test]
fn every_case_has_its_place_on_the_page() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folders = std::fs::read_dir(here.join("compat")).expect("the cases").map(|entry| entry.expect("a folder"));
    let cases: BTreeSet<String> = folders.map(|folder| folder.file_name().into_string().expect("a name")).collect();
    let page = std::fs::read_to_string(here.join("../docs/compatibility.md")).expect("the page");
    // `Cases: …. Programs: …`, wrapped anywhere
    let named = page.split("\nCases: ").skip(1).map(|rest| rest.split("Programs: ").next().expect("something"));
    let named: BTreeSet<String> =
        named.flat_map(|cases| cases.split('`').skip(1).step_by(2)).map(str::to_owned).collect();
    assert_eq!(named, cases.into_iter().filter(|name| name != "kits").collect());
}
