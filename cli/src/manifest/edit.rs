//! A changed value, as a change of the text that it was read from. What did not change keeps its comments, quotes and order.
//!
//! The text's structure comes from a parser's events; the result is read again and compared, so that a text which is too odd to be
//! edited is written anew instead of wrongly.

use std::ops::Range;

use granit_parser::{Event, Parser, StructureStyle};
use minimesh_chart::yaml;
use serde_json::{Map, Value};

/// The text of `after`, as close to `text`, the text of `before`, as can be. The second part: the text could not be kept.
pub(super) fn edited(text: &str, before: &Value, after: &Value) -> (String, bool) {
    if before == after {
        return (text.to_owned(), false);
    }
    let kept = tree(text).and_then(|root| {
        let mut edits = Vec::new();
        change(text, &root, before, after, &mut edits)?;
        Some(apply(text, edits))
    });
    let good = |kept: &String| serde_saphyr::from_str::<Value>(kept).is_ok_and(|read| read == *after);
    match kept.filter(good) {
        Some(kept) => (kept, false),
        None => (yaml::block(after), true),
    }
}

/// Where a value stands in the text.
enum Node {
    Map {
        flow: bool,
        range: Range<usize>,
        entries: Vec<Entry>,
    },
    /// A scalar, or something that is not looked into.
    Other {
        range: Range<usize>,
    },
    Sequence {
        flow: bool,
        range: Range<usize>,
        items: Vec<Node>,
    },
}

struct Entry {
    key: String,
    at: Range<usize>,
    value: Node,
}

struct Edit {
    range: Range<usize>,
    text: String,
}

impl Node {
    /// Behind the last thing that belongs to it.
    fn end(&self) -> usize {
        match self {
            Node::Map { flow: false, entries, range } => entries.last().map_or(range.end, Entry::end),
            Node::Sequence { flow: false, items, range } => items.last().map_or(range.end, Node::end),
            Node::Map { range, .. } | Node::Other { range } | Node::Sequence { range, .. } => range.end,
        }
    }
}

impl Entry {
    /// A value of nothing may be said to stand on a later line.
    fn end(&self) -> usize {
        self.value.end().max(self.at.end + 1)
    }
}

/// Why the parser's events are no tree: not interesting, the text is written anew.
fn tree(text: &str) -> Option<Node> {
    use Event::{Alias, MappingEnd, MappingStart, Scalar, SequenceEnd, SequenceStart};
    let mut events = Parser::new_from_str(text).filter_map(|event| match event {
        Ok((event, span)) => {
            let of_tree = matches!(
                event,
                Alias(_) | MappingEnd | MappingStart(..) | Scalar(..) | SequenceEnd | SequenceStart(..)
            );
            of_tree.then(|| span.byte_range().map(|range| (event, range)))
        }
        Err(_) => Some(None),
    });
    node(text, &mut events, 0)
}

fn node<'t>(
    text: &str,
    events: &mut impl Iterator<Item = Option<(Event<'t>, Range<usize>)>>,
    depth: usize,
) -> Option<Node> {
    let (event, range) = events.next()??;
    value(text, event, range, events, depth)
}

fn value<'t>(
    text: &str,
    event: Event<'t>,
    range: Range<usize>,
    events: &mut impl Iterator<Item = Option<(Event<'t>, Range<usize>)>>,
    depth: usize,
) -> Option<Node> {
    if depth > DEEPEST {
        return None;
    }
    match event {
        // the span of a block text takes the empty lines behind it
        Event::Scalar(..) => {
            let taken = text.get(range.clone())?;
            Some(Node::Other { range: range.start..range.start + taken.trim_end().len() })
        }
        Event::SequenceStart(style, ..) => {
            let mut items = Vec::new();
            loop {
                let (event, at) = events.next()??;
                if event == Event::SequenceEnd {
                    return Some(Node::Sequence {
                        flow: style == StructureStyle::Flow,
                        range: range.start..at.end,
                        items,
                    });
                }
                items.push(value(text, event, at, events, depth + 1)?);
            }
        }
        Event::MappingStart(style, ..) => {
            let mut entries = Vec::new();
            loop {
                match events.next()?? {
                    (Event::MappingEnd, at) => {
                        return Some(Node::Map {
                            flow: style == StructureStyle::Flow,
                            range: range.start..at.end,
                            entries,
                        });
                    }
                    (Event::Scalar(key, ..), at) => {
                        let value = node(text, events, depth + 1)?;
                        entries.push(Entry { key: key.into_owned(), at, value });
                    }
                    _ => return None,
                }
            }
        }
        // anchors, aliases: what they mean is not local
        _ => None,
    }
}

