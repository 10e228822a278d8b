//! Text and actions into tokens. `{{-` and `-}}` take the blanks beside them, as in Go.

use crate::Error;

/// A part of a template, with the line that it begins in.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Piece {
    Text(String),
    Action(usize, Vec<Token>),
}

/// What stands in an action.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Token {
    Assign,
    Close,
    Comma,
    Declare,
    /// `.` or `.a.b`; the names.
    Field(Vec<String>),
    /// The same directly behind a `)`.
    FieldOf(Vec<String>),
    Name(String),
    Number(i64),
    Open,
    Pipe,
    Text(String),
    /// `$`, `$x`, `$x.a`; the name without `$`, and the fields.
    Variable(String, Vec<String>),
}

/// Cuts a template into pieces.
pub(crate) fn lex(file: &str, template: &str) -> Result<Vec<Piece>, Error> {
    let mut pieces = Vec::new();
    let mut rest = template;
    let mut line = 1;
    let mut trim_next = false;
    let error = |line, reason: &str| Error::Template { file: file.to_owned(), line, reason: reason.to_owned() };
    loop {
        let (text, action) = match rest.split_once("{{") {
            Some((text, action)) => (text, Some(action)),
            None => (rest, None),
        };
        let lines = text.matches('\n').count();
        let mut text = if trim_next { text.trim_start_matches(BLANKS) } else { text };
        let trims = action.is_some_and(|action| action.starts_with("- ") || action.starts_with("-\n"));
        if trims {
            text = text.trim_end_matches(BLANKS);
        }
        if !text.is_empty() {
            pieces.push(Piece::Text(text.to_owned()));
        }
        line += lines;
        let Some(action) = action else { return Ok(pieces) };
        let inside = if trims { &action[1..] } else { action };
        let (tokens, used, trim) = match inside.trim_start_matches(BLANKS).strip_prefix("/*") {
            Some(comment) => {
                let (_, after) = comment.split_once("*/").ok_or_else(|| error(line, "a comment does not end"))?;
                let (trim, after) = end(after).ok_or_else(|| error(line, "a comment is not alone in its action"))?;
                (Vec::new(), inside.len() - after.len(), trim)
            }
            None => action_tokens(inside).map_err(|reason| error(line, &reason))?,
        };
        if !tokens.is_empty() {
            pieces.push(Piece::Action(line, tokens));
        }
        line += inside[..used].matches('\n').count();
        rest = &inside[used..];
        trim_next = trim;
    }
}

/// The end of an action: whether it trims, and what follows.
fn end(text: &str) -> Option<(bool, &str)> {
    let blanks = text.trim_start_matches(BLANKS);
    if blanks.len() < text.len()
        && let Some(after) = blanks.strip_prefix("-}}")
    {
        return Some((true, after));
    }
    blanks.strip_prefix("}}").map(|after| (false, after))
}

/// Tokens up to `}}`, how many bytes they took, and whether the end trims.
fn action_tokens(inside: &str) -> Result<(Vec<Token>, usize, bool), String> {
    let mut tokens = Vec::new();
    let mut rest = inside;
    loop {
        if let Some((trim, after)) = end(rest) {
            return Ok((tokens, inside.len() - after.len(), trim));
        }
        let spaced = rest.trim_start_matches(BLANKS);
        let adjacent = spaced.len() == rest.len();
        let (token, after) = token(spaced, adjacent && tokens.last() == Some(&Token::Close))?;
        tokens.push(token);
        rest = after;
    }
}

