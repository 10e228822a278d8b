//! Templates and data into text, as text/template does it with Helm's settings: an absent key is nothing, a key of nothing an error.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::Error;
use crate::functions;
use crate::parse::{Binding, Node, Operand, Pipeline};

/// All that templates of a chart can include.
pub(crate) type Defined = BTreeMap<String, (String, Vec<Node>)>;

/// Runs one file's template.
pub(crate) fn execute(file: &str, nodes: &[Node], data: &Value, defined: &Defined) -> Result<String, Error> {
    Run { file, defined, depth: 0 }.whole(nodes, data)
}

#[derive(Clone, Copy)]
struct Run<'c> {
    file: &'c str,
    defined: &'c Defined,
    depth: usize,
}

/// Variables, the innermost last.
type Scope = Vec<(String, Value)>;

impl Run<'_> {
    fn whole(self, nodes: &[Node], data: &Value) -> Result<String, Error> {
        let mut text = String::new();
        let mut scope = vec![(String::new(), data.clone())];
        self.list(nodes, data, &mut scope, &mut text)?;
        Ok(text)
    }

    fn list(self, nodes: &[Node], dot: &Value, scope: &mut Scope, text: &mut String) -> Result<(), Error> {
        let outer = scope.len();
        for node in nodes {
            self.node(node, dot, scope, text)?;
        }
        scope.truncate(outer);
        Ok(())
    }

    fn node(self, node: &Node, dot: &Value, scope: &mut Scope, text: &mut String) -> Result<(), Error> {
        match node {
            Node::Text(piece) => text.push_str(piece),
            Node::Action(line, pipeline) => {
                let value = self.pipeline(*line, pipeline, dot, scope)?;
                if pipeline.variable.is_none() {
                    text.push_str(&functions::print(&value).map_err(|reason| self.fault(*line, reason))?);
                }
            }
            Node::If(line, branches) => {
                for (condition, body) in branches {
                    let holds = match condition {
                        None => true,
                        Some(condition) => functions::is_true(&self.pipeline(*line, condition, dot, scope)?),
                    };
                    if holds {
                        return self.list(body, dot, scope, text);
                    }
                }
            }
            Node::With { line, value, body, otherwise } => {
                let value = self.pipeline(*line, value, dot, scope)?;
                return match functions::is_true(&value) {
                    true => self.list(body, &value, scope, text),
                    false => self.list(otherwise, dot, scope, text),
                };
            }
            Node::Range { line, variables, over, body, otherwise } => {
                let items: Vec<(Value, Value)> = match self.pipeline(*line, over, dot, scope)? {
                    Value::Array(items) => {
                        items.into_iter().enumerate().map(|(index, item)| (index.into(), item)).collect()
                    }
                    Value::Object(map) => map.into_iter().map(|(key, item)| (key.into(), item)).collect(),
                    Value::Null => Vec::new(),
                    _ => return Err(self.fault(*line, "range goes over lists and maps".into())),
                };
                if items.is_empty() {
                    return self.list(otherwise, dot, scope, text);
                }
                let outer = scope.len();
                for (key, item) in items {
                    match variables.as_slice() {
                        [one] => scope.push((one.clone(), item.clone())),
                        [first, second] => scope.extend([(first.clone(), key), (second.clone(), item.clone())]),
                        _ => {}
                    }
                    self.list(body, &item, scope, text)?;
                    scope.truncate(outer);
                }
            }
        }
        Ok(())
    }

    fn pipeline(self, line: usize, pipeline: &Pipeline, dot: &Value, scope: &mut Scope) -> Result<Value, Error> {
        let mut value = None;
        for command in &pipeline.commands {
            value = Some(self.command(line, command, value, dot, scope)?);
        }
        let value = value.unwrap_or_default();
        match &pipeline.variable {
            None => {}
            Some(Binding::Declare(name)) => scope.push((name.clone(), value.clone())),
            Some(Binding::Assign(name)) => match scope.iter_mut().rev().find(|(known, _)| known == name) {
                Some((_, slot)) => *slot = value.clone(),
                None => return Err(self.fault(line, format!("variable ${name} is not declared"))),
            },
        }
        Ok(value)
    }

    fn command(
        self,
        line: usize,
        command: &[Operand],
        piped: Option<Value>,
        dot: &Value,
        scope: &mut Scope,
    ) -> Result<Value, Error> {
        let (first, rest) = command.split_first().expect("the parser makes no empty command");
        let Operand::Function(name) = first else {
            if !rest.is_empty() || piped.is_some() {
                return Err(self.fault(line, "only a function can be given values".into()));
            }
            return self.operand(line, first, dot, scope);
        };
        let mut arguments = Vec::new();
        for operand in rest {
            let value = self.operand(line, operand, dot, scope)?;
            // Go's and and or look no further than they must
            let decided = match name.as_str() {
                "and" => !functions::is_true(&value),
                "or" => functions::is_true(&value),
                _ => false,
            };
            if decided {
                return Ok(value);
            }
            arguments.push(value);
        }
        arguments.extend(piped);
        if name == "include" {
            return self.include(line, &arguments);
        }
        functions::call(name, arguments).map_err(|reason| self.fault(line, reason))
    }

    fn include(self, line: usize, arguments: &[Value]) -> Result<Value, Error> {
        let [Value::String(name), data] = arguments else {
            return Err(self.fault(line, "include takes a name and a value".into()));
        };
        let Some((file, nodes)) = self.defined.get(name) else {
            return Err(self.fault(line, format!("no template {name:?} is defined")));
        };
        if self.depth == DEEPEST {
            return Err(self.fault(line, format!("templates include each other {DEEPEST} deep")));
        }
        Run { file, depth: self.depth + 1, ..self }.whole(nodes, data).map(Value::String)
    }

    fn operand(self, line: usize, operand: &Operand, dot: &Value, scope: &mut Scope) -> Result<Value, Error> {
        match operand {
            Operand::Bool(value) => Ok((*value).into()),
            Operand::Field(fields) => self.fields(line, dot.clone(), fields),
            Operand::Function(name) => match name.as_str() {
                "include" => Err(self.fault(line, "include takes a name and a value".into())),
                _ => functions::call(name, Vec::new()).map_err(|reason| self.fault(line, reason)),
            },
            Operand::Nil => Ok(Value::Null),
            Operand::Number(number) => Ok((*number).into()),
            Operand::Pipeline(pipeline, fields) => {
                let value = self.pipeline(line, pipeline, dot, scope)?;
                self.fields(line, value, fields)
            }
            Operand::Text(text) => Ok(text.clone().into()),
            Operand::Variable(name, fields) => match scope.iter().rev().find(|(known, _)| known == name) {
                Some((_, value)) => self.fields(line, value.clone(), fields),
                None => Err(self.fault(line, format!("variable ${name} is not declared"))),
            },
        }
    }

    fn fields(self, line: usize, mut value: Value, fields: &[String]) -> Result<Value, Error> {
        for field in fields {
            value = match value {
                Value::Object(mut map) => map.remove(field).unwrap_or_default(),
                Value::Null => {
                    return Err(self.fault(line, format!("there is nothing that could have a field {field}")));
                }
                _ => return Err(self.fault(line, format!("field {field} of something that is no map"))),
            };
        }
        Ok(value)
    }

    fn fault(self, line: usize, reason: String) -> Error {
        Error::Template { file: self.file.to_owned(), line, reason }
    }
}

