//! Tokens into templates.

use std::collections::BTreeMap;

use crate::Error;
use crate::lex::{Piece, Token, lex};

/// One step of a template.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Node {
    /// Prints a pipeline, unless it declares.
    Action(usize, Pipeline),
    /// The first branch whose condition holds; `else` has none.
    If(usize, Vec<(Option<Pipeline>, Vec<Node>)>),
    Range {
        line: usize,
        variables: Vec<String>,
        over: Pipeline,
        body: Vec<Node>,
        otherwise: Vec<Node>,
    },
    Text(String),
    With {
        line: usize,
        value: Pipeline,
        body: Vec<Node>,
        otherwise: Vec<Node>,
    },
}

/// `command | command`, possibly with a variable for the result.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Pipeline {
    pub(crate) variable: Option<Binding>,
    pub(crate) commands: Vec<Vec<Operand>>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Binding {
    Assign(String),
    Declare(String),
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Operand {
    Bool(bool),
    Field(Vec<String>),
    Function(String),
    Nil,
    Number(i64),
    Pipeline(Pipeline, Vec<String>),
    Text(String),
    Variable(String, Vec<String>),
}

/// A file's own template, and those that it defines.
pub(crate) struct Parsed {
    pub(crate) main: Vec<Node>,
    pub(crate) defined: BTreeMap<String, Vec<Node>>,
}

pub(crate) fn parse(file: &str, text: &str) -> Result<Parsed, Error> {
    let pieces = lex(file, text)?;
    let mut parser = Parser { pieces: pieces.into_iter(), defined: BTreeMap::new() };
    let (main, end) = parser.list().map_err(|fault| fault.at(file))?;
    match end {
        End::File => Ok(Parsed { main, defined: parser.defined }),
        End::Else(line, _) | End::Closed(line) => Err(Fault(line, "there is nothing to end here".into()).at(file)),
    }
}

struct Parser {
    pieces: std::vec::IntoIter<Piece>,
    defined: BTreeMap<String, Vec<Node>>,
}

/// A line, and what is wrong there.
struct Fault(usize, String);

impl Fault {
    fn at(self, file: &str) -> Error {
        Error::Template { file: file.to_owned(), line: self.0, reason: self.1 }
    }
}

/// What a list of nodes ends with.
enum End {
    /// With the tokens behind `else`.
    Else(usize, Vec<Token>),
    Closed(usize),
    File,
}

impl Parser {
    fn list(&mut self) -> Result<(Vec<Node>, End), Fault> {
        let mut nodes = Vec::new();
        loop {
            let (line, tokens) = match self.pieces.next() {
                None => return Ok((nodes, End::File)),
                Some(Piece::Text(text)) => {
                    nodes.push(Node::Text(text));
                    continue;
                }
                Some(Piece::Action(line, tokens)) => (line, tokens),
            };
            let (first, rest) = tokens.split_first().ok_or_else(|| Fault(line, "an action is empty".into()))?;
            match first {
                Token::Name(name) if name == "end" => return Ok((nodes, End::Closed(line))),
                Token::Name(name) if name == "else" => return Ok((nodes, End::Else(line, rest.to_vec()))),
                Token::Name(name) if name == "if" => nodes.push(self.branches(line, rest)?),
                Token::Name(name) if name == "with" => nodes.push(self.with(line, rest)?),
                Token::Name(name) if name == "range" => nodes.push(self.range(line, rest)?),
                Token::Name(name) if name == "define" => self.define(line, rest)?,
                Token::Name(name) if matches!(name.as_str(), "block" | "break" | "continue" | "template") => {
                    return Err(Fault(
                        line,
                        format!("{name} is not supported; charts here use include, if, with and range"),
                    ));
                }
                _ => nodes.push(Node::Action(line, pipeline(line, &tokens)?)),
            }
        }
    }

    fn branches(&mut self, line: usize, condition: &[Token]) -> Result<Node, Fault> {
        let mut branches = Vec::new();
        let mut condition = Some(pipeline(line, condition)?);
        loop {
            let (body, end) = self.list()?;
            let last = condition.is_none();
            branches.push((condition, body));
            condition = match end {
                End::Closed(_) => return Ok(Node::If(line, branches)),
                End::Else(line, _) if last => return Err(Fault(line, "there is an else already".into())),
                End::Else(_, tokens) if tokens.is_empty() => None,
                End::Else(line, tokens) => match tokens.split_first() {
                    Some((Token::Name(name), rest)) if name == "if" => Some(pipeline(line, rest)?),
                    _ => return Err(Fault(line, "else takes nothing, or if".into())),
                },
                End::File => return Err(Fault(line, "if has no end".into())),
            };
        }
    }

    fn with(&mut self, line: usize, value: &[Token]) -> Result<Node, Fault> {
        let value = pipeline(line, value)?;
        let (body, otherwise) = self.body(line, "with")?;
        Ok(Node::With { line, value, body, otherwise })
    }

    fn range(&mut self, line: usize, tokens: &[Token]) -> Result<Node, Fault> {
        let (variables, over) = match tokens.iter().position(|token| *token == Token::Declare) {
            None => (Vec::new(), tokens),
            Some(at) => (tokens[..at].iter().filter_map(variable).collect(), &tokens[at + 1..]),
        };
        let over = pipeline(line, over)?;
        let (body, otherwise) = self.body(line, "range")?;
        Ok(Node::Range { line, variables, over, body, otherwise })
    }

    fn define(&mut self, line: usize, tokens: &[Token]) -> Result<(), Fault> {
        let [Token::Text(name)] = tokens else { return Err(Fault(line, "define takes one name in quotes".into())) };
        match self.list()? {
            (body, End::Closed(_)) => {
                self.defined.insert(name.clone(), body);
                Ok(())
            }
            _ => Err(Fault(line, format!("define {name:?} has no end"))),
        }
    }

    fn body(&mut self, line: usize, what: &str) -> Result<(Vec<Node>, Vec<Node>), Fault> {
        let no_end = || Fault(line, format!("{what} has no end"));
        match self.list()? {
            (body, End::Closed(_)) => Ok((body, Vec::new())),
            (body, End::Else(_, rest)) if rest.is_empty() => match self.list()? {
                (otherwise, End::Closed(_)) => Ok((body, otherwise)),
                _ => Err(no_end()),
            },
            (_, End::Else(line, _)) => Err(Fault(line, format!("else of {what} takes nothing"))),
            (_, End::File) => Err(no_end()),
        }
    }
}

fn variable(token: &Token) -> Option<String> {
    match token {
        Token::Variable(name, _) => Some(name.clone()),
        _ => None,
    }
}

fn pipeline(line: usize, tokens: &[Token]) -> Result<Pipeline, Fault> {
    let (binding, tokens) = match tokens {
        [Token::Variable(name, fields), Token::Declare, rest @ ..] if fields.is_empty() => {
            (Some(Binding::Declare(name.clone())), rest)
        }
        [Token::Variable(name, fields), Token::Assign, rest @ ..] if fields.is_empty() => {
            (Some(Binding::Assign(name.clone())), rest)
        }
        _ => (None, tokens),
    };
    let mut rest = tokens;
    let mut commands = Vec::new();
    loop {
        let (command, after) = command(line, rest)?;
        commands.push(command);
        match after.split_first() {
            None => return Ok(Pipeline { variable: binding, commands }),
            Some((Token::Pipe, after)) => rest = after,
            Some(_) => return Err(Fault(line, "a parenthesis is closed that was not opened".into())),
        }
    }
}

/// Operands up to `|`, `)` or the end.
fn command(line: usize, tokens: &[Token]) -> Result<(Vec<Operand>, &[Token]), Fault> {
    let mut operands = Vec::new();
    let mut rest = tokens;
    while let Some((token, after)) = rest.split_first() {
        let operand = match token {
            Token::Pipe | Token::Close => break,
            Token::Open => {
                let close = closing(after).ok_or_else(|| Fault(line, "a parenthesis is not closed".into()))?;
                let inner = pipeline(line, &after[..close])?;
                let (fields, after) = match after[close + 1..].split_first() {
                    Some((Token::FieldOf(fields), after)) => (fields.clone(), after),
                    _ => (Vec::new(), &after[close + 1..]),
                };
                operands.push(Operand::Pipeline(inner, fields));
                rest = after;
                continue;
            }
            Token::Field(fields) | Token::FieldOf(fields) => Operand::Field(fields.clone()),
            Token::Name(name) => match name.as_str() {
                "true" => Operand::Bool(true),
                "false" => Operand::Bool(false),
                "nil" => Operand::Nil,
                _ => Operand::Function(name.clone()),
            },
            Token::Number(number) => Operand::Number(*number),
            Token::Text(text) => Operand::Text(text.clone()),
            Token::Variable(name, fields) => Operand::Variable(name.clone(), fields.clone()),
            Token::Assign | Token::Comma | Token::Declare => {
                return Err(Fault(line, "a variable is declared in the middle of an action".into()));
            }
        };
        operands.push(operand);
        rest = after;
    }
    if operands.is_empty() { Err(Fault(line, "a value is missing".into())) } else { Ok((operands, rest)) }
}

fn closing(tokens: &[Token]) -> Option<usize> {
    let mut depth = 0usize;
    tokens.iter().position(|token| {
        match token {
            Token::Open => depth += 1,
            Token::Close if depth == 0 => return true,
            Token::Close => depth -= 1,
            _ => {}
        }
        false
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(template: &str) -> String {
        parse("f", template).err().expect("a fault").to_string()
    }

    #[test]
    fn faults_name_the_line_and_what_is_wrong() {
        assert_eq!(fault("\n{{ if .a }}"), "f:2: if has no end");
        assert_eq!(fault("{{ end }}"), "f:1: there is nothing to end here");
        assert_eq!(fault("{{ (f .a }}"), "f:1: a parenthesis is not closed");
        assert_eq!(fault("{{ f .a) }}"), "f:1: a parenthesis is closed that was not opened");
        assert_eq!(fault("{{ .a | }}"), "f:1: a value is missing");
        assert!(fault("{{ template \"x\" }}").contains("template is not supported"));
        assert_eq!(fault("{{ if .a }}{{ else }}{{ else }}{{ end }}"), "f:1: there is an else already");
    }

    #[test]
    fn definitions_are_kept_apart() {
        let parsed = parse("f", "a{{ define \"x\" }}b{{ end }}c").expect("parsed");
        assert_eq!(parsed.main, [Node::Text("a".into()), Node::Text("c".into())]);
        assert_eq!(parsed.defined["x"], [Node::Text("b".into())]);
    }
}