fn token(text: &str, behind_parenthesis: bool) -> Result<(Token, &str), String> {
    for (symbol, token) in [
        (":=", Token::Declare),
        ("=", Token::Assign),
        ("|", Token::Pipe),
        ("(", Token::Open),
        (")", Token::Close),
        (",", Token::Comma),
    ] {
        if let Some(after) = text.strip_prefix(symbol) {
            return Ok((token, after));
        }
    }
    match text.chars().next() {
        None => Err("an action does not end".to_owned()),
        Some('.') => {
            let (fields, after) = fields(text);
            let token = if behind_parenthesis { Token::FieldOf(fields) } else { Token::Field(fields) };
            Ok((token, after))
        }
        Some('$') => {
            let (name, after) = word(&text[1..]);
            let (fields, after) = if after.starts_with('.') { fields(after) } else { (Vec::new(), after) };
            Ok((Token::Variable(name.to_owned(), fields), after))
        }
        Some('"') => quoted(text),
        Some('`') => {
            let (text, after) = text[1..].split_once('`').ok_or("a raw string does not end")?;
            Ok((Token::Text(text.to_owned()), after))
        }
        Some(c) if c.is_ascii_digit() || c == '-' => {
            let digits = text[1..].find(|c: char| !c.is_ascii_digit()).map_or(text.len(), |at| at + 1);
            let number = text[..digits].parse().map_err(|_| format!("{:?} is no whole number", &text[..digits]))?;
            Ok((Token::Number(number), &text[digits..]))
        }
        Some(c) if c.is_ascii_alphabetic() || c == '_' => {
            let (name, after) = word(text);
            Ok((Token::Name(name.to_owned()), after))
        }
        Some(c) => Err(format!("{c:?} is not understood in an action")),
    }
}

/// `.a.b`, or `.` alone.
fn fields(mut text: &str) -> (Vec<String>, &str) {
    let mut fields = Vec::new();
    while let Some(after) = text.strip_prefix('.') {
        let (name, after) = word(after);
        text = after;
        if name.is_empty() {
            break;
        }
        fields.push(name.to_owned());
    }
    (fields, text)
}

fn word(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(text.len());
    text.split_at(end)
}

/// Go's escapes that JSON has as well.
fn quoted(text: &str) -> Result<(Token, &str), String> {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            '\n' => break,
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => {
                let string =
                    serde_json::from_str(&text[..=at]).map_err(|error| format!("{}: {error}", &text[..=at]))?;
                return Ok((Token::Text(string), &text[at + 1..]));
            }
            _ => {}
        }
    }
    Err("a string does not end".to_owned())
}

const BLANKS: [char; 4] = [' ', '\t', '\r', '\n'];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trimming_takes_blanks_and_nothing_else() {
        let pieces = lex("f", "a \n {{- .x -}} \n b {{ \"s\" }} c{{/* no }} */}}d").expect("lexed");
        let field = |name: &str| Token::Field(vec![name.to_owned()]);
        assert_eq!(
            pieces,
            [
                Piece::Text("a".into()),
                Piece::Action(2, vec![field("x")]),
                Piece::Text("b ".into()),
                Piece::Action(3, vec![Token::Text("s".into())]),
                Piece::Text(" c".into()),
                Piece::Text("d".into()),
            ]
        );
    }

    #[test]
    fn tokens() {
        let pieces = lex("f", "{{$x := (f .a.b $.c -1 `r`).d | g}}").expect("lexed");
        let names = |names: &[&str]| names.iter().map(|name| name.to_string()).collect::<Vec<_>>();
        let expected = vec![
            Token::Variable("x".into(), vec![]),
            Token::Declare,
            Token::Open,
            Token::Name("f".into()),
            Token::Field(names(&["a", "b"])),
            Token::Variable(String::new(), names(&["c"])),
            Token::Number(-1),
            Token::Text("r".into()),
            Token::Close,
            Token::FieldOf(names(&["d"])),
            Token::Pipe,
            Token::Name("g".into()),
        ];
        assert_eq!(pieces, [Piece::Action(1, expected)]);
    }

    #[test]
    fn what_does_not_end_is_named_with_its_line() {
        for (template, reason) in
            [("\n{{ .a", "an action does not end"), ("\n{{/* a", "a comment does not end"), ("\n{{ \"a }}", "a string")]
        {
            let error = lex("f", template).expect_err("an error").to_string();
            assert!(error.starts_with("f:2: ") && error.contains(reason), "{error}");
        }
    }
}
