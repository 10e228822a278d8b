//! A manifest's text to objects. Pure; errors carry line, column and field.
//!
//! A document is read twice: its kind, wherever that stands, decides the type of the second reading.

use std::fmt;

use minimesh_index::{Kind, Object, faults, refusals};
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_path_to_error::Track;
use serde_saphyr::{MessageFormatter, Spanned, UserMessageFormatter};

use super::{Parsed, Problem};
use crate::unknown;

/// Reads a manifest: YAML with any number of documents, or JSON where `file` ends in `.json`. Pure.
pub fn parse(file: &str, text: &str) -> Parsed {
    let mut parsed = Parsed::default();
    let json = file.ends_with(".json");
    // An editor's byte-order mark is no part of the text.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    for document in documents(text, json) {
        if let Err(fault) = document.read(file, &mut parsed) {
            let line = if fault.line == 0 { document.first_line() } else { document.line + fault.line };
            let Fault { column, field, reason, .. } = fault;
            parsed.problems.push(Problem { file: file.into(), line, column, field, reason });
        }
    }
    parsed
}

/// What decides how a document is read.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Header {
    api_version: Option<String>,
    kind: Option<String>,
}

/// The same of each item of a list.
#[derive(Deserialize)]
struct Headers {
    items: Option<Vec<Header>>,
}

/// Where each item of a list begins.
#[derive(Deserialize)]
struct Places {
    items: Option<Vec<Spanned<IgnoredAny>>>,
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
    /// 0: unknown.
    line: u32,
    column: u32,
    field: String,
    reason: String,
}

/// How the body of a document is read.
#[derive(Clone)]
enum Body {
    /// One object.
    One(Kind),
    /// `items`; `None`: of a kind without use.
    List(Vec<Option<Kind>>),
}

/// Splits at YAML's document markers, which count wherever they begin a line (YAML 1.2 section 9.1.2).
fn documents(text: &str, json: bool) -> Vec<Document<'_>> {
    if json {
        return vec![Document { text, line: 0, json }];
    }
    let mut found = Vec::new();
    let (mut start, mut first_line, mut at, mut line) = (0, 0, 0, 0);
    for piece in text.split_inclusive('\n') {
        let end = at + piece.len();
        let marks = |marker: &str| {
            piece.strip_prefix(marker).is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']))
        };
        // Directives (%YAML 1.2) belong to the document that the next marker begins.
        let only_directives = || text[start..at].lines().all(|line| is_blank(line) || line.starts_with('%'));
        if marks("...") {
            found.push(Document { text: &text[start..at], line: first_line, json });
            (start, first_line) = (end, line + 1);
        } else if marks("---") && !only_directives() {
            // The marker's line stays: content may follow the marker.
            found.push(Document { text: &text[start..at], line: first_line, json });
            (start, first_line) = (at, line);
        }
        (at, line) = (end, line + 1);
    }
    found.push(Document { text: &text[start..], line: first_line, json });
    found
}

