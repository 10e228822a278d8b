//! The difference of two documents as a JSON patch (RFC 6902). Lists that changed in length are replaced whole.

use serde_json::{Map, Value, json};

/// Operations that turn `before` into `after`.
pub fn difference(before: &Value, after: &Value) -> Vec<Value> {
    let mut operations = Vec::new();
    compare(String::new(), before, after, &mut operations);
    operations
}

fn compare(path: String, before: &Value, after: &Value, operations: &mut Vec<Value>) {
    match (before, after) {
        _ if before == after => {}
        (Value::Object(before), Value::Object(after)) => compare_objects(&path, before, after, operations),
        (Value::Array(before), Value::Array(after)) if before.len() == after.len() => {
            for (index, (before, after)) in before.iter().zip(after).enumerate() {
                compare(format!("{path}/{index}"), before, after, operations);
            }
        }
        _ => operations.push(json!({ "op": "replace", "path": path, "value": after })),
    }
}

fn compare_objects(path: &str, before: &Map<String, Value>, after: &Map<String, Value>, operations: &mut Vec<Value>) {
    for name in before.keys().filter(|name| !after.contains_key(*name)) {
        operations.push(json!({ "op": "remove", "path": format!("{path}/{}", escaped(name)) }));
    }
    for (name, after) in after {
        let path = format!("{path}/{}", escaped(name));
        match before.get(name) {
            Some(before) => compare(path, before, after, operations),
            None => operations.push(json!({ "op": "add", "path": path, "value": after })),
        }
    }
}

/// RFC 6901 section 3.
fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// The three operations that are made here, strictly: what they name must be there, or must not.
    pub(crate) fn applied(document: &Value, operations: &[Value]) -> Value {
        let mut document = document.clone();
        for operation in operations {
            let path = operation["path"].as_str().expect("a path");
            let Some((parent, last)) = path.rsplit_once('/') else {
                document = operation["value"].clone();
                continue;
            };
            let last = last.replace("~1", "/").replace("~0", "~");
            match document.pointer_mut(parent).expect("a parent") {
                Value::Object(map) => match operation["op"].as_str() {
                    Some("add") => assert!(map.insert(last, operation["value"].clone()).is_none(), "{path} was there"),
                    Some("remove") => assert!(map.remove(&last).is_some(), "{path} was not there"),
                    _ => assert!(map.insert(last, operation["value"].clone()).is_some(), "{path} was not there"),
                },
                Value::Array(list) => {
                    assert_eq!(operation["op"], "replace");
                    list[last.parse::<usize>().expect("an index")] = operation["value"].clone();
                }
                other => panic!("{path}: {other}"),
            }
        }
        document
    }

    #[test]
    fn a_patch_makes_the_one_document_from_the_other() {
        let before = json!({ "a": { "x/y": 1, "~": [1, { "b": 2 }] }, "gone": null, "list": [1], "same": [1, 2] });
        let after =
            json!({ "a": { "x/y": 2, "~": [1, { "b": 3, "c": 4 }] }, "list": [1, 2], "new": {}, "same": [1, 2] });
        let operations = difference(&before, &after);
        assert_eq!(applied(&before, &operations), after);
        assert_eq!(
            operations,
            [
                json!({ "op": "remove", "path": "/gone" }),
                json!({ "op": "replace", "path": "/a/x~1y", "value": 2 }),
                json!({ "op": "replace", "path": "/a/~0/1/b", "value": 3 }),
                json!({ "op": "add", "path": "/a/~0/1/c", "value": 4 }),
                json!({ "op": "replace", "path": "/list", "value": [1, 2] }),
                json!({ "op": "add", "path": "/new", "value": {} }),
            ]
        );
        assert_eq!(difference(&after, &after), Vec::<Value>::new());
    }
}