/// Edits that make `after` of `before`; nothing where the text does not allow it.
fn change(text: &str, node: &Node, before: &Value, after: &Value, edits: &mut Vec<Edit>) -> Option<()> {
    match (node, before, after) {
        _ if before == after => Some(()),
        (Node::Map { flow: false, entries, .. }, Value::Object(before), Value::Object(after)) if !after.is_empty() => {
            change_map(text, entries, before, after, edits)
        }
        (Node::Sequence { flow: false, items, .. }, Value::Array(before), Value::Array(after))
            if before.len() == after.len() && items.len() == before.len() =>
        {
            items
                .iter()
                .zip(before)
                .zip(after)
                .try_for_each(|((item, before), after)| change(text, item, before, after, edits))
        }
        _ => None,
    }
}

fn change_map(
    text: &str,
    entries: &[Entry],
    before: &Map<String, Value>,
    after: &Map<String, Value>,
    edits: &mut Vec<Edit>,
) -> Option<()> {
    let column = column(text, entries.first()?.at.start);
    for entry in entries {
        let was = before.get(&entry.key)?;
        match after.get(&entry.key) {
            None => edits.push(removal(text, entry)?),
            Some(now) => {
                let mut inner = Vec::new();
                match change(text, &entry.value, was, now, &mut inner) {
                    Some(()) => edits.extend(inner),
                    None => {
                        edits.push(Edit { range: entry.at.start..entry.end(), text: lines(&entry.key, now, column) })
                    }
                }
            }
        }
    }
    let last = entries.last()?;
    let end_of_line = text[last.end().min(text.len())..].find('\n').map_or(text.len(), |at| last.end() + at);
    let mut added = String::new();
    for (key, value) in after.iter().filter(|(key, _)| !before.contains_key(*key)) {
        added.push_str(&format!("\n{}{}", " ".repeat(column), lines(key, value, column)));
    }
    if !added.is_empty() {
        edits.push(Edit { range: end_of_line..end_of_line, text: added });
    }
    Some(())
}

/// An entry as block YAML, without the first line's indentation and the last line's end.
fn lines(key: &str, value: &Value, column: usize) -> String {
    let block = yaml::block(&Value::Object(Map::from_iter([(key.to_owned(), value.clone())])));
    let blanks = format!("\n{}", " ".repeat(column));
    let indented = block.trim_end_matches('\n').replace('\n', &blanks);
    indented.replace(&format!("{blanks}\n"), "\n\n")
}

/// Whole lines; not of an entry that shares its line with a dash.
fn removal(text: &str, entry: &Entry) -> Option<Edit> {
    let start = text[..entry.at.start].rfind('\n').map_or(0, |at| at + 1);
    if !text[start..entry.at.start].bytes().all(|byte| byte == b' ') {
        return None;
    }
    let end = entry.end().min(text.len());
    let end = text[end..].find('\n').map_or(text.len(), |at| end + at + 1);
    Some(Edit { range: start..end, text: String::new() })
}

fn column(text: &str, at: usize) -> usize {
    text[..at].chars().rev().take_while(|c| *c != '\n').count()
}

