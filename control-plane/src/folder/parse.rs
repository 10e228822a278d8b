//! A manifest's text to objects. Pure; errors carry line, column and field.

use minimesh_index::{Kind, Object};
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer};
use serde_json::Value;
use serde_path_to_error::Track;

use super::{Parsed, Problem};

/// What decides how a document is read.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Header {
    api_version: Option<String>,
    kind: Option<String>,
}

/// `kind: List`, as `kubectl get -o yaml` prints it.
#[derive(Deserialize)]
struct List {
    #[serde(default)]
    items: Vec<Value>,
}

/// A document of a file.
struct Document<'t> {
    text: &'t str,
    /// Line of the file on which the document's text begins, from 0.
    line: u32,
    json: bool,
}

/// What is wrong with a document, by its own lines.
struct Fault {
    line: u32,
    column: u32,
    field: String,
    reason: String,
}

/// Reads a manifest: YAML with any number of documents, or JSON where `file` ends in `.json`. Pure.
pub fn parse(file: &str, text: &str) -> Parsed {
    let mut parsed = Parsed::default();
    let json = file.ends_with(".json");
    // An editor's byte-order mark is no part of the text.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    for document in documents(text, json) {
        if let Err(fault) = document.read(&mut parsed) {
            parsed.problems.push(Problem {
                file: file.into(),
                line: if fault.line == 0 { 0 } else { document.line + fault.line },
                column: fault.column,
                field: fault.field,
                reason: fault.reason,
            });
        }
    }
    parsed
}

/// Splits at YAML's document markers, which count wherever they begin a line (YAML 1.2 section 9.1).
fn documents(text: &str, json: bool) -> Vec<Document<'_>> {
    if json {
        return vec![Document { text, line: 0, json }];
    }
    let mut found = Vec::new();
    let (mut start, mut first_line, mut at, mut line) = (0, 0, 0, 0);
    for piece in text.split_inclusive('\n') {
        let end = at + piece.len();
        line += 1;
        let marker = piece.trim_end();
        if marker == "---" || marker == "..." || piece.starts_with("--- ") {
            found.push(Document { text: &text[start..at], line: first_line, json });
            (start, first_line) = (end, line);
        }
        at = end;
    }
    found.push(Document { text: &text[start..], line: first_line, json });
    found
}

impl Document<'_> {
    fn read(&self, parsed: &mut Parsed) -> Result<(), Fault> {
        let blank = |line: &str| line.trim().is_empty() || line.trim_start().starts_with('#');
        if self.text.lines().all(blank) {
            return Ok(());
        }
        let Some(header) = self.typed::<Option<Header>>()? else { return Ok(()) };
        let (Some(api_version), Some(kind)) = (header.api_version, header.kind) else {
            return Err(self.missing("apiVersion and kind are needed to know what this is"));
        };
        if api_version == "v1" && kind == "List" {
            let list: List = self.typed()?;
            return list.items.into_iter().enumerate().try_for_each(|(index, item)| self.item(index, item, parsed));
        }
        match Kind::from_api(&api_version, &kind) {
            Some(kind) => parsed.objects.push((in_namespace(self.object(kind)?), self.first_line())),
            None => parsed.ignored.push(format!("{api_version} {kind}")),
        }
        Ok(())
    }

    /// An item of a list: its own line is not known any more, its place in the list is.
    fn item(&self, index: usize, item: Value, parsed: &mut Parsed) -> Result<(), Fault> {
        let word = |name: &str| item.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let (api_version, kind) = (word("apiVersion"), word("kind"));
        if api_version.is_empty() || kind.is_empty() {
            return Err(self.missing(&format!("items[{index}]: apiVersion and kind are needed to know what this is")));
        }
        let Some(known) = Kind::from_api(&api_version, &kind) else {
            parsed.ignored.push(format!("{api_version} {kind}"));
            return Ok(());
        };
        let (object, path) = tracked(known, &item);
        let object = object.map_err(|error| Fault {
            line: self.first_line() - self.line,
            column: 0,
            field: format!("items[{index}].{path}"),
            reason: error.to_string(),
        })?;
        parsed.objects.push((in_namespace(object), self.first_line()));
        Ok(())
    }

    fn typed<'t, T: Deserialize<'t>>(&'t self) -> Result<T, Fault> {
        if self.json {
            return serde_json::from_str(self.text).map_err(|error| of_json(&error, String::new()));
        }
        serde_saphyr::from_str(self.text).map_err(|error| of_yaml(&error, String::new()))
    }

    fn object(&self, kind: Kind) -> Result<Object, Fault> {
        let mut path = String::new();
        if self.json {
            let mut json = serde_json::Deserializer::from_str(self.text);
            let (object, path) = tracked(kind, &mut json);
            return object.map_err(|error| of_json(&error, path));
        }
        let read = serde_saphyr::with_deserializer_from_str(self.text, |yaml| {
            let (object, at) = tracked(kind, yaml);
            path = at;
            object
        });
        read.map_err(|error| of_yaml(&error, path))
    }

    /// The first line with something on it, in the file, from 1.
    fn first_line(&self) -> u32 {
        let before = self.text.lines().take_while(|line| line.trim().is_empty() || line.starts_with('#')).count();
        self.line + u32::try_from(before).unwrap_or(0) + 1
    }

    fn missing(&self, reason: &str) -> Fault {
        Fault { line: self.first_line() - self.line, column: 0, field: String::new(), reason: reason.to_owned() }
    }
}

/// Reads an object, and says at which field reading ended.
fn tracked<'de, D: Deserializer<'de>>(kind: Kind, from: D) -> (Result<Object, D::Error>, String) {
    let mut track = Track::new();
    let object = kind.deserialize(serde_path_to_error::Deserializer::new(from, &mut track));
    let path = track.path().to_string();
    // "." is serde_path_to_error's word for the document itself
    (object, if path == "." { String::new() } else { path })
}

fn of_json(error: &serde_json::Error, field: String) -> Fault {
    let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    let text = error.to_string();
    let reason = text.split(" at line ").next().unwrap_or(&text).to_owned();
    Fault { line: number(error.line()), column: number(error.column()), field, reason }
}

fn of_yaml(error: &serde_saphyr::Error, field: String) -> Fault {
    let number = |count: u64| u32::try_from(count).unwrap_or(u32::MAX);
    let (line, column) = error.location().map_or((0, 0), |at| (number(at.line()), number(at.column())));
    let text = error.without_snippet().to_string();
    // The place stands before the reason already.
    let reason = text.split(" at line ").next().unwrap_or(&text);
    let reason = reason.rsplit_once(": line ").map_or(reason, |(reason, _)| reason);
    Fault { line, column, field, reason: reason.trim_end().to_owned() }
}

fn in_namespace(mut object: Object) -> Object {
    let namespaced = object.kind().is_namespaced();
    let metadata = object.metadata_mut();
    if !namespaced {
        metadata.namespace.clear();
    } else if metadata.namespace.is_empty() {
        metadata.namespace = "default".to_owned();
    }
    object
}
