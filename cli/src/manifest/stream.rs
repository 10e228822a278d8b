//! A stream of documents, YAML or JSON, in and out. What came in as YAML goes out as YAML, JSON as JSON.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::edit;
use crate::Failure;

/// What is read: one file, or stdin.
pub(crate) struct Input {
    /// For people.
    pub(crate) name: String,
    text: String,
}

/// The documents, changed.
pub(crate) struct Output {
    pub(crate) text: String,
    /// Documents whose comments could not be kept, by their number.
    pub(crate) rewritten: Vec<usize>,
}

impl Input {
    /// Everything that is named: files, folders of manifests, `-` for stdin.
    pub(crate) fn all(paths: &[PathBuf]) -> Result<Vec<Input>, Failure> {
        let mut inputs = Vec::new();
        for path in paths {
            if path.as_os_str() == "-" {
                inputs.push(Input::stdin()?);
            } else if path.is_dir() {
                for file in manifests(path)? {
                    inputs.push(Input::file(&file)?);
                }
            } else {
                inputs.push(Input::file(path)?);
            }
        }
        Ok(inputs)
    }

    fn stdin() -> Result<Input, Failure> {
        let mut text = String::new();
        let read = std::io::stdin().lock().read_to_string(&mut text);
        read.map_err(|error| Failure::new(format!("cannot read stdin: {error}")))?;
        Ok(Input { name: "stdin".into(), text })
    }

    fn file(path: &Path) -> Result<Input, Failure> {
        let text = fs::read_to_string(path)
            .map_err(|error| Failure::new(format!("cannot read {}: {error}", path.display())))?;
        Ok(Input { name: path.display().to_string(), text })
    }

    #[cfg(test)]
    pub(crate) fn of(text: &str) -> Input {
        Input { name: "test".into(), text: text.to_owned() }
    }

    /// Passes every document through `change`. All or nothing: half of a stream would be half of an application.
    pub(crate) fn pass(&self, mut change: impl FnMut(&mut Value)) -> Result<Output, Failure> {
        if self.text.trim_start().starts_with('{') {
            return self.pass_json(change);
        }
        let mut output = Output { text: String::new(), rewritten: Vec::new() };
        for (number, (line, separator, document)) in documents(&self.text).into_iter().enumerate() {
            output.text.push_str(separator);
            let before: Value = match serde_saphyr::from_str(document) {
                Ok(value) => value,
                Err(_) if is_empty(document) => Value::Null,
                Err(error) => return Err(self.unreadable(number, line, &error)),
            };
            if before.is_null() {
                output.text.push_str(document);
                continue;
            }
            let mut after = before.clone();
            change(&mut after);
            let (text, rewritten) = edit::edited(document, &before, &after);
            output.text.push_str(&text);
            if rewritten {
                output.rewritten.push(number + 1);
            }
            if !output.text.ends_with('\n') {
                output.text.push('\n');
            }
        }
        Ok(output)
    }

    fn pass_json(&self, mut change: impl FnMut(&mut Value)) -> Result<Output, Failure> {
        let mut text = String::new();
        for value in serde_json::Deserializer::from_str(&self.text).into_iter::<Value>() {
            let mut value = value.map_err(|error| Failure::new(format!("{}: not JSON: {error}", self.name)))?;
            change(&mut value);
            text.push_str(&format!("{value:#}\n"));
        }
        Ok(Output { text, rewritten: Vec::new() })
    }

    fn unreadable(&self, number: usize, line: usize, error: &dyn std::fmt::Display) -> Failure {
        let number = number + 1;
        Failure::new(format!(
            "{}: document {number}, which begins in line {line}, is no YAML: {error}\nnothing was written; mend it and pass all of it again",
            self.name
        ))
    }
}

/// The first line, the separator before it (empty, or a line), and the text of each document.
fn documents(text: &str) -> Vec<(usize, &str, &str)> {
    let mut documents = Vec::new();
    let (mut separator, mut begin, mut first_line, mut at) = (&text[..0], 0, 1, 0);
    for (number, line) in text.split_inclusive('\n').enumerate() {
        let rest = line.strip_prefix("---").map(str::trim);
        if rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('#')) {
            // nothing before the first separator is no document
            if at > 0 {
                documents.push((first_line, separator, &text[begin..at]));
            }
            separator = line;
            begin = at + line.len();
            first_line = number + 2;
        }
        at += line.len();
    }
    documents.push((first_line, separator, &text[begin..]));
    documents
}

fn is_empty(document: &str) -> bool {
    document.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#'))
}

fn manifests(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let cannot = |error| Failure::new(format!("cannot read folder {}: {error}", folder.display()));
    let mut files: Vec<PathBuf> = fs::read_dir(folder).map_err(cannot)?.flatten().map(|entry| entry.path()).collect();
    let known = |path: &PathBuf| path.extension().is_some_and(|end| end == "yaml" || end == "yml" || end == "json");
    files.retain(|path| path.is_file() && known(path));
    files.sort();
    if files.is_empty() {
        return Err(Failure::new(format!("folder {} has no .yaml, .yml or .json file", folder.display())));
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(value: &mut Value) {
        value["mark"] = true.into();
    }

    #[test]
    fn every_document_passes_with_its_comments_and_separators() {
        let text = "# head\n---\n# one\na: 1\n--- # two\nb: 2\n---\n# nothing\n";
        let output = Input::of(text).pass(mark).expect("passed");
        assert_eq!(output.text, "# head\n---\n# one\na: 1\nmark: true\n--- # two\nb: 2\nmark: true\n---\n# nothing\n");
        assert_eq!(output.rewritten, Vec::<usize>::new());
    }

    #[test]
    fn json_stays_json() {
        let output = Input::of("{\"a\": 1}\n{\"b\": 2}").pass(mark).expect("passed");
        assert_eq!(output.text, "{\n  \"a\": 1,\n  \"mark\": true\n}\n{\n  \"b\": 2,\n  \"mark\": true\n}\n");
    }

    #[test]
    fn a_document_that_is_no_yaml_is_named_and_nothing_passes() {
        let failure = Input::of("a: 1\n---\nb: [\n").pass(mark).err().expect("a failure");
        let said = format!("{failure:?}");
        assert!(said.contains("test: document 2, which begins in line 3, is no YAML"), "{said}");
    }
}