fn apply(text: &str, mut edits: Vec<Edit>) -> String {
    edits.sort_by_key(|edit| (edit.range.start, edit.range.end));
    let mut result = String::new();
    let mut at = 0;
    for Edit { range, text: new } in edits {
        // a removal may take the line's end behind which something is added
        let start = range.start.max(at);
        result.push_str(&text[at..start]);
        result.push_str(if at > range.start { new.strip_prefix('\n').unwrap_or(&new) } else { &new });
        if at > range.start && !new.is_empty() {
            result.push('\n');
        }
        at = range.end.max(at);
    }
    result.push_str(&text[at..]);
    result
}

/// The reader of values has a bound of its own; this one keeps the stack.
const DEEPEST: usize = 100;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(text: &str, change: impl Fn(&mut Value), expected: &str) {
        let before: Value = serde_saphyr::from_str(text).expect("YAML");
        let mut after = before.clone();
        change(&mut after);
        let (edited, rewritten) = edited(text, &before, &after);
        assert_eq!((edited.as_str(), rewritten), (expected, false));
    }

    const DEPLOYMENT: &str = "\
# the shop's front
apiVersion: apps/v1
kind: Deployment
metadata:
  name: \"web\" # quoted
  resourceVersion: \"7\"
  uid: x
spec:
  template:
    metadata:
      labels: {app: web}
    spec:
      containers:
        # the only one
        - name: web
          args: ['a', \"b\"]   # two
          readinessProbe:
            tcpSocket:
              port: 80
status:
  replicas: 1
";

    #[test]
    fn removing_adding_and_replacing_leave_the_rest_alone() {
        let change = |value: &mut Value| {
            value.as_object_mut().expect("a map").remove("status");
            let metadata = value["metadata"].as_object_mut().expect("a map");
            metadata.remove("resourceVersion");
            metadata.remove("uid");
            value["spec"]["template"]["metadata"]["labels"]["minimesh.io/inject"] = "enabled".into();
            value["spec"]["template"]["spec"]["volumes"] = json!([{ "name": "v", "emptyDir": {} }]);
            value["spec"]["template"]["spec"]["containers"][0]["readinessProbe"] =
                json!({ "httpGet": { "path": "/", "port": 1 } });
        };
        check(
            DEPLOYMENT,
            change,
            "\
# the shop's front
apiVersion: apps/v1
kind: Deployment
metadata:
  name: \"web\" # quoted
spec:
  template:
    metadata:
      labels:
        app: web
        minimesh.io/inject: enabled
    spec:
      containers:
        # the only one
        - name: web
          args: ['a', \"b\"]   # two
          readinessProbe:
            httpGet:
              path: /
              port: 1
      volumes:
      - emptyDir: {}
        name: v
",
        );
    }

    #[test]
    fn the_last_entry_can_be_removed_and_another_added() {
        check(
            "a: 1\nb: 2\n",
            |value| {
                value.as_object_mut().expect("a map").remove("b");
                value["c"] = 3.into();
            },
            "a: 1\nc: 3\n",
        );
        check("a: 1", |value| value["c"] = 3.into(), "a: 1\nc: 3");
        check(
            "a:\n  b: |\n    x\n    y\n\nc: 1\n",
            |value| value["a"]["d"] = 1.into(),
            "a:\n  b: |\n    x\n    y\n  d: 1\n\nc: 1\n",
        );
        check("a:\nb: 1\n", |value| value["a"] = json!({ "x": 1 }), "a:\n  x: 1\nb: 1\n");
    }

    #[test]
    fn a_text_that_cannot_be_edited_is_written_anew() {
        let text = "a: &x {b: 1}\nc: *x\n";
        let before: Value = serde_saphyr::from_str(text).expect("YAML");
        let mut after = before.clone();
        after["c"]["b"] = 2.into();
        assert_eq!(edited(text, &before, &after), ("a:\n  b: 1\nc:\n  b: 2\n".to_owned(), true));
    }

    #[test]
    fn what_did_not_change_is_not_touched() {
        check("{ a:   1 } # odd\n", |_| {}, "{ a:   1 } # odd\n");
    }
}
