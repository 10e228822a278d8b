//! Reads Rust well enough to measure it: comments and the insides of literals are blanked, lines stay where they are.

/// A function's name and the lines of code in its body.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Function {
    pub(crate) name: String,
    /// Counted from 1.
    pub(crate) line: usize,
    pub(crate) code_lines: usize,
}

/// `text` without comments and without the contents of strings and characters.
pub(crate) fn code(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut blank = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let end = skipped(bytes, at);
        if end > at {
            blank[at..end].iter_mut().filter(|byte| **byte != b'\n').for_each(|byte| *byte = b' ');
            at = end;
        } else {
            at += 1;
        }
    }
    String::from_utf8_lossy(&blank).into_owned()
}

/// Lines that are not blank; of `code`.
pub(crate) fn code_lines(code: &str) -> usize {
    code.lines().filter(|line| !line.trim().is_empty()).count()
}

/// Every function with a body; of `code`.
pub(crate) fn functions(code: &str) -> Vec<Function> {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let bytes = code.as_bytes();
    let mut found = Vec::new();
    for (at, _) in code.match_indices("fn ") {
        let name: String = code[at + 3..].chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        if name.is_empty() || at > 0 && word(bytes[at - 1]) {
            continue;
        }
        let Some(open) = body(bytes, at) else { continue };
        let body = &code[open..closing(bytes, open)];
        found.push(Function { name, line: code[..at].matches('\n').count() + 1, code_lines: code_lines(body) });
    }
    found
}

/// Where the literal or comment that begins at `at` ends; `at` itself if none does.
fn skipped(bytes: &[u8], at: usize) -> usize {
    let rest = &bytes[at..];
    let find = |from: usize, end: &[u8]| {
        let found = bytes[from..].windows(end.len()).position(|window| window == end);
        found.map_or(bytes.len(), |offset| from + offset + end.len())
    };
    let after_word = at > 0 && (bytes[at - 1].is_ascii_alphanumeric() || bytes[at - 1] == b'_');
    match rest {
        [b'/', b'/', ..] => find(at, b"\n") - 1,
        [b'/', b'*', ..] => find(at + 2, b"*/"),
        [b'r', ..] | [b'b', b'r', ..] if !after_word => raw_string(bytes, at, find),
        [b'"', ..] => quoted(bytes, at, b'"'),
        [b'\'', b'\\', ..] => quoted(bytes, at, b'\''),
        // a character, not a lifetime; the quote may stand after up to four bytes of UTF-8
        [b'\'', ..] => (2..=5)
            .find(|offset| rest.get(*offset) == Some(&b'\''))
            .filter(|offset| one_char(&rest[1..*offset]))
            .map_or(at, |offset| at + offset + 1),
        _ => at,
    }
}

fn one_char(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_ok_and(|text| text.chars().count() == 1)
}

fn raw_string(bytes: &[u8], at: usize, find: impl Fn(usize, &[u8]) -> usize) -> usize {
    let start = at + bytes[at..].iter().take_while(|byte| matches!(byte, b'b' | b'r')).count();
    let hashes = bytes[start..].iter().take_while(|byte| **byte == b'#').count();
    if bytes.get(start + hashes) != Some(&b'"') {
        return at;
    }
    let end = [b"\"".as_slice(), "#".repeat(hashes).as_bytes()].concat();
    find(start + hashes + 1, &end)
}

fn quoted(bytes: &[u8], at: usize, quote: u8) -> usize {
    let mut end = at + 1;
    while end < bytes.len() && bytes[end] != quote {
        end += if bytes[end] == b'\\' { 2 } else { 1 };
    }
    (end + 1).min(bytes.len())
}

/// The brace that opens the body of the function at `at`; none for a declaration or a pointer type.
fn body(bytes: &[u8], at: usize) -> Option<usize> {
    let mut depth = 0i32;
    for (offset, byte) in bytes[at..].iter().enumerate() {
        match byte {
            b'(' | b'[' => depth += 1,
            b')' | b']' => depth -= 1,
            b'{' if depth == 0 => return Some(at + offset),
            b';' if depth == 0 => return None,
            _ => {}
        }
        if depth < 0 {
            return None;
        }
    }
    None
}

fn closing(bytes: &[u8], open: usize) -> usize {
    let mut depth = 0usize;
    for (offset, byte) in bytes[open..].iter().enumerate() {
        match byte {
            b'{' => depth += 1,
            b'}' if depth == 1 => return open + offset + 1,
            b'}' => depth -= 1,
            _ => {}
        }
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_are_blank() {
        let text =
            "let a = \"fn x() {\"; // fn y() {\nlet b = 'x'; let c: &'static str = r#\"}\"#; /* { */ let d = '\\'';\n";
        let code = code(text);
        assert_eq!(code.matches(['{', '}']).count(), 0);
        assert_eq!((code_lines(&code), code.lines().count()), (2, 2));
        assert!(code.contains("&'static str"));
    }

    #[test]
    fn functions_are_measured_without_comments() {
        let text =
            "trait T { fn declared(&self); }\n\nfn long() {\n    // why\n\n    one();\n    two();\n}\nfn short() {}\n";
        let function = |name: &str, line, code_lines| Function { name: name.into(), line, code_lines };
        assert_eq!(functions(&code(text)), [function("long", 3, 4), function("short", 9, 1)]);
    }
}