impl Document<'_> {
    fn read(&self, file: &str, parsed: &mut Parsed) -> Result<(), Fault> {
        if self.text.lines().all(is_empty) {
            return Ok(());
        }
        let Some(header) = self.typed::<Option<Header>>()? else { return Ok(()) };
        let (Some(api_version), Some(kind)) = (header.api_version, header.kind) else {
            return Err(no_kind(String::new()));
        };
        let objects = if let Some(kind) = Kind::from_api(&api_version, &kind) {
            let objects = self.body(Body::One(kind))?;
            objects.into_iter().map(|object| (object, self.first_line())).collect()
        } else if kind == "List" && api_version == "v1" {
            self.list(None, parsed)?
        } else if let Some(kind) = kind.strip_suffix("List").and_then(|kind| Kind::from_api(&api_version, kind)) {
            self.list(Some(kind), parsed)?
        } else {
            parsed.ignored.push(format!("{api_version} {kind}"));
            Vec::new()
        };
        let looked_at = objects.iter().any(|(object, _): &(Object, u32)| unknown::matters(object.kind()));
        let written = looked_at.then(|| self.typed::<serde_json::Value>().ok()).flatten();
        for (object, line) in objects {
            let mut object = in_namespace(object);
            let problem = |fault: minimesh_index::Fault| Problem {
                file: file.into(),
                line: self.line_of(&fault.field, line),
                column: 0,
                field: fault.field,
                reason: fault.reason,
            };
            let unknown = written.iter().filter(|_| unknown::matters(object.kind()));
            let unknown: Vec<_> = unknown.flat_map(|written| unknown::fields(&object, written)).collect();
            let mut refused = refusals(&object);
            if unknown::refuses(object.kind()) {
                let fault = |field| minimesh_index::Fault { field, reason: unknown::REFUSED.to_owned() };
                refused.extend(unknown.into_iter().map(fault));
            } else {
                object.note_unread(unknown);
            }
            parsed.faults.extend(faults(&object).into_iter().map(problem));
            if refused.is_empty() {
                parsed.objects.push((object, line));
            }
            parsed.problems.extend(refused.into_iter().map(problem));
        }
        Ok(())
    }

    /// The line of an annotation of the object that begins on a line; of the object itself where that cannot be told.
    fn line_of(&self, field: &str, object: u32) -> u32 {
        let annotation = field.split_once('[').and_then(|(_, rest)| rest.strip_suffix(']'));
        let Some(annotation) = annotation else { return object };
        let above = object.saturating_sub(self.line + 1);
        let mut lines = self.text.lines().skip(above as usize);
        lines.position(|line| line.contains(annotation)).map_or(object, |found| object + line_number(found as u64))
    }

    /// `kind: List`, as `kubectl get -o yaml` prints it, or a list of one kind, as the API server answers.
    fn list(&self, of: Option<Kind>, parsed: &mut Parsed) -> Result<Vec<(Object, u32)>, Fault> {
        let headers = self.typed::<Headers>()?.items.unwrap_or_default();
        let mut kinds = Vec::with_capacity(headers.len());
        for (index, header) in headers.into_iter().enumerate() {
            kinds.push(match (header.api_version, header.kind) {
                (Some(api_version), Some(kind)) => {
                    let known = Kind::from_api(&api_version, &kind);
                    if known.is_none() {
                        parsed.ignored.push(format!("{api_version} {kind}"));
                    }
                    known
                }
                _ if of.is_some() => of,
                _ => return Err(no_kind(format!("items[{index}]"))),
            });
        }
        let known: Vec<bool> = kinds.iter().map(Option::is_some).collect();
        let lines = self.item_lines(known.len())?;
        let lines = lines.into_iter().zip(known).filter_map(|(line, known)| known.then_some(line));
        Ok(self.body(Body::List(kinds))?.into_iter().zip(lines).collect())
    }

    /// JSON does not tell: the document's line.
    fn item_lines(&self, items: usize) -> Result<Vec<u32>, Fault> {
        if self.json {
            return Ok(vec![self.first_line(); items]);
        }
        let places = self.typed::<Places>()?.items.unwrap_or_default();
        Ok(places.iter().map(|place| self.line + line_number(place.referenced.line())).collect())
    }

    fn typed<'t, T: Deserialize<'t>>(&'t self) -> Result<T, Fault> {
        if self.json {
            return serde_json::from_str(self.text).map_err(|error| of_json(&error, String::new()));
        }
        serde_saphyr::from_str_with_options(self.text, options()).map_err(|error| of_yaml(&error, String::new()))
    }

    fn body(&self, body: Body) -> Result<Vec<Object>, Fault> {
        let mut path = String::new();
        if self.json {
            let mut json = serde_json::Deserializer::from_str(self.text);
            let (objects, path) = tracked(body, &mut json);
            return objects.map_err(|error| of_json(&error, path));
        }
        let read = serde_saphyr::with_deserializer_from_str_with_options(self.text, options(), |yaml| {
            let (objects, at) = tracked(body, yaml);
            path = at;
            objects
        });
        read.map_err(|error| of_yaml(&error, path))
    }

    /// The first line with something on it, in the file, from 1.
    fn first_line(&self) -> u32 {
        let nothing = |line: &&str| is_empty(line) || line.starts_with('%');
        self.line + line_number(self.text.lines().take_while(nothing).count() as u64) + 1
    }
}

