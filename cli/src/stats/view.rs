//! How edges and workloads look: as cells of a table, and as the JSON that scripts read (docs/stat-json.md). Pure.

use minimesh_api::model::EdgeProtocol;
use serde::Serialize;

use super::{
    merge::{Edge, Numbers, Party, Secured, Served, Workload},
    table::{Align, Cell, Column, NOTHING, Paint, Style, bytes, milliseconds, percentage, rate, render},
};

/// Lines of the table of edges.
pub(crate) fn edge_table(edges: &[Edge], style: Style) -> Vec<String> {
    let names = Naming::of(edges.iter().flat_map(|edge| [&edge.source, &edge.destination]));
    let rows: Vec<Vec<Cell>> = edges.iter().map(|edge| edge_cells(edge, &names)).collect();
    render(EDGE_COLUMNS, &rows, style)
}

/// The same with both identities and, where an edge is not secured, why.
pub(crate) fn wide_edge_table(edges: &[Edge], style: Style) -> Vec<String> {
    let names = Naming::of(edges.iter().flat_map(|edge| [&edge.source, &edge.destination]));
    let rows: Vec<Vec<Cell>> = edges
        .iter()
        .map(|edge| {
            let mut cells = edge_cells(edge, &names);
            let identity = |identity: &Option<std::sync::Arc<str>>| Cell::from(identity.as_deref().unwrap_or(NOTHING));
            let reason = edge.secured.reason().unwrap_or(NOTHING);
            cells.extend([identity(&edge.client_identity), identity(&edge.server_identity), reason.into()]);
            cells
        })
        .collect();
    let more = ["CLIENT_ID", "SERVER_ID", "WHY_NOT"].map(|name| Column { name, align: Align::Left, expendable: 0 });
    render(&[EDGE_COLUMNS, &more].concat(), &rows, style)
}

/// What is no edge between workloads, and plaintext all the same.
pub(crate) fn node_line(workloads: &[Workload]) -> Option<String> {
    let names: Vec<&str> = workloads.iter().map(|workload| &*workload.name).collect();
    let line = || format!("in plaintext from their own nodes, which is no edge (probes): {}", names.join(", "));
    (!names.is_empty()).then(line)
}

/// `{"edges":[…]}`, exactly the fields that the issue of this project names.
pub(crate) fn edge_json(edges: &[Edge]) -> String {
    let names = Naming::of(edges.iter().flat_map(|edge| [&edge.source, &edge.destination]));
    let rows: Vec<EdgeRow> = edges
        .iter()
        .map(|edge| EdgeRow {
            source: names.name(&edge.source),
            destination: names.name(&edge.destination),
            protocol: protocol(edge.protocol),
            secured: edge.secured.is_yes(),
            golden: Golden::of(&edge.numbers),
        })
        .collect();
    document(&Edges { edges: rows })
}

/// Lines of the table of workloads or pods.
pub(crate) fn served_table(served: &[Served], style: Style) -> Vec<String> {
    let several = several(served.iter().map(|row| &*row.workload.namespace));
    let rows: Vec<Vec<Cell>> = served
        .iter()
        .map(|row| {
            let own = row.pod.as_ref().unwrap_or(&row.workload.name);
            let name = if several { format!("{}/{own}", row.workload.namespace) } else { own.to_string() };
            let meshed = format!("{}/{}", row.meshed.0, row.meshed.1);
            let whole = row.meshed.0 == row.meshed.1;
            let paint = if whole { Paint::None } else { Paint::Red };
            [vec![name.into(), Cell { text: meshed, paint }], golden_cells(&row.numbers)].concat()
        })
        .collect();
    render(SERVED_COLUMNS, &rows, style)
}

/// `{"workloads":[…]}`.
pub(crate) fn served_json(served: &[Served]) -> String {
    let rows: Vec<ServedRow> = served
        .iter()
        .map(|row| ServedRow {
            namespace: row.workload.namespace.to_string(),
            kind: row.workload.kind.to_string(),
            name: row.workload.name.to_string(),
            pod: row.pod.as_ref().map(ToString::to_string),
            pods_meshed: row.meshed.0,
            pods: row.meshed.1,
            golden: Golden::of(&row.numbers),
        })
        .collect();
    document(&Workloads { workloads: rows })
}

