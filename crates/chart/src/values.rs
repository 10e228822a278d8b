//! Defaults, files and `--set`, merged as Helm merges them.

use serde_json::{Map, Value};

use crate::Error;

/// One YAML document; nothing is an empty map.
pub fn parse_yaml(file: &str, text: &str) -> Result<Value, Error> {
    let bad = |reason: String| Error::Yaml { file: file.to_owned(), reason };
    if text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#')) {
        return Ok(Value::Object(Map::new()));
    }
    match serde_saphyr::from_str::<Value>(text).map_err(|error| bad(error.to_string()))? {
        Value::Null => Ok(Value::Object(Map::new())),
        map @ Value::Object(_) => Ok(map),
        _ => Err(bad("is not a map".into())),
    }
}

/// `over` wins; maps are merged, everything else is replaced. A null stays until a release is rendered: it takes away what
/// the chart's defaults say.
pub fn merge(base: &mut Value, over: Value) {
    match (base, over) {
        (Value::Object(base), Value::Object(over)) => {
            for (key, value) in over {
                match (value, base.get_mut(&key)) {
                    (value @ Value::Object(_), Some(known @ Value::Object(_))) => merge(known, value),
                    (value, _) => drop(base.insert(key, value)),
                }
            }
        }
        (base, over) => *base = over,
    }
}

/// What is left when nulls have taken away what they stand for.
pub(crate) fn without_nulls(values: Value) -> Value {
    match values {
        Value::Object(map) => map
            .into_iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(key, value)| (key, without_nulls(value)))
            .collect(),
        other => other,
    }
}

/// One `--set`: `a.b=value,c=value`, with Helm's escapes `\,` and `\.`, lists in braces, and numbers, true, false and null for
/// what they look like.
pub fn set(values: &mut Value, expression: &str) -> Result<(), Error> {
    for assignment in split(expression, ',') {
        let Some((path, value)) = cut(&assignment, '=') else {
            return Err(Error::Value(format!("--set {assignment}: there is no =; it is KEY.KEY=VALUE")));
        };
        let keys: Vec<String> = split(path, '.').iter().map(|key| unescaped(key.trim())).collect();
        if keys.iter().any(|key| key.is_empty() || key.contains('[')) {
            return Err(Error::Value(format!(
                "--set {assignment}: a key is empty, or an item of a list, which only a file can set"
            )));
        }
        let over =
            keys.iter().rev().fold(typed(value), |value, key| Value::Object(Map::from_iter([(key.clone(), value)])));
        merge(values, over);
    }
    Ok(())
}

/// Paths in `over` that the chart's defaults do not have: typing errors, which Helm would take in silence.
pub fn unknown(defaults: &Value, over: &Value) -> Vec<String> {
    let (Value::Object(defaults), Value::Object(over)) = (defaults, over) else { return Vec::new() };
    // an empty map among the defaults is for the user to fill
    if defaults.is_empty() {
        return Vec::new();
    }
    let mut paths = Vec::new();
    for (key, value) in over {
        match defaults.get(key) {
            None => paths.push(key.clone()),
            Some(known) => paths.extend(unknown(known, value).into_iter().map(|path| format!("{key}.{path}"))),
        }
    }
    paths
}

fn typed(text: &str) -> Value {
    if let Some(items) = text.strip_prefix('{').and_then(|text| text.strip_suffix('}')) {
        return split(items, ',').iter().map(|item| typed(item.trim())).collect();
    }
    match text {
        "true" => true.into(),
        "false" => false.into(),
        "null" => Value::Null,
        number if number.parse::<i64>().is_ok() && (number == "0" || !number.starts_with('0')) => {
            number.parse::<i64>().map_or(Value::Null, Value::from)
        }
        text => unescaped(text).into(),
    }
}

/// At separators that are neither escaped nor in braces.
fn split(text: &str, separator: char) -> Vec<String> {
    let mut parts = vec![String::new()];
    let (mut escaped, mut depth) = (false, 0usize);
    for c in text.chars() {
        if c == separator && !escaped && depth == 0 {
            parts.push(String::new());
            continue;
        }
        match c {
            '{' if !escaped => depth += 1,
            '}' if !escaped => depth = depth.saturating_sub(1),
            _ => {}
        }
        escaped = c == '\\' && !escaped;
        if let Some(part) = parts.last_mut() {
            part.push(c);
        }
    }
    parts
}

fn cut(text: &str, separator: char) -> Option<(&str, &str)> {
    text.split_once(separator)
}

fn unescaped(text: &str) -> String {
    let mut plain = String::new();
    let mut escaped = false;
    for c in text.chars() {
        if c == '\\' && !escaped {
            escaped = true;
        } else {
            plain.push(c);
            escaped = false;
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn with(expression: &str) -> Value {
        let mut values = json!({ "a": { "b": 1, "c": 2 }, "d": [1] });
        set(&mut values, expression).expect("set");
        values
    }

    #[test]
    fn set_is_that_of_helm() {
        assert_eq!(with("a.b=x"), json!({ "a": { "b": "x", "c": 2 }, "d": [1] }));
        assert_eq!(with("a.b=null,d={p, q}"), json!({ "a": { "b": null, "c": 2 }, "d": ["p", "q"] }));
        assert_eq!(with("d={}")["d"], json!([""]));
        assert_eq!(
            with("n=3,t=true,s=007,e="),
            json!({ "a": { "b": 1, "c": 2 }, "d": [1], "n": 3, "t": true, "s": "007", "e": "" })
        );
        assert_eq!(with("a.x\\.y=1\\,2")["a"]["x.y"], "1,2");
        assert!(set(&mut json!({}), "a").is_err() && set(&mut json!({}), "a[0]=1").is_err());
    }

    #[test]
    fn merging_replaces_lists_and_merges_maps() {
        let mut base = json!({ "a": { "b": 1, "c": 2 }, "d": [1, 2], "e": 1 });
        merge(&mut base, json!({ "a": { "b": 3 }, "d": [4], "e": null }));
        assert_eq!(base, json!({ "a": { "b": 3, "c": 2 }, "d": [4], "e": null }));
        assert_eq!(without_nulls(base), json!({ "a": { "b": 3, "c": 2 }, "d": [4] }));
    }

    #[test]
    fn values_that_the_chart_does_not_have_are_found() {
        let defaults = json!({ "a": { "b": 1 }, "free": {} });
        let over = json!({ "a": { "x": 1, "b": 2 }, "free": { "anything": 1 }, "y": 1 });
        assert_eq!(unknown(&defaults, &over), ["a.x", "y"]);
    }

    #[test]
    fn files_are_maps_or_nothing() {
        assert_eq!(parse_yaml("f", "# nothing\n"), Ok(json!({})));
        assert_eq!(parse_yaml("f", "a: 1"), Ok(json!({ "a": 1 })));
        assert_eq!(parse_yaml("f", "- 1").map_err(|error| error.to_string()), Err("f: is not a map".into()));
    }
}