impl<'de> DeserializeSeed<'de> for Body {
    type Value = Vec<Object>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Vec<Object>, D::Error> {
        match self {
            Body::One(kind) => Ok(vec![kind.deserialize(deserializer)?]),
            Body::List(_) => deserializer.deserialize_map(self),
        }
    }
}

/// Reads the list's `items` as their kinds say.
impl<'de> Visitor<'de> for Body {
    type Value = Vec<Object>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Vec<Object>, A::Error> {
        let mut objects = Vec::new();
        while let Some(name) = map.next_key::<String>()? {
            if let ("items", Body::List(kinds)) = (name.as_str(), &self) {
                objects = map.next_value_seed(Items(kinds))?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(objects)
    }
}

struct Items<'k>(&'k [Option<Kind>]);

impl<'de> DeserializeSeed<'de> for Items<'_> {
    type Value = Vec<Object>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Vec<Object>, D::Error> {
        // Empty is written as null by some.
        if self.0.is_empty() {
            IgnoredAny::deserialize(deserializer)?;
            return Ok(Vec::new());
        }
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Items<'_> {
    type Value = Vec<Object>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of objects")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Vec<Object>, A::Error> {
        let mut objects = Vec::new();
        for kind in self.0 {
            match kind {
                Some(kind) => objects.extend(items.next_element_seed(*kind)?),
                None => drop(items.next_element::<IgnoredAny>()?),
            }
        }
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(objects)
    }
}

/// Reads, and says at which field reading ended.
fn tracked<'de, D: Deserializer<'de>>(body: Body, from: D) -> (Result<Vec<Object>, D::Error>, String) {
    let mut track = Track::new();
    let objects = body.deserialize(serde_path_to_error::Deserializer::new(from, &mut track));
    let path = track.path().to_string();
    // "." is serde_path_to_error's word for the document itself
    (objects, if path == "." { String::new() } else { path })
}

/// Text that a parser of YAML 1.1, such as the API server's, takes for a number or a boolean is refused where a string belongs,
/// as the API server does. Sizes are those of a file at its limit.
fn options() -> serde_saphyr::Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! { max_events: 16_000_000, max_nodes: 8_000_000 },
        no_schema: true,
        with_snippet: false,
        emit_comments: false,
    }
}

fn no_kind(field: String) -> Fault {
    let reason = "apiVersion and kind are needed to know what this is".to_owned();
    Fault { line: 0, column: 0, field, reason }
}

fn of_json(error: &serde_json::Error, field: String) -> Fault {
    let text = error.to_string();
    // The place stands before the reason already.
    let reason = text.rsplit_once(" at line ").map_or(text.as_str(), |(reason, _)| reason).to_owned();
    let number = |count: usize| line_number(count as u64);
    Fault { line: number(error.line()), column: number(error.column()), field, reason }
}

fn of_yaml(error: &serde_saphyr::Error, field: String) -> Fault {
    let error = error.without_snippet();
    let (line, column) = error.location().map_or((0, 0), |at| (line_number(at.line()), line_number(at.column())));
    Fault { line, column, field, reason: reason_of(error) }
}

/// In the words of who writes manifests.
fn reason_of(error: &serde_saphyr::Error) -> String {
    use serde_saphyr::Error;
    match error {
        Error::InvalidScalar { ty: "u16", .. } => "expected a number from 0 to 65535".to_owned(),
        Error::InvalidScalar { ty, .. } => format!("expected a value of type {ty}"),
        Error::QuotingRequired { value, .. } => {
            format!("expected a string, and {value} without quotes is a number or a boolean")
        }
        Error::Unexpected { expected: "mapping start", .. } => "expected a mapping".to_owned(),
        Error::Unexpected { expected: "sequence start", .. } => "expected a list".to_owned(),
        Error::Unexpected { expected: "string scalar", .. } => "expected a string".to_owned(),
        other => UserMessageFormatter.format_message(other).into_owned(),
    }
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

/// Blank, or a marker with nothing beside it.
fn is_empty(line: &str) -> bool {
    is_blank(line.strip_prefix("---").unwrap_or(line))
}

fn is_blank(line: &str) -> bool {
    let line = line.trim();
    line.is_empty() || line.starts_with('#')
}

fn line_number(count: u64) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
