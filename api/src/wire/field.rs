//! Checks of single fields, and the bounds of everything that travels.
//!
//! Called by every conversion of `wire`. The bounds are generous against Kubernetes' own (a name has 253 bytes, a Gateway API
//! path 1 024, a header value 4 096): they exist so that one message cannot make a receiver hold what it never asked for.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::Invalid;
use crate::grpc;

/// Endpoints of one Service port, over all chunks.
pub(super) const ENDPOINTS: usize = 100_000;
/// Routes of one target, rules of one route, and backends of one rule.
pub(super) const ROUTE_ITEMS: usize = 1_024;
/// Matches, filters, headers and query parameters in one list.
pub(super) const RULE_ITEMS: usize = 256;
/// Path, pattern or header value.
pub(super) const VALUE_BYTES: usize = 4_096;
/// Header, parameter and method names.
pub(super) const TOKEN_BYTES: usize = 256;
/// Roots in a bundle, certificates in a chain.
pub(super) const CERTIFICATES: usize = 32;
/// One certificate or one signing request.
pub(super) const CERTIFICATE_BYTES: usize = 16 * 1024;
/// A bootstrap token: a service-account token has about 1 KiB.
pub(super) const TOKEN_FILE_BYTES: usize = 16 * 1024;
/// Edges of one report.
pub(super) const EDGES: usize = 10_000;
/// Networks of one cluster.
pub(super) const NETWORKS: usize = 256;
/// Addresses of one node: one per family and interface at most.
pub(super) const NODE_IPS: usize = 16;
/// HTTP probes of one pod: three for each of its containers at most.
pub(super) const PROBES: usize = 256;
/// Words in `Hello.features`.
pub(super) const FEATURES: usize = 256;
/// A weight: Gateway API's bound.
pub(super) const WEIGHT: u32 = 1_000_000;

/// RFC 1123's bound, which Kubernetes takes over.
const NAME_BYTES: usize = 253;
/// SPIFFE's own bound (SPIFFE-ID section 2.3).
const IDENTITY_BYTES: usize = 2_048;
/// Protobuf's own bound: 10 000 years.
const MAX_SECONDS: i64 = 315_576_000_000;

/// A message that must be there.
pub(super) fn required<T>(value: Option<T>, field: &str) -> Result<T, Invalid> {
    value.ok_or_else(|| Invalid::new(field, "missing"))
}

/// A message that must be there, converted.
pub(super) fn convert<T, U: TryFrom<T, Error = Invalid>>(value: Option<T>, field: &str) -> Result<U, Invalid> {
    U::try_from(required(value, field)?).map_err(|invalid| invalid.under(field))
}

/// A message that may be absent, converted.
pub(super) fn convert_optional<T, U>(value: Option<T>, field: &str) -> Result<Option<U>, Invalid>
where
    U: TryFrom<T, Error = Invalid>,
{
    value.map(U::try_from).transpose().map_err(|invalid| invalid.under(field))
}

/// A bounded list, converted item by item.
pub(super) fn list<T, U>(values: Vec<T>, field: &str, most: usize) -> Result<Vec<U>, Invalid>
where
    U: TryFrom<T, Error = Invalid>,
{
    bounded(values.len(), field, most)?;
    let convert = |(index, value)| U::try_from(value).map_err(|invalid: Invalid| invalid.under_item(field, index));
    values.into_iter().enumerate().map(convert).collect()
}

/// A count within its bound.
pub(super) fn bounded(count: usize, field: &str, most: usize) -> Result<(), Invalid> {
    if count > most {
        return Err(Invalid::new(field, format!("{count} items or bytes where {most} are allowed")));
    }
    Ok(())
}

/// Text without control characters.
pub(super) fn text(value: String, field: &str, most: usize) -> Result<Arc<str>, Invalid> {
    bounded(value.len(), field, most)?;
    if value.chars().any(char::is_control) {
        return Err(Invalid::new(field, "has a control character"));
    }
    Ok(value.into())
}

/// Text for people: what does not fit is dropped, as the protocol allows for hints.
pub(super) fn hint(value: String) -> Arc<str> {
    text(value, "", VALUE_BYTES).unwrap_or_default()
}

/// The name of a Kubernetes object.
pub(super) fn name(value: String, field: &str) -> Result<Arc<str>, Invalid> {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'.';
    if value.is_empty() || value.len() > NAME_BYTES || !value.bytes().all(allowed) {
        return Err(Invalid::new(field, "not a Kubernetes name"));
    }
    Ok(value.into())
}

/// A word that Kubernetes lets us print: kinds, groups and names of objects, possibly empty.
pub(super) fn word(value: String, field: &str) -> Result<Arc<str>, Invalid> {
    let allowed = |byte: u8| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\';
    if value.len() > NAME_BYTES || !value.bytes().all(allowed) {
        return Err(Invalid::new(field, "not a word of printable ASCII"));
    }
    Ok(value.into())
}

/// RFC 9110 token: header names and methods.
pub(super) fn token(value: String, field: &str) -> Result<Arc<str>, Invalid> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if value.is_empty() || value.len() > TOKEN_BYTES || !value.bytes().all(allowed) {
        return Err(Invalid::new(field, "not a token (RFC 9110 section 5.6.2)"));
    }
    Ok(value.into())
}

