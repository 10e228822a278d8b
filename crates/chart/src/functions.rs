//! The functions that templates may call: those of Go, Sprig and Helm that our chart uses. Others are an error, by name.

use serde_json::Value;

use crate::yaml;

pub(crate) fn call(name: &str, arguments: Vec<Value>) -> Result<Value, String> {
    let wrong = || format!("{name} is not called with {} values of these kinds", arguments.len());
    match (name, arguments.as_slice()) {
        ("and" | "or", [.., last]) => Ok(last.clone()),
        ("default", [default]) => Ok(default.clone()),
        ("default", [default, value]) => Ok(if is_true(value) { value.clone() } else { default.clone() }),
        ("eq", [first, others @ ..]) if !others.is_empty() => Ok(others.iter().any(|other| other == first).into()),
        ("indent", [Value::Number(width), text]) => {
            Ok(indented(width.as_u64().ok_or_else(wrong)?, &print(text)?).into())
        }
        ("index", [Value::Array(items), Value::Number(at)]) => {
            let item = at.as_u64().and_then(|at| items.get(usize::try_from(at).ok()?));
            item.cloned().ok_or_else(|| format!("the list has no item {at}"))
        }
        ("index", [Value::Object(map), Value::String(key)]) => Ok(map.get(key).cloned().unwrap_or_default()),
        ("ne", [left, right]) => Ok((left != right).into()),
        ("nindent", [Value::Number(width), text]) => {
            let text = indented(width.as_u64().ok_or_else(wrong)?, &print(text)?);
            Ok(format!("\n{text}").into())
        }
        ("not", [value]) => Ok((!is_true(value)).into()),
        ("quote", values) => {
            let quoted = values
                .iter()
                .filter(|value| !value.is_null())
                .map(|value| print(value).map(|text| Value::from(text).to_string()));
            Ok(quoted.collect::<Result<Vec<_>, _>>()?.join(" ").into())
        }
        ("toYaml", [value]) => Ok(yaml::block(value).trim_end().to_owned().into()),
        _ if KNOWN.contains(&name) => Err(wrong()),
        _ => Err(format!("function {name} is not supported")),
    }
}

/// Go's truth, which is also Sprig's "not empty".
pub(crate) fn is_true(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(value) => *value,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(map) => !map.is_empty(),
    }
}

/// As an action prints it. Go's form of lists and maps is nothing that anyone wants in a manifest.
pub(crate) fn print(value: &Value) -> Result<String, String> {
    match value {
        Value::Null => Ok(String::new()),
        Value::Bool(value) => Ok(value.to_string()),
        Value::Number(number) => Ok(number.to_string()),
        Value::String(text) => Ok(text.clone()),
        Value::Array(_) | Value::Object(_) => Err("a list or a map cannot be printed as it is; use toYaml".to_owned()),
    }
}

/// Every line, also an empty one, as Sprig does it.
fn indented(width: u64, text: &str) -> String {
    let blanks = " ".repeat(usize::try_from(width).unwrap_or(0).min(200));
    format!("{blanks}{}", text.replace('\n', &format!("\n{blanks}")))
}

const KNOWN: [&str; 12] =
    ["and", "default", "eq", "include", "indent", "index", "ne", "nindent", "not", "or", "quote", "toYaml"];

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn functions_do_what_those_of_helm_do() {
        let ok = |name: &str, arguments: Value, expected: Value| {
            let Value::Array(arguments) = arguments else { panic!("a list") };
            assert_eq!(call(name, arguments.clone()), Ok(expected), "{name} {arguments:?}");
        };
        ok("default", json!(["d", ""]), json!("d"));
        ok("default", json!(["d", "v"]), json!("v"));
        ok("default", json!([1, 0]), json!(1));
        ok("eq", json!([1, 2, 1]), json!(true));
        ok("ne", json!(["a", "a"]), json!(false));
        ok("quote", json!(["a\"b"]), json!("\"a\\\"b\""));
        ok("quote", json!([8087]), json!("\"8087\""));
        ok("quote", json!([null]), json!(""));
        ok("nindent", json!([2, "a\nb"]), json!("\n  a\n  b"));
        ok("indent", json!([1, "a"]), json!(" a"));
        ok("index", json!([{ "a.b": 1 }, "a.b"]), json!(1));
        ok("toYaml", json!([{ "a": [1] }]), json!("a:\n- 1"));
        ok("not", json!([[]]), json!(true));
    }

    #[test]
    fn unknown_functions_and_wrong_values_are_named() {
        assert_eq!(call("tpl", vec![]), Err("function tpl is not supported".into()));
        assert_eq!(call("eq", vec![json!(1)]), Err("eq is not called with 1 values of these kinds".into()));
    }
}