#[derive(Serialize)]
struct Edges {
    edges: Vec<EdgeRow>,
}

#[derive(Serialize)]
struct Workloads {
    workloads: Vec<ServedRow>,
}

/// An edge as JSON; the order of the fields is the issue's.
#[derive(Serialize)]
struct EdgeRow {
    source: String,
    destination: String,
    protocol: &'static str,
    secured: bool,
    #[serde(flatten)]
    golden: Golden,
}

#[derive(Serialize)]
struct ServedRow {
    namespace: String,
    kind: String,
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pod: Option<String>,
    pods_meshed: usize,
    pods: usize,
    #[serde(flatten)]
    golden: Golden,
}

/// Golden metrics as JSON: null where nothing was answered, as on every TCP edge.
#[derive(Serialize)]
struct Golden {
    success_rate: Option<f64>,
    rps: f64,
    p50_ms: Option<f64>,
    p95_ms: Option<f64>,
    p99_ms: Option<f64>,
    tcp_open: u64,
    bytes_read: u64,
    bytes_written: u64,
}

impl Golden {
    fn of(numbers: &Numbers) -> Golden {
        let quantile = |share| numbers.quantile_ms(share).map(|value| rounded(value, 1000.0));
        Golden {
            // rounded down: a rate of 1 means that nothing failed
            success_rate: numbers.success_rate().map(|share| (share * 1e6).floor() / 1e6),
            rps: rounded(numbers.rps, 1000.0),
            p50_ms: quantile(0.50),
            p95_ms: quantile(0.95),
            p99_ms: quantile(0.99),
            tcp_open: numbers.tcp_open,
            bytes_read: numbers.bytes_read,
            bytes_written: numbers.bytes_written,
        }
    }
}

/// Names of parties: with their namespace only where several are shown.
struct Naming {
    several: bool,
}

impl Naming {
    fn of<'p>(parties: impl Iterator<Item = &'p Party>) -> Naming {
        Naming { several: several(parties.filter_map(Party::namespace)) }
    }

    /// For tables: of an identity, the service account.
    fn short(&self, party: &Party) -> String {
        match party {
            Party::Identity(identity) => {
                identity.rsplit_once("/ns/").map_or("", |(_, rest)| rest).replacen("/sa", "", 1)
            }
            _ => self.name(party),
        }
    }

    fn name(&self, party: &Party) -> String {
        match party.namespace().filter(|_| self.several) {
            Some(namespace) => format!("{namespace}/{party}"),
            None => party.to_string(),
        }
    }
}

fn several<'n>(mut namespaces: impl Iterator<Item = &'n str>) -> bool {
    let first = namespaces.next();
    namespaces.any(|namespace| Some(namespace) != first)
}

fn edge_cells(edge: &Edge, names: &Naming) -> Vec<Cell> {
    let secured = match edge.secured {
        Secured::No(_) => Cell { text: "NO".to_owned(), paint: Paint::Red },
        Secured::NotYet(_) => Cell { text: "not yet".to_owned(), paint: Paint::Dim },
        Secured::Yes => Cell { text: "yes".to_owned(), paint: Paint::Green },
    };
    let ends = [names.short(&edge.source).into(), names.short(&edge.destination).into()];
    [ends.to_vec(), vec![protocol(edge.protocol).into(), secured], golden_cells(&edge.numbers)].concat()
}

fn golden_cells(numbers: &Numbers) -> Vec<Cell> {
    let spoken = numbers.requests > 0 || numbers.success_rate().is_some();
    let paint = if numbers.failures > 0 { Paint::Red } else { Paint::None };
    vec![
        Cell { text: percentage(numbers.success_rate()), paint },
        if spoken { rate(numbers.rps).into() } else { NOTHING.into() },
        milliseconds(numbers.quantile_ms(0.50)).into(),
        milliseconds(numbers.quantile_ms(0.95)).into(),
        milliseconds(numbers.quantile_ms(0.99)).into(),
        numbers.tcp_open.to_string().into(),
        bytes(numbers.bytes_read).into(),
        bytes(numbers.bytes_written).into(),
    ]
}

fn document(value: &impl Serialize) -> String {
    serde_json::to_string_pretty(value).expect("texts, numbers and lists are JSON")
}

