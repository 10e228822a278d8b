//! Trace context of a request, as W3C or B3 headers give it. Pure; allocates nothing.
//!
//! The headers themselves are passed on untouched. What is unreadable is no context: a request is never refused for it.

use minimesh_route::Headers;

/// Which trace a request belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TraceContext {
    pub(crate) trace: [u8; 16],
    /// The span that sent the request.
    pub(crate) parent: [u8; 8],
    /// Whoever began the trace wants its spans.
    pub(crate) sampled: bool,
}

impl TraceContext {
    /// `traceparent` first, then `b3`, then `x-b3-*`.
    pub(crate) fn of(headers: &dyn Headers) -> Option<TraceContext> {
        let w3c = || single(headers, "traceparent", traceparent);
        w3c().or_else(|| single(headers, "b3", b3)).or_else(|| b3_headers(headers))
    }
}

/// What vendors keep of a trace beside `traceparent` (W3C Trace Context section 3.3): all of its headers in order, as one. Empty where
/// it cannot be read, or belongs to no `traceparent`.
pub(super) fn trace_state(headers: &dyn Headers) -> String {
    let mut state = Vec::new();
    headers.get_all("tracestate", &mut |value| {
        let value = value.trim_ascii();
        if !state.is_empty() && !value.is_empty() {
            state.push(b',');
        }
        // one header may be as long as a head
        state.extend_from_slice(&value[..value.len().min(LONGEST_STATE + 1)]);
    });
    let readable = |byte: &u8| matches!(byte, b' '..=b'~' | b'\t');
    if state.is_empty() || !state.iter().all(readable) || single(headers, "traceparent", traceparent).is_none() {
        return String::new();
    }
    // whole members are left out at the end, where the oldest are
    while state.len() > LONGEST_STATE {
        let comma = state[..LONGEST_STATE + 1].iter().rposition(|byte| *byte == b',');
        state.truncate(comma.unwrap_or(0));
    }
    String::from_utf8(state).unwrap_or_default()
}

fn single(headers: &dyn Headers, name: &str, parse: fn(&[u8]) -> Option<TraceContext>) -> Option<TraceContext> {
    let mut seen = 0;
    let mut context = None;
    headers.get_all(name, &mut |value| {
        seen += 1;
        context = parse(value);
    });
    // two of them: there is no telling which one is meant
    context.filter(|_| seen == 1)
}

/// What vendors must at least pass on (section 3.3.1.5).
const LONGEST_STATE: usize = 512;

/// W3C Trace Context section 3.2: `version-trace-parent-flags`, lower-case; later versions may append.
fn traceparent(value: &[u8]) -> Option<TraceContext> {
    let (known, rest) = value.split_at_checked(55)?;
    let [version, trace, parent, flags] = fields(known)?;
    let version: [u8; 1] = hex(version)?;
    let well_formed = version != [0xff] && (rest.is_empty() || (version != [0] && rest.starts_with(b"-")));
    if !well_formed || known.iter().any(u8::is_ascii_uppercase) {
        return None;
    }
    let [flags]: [u8; 1] = hex(flags)?;
    context(hex(trace)?, hex(parent)?, flags & 1 == 1)
}

/// `trace-span[-sampled[-parent]]`. A lone `0` or `1` is a decision without a trace.
fn b3(value: &[u8]) -> Option<TraceContext> {
    let mut parts = value.split(|byte| *byte == b'-');
    let (trace, span, sampled) = (parts.next()?, parts.next()?, parts.next());
    context(trace_of(trace)?, hex(span)?, matches!(sampled, Some(b"1" | b"d")))
}

fn b3_headers(headers: &dyn Headers) -> Option<TraceContext> {
    let (mut trace, mut span, mut sampled) = (None, None, false);
    headers.get_all("x-b3-traceid", &mut |value| trace = trace_of(value));
    trace?;
    headers.get_all("x-b3-spanid", &mut |value| span = hex(value));
    headers.get_all("x-b3-sampled", &mut |value| sampled |= matches!(value, b"1" | b"true"));
    // a debug trace is a sampled one
    headers.get_all("x-b3-flags", &mut |value| sampled |= value == b"1");
    context(trace?, span?, sampled)
}

/// Zipkin's older trace ids are half as long; they are the low half.
fn trace_of(text: &[u8]) -> Option<[u8; 16]> {
    match text.len() {
        16 => {
            let mut trace = [0; 16];
            trace[8..].copy_from_slice(&hex::<8>(text)?);
            Some(trace)
        }
        _ => hex(text),
    }
}

/// Ids of zeroes mean none.
fn context(trace: [u8; 16], parent: [u8; 8], sampled: bool) -> Option<TraceContext> {
    (trace != [0; 16] && parent != [0; 8]).then_some(TraceContext { trace, parent, sampled })
}

fn fields<const N: usize>(text: &[u8]) -> Option<[&[u8]; N]> {
    let mut parts = text.split(|byte| *byte == b'-');
    let mut fields = [&text[..0]; N];
    for field in &mut fields {
        *field = parts.next()?;
    }
    parts.next().is_none().then_some(fields)
}

