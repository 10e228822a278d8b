//! A request's URL changed by a route: the head is written anew before anything else is done to it, so that whatever follows
//! (edits, repetitions, copies) sees the request as the server is to see it.

use minimesh_route::Rewrite;

use super::{Lines, RequestHead};

/// The head at the front of `bytes` with another request target and Host. `prefix`: as [`minimesh_route::PathEdit::apply`] wants.
pub(crate) fn rewrite_head(bytes: &[u8], head: &RequestHead, rewrite: &Rewrite, prefix: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(head.len + 256);
    let first_end = bytes.iter().position(|byte| *byte == b'\n').map_or(head.len, |at| at + 1);
    let mut words = bytes[..first_end].splitn(3, |byte| *byte == b' ');
    let (method, target, version) = (words.next(), words.next().unwrap_or_default(), words.next());
    out.extend_from_slice(method.unwrap_or_default());
    out.push(b' ');
    write_target(bytes, head, rewrite, prefix, target, &mut out);
    out.push(b' ');
    out.extend_from_slice(version.unwrap_or_default());

    let mut hosts = 0;
    for line in Lines::new(&bytes[..head.len]).iter() {
        match &rewrite.authority {
            Some(authority) if line.name.eq_ignore_ascii_case(b"host") => {
                hosts += 1;
                out.extend_from_slice(line.name);
                out.extend_from_slice(b": ");
                out.extend_from_slice(authority.as_bytes());
                out.extend_from_slice(b"\r\n");
            }
            _ => out.extend_from_slice(&bytes[line.start..line.end]),
        }
    }
    if let (Some(authority), 0) = (&rewrite.authority, hosts) {
        // HTTP/1.0 may come without
        out.extend_from_slice(b"host: ");
        out.extend_from_slice(authority.as_bytes());
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"\r\n");
    out
}

/// Origin form and absolute form keep their form; `*` and the authority of CONNECT are no paths.
fn write_target(bytes: &[u8], head: &RequestHead, rewrite: &Rewrite, prefix: usize, target: &[u8], out: &mut Vec<u8>) {
    let scheme = target.windows(3).position(|three| three == b"://").filter(|_| !target.starts_with(b"/"));
    if let Some(scheme) = scheme {
        let rest = &target[scheme + 3..];
        let authority = rest.split(|byte| b"/?#".contains(byte)).next().unwrap_or_default();
        out.extend_from_slice(&target[..scheme + 3]);
        out.extend_from_slice(rewrite.authority.as_deref().map_or(authority, str::as_bytes));
    } else if !target.starts_with(b"/") {
        return out.extend_from_slice(target);
    }
    let (path, query) = head.path_and_query(bytes);
    for piece in rewrite.path(path, prefix) {
        out.extend_from_slice(piece);
    }
    if let Some(query) = query {
        out.push(b'?');
        out.extend_from_slice(query);
    }
}

#[cfg(test)]
mod tests {
    use minimesh_route::PathEdit;

    use super::*;
    use crate::http::h1::parse_request;

    fn rewritten(head: &str, authority: Option<&str>, path: Option<PathEdit>, prefix: usize) -> String {
        let parsed = parse_request(head.as_bytes(), 1000).expect("valid").expect("whole");
        let rewrite = Rewrite { authority: authority.map(Into::into), path };
        let out = rewrite_head(head.as_bytes(), &parsed, &rewrite, prefix);
        let again = parse_request(&out, 1000).expect("valid").expect("whole");
        assert_eq!((again.len, again.framing), (out.len(), parsed.framing));
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn only_the_target_and_host_change() {
        let head = "POST /old/a?b=/old HTTP/1.1\r\nX-Odd:  1 \r\nHOST: echo:80\r\nContent-Length: 2\r\n\r\nhi";
        assert_eq!(
            rewritten(head, Some("one.example"), Some(PathEdit::Prefix("/new".into())), 4),
            "POST /new/a?b=/old HTTP/1.1\r\nX-Odd:  1 \r\nHOST: one.example\r\nContent-Length: 2\r\n\r\n"
        );
        assert_eq!(
            rewritten(head, None, Some(PathEdit::Full("/one".into())), 4),
            "POST /one?b=/old HTTP/1.1\r\nX-Odd:  1 \r\nHOST: echo:80\r\nContent-Length: 2\r\n\r\n"
        );
    }

    #[test]
    fn every_form_of_a_target_keeps_its_form() {
        let full = || Some(PathEdit::Full("/one".into()));
        let absolute = "GET http://echo:80?x HTTP/1.1\r\nHost: echo\r\n\r\n";
        assert_eq!(rewritten(absolute, Some("b"), full(), 0), "GET http://b/one?x HTTP/1.1\r\nHost: b\r\n\r\n");
        let star = "OPTIONS * HTTP/1.1\r\nHost: echo\r\n\r\n";
        assert_eq!(rewritten(star, None, full(), 0), star);
        let old = "GET /a HTTP/1.0\r\n\r\n";
        assert_eq!(rewritten(old, Some("b"), None, 0), "GET /a HTTP/1.0\r\nhost: b\r\n\r\n");
    }
}