/// Helm's own bound is 1000; ours are three deep.
const DEEPEST: usize = 20;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::parse::parse;

    fn rendered(template: &str) -> Result<String, String> {
        let parsed = parse("f", template).map_err(|error| error.to_string())?;
        let defined = parsed.defined.into_iter().map(|(name, nodes)| (name, ("f".to_owned(), nodes))).collect();
        let data = json!({
            "a": { "b": "x", "n": 3, "yes": true, "no": false, "empty": {} },
            "list": ["p", "q"],
            "map": { "z": 1, "y": 2 },
        });
        execute("f", &parsed.main, &data, &defined).map_err(|error| error.to_string())
    }

    fn ok(template: &str, expected: &str) {
        assert_eq!(rendered(template).as_deref(), Ok(expected), "{template}");
    }

    #[test]
    fn values_conditions_and_loops() {
        ok("{{ .a.b }}{{ .a.n }}{{ .a.yes }}{{ .a.gone }}", "x3true");
        ok("{{ if .a.no }}1{{ else if eq .a.b \"x\" }}2{{ else }}3{{ end }}", "2");
        ok("{{ with .a }}{{ .b }}{{ $.a.n }}{{ end }}{{ with .a.empty }}no{{ else }}none{{ end }}", "x3none");
        ok(
            "{{ range .list }}<{{ . }}>{{ end }}{{ range $k, $v := .map }}{{ $k }}={{ $v }};{{ end }}",
            "<p><q>y=2;z=1;",
        );
        ok("{{ range $i, $x := .list }}{{ $i }}{{ $x }}{{ end }}{{ range .gone }}{{ else }}-{{ end }}", "0p1q-");
        ok("{{ $x := .a.b }}{{ if true }}{{ $x = \"y\" }}{{ end }}{{ $x }}", "y");
        ok("{{ (index .list 1) }}{{ and .a.yes .a.b }}{{ or .a.no \"d\" }}{{ not .a.no }}", "qxdtrue");
        ok("{{ define \"t\" }}[{{ . }}]{{ end }}{{ include \"t\" .a.b | quote }}", "\"[x]\"");
    }

    #[test]
    fn faults_name_file_line_and_reason() {
        let fault = |template: &str| rendered(template).expect_err("a fault");
        assert_eq!(fault("\n{{ .gone.x }}"), "f:2: there is nothing that could have a field x");
        assert_eq!(fault("{{ frobnicate 1 }}"), "f:1: function frobnicate is not supported");
        assert_eq!(fault("{{ $x }}"), "f:1: variable $x is not declared");
        assert!(fault("{{ define \"t\" }}{{ include \"t\" . }}{{ end }}{{ include \"t\" . }}").contains("deep"));
    }
}