/// The word for a protocol.
pub(crate) fn protocol(protocol: EdgeProtocol) -> &'static str {
    match protocol {
        EdgeProtocol::Http => "http",
        EdgeProtocol::Tcp => "tcp",
    }
}

fn rounded(value: f64, steps: f64) -> f64 {
    (value * steps).round() / steps
}

const fn left(name: &'static str, expendable: u8) -> Column {
    Column { name, align: Align::Left, expendable }
}

const fn right(name: &'static str, expendable: u8) -> Column {
    Column { name, align: Align::Right, expendable }
}

/// A narrow terminal loses bytes first, then middle percentiles.
const EDGE_COLUMNS: &[Column] = &[
    left("SOURCE", 0),
    left("DESTINATION", 0),
    left("PROTO", 2),
    left("SECURED", 0),
    right("SUCCESS", 1),
    right("RPS", 1),
    right("P50_MS", 3),
    right("P95_MS", 4),
    right("P99_MS", 2),
    right("TCP", 3),
    right("READ", 5),
    right("WRITTEN", 5),
];

const SERVED_COLUMNS: &[Column] = &[
    left("NAME", 0),
    left("MESHED", 0),
    right("SUCCESS", 0),
    right("RPS", 1),
    right("LATENCY_P50", 3),
    right("LATENCY_P95", 4),
    right("LATENCY_P99", 2),
    right("TCP_CONN", 3),
    right("READ", 5),
    right("WRITTEN", 5),
];

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::stats::{
        merge::{edges, served},
        testing::{inbound, outbound, tcp},
    };

    fn sample() -> Vec<minimesh_api::model::ReportedEdge> {
        let mut failing = outbound("front-end", "orders");
        failing.edge.successes = 99;
        failing.edge.failures = 1;
        failing.total_failures = 1;
        vec![
            outbound("front-end", "carts"),
            inbound("carts", "front-end"),
            failing,
            inbound("orders", "front-end"),
            tcp(outbound("carts", "carts-db")),
            tcp(inbound("carts-db", "carts")),
            outbound("orders", "user"),
        ]
    }

    /// Compares with a file of this folder; `UPDATE_GOLDEN=1` is not offered: a table is typed in by whoever changes it.
    fn assert_golden(found: &str, expected: &str) {
        assert_eq!(found.trim_end(), expected.trim_end(), "\n{found}");
    }

    #[test]
    fn the_table_of_edges_is_as_it_was() {
        assert_golden(&edge_table(&edges(&sample()), Style::PLAIN).join("\n"), include_str!("golden/edges.txt"));
    }

    #[test]
    fn the_wide_table_of_edges_says_who_and_why_not() {
        assert_golden(
            &wide_edge_table(&edges(&sample()), Style::PLAIN).join("\n"),
            include_str!("golden/edges-wide.txt"),
        );
    }

    #[test]
    fn the_json_of_edges_is_as_it_was() {
        assert_golden(&edge_json(&edges(&sample())), include_str!("golden/edges.json"));
    }

    #[test]
    fn an_edge_in_json_has_exactly_the_promised_fields() {
        let json: Value = serde_json::from_str(&edge_json(&edges(&sample()))).unwrap();
        let fields: std::collections::BTreeSet<&str> =
            json["edges"][0].as_object().unwrap().keys().map(String::as_str).collect();
        let promised = "source destination protocol secured success_rate rps p50_ms p95_ms p99_ms tcp_open bytes_read bytes_written";
        assert_eq!(fields, promised.split(' ').collect());
    }

    #[test]
    fn the_table_of_workloads_is_as_it_was() {
        assert_golden(
            &served_table(&served(&sample(), false), Style::PLAIN).join("\n"),
            include_str!("golden/stat.txt"),
        );
    }

    #[test]
    fn the_json_of_pods_is_as_it_was() {
        assert_golden(&served_json(&served(&sample()[..2], true)), include_str!("golden/stat-pods.json"));
    }

    #[test]
    fn names_carry_their_namespace_only_when_several_are_shown() {
        let mut foreign = outbound("front-end", "carts");
        foreign.reporter.namespace = "other".into();
        let json: Value = serde_json::from_str(&edge_json(&edges(&[foreign]))).unwrap();
        assert_eq!(
            (&json["edges"][0]["source"], &json["edges"][0]["destination"]),
            (&json!("other/front-end"), &json!("shop/carts"))
        );
    }
}
