//! Fields of routes and grants that this version does not know: misspelt in a folder, or of a Gateway API that is newer than this
//! program in a cluster. A route that does less than it says must not do so in silence, and a grant must not grant more: one whose
//! `name` is misspelt would be for every Service.
//!
//! Both sources ask here.
//! What was written is compared with what was read of it, written again. Pure.

use minimesh_index::{Kind, Object};
use serde_json::Value;

/// Whether fields of such an object are looked at: of other kinds the mesh reads a part on purpose.
pub(crate) fn matters(kind: Kind) -> bool {
    matches!(kind, Kind::GrpcRoute | Kind::HttpRoute | Kind::ReferenceGrant)
}

/// Whether an object with such fields must not come into force.
pub(crate) fn refuses(kind: Kind) -> bool {
    kind == Kind::ReferenceGrant
}

/// Fields under `spec` that had no meaning. `document`: the object itself, or a list that it stands in.
pub(crate) fn fields(object: &Object, document: &Value) -> Vec<String> {
    let Some(written) = place(object, document).and_then(|written| written.get("spec")) else { return Vec::new() };
    let read = serde_json::to_value(object).ok();
    let mut unknown = Vec::new();
    compare(written, read.as_ref().and_then(|read| read.get("spec")), "spec", &mut unknown);
    unknown
}

/// What is wrong with such a field where it keeps the object from coming into force.
pub(crate) const REFUSED: &str = "is not known to this version, which must not guess what is granted";

fn place<'d>(object: &Object, document: &'d Value) -> Option<&'d Value> {
    let Some(items) = document.get("items").and_then(Value::as_array) else { return Some(document) };
    let metadata = object.metadata();
    items.iter().find(|item| {
        let text = |value: Option<&'d Value>, absent: &'d str| value.and_then(Value::as_str).unwrap_or(absent);
        let written = item.get("metadata");
        let of = |name: &str| written.and_then(|metadata| metadata.get(name));
        text(of("name"), "") == metadata.name
            && text(of("namespace"), "default") == metadata.namespace
            && text(item.get("kind"), object.kind().name()) == object.kind().name()
    })
}

fn compare(written: &Value, read: Option<&Value>, at: &str, unknown: &mut Vec<String>) {
    match (written, read) {
        (written, _) if is_empty(written) => {}
        (_, None) => unknown.push(at.to_owned()),
        (Value::Object(fields), Some(read)) => {
            for (name, value) in fields {
                compare(value, read.get(name), &format!("{at}.{name}"), unknown);
            }
        }
        (Value::Array(items), Some(read)) => {
            for (index, value) in items.iter().enumerate() {
                compare(value, read.get(index), &format!("{at}[{index}]"), unknown);
            }
        }
        // a value: another form of it (a number, a quoted number) is the same
        _ => {}
    }
}

/// Says nothing, and may be left out when it is written again.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        _ => false,
    }
}
