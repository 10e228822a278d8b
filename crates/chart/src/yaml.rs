//! Values as block YAML that every reader reads the same, YAML 1.1's included: a text that could be taken for something else is
//! quoted.

use serde_json::Value;

/// A document, with a line's end.
pub fn block(value: &Value) -> String {
    let mut text = String::new();
    match value {
        Value::Object(map) if !map.is_empty() => entries(value, 0, &mut text),
        Value::Array(items) if !items.is_empty() => entries(value, 0, &mut text),
        scalar => {
            text.push_str(&inline(scalar));
            text.push('\n');
        }
    }
    text
}

fn entries(value: &Value, indent: usize, text: &mut String) {
    let blanks = " ".repeat(indent);
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                text.push_str(&format!("{blanks}{}:", scalar(key)));
                after_key(value, indent, text);
            }
        }
        Value::Array(items) => {
            for item in items {
                let mut inner = String::new();
                match item {
                    Value::Object(map) if !map.is_empty() => entries(item, indent + 2, &mut inner),
                    Value::Array(items) if !items.is_empty() => entries(item, indent + 2, &mut inner),
                    other => inner = format!("{blanks}  {}\n", inline(other)),
                }
                // the dash takes the place of the first two blanks of the item
                text.push_str(&format!("{blanks}- {}", &inner[indent + 2..]));
            }
        }
        _ => {}
    }
}

/// Lists stand at the indentation of their key, as kubectl prints them.
fn after_key(value: &Value, indent: usize, text: &mut String) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            text.push('\n');
            entries(value, indent + 2, text);
        }
        Value::Array(items) if !items.is_empty() => {
            text.push('\n');
            entries(value, indent, text);
        }
        Value::String(lines) if is_literal(lines) => {
            let blanks = " ".repeat(indent + 2);
            let chomp = if lines.ends_with('\n') { "" } else { "-" };
            text.push_str(&format!(" |{chomp}\n"));
            for line in lines.lines() {
                text.push_str(&if line.is_empty() { "\n".to_owned() } else { format!("{blanks}{line}\n") });
            }
        }
        other => text.push_str(&format!(" {}\n", inline(other))),
    }
}

/// Several lines that a literal block shows as they are.
fn is_literal(text: &str) -> bool {
    text.contains('\n')
        && !text.starts_with([' ', '\n', '\t'])
        && !text.ends_with("\n\n")
        && text.chars().all(|c| c == '\n' || !c.is_control())
        && text.lines().all(|line| !line.ends_with([' ', '\t']))
}

fn inline(value: &Value) -> String {
    match value {
        Value::String(text) => scalar(text),
        Value::Array(_) => "[]".to_owned(),
        Value::Object(_) => "{}".to_owned(),
        other => other.to_string(),
    }
}

/// Plain where that is safe, in double quotes otherwise: JSON's strings are YAML's.
pub fn scalar(text: &str) -> String {
    if is_plain(text) { text.to_owned() } else { Value::from(text).to_string() }
}

fn is_plain(text: &str) -> bool {
    let first = text.chars().next();
    let safe_first = first.is_some_and(|c| c.is_ascii_alphabetic() || c == '_' || c == '/');
    let safe = |c: char| c.is_ascii_alphanumeric() || " _-./:@%+=,()*".contains(c);
    safe_first
        && text.chars().all(safe)
        && !text.ends_with([' ', ':'])
        && !text.contains(": ")
        && !WORDS.contains(&text.to_ascii_lowercase().as_str())
}

/// Of YAML 1.1 and 1.2.
const WORDS: [&str; 10] = ["false", "n", "no", "null", "off", "on", "true", "y", "yes", "nan"];

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_document_reads_back_and_looks_like_kubectls() {
        let value = json!({
            "list": [{ "a": 1, "b": ["x", [], {}] }, [1, [2]], "s"],
            "text": { "empty": "", "yes": "yes", "number": "1", "colon": "a: b", "hash": "a #b", "lines": "a\n\n  b\n", "cut": "a\nb",
                      "odd": " a\nb", "true": true, "null": null, "star": "*", "ünï": "ö\t", "on": "on", "e": "1e3", "url": "http://a:1/b" },
            "empty": {},
        });
        let text = block(&value);
        let read: Value = serde_saphyr::from_str(&text).expect("YAML");
        assert_eq!(read, value, "{text}");
        assert!(text.contains("list:\n- a: 1\n  b:\n  - x\n"), "{text}");
        assert!(
            text.contains("  lines: |\n    a\n\n      b\n") && text.contains("  cut: |-\n    a\n    b\n"),
            "{text}"
        );
    }

    #[test]
    fn scalars_and_empty_documents() {
        assert_eq!(
            (block(&json!("no")), block(&json!([])), block(&json!(1))),
            ("\"no\"\n".into(), "[]\n".into(), "1\n".into())
        );
    }
}
