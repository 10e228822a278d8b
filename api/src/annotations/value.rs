//! Which texts an annotation takes.

use std::ops::RangeInclusive;

use ipnet::IpNet;

/// The form of an annotation's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `http://HOST:PORT[/PATH]`, or without the scheme.
    Collector,
    /// Names of HTTP headers, separated by commas.
    HeaderNames,
    /// A level of the log, for all or by module.
    LogLevel,
    /// Addresses and networks, separated by commas.
    Networks,
    /// A whole number from 1 to the given one.
    Number(u32),
    /// `PORTS=POLICY`, separated by commas.
    PortPolicies,
    /// Ports, ranges of ports, and names of container or Service ports, separated by commas.
    Ports,
    /// An amount, as Kubernetes writes it.
    Quantity,
    /// A time of whole seconds, `30s`, `2m` or a bare number of seconds.
    Seconds,
    /// SHA-256 in hexadecimal.
    Sha256,
    /// Any text.
    Text,
    /// One of these.
    Words(&'static [&'static str]),
}

impl Form {
    /// Whether a value has this form. Of ports and policies the shape alone is looked at: names are those of the object.
    pub fn accepts(&self, value: &str) -> bool {
        match self {
            Form::Collector => is_collector(value),
            Form::HeaderNames => value.split(',').all(|name| is_token(name.trim())),
            Form::LogLevel => is_log_level(value),
            Form::Networks => networks(value).is_some(),
            Form::Number(most) => value.parse().is_ok_and(|number: u32| (1..=*most).contains(&number)),
            Form::PortPolicies => entries(value).all(|entry| entry.contains('=')),
            Form::Ports => entries(value).all(|entry| port_range(entry).is_some() || is_port_name(entry)),
            Form::Quantity => is_quantity(value),
            Form::Seconds => seconds(value).is_some(),
            Form::Sha256 => value.len() == 64 && value.bytes().all(|byte| byte.is_ascii_hexdigit()),
            Form::Text => true,
            Form::Words(words) => words.contains(&value),
        }
    }

    /// "is not …", in an error.
    pub fn description(&self) -> String {
        match self {
            Form::Collector => "of the form http://HOST:PORT".into(),
            Form::HeaderNames => "a list of header names".into(),
            Form::LogLevel => "a log level such as info or warn,minimesh_proxy=debug".into(),
            Form::Networks => "a list of networks such as 192.168.0.0/16".into(),
            Form::Number(most) => format!("a number from 1 to {most}"),
            Form::PortPolicies => "a list of PORT=POLICY".into(),
            Form::Ports => "a list of ports, ranges of ports and names of ports".into(),
            Form::Quantity => "an amount such as 100m or 64Mi".into(),
            Form::Seconds => "a time in whole seconds such as 10s".into(),
            Form::Sha256 => "64 hexadecimal digits".into(),
            Form::Text => "a text".into(),
            Form::Words(words) => match words {
                [rest @ .., last] => format!("{} or {last}", rest.join(", ")),
                [] => "a value".into(),
            },
        }
    }

    /// For the reference page.
    pub(super) fn words(&self) -> String {
        match self {
            Form::Collector => "`http://HOST:PORT`, with a path or without".into(),
            Form::HeaderNames => "names, comma-separated".into(),
            Form::LogLevel => {
                "`error`, `warn`, `info`, `debug`, `trace`, or by module: `warn,minimesh_proxy=debug`".into()
            }
            Form::Networks => "networks, comma-separated: `192.168.0.0/16, fd00::/8`".into(),
            Form::Number(most) => format!("1 to {most}"),
            Form::PortPolicies => "`8080=deny, 9000-9010=all-authenticated, metrics=audit`".into(),
            Form::Ports => "ports, ranges, names of ports: `25, 9000-9010, metrics`".into(),
            Form::Quantity => "an amount as in Kubernetes: `100m`, `64Mi`".into(),
            Form::Seconds => "whole seconds: `10s`, `2m`, `10`".into(),
            Form::Sha256 => "64 hexadecimal digits".into(),
            Form::Text => "text".into(),
            Form::Words(words) => words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", "),
        }
    }
}

/// A port or a range of ports.
pub fn port_range(entry: &str) -> Option<RangeInclusive<u16>> {
    let port = |text: &str| text.trim().parse().ok().filter(|&port: &u16| port > 0);
    match entry.split_once('-') {
        Some((first, last)) => Some(port(first)?..=port(last)?).filter(|range| !range.is_empty()),
        None => port(entry).map(|port| port..=port),
    }
}

/// A list of networks; an address is a network of one.
pub fn networks(value: &str) -> Option<Vec<IpNet>> {
    let network = |text: &str| text.parse().ok().or_else(|| text.parse::<std::net::IpAddr>().ok().map(IpNet::from));
    entries(value).map(network).collect()
}