fn hex<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    if text.len() != 2 * N {
        return None;
    }
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
    const SPAN: &str = "b7ad6b7169203331";

    fn of(headers: &[(&str, &str)]) -> Option<TraceContext> {
        TraceContext::of(&headers.to_vec())
    }

    fn expected(sampled: bool) -> Option<TraceContext> {
        let trace = 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c_u128.to_be_bytes();
        Some(TraceContext { trace, parent: 0xb7ad_6b71_6920_3331_u64.to_be_bytes(), sampled })
    }

    #[test]
    fn traceparent_is_read_as_the_recommendation_says() {
        assert_eq!(of(&[("traceparent", &format!("00-{TRACE}-{SPAN}-01"))]), expected(true));
        assert_eq!(of(&[("traceparent", &format!("00-{TRACE}-{SPAN}-00"))]), expected(false));
        assert_eq!(of(&[("traceparent", &format!("cc-{TRACE}-{SPAN}-03-more"))]), expected(true));
    }

    #[test]
    fn a_broken_traceparent_is_none() {
        let upper = TRACE.to_uppercase();
        for broken in [
            format!("ff-{TRACE}-{SPAN}-01"),
            format!("00-{TRACE}-{SPAN}-01-more"),
            format!("cc-{TRACE}-{SPAN}-01more"),
            format!("00-{upper}-{SPAN}-01"),
            format!("00-{}-{SPAN}-01", "0".repeat(32)),
            format!("00-{TRACE}-{}-01", "0".repeat(16)),
            format!("00-{TRACE}-{SPAN}"),
            format!("00_{TRACE}_{SPAN}_01"),
            String::new(),
        ] {
            assert_eq!(of(&[("traceparent", &broken)]), None, "{broken}");
        }
        let whole = format!("00-{TRACE}-{SPAN}-01");
        assert_eq!(of(&[("traceparent", &whole), ("traceparent", &whole)]), None);
    }

    #[test]
    fn b3_is_read_in_both_its_forms() {
        assert_eq!(of(&[("b3", &format!("{TRACE}-{SPAN}-1"))]), expected(true));
        assert_eq!(of(&[("b3", &format!("{TRACE}-{SPAN}-d-05e3ac9a4f6e3b90"))]), expected(true));
        assert_eq!(of(&[("b3", &format!("{TRACE}-{SPAN}"))]), expected(false));
        assert_eq!(of(&[("b3", "0")]), None);
        let ids = [("x-b3-traceid", TRACE), ("x-b3-spanid", SPAN)];
        assert_eq!(of(&ids), expected(false));
        assert_eq!(of(&[ids[0], ids[1], ("x-b3-sampled", "1")]), expected(true));
        assert_eq!(of(&[ids[0], ids[1], ("x-b3-flags", "1")]), expected(true));
        let short = of(&[("b3", &format!("{}-{SPAN}-1", &TRACE[16..]))]).map(|context| context.trace);
        assert_eq!(short, Some(0x8448_eb21_1c80_319c_u128.to_be_bytes()));
    }

    #[test]
    fn traceparent_wins_over_b3() {
        let other = format!("{}-{SPAN}-0", "1".repeat(32));
        assert_eq!(of(&[("b3", &other), ("traceparent", &format!("00-{TRACE}-{SPAN}-01"))]), expected(true));
    }

    #[test]
    fn tracestate_is_all_of_its_headers_and_cut_between_members() {
        let parent = format!("00-{TRACE}-{SPAN}-01");
        let of = |states: &[&str]| {
            let mut headers = vec![("traceparent", parent.as_str())];
            headers.extend(states.iter().map(|state| ("tracestate", *state)));
            trace_state(&headers)
        };
        assert_eq!(of(&["vendor=a, other=b"]), "vendor=a, other=b");
        assert_eq!(of(&["a=1", "", " b=2 ", "c=3,"]), "a=1,b=2,c=3,");
        assert_eq!(of(&[]), "");
        assert_eq!(of(&["a=\u{e9}"]), "", "not what the recommendation allows");
        let member = |name: &str| format!("{name}={}", "x".repeat(200));
        let long = [member("a"), member("b"), member("c")].join(",");
        assert_eq!(of(&[&long]), [member("a"), member("b")].join(","));
        assert_eq!(of(&[&member("a"), &member("b"), &member("c")]), [member("a"), member("b")].join(","));
        assert_eq!(of(&["x".repeat(9000).as_str()]), "");
        assert_eq!(trace_state(&vec![("tracestate", "a=1"), ("b3", "0")]), "", "it belongs to no traceparent");
    }

    proptest! {
        #[test]
        fn never_panics(name in "traceparent|b3|x-b3-traceid", value in prop::collection::vec(any::<u8>(), 0..80)) {
            let headers = vec![(name.as_str(), value.as_slice()), ("x-b3-spanid", value.as_slice())];
            let _ = TraceContext::of(&headers);
            let parent = format!("00-{TRACE}-{SPAN}-01");
            let headers = vec![("traceparent", parent.as_bytes()), ("tracestate", value.as_slice()), ("tracestate", &[b','; 600][..])];
            prop_assert!(trace_state(&headers).len() <= LONGEST_STATE);
        }
    }
}
