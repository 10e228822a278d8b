//! The wire format is a one-way door: bytes and field numbers of a release never change.
//!
//! `UPDATE_GOLDEN=1 cargo test -p minimesh-api --test golden` rewrites the files of the version under way; a change in a
//! line that was there before is a break of the protocol.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor, Value};

#[allow(dead_code)] // each test binary uses its share
mod samples;

/// The release whose messages these are.
const RELEASE: &str = "v0.1";

#[test]
fn bytes_of_every_message_are_those_of_the_release() {
    for sample in samples::all() {
        compare(&format!("{}.bin", sample.name), &sample.bytes);
        compare(&format!("{}.txt", sample.name), sample.text.as_bytes());
    }
}

#[test]
fn golden_messages_set_every_field_of_every_message() {
    let pool = descriptors();
    let mut seen = BTreeSet::new();
    for sample in samples::all() {
        let descriptor = pool.get_message_by_name(sample.message).expect("a message of the package");
        note_fields(&DynamicMessage::decode(descriptor, sample.bytes.as_slice()).expect("valid bytes"), &mut seen);
    }
    let ours = pool.all_messages().filter(|message| message.package_name() == "minimesh.v1");
    let all: BTreeSet<String> = ours
        .flat_map(|message| message.fields().collect::<Vec<_>>())
        .map(|field| field.full_name().to_owned())
        .collect();
    assert_eq!(all.difference(&seen).collect::<Vec<_>>(), Vec::<&String>::new(), "never set in a golden message");
}

#[test]
fn field_numbers_and_enum_values_are_frozen() {
    let pool = descriptors();
    let mut lines = BTreeSet::new();
    for message in pool.all_messages().filter(|message| message.package_name() == "minimesh.v1") {
        lines.extend(frozen_fields(&message));
    }
    for enumeration in pool.all_enums().filter(|enumeration| enumeration.package_name() == "minimesh.v1") {
        lines.extend(enumeration.values().map(|value| format!("{} = {}", value.full_name(), value.number())));
    }
    for service in pool.services() {
        lines.extend(service.methods().map(|method| {
            let stream = |on| if on { "stream " } else { "" };
            format!(
                "{} ({}{}) -> {}{}",
                method.full_name(),
                stream(method.is_client_streaming()),
                method.input().full_name(),
                stream(method.is_server_streaming()),
                method.output().full_name()
            )
        }));
    }
    compare("numbers.txt", lines.into_iter().map(|line| line + "\n").collect::<String>().as_bytes());
}

fn frozen_fields(message: &MessageDescriptor) -> Vec<String> {
    let line = |field: prost_reflect::FieldDescriptor| {
        let list = if field.is_list() { "repeated " } else { "" };
        let choice = field.containing_oneof().map(|choice| format!(" in {}", choice.name())).unwrap_or_default();
        format!("{} = {} {list}{:?}{choice}", field.full_name(), field.number(), field.kind())
    };
    message.fields().map(line).collect()
}

fn note_fields(message: &DynamicMessage, seen: &mut BTreeSet<String>) {
    for (field, value) in message.fields() {
        seen.insert(field.full_name().to_owned());
        match value {
            Value::Message(inner) => note_fields(inner, seen),
            Value::List(items) => {
                items.iter().filter_map(Value::as_message).for_each(|inner| note_fields(inner, seen));
            }
            _ => {}
        }
    }
}

fn descriptors() -> DescriptorPool {
    let proto = Path::new(env!("CARGO_MANIFEST_DIR")).join("proto");
    let files = protox::compile([proto.join("minimesh/v1/mesh.proto")], [proto]).expect("the build compiled it");
    DescriptorPool::from_file_descriptor_set(files).expect("complete")
}

fn compare(file: &str, actual: &[u8]) {
    let folder: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/golden").join(RELEASE);
    let path = folder.join(file);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::create_dir_all(&folder).expect("a folder in the repository");
        fs::write(&path, actual).expect("a file in the repository");
    }
    let expected = fs::read(&path).unwrap_or_else(|error| panic!("{file}: {error}; UPDATE_GOLDEN=1 writes it"));
    if expected != actual {
        let (expected, actual) = (String::from_utf8_lossy(&expected), String::from_utf8_lossy(actual));
        panic!("{file} changed; UPDATE_GOLDEN=1 rewrites it\n--- release\n{expected}\n--- now\n{actual}");
    }
}