/// A time of whole seconds.
pub fn seconds(value: &str) -> Option<u32> {
    let digits = value.len() - value.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = value.split_at(digits);
    let number: u32 = number.parse().ok()?;
    match unit {
        "" | "s" => Some(number),
        "m" => number.checked_mul(60),
        "h" => number.checked_mul(3600),
        _ => None,
    }
}

/// The entries of a list.
pub fn entries(value: &str) -> impl Iterator<Item = &str> {
    value.split(',').map(str::trim).filter(|entry| !entry.is_empty())
}

/// RFC 6335 section 5.1, which Kubernetes' port names keep to.
fn is_port_name(entry: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=15).contains(&entry.len()) && entry.bytes().all(allowed) && entry.bytes().any(|byte| byte.is_ascii_lowercase())
}

/// RFC 9110 section 5.6.2.
fn is_token(name: &str) -> bool {
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !name.is_empty() && name.bytes().all(token)
}

/// What cannot be read would keep the sidecar from starting, and with it the pod.
fn is_log_level(value: &str) -> bool {
    let level = |word: &str| {
        matches!(word.to_ascii_lowercase().as_str(), "off" | "error" | "warn" | "info" | "debug" | "trace")
    };
    let module =
        |path: &str| !path.is_empty() && path.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_:".contains(&byte));
    let directive = |part: &str| match part.split_once('=') {
        Some((path, word)) => module(path) && level(word),
        None => level(part),
    };
    !value.is_empty() && value.split(',').all(|part| directive(part.trim()))
}

/// Kubernetes' resource.Quantity: digits, an optional fraction, a suffix or an exponent.
fn is_quantity(value: &str) -> bool {
    let number = value.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let (number, suffix) = match value.split_once(['e', 'E']) {
        Some((number, exponent)) if exponent.parse::<i8>().is_ok() => (number, ""),
        _ => (number, &value[number.len()..]),
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let known = ["", "n", "u", "m", "k", "M", "G", "T", "P", "E", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
    digits(whole) && digits(fraction) && known.contains(&suffix)
}

fn is_collector(value: &str) -> bool {
    let rest = value.strip_prefix("http://").unwrap_or(value);
    let authority = rest.split('/').next().unwrap_or_default();
    let printable = rest.bytes().all(|byte| byte.is_ascii_graphic());
    let host_and_port = |(host, port): (&str, &str)| {
        let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let plain = host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte)) && !host.is_empty();
        port.parse::<u16>().is_ok() && bracketed.map_or(plain, |host| host.parse::<std::net::Ipv6Addr>().is_ok())
    };
    printable && authority.rsplit_once(':').is_some_and(host_and_port)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(form: Form, good: &[&str], bad: &[&str]) {
        for value in good {
            assert!(form.accepts(value), "{form:?}: {value}");
        }
        for value in bad {
            assert!(!form.accepts(value), "{form:?}: {value}");
        }
    }

    #[test]
    fn forms_take_what_they_say_and_nothing_else() {
        check(
            Form::Quantity,
            &["1", "0.5", "100m", "64Mi", "1e3", "2E", "1Gi"],
            &["", "m", "1.", "-1", "1 Mi", "64mb", "1e", "1x"],
        );
        check(Form::Seconds, &["0", "10", "10s", "2m", "1h"], &["", "s", "-1", "1.5s", "100ms", "1d", "99999999999"]);
        check(
            Form::LogLevel,
            &["info", "INFO", "warn,minimesh_proxy=debug", "off"],
            &["", "loud", "warn,", "a b=info", "=info"],
        );
        check(Form::Networks, &["", "10.0.0.1", "192.168.0.0/16, fd00::/8"], &["10.0.0.0/33", "host"]);
        check(Form::Ports, &["", "25", "25, 9000-9010,metrics"], &["0", "9-8", "70000", "Metrics", "a=b"]);
        check(Form::Number(64), &["1", "64"], &["0", "65", "x", ""]);
        check(Form::Words(&["on", "off"]), &["on"], &["", "On"]);
        check(Form::HeaderNames, &["user-agent, referer"], &["", "user agent"]);
        check(Form::Sha256, &[&"0f".repeat(32)], &["", &"0f".repeat(31), &"0g".repeat(32)]);
        check(Form::PortPolicies, &["80=deny"], &["80"]);
    }

    #[test]
    fn collectors() {
        let bad = ["", "a", "http://", ":1", "a:", "a:99999", "https://a:1", "u@a:1", "a b:1", "::1:4317"];
        check(Form::Collector, &["a:1", "http://a.b:4317", "http://[::1]:4318/x", "[::1]:4318"], &bad);
    }

    #[test]
    fn words_are_listed_with_an_or() {
        assert_eq!(Form::Words(&["apache", "json", "off"]).description(), "apache, json or off");
    }
}
