//! How identities look: lines for people, JSON for scripts (docs/identity.md). Pure.

use std::time::Duration;

use minimesh_api::model::{AuthorityCertificate, HeldCertificate, RotationPhase};
use serde_json::{Value, json};

use super::Whole;
use crate::stats::table::{Align, Cell, Column, NOTHING, Paint, Style, render};

/// Roots first, then a row per certificate.
pub(crate) fn lines(whole: &Whole, style: Style) -> Vec<String> {
    let mut lines: Vec<String> = whole.roots.iter().map(|root| style.cut(&root_line(root))).collect();
    if let Some(line) = phase_line(whole.phase) {
        lines.push(style.paint(&style.cut(line), Paint::Bold));
    }
    if !whole.held.is_empty() {
        lines.push(String::new());
        lines.extend(render(COLUMNS, &whole.held.iter().map(cells).collect::<Vec<_>>(), style));
    }
    lines
}

/// `{"trust_domain", "phase", "roots", "certificates"}`.
pub(crate) fn document(whole: &Whole) -> String {
    let root = |root: &AuthorityCertificate| {
        json!({
            "fingerprint": *root.fingerprint,
            "expires_in_seconds": root.expires_in.as_secs(),
            "issuing": root.issuer_expires_in.is_some(),
            "issuer_expires_in_seconds": root.issuer_expires_in.map(|left| left.as_secs()),
        })
    };
    let document = json!({
        "trust_domain": *whole.trust_domain,
        "phase": phase(whole.phase),
        "roots": whole.roots.iter().map(root).collect::<Vec<_>>(),
        "certificates": whole.held.iter().map(certificate).collect::<Vec<_>>(),
    });
    serde_json::to_string_pretty(&document).expect("texts, numbers and lists are JSON")
}

/// The word for a phase.
pub(crate) fn phase(phase: RotationPhase) -> &'static str {
    match phase {
        RotationPhase::Added => "added",
        RotationPhase::Steady => "steady",
        RotationPhase::Switched => "switched",
    }
}

fn certificate(held: &HeldCertificate) -> Value {
    json!({
        "namespace": *held.workload.namespace,
        "kind": *held.workload.kind,
        "name": *held.workload.name,
        "pod": *held.workload.pod,
        "identity": *held.identity,
        "expires_in_seconds": held.expires_in.as_secs(),
        "root": *held.root,
        "trusts_current": held.trusts_current,
        "connected": held.connected,
    })
}

fn root_line(root: &AuthorityCertificate) -> String {
    let AuthorityCertificate { fingerprint, expires_in, issuer_expires_in } = root;
    let line = format!("root {fingerprint} expires in {}", left(*expires_in));
    match issuer_expires_in {
        Some(issuer) => {
            format!("{line}; certificates are issued under it, by an issuer that expires in {}", left(*issuer))
        }
        None => line,
    }
}

fn phase_line(phase: RotationPhase) -> Option<&'static str> {
    match phase {
        RotationPhase::Added => Some("the root is being replaced: both are trusted, the old one still issues"),
        RotationPhase::Steady => None,
        RotationPhase::Switched => Some("the root is being replaced: the new one issues, both are trusted"),
    }
}

fn cells(held: &HeldCertificate) -> Vec<Cell> {
    let alarm = |text: &str, paint| Cell { text: text.to_owned(), paint };
    let expires = match held.expires_in.is_zero() {
        true => alarm("expired", Paint::Red),
        false => left(held.expires_in).into(),
    };
    let root = match held.root.is_empty() {
        true => alarm(NOTHING, Paint::Red),
        false => (&*held.root).into(),
    };
    let trusts = match (held.connected, held.trusts_current) {
        (false, _) => alarm("not connected", Paint::Dim),
        (true, false) => alarm("behind", Paint::Red),
        (true, true) => "current".into(),
    };
    let name = format!("{}/{}", held.workload.namespace, held.workload.name);
    vec![name.into(), (&*held.workload.pod).into(), expires, root, trusts, (&*held.identity).into()]
}

/// The two largest units.
fn left(time: Duration) -> String {
    let seconds = time.as_secs();
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m{}s", seconds % 60),
        (0, _, _) => format!("{hours}h{minutes}m"),
        _ => format!("{days}d{hours}h"),
    }
}

const fn left_aligned(name: &'static str, expendable: u8) -> Column {
    Column { name, align: Align::Left, expendable }
}

/// A narrow terminal loses what follows from the rest first.
const COLUMNS: &[Column] = &[
    left_aligned("WORKLOAD", 0),
    left_aligned("POD", 1),
    left_aligned("EXPIRES_IN", 0),
    left_aligned("ROOT", 2),
    left_aligned("TRUST", 0),
    left_aligned("IDENTITY", 3),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identities::join;
    use crate::identities::testing::{answer, held};

    fn whole() -> Whole {
        let expired = HeldCertificate {
            expires_in: Duration::ZERO,
            root: "".into(),
            connected: false,
            trusts_current: false,
            ..held("orders-1", "")
        };
        let behind = HeldCertificate { trusts_current: false, ..held("user-1", "0a0b") };
        join(&[answer("a", RotationPhase::Added, &["0a0b", "0c0d"], vec![held("carts-1", "0a0b"), expired, behind])])
            .unwrap()
    }

    #[test]
    fn the_table_says_who_has_what_until_when_and_who_is_behind() {
        let expected = "\
root 0a0b expires in 3650d0h; certificates are issued under it, by an issuer that expires in 365d0h
root 0c0d expires in 3650d0h
the root is being replaced: both are trusted, the old one still issues

WORKLOAD     POD       EXPIRES_IN  ROOT  TRUST          IDENTITY
shop/carts   carts-1   23h59m      0a0b  current        spiffe://cluster.local/ns/shop/sa/carts
shop/orders  orders-1  expired     -     not connected  spiffe://cluster.local/ns/shop/sa/orders
shop/user    user-1    23h59m      0a0b  behind         spiffe://cluster.local/ns/shop/sa/user";
        assert_eq!(lines(&whole(), Style::PLAIN).join("\n"), expected);
    }

    #[test]
    fn the_document_has_exactly_the_promised_fields() {
        let mut document: Value = serde_json::from_str(&document(&whole())).unwrap();
        let certificate = document["certificates"][0].take();
        assert_eq!(
            certificate,
            json!({"namespace": "shop", "kind": "Deployment", "name": "carts", "pod": "carts-1",
                "identity": "spiffe://cluster.local/ns/shop/sa/carts", "expires_in_seconds": 86_399, "root": "0a0b",
                "trusts_current": true, "connected": true})
        );
        document["certificates"] = json!([]);
        let days = |days: u64| days * 86_400;
        assert_eq!(
            document,
            json!({"trust_domain": "cluster.local", "phase": "added", "certificates": [], "roots": [
                {"fingerprint": "0a0b", "expires_in_seconds": days(3_650), "issuing": true,
                    "issuer_expires_in_seconds": days(365)},
                {"fingerprint": "0c0d", "expires_in_seconds": days(3_650), "issuing": false,
                    "issuer_expires_in_seconds": null}]})
        );
    }

    #[test]
    fn times_are_said_in_two_units() {
        let said = [0, 59, 61, 3_600, 86_399, 86_400 * 2 + 3_700].map(|seconds| left(Duration::from_secs(seconds)));
        assert_eq!(said, ["0s", "59s", "1m1s", "1h0m", "23h59m", "2d1h"]);
    }
}