/// A header name to compare with: lower case.
pub(super) fn lower_token(mut value: String, field: &str) -> Result<Arc<str>, Invalid> {
    value.make_ascii_lowercase();
    token(value, field)
}

/// A header value: no CR, LF or NUL, so that it cannot end its line.
pub(super) fn header_value(value: &[u8], field: &str) -> Result<(), Invalid> {
    bounded(value.len(), field, VALUE_BYTES)?;
    if value.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)) {
        return Err(Invalid::new(field, "has CR, LF or NUL"));
    }
    Ok(())
}

/// `spiffe://TRUST-DOMAIN/ns/NAMESPACE/sa/SERVICE-ACCOUNT`; whoever compares it parses it again, strictly.
pub(super) fn identity(value: String, field: &str) -> Result<Arc<str>, Invalid> {
    let shape = |path: &str| {
        let mut parts = path.split('/');
        let mut filled = || parts.next().is_some_and(|part| !part.is_empty());
        let trust_domain = filled();
        let (ns, namespace) = (parts.next() == Some("ns"), parts.next().is_some_and(|part| !part.is_empty()));
        let (sa, account) = (parts.next() == Some("sa"), parts.next().is_some_and(|part| !part.is_empty()));
        trust_domain && ns && namespace && sa && account && parts.next().is_none()
    };
    let graphic = value.len() <= IDENTITY_BYTES && value.bytes().all(|byte| byte.is_ascii_graphic());
    if !graphic || !value.strip_prefix("spiffe://").is_some_and(shape) {
        return Err(Invalid::new(field, "not a SPIFFE ID of the form spiffe://TRUST-DOMAIN/ns/NS/sa/SA"));
    }
    Ok(value.into())
}

/// 1 to 65 535.
pub(super) fn port(value: u32, field: &str) -> Result<u16, Invalid> {
    match u16::try_from(value) {
        Ok(port) if port > 0 => Ok(port),
        _ => Err(Invalid::new(field, "not a port (1 to 65535)")),
    }
}

/// 4 or 16 bytes; an IPv4-mapped IPv6 address would be a second name for the same thing.
pub(super) fn ip(value: &[u8], field: &str) -> Result<IpAddr, Invalid> {
    if let Ok(octets) = <[u8; 4]>::try_from(value) {
        return Ok(IpAddr::from(octets));
    }
    let Ok(octets) = <[u8; 16]>::try_from(value) else {
        return Err(Invalid::new(field, "not 4 or 16 bytes"));
    };
    match IpAddr::from(octets) {
        IpAddr::V6(ip) if ip.to_ipv4_mapped().is_some() => Err(Invalid::new(field, "IPv4-mapped IPv6")),
        ip => Ok(ip),
    }
}

/// An address's bytes.
pub(super) fn ip_bytes(ip: IpAddr) -> Bytes {
    match ip.to_canonical() {
        IpAddr::V4(ip) => Bytes::copy_from_slice(&ip.octets()),
        IpAddr::V6(ip) => Bytes::copy_from_slice(&ip.octets()),
    }
}

/// A span of time, never negative.
pub(super) fn duration(value: prost_types::Duration, field: &str) -> Result<Duration, Invalid> {
    let nanos = u32::try_from(value.nanos).ok().filter(|nanos| *nanos < 1_000_000_000);
    let seconds = u64::try_from(value.seconds).ok().filter(|_| value.seconds <= MAX_SECONDS);
    match (seconds, nanos) {
        (Some(seconds), Some(nanos)) => Ok(Duration::new(seconds, nanos)),
        _ => Err(Invalid::new(field, "not a span of time (0 to 10 000 years)")),
    }
}

/// A span of time on the wire; what exceeds protobuf's bound is cut to it.
pub(super) fn wire_duration(value: Duration) -> prost_types::Duration {
    let seconds = i64::try_from(value.as_secs()).map_or(MAX_SECONDS, |seconds| seconds.min(MAX_SECONDS));
    let nanos = i32::try_from(value.subsec_nanos()).unwrap_or_default();
    prost_types::Duration { seconds, nanos }
}

/// DER certificates: at least one, none empty.
pub(super) fn certificates(values: Vec<Bytes>, field: &str) -> Result<Vec<Vec<u8>>, Invalid> {
    bounded(values.len(), field, CERTIFICATES)?;
    if values.is_empty() {
        return Err(Invalid::new(field, "empty"));
    }
    for (index, value) in values.iter().enumerate() {
        let path = || format!("{field}[{index}]");
        if value.is_empty() {
            return Err(Invalid::new(path(), "empty"));
        }
        bounded(value.len(), &path(), CERTIFICATE_BYTES)?;
    }
    Ok(values.into_iter().map(Vec::from).collect())
}

impl TryFrom<grpc::SocketAddress> for SocketAddr {
    type Error = Invalid;

    fn try_from(value: grpc::SocketAddress) -> Result<SocketAddr, Invalid> {
        Ok(SocketAddr::new(ip(&value.ip, "ip")?, port(value.port, "port")?))
    }
}

impl From<SocketAddr> for grpc::SocketAddress {
    fn from(value: SocketAddr) -> grpc::SocketAddress {
        grpc::SocketAddress { ip: ip_bytes(value.ip()), port: u32::from(value.port()) }
    }
}
