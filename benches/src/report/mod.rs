//! What a run found, for people: a page of tables, and plots. Pure: records in, text out.

mod bars;
mod figures;
mod svg;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::load::{Latency, Outcome, PERCENTILES};
use crate::percentile::median;
use crate::record::{Measured, Run};
use bars::BARS;
use figures::{Figure, Rounds};
use svg::{Axis, Bars, Lines};

/// The page, and the plots that it shows.
pub struct Report {
    /// Markdown, without a heading of its own.
    pub page: String,
    /// Name of the file, and what is in it.
    pub plots: Vec<(&'static str, String)>,
}

/// `folder`: where the page finds its plots.
pub fn report(run: &Run, measured: &[Measured], folder: &str) -> Report {
    let whole: Vec<Measured> = measured.iter().filter(|one| one.failed.is_none()).cloned().collect();
    let rounds = Rounds(&whole);
    let plots = plots(&rounds);
    let mut page = String::new();
    for part in [
        about(run, measured),
        judged(&rounds, &run.absent),
        costs(&rounds),
        latencies(&rounds),
        variants(&rounds),
        trust(&rounds, measured),
    ] {
        page += &part;
        page.push('\n');
    }
    for (name, _) in &plots {
        append(&mut page, format_args!("![{}]({folder}{name})", name.trim_end_matches(".svg").replace('-', " ")));
    }
    Report { page, plots }
}

fn about(run: &Run, measured: &[Measured]) -> String {
    let mut text = format!("`{}` at commit {}", run.command, run.commit);
    let loads: Vec<f64> = measured.iter().map(|one| one.load_before).collect();
    let highest = loads.iter().copied().fold(0.0, f64::max);
    let done = measured.iter().map(|one| one.round + 1).max().unwrap_or(0);
    append(
        &mut text,
        format_args!(
            ", {done} rounds. Load average of the machine before a measurement, the one before it included: median {}, highest {highest:.1}.\n",
            number(median(&loads), 1)
        ),
    );
    for (name, value) in &run.machine {
        append(&mut text, format_args!("- {name}: {value}"));
    }
    for (name, version) in &run.present {
        append(&mut text, format_args!("- {name}: {version}"));
    }
    for (name, why) in &run.absent {
        append(&mut text, format_args!("- **{name} was not measured**: {why}"));
    }
    text
}

fn judged(rounds: &Rounds<'_>, absent: &BTreeMap<String, String>) -> String {
    let mut text = table(&["claim", "ours", "beside", "ratio (95 %)", ""]);
    for bar in &BARS {
        let found = bar.judge(rounds, absent);
        let why = found.why.map_or(String::new(), |why| format!(" ({why})"));
        let verdict = format!("{}{why}", found.verdict);
        row(&mut text, &[bar.claim.to_owned(), found.ours, found.theirs, found.ratio, verdict]);
    }
    text
}

/// Medians of everybody who took part in everything.
fn costs(rounds: &Rounds<'_>) -> String {
    let columns: [(&str, Figure, usize); 11] = [
        ("HTTP/1.1, µs a request", figures::cpu_http1, 1),
        ("of it kernel, %", figures::kernel_http1, 0),
        ("at 1 000/s, µs a request", figures::cpu_rate_1000, 0),
        ("HTTP/2, µs a request", figures::cpu_http2, 1),
        ("gRPC, µs a call", figures::cpu_grpc, 1),
        ("bytes, s a GB", figures::cpu_stream, 2),
        ("HTTP/1.1, requests/s", figures::throughput_http1, 0),
        ("bytes, Gbit/s", figures::throughput_stream, 1),
        ("idle, MiB", figures::idle, 1),
        ("KiB a held connection", figures::per_connection, 1),
        ("first answer, ms", figures::first_answer, 0),
    ];
    let names: Vec<&str> =
        std::iter::once("CPU of both proxies").chain(columns.iter().map(|column| column.0)).collect();
    let mut text = table(&names);
    for subject in whole(rounds) {
        let cells = columns.iter().map(|&(_, figure, digits)| number(rounds.median(&subject, figure), digits));
        row(&mut text, &std::iter::once(subject.clone()).chain(cells).collect::<Vec<_>>());
    }
    text
}

fn latencies(rounds: &Rounds<'_>) -> String {
    let shares: [(&str, f64); 5] = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999), ("worst", 1.0)];
    let names: Vec<&str> =
        ["µs from when it was due", "at"].into_iter().chain(shares.iter().map(|share| share.0)).collect();
    let mut text = table(&[&names[..], &["unanswered"]].concat());
    for rate in rates(rounds) {
        for subject in whole(rounds) {
            let point = format!("rate-{rate}");
            let cells = shares.iter().map(|&(_, share)| percentile(rounds, &subject, &point, share));
            let unanswered = each_outcome(rounds, &subject, &point)
                .filter_map(|outcome| outcome.latency.as_ref().map(|latency| latency.unanswered));
            let mut all = vec![subject.clone(), format!("{rate}/s")];
            all.extend(cells.map(|value| number(value, 0)));
            all.push(unanswered.sum::<usize>().to_string());
            row(&mut text, &all);
        }
    }
    let mut added = table(&["added to a direct connection at 1 000/s, µs", "p50", "p99"]);
    for subject in whole(rounds).iter().filter(|subject| *subject != "direct") {
        let cells =
            [figures::added_p50 as Figure, figures::added_p99].map(|figure| number(rounds.median(subject, figure), 0));
        row(&mut added, &[subject.clone(), cells[0].clone(), cells[1].clone()]);
    }
    format!("{text}\n{added}")
}

/// Ours with one thing changed, beside ours.
fn variants(rounds: &Rounds<'_>) -> String {
    let mut text = table(&[
        "variant",
        "HTTP/1.1, µs a request",
        "ratio to minimesh (95 %)",
        "requests/s",
        "p50 at 50/s",
        "p99 at 50/s",
        "p50 at 100/s",
        "p99 at 100/s",
    ]);
    let whole = whole(rounds);
    for subject in subjects(rounds).into_iter().filter(|subject| subject == "minimesh" || !whole.contains(subject)) {
        let ratio = rounds.ratio(&subject, "minimesh", figures::cpu_http1).filter(|_| subject != "minimesh");
        let mut cells = vec![
            subject.clone(),
            number(rounds.median(&subject, figures::cpu_http1), 1),
            ratio.map_or("–".to_owned(), |ratio| ratio.to_string()),
            number(rounds.median(&subject, figures::throughput_http1), 0),
        ];
        for (rate, share) in [(50, 0.5), (50, 0.99), (100, 0.5), (100, 0.99)] {
            cells.push(number(percentile(rounds, &subject, &format!("rate-{rate}"), share), 0));
        }
        row(&mut text, &cells);
    }
    text
}

/// What stands between these numbers and the truth.
fn trust(rounds: &Rounds<'_>, measured: &[Measured]) -> String {
    let http1: Vec<&Outcome> = rounds.0.iter().filter_map(|one| one.points.get("http1")).collect();
    let share = |of: fn(&Outcome) -> f64| {
        median(&http1.iter().map(|outcome| of(outcome) / outcome.seconds).collect::<Vec<_>>())
    };
    let rated = rounds.0.iter().filter_map(|one| one.points.get("rate-1000")?.latency.as_ref());
    let lag = median(&rated.map(|latency| latency.lag_p99).collect::<Vec<_>>());
    let mut text = String::new();
    append(
        &mut text,
        format_args!(
            "- Load, both proxies and application share the processors, and nothing is pinned. With 64 connections the machine was busy with {} \
         processors and the load itself with {}; at 1 000/s its own lateness, the 99th percentile, was {} µs.",
            number(share(|outcome| outcome.machine_cpu), 2),
            number(share(|outcome| outcome.own_cpu), 2),
            number(lag, 0)
        ),
    );
    text += LIMITS;
    let mut errors: Vec<String> = Vec::new();
    for one in measured {
        let wrong = one.points.iter().filter(|(_, outcome)| outcome.errors > 0);
        errors.extend(wrong.map(|(point, outcome)| {
            format!("{} of {} in round {}: {}", point, one.subject, one.round, outcome.errors)
        }));
        errors.extend(
            one.failed.as_ref().map(|why| format!("{} in round {} was given up: {why}", one.subject, one.round)),
        );
    }
    let errors = if errors.is_empty() { "none".to_owned() } else { errors.join("; ") };
    append(&mut text, format_args!("- Wrong or missing answers: {errors}."));
    text
}

fn plots(rounds: &Rounds<'_>) -> Vec<(&'static str, String)> {
    let all = [
        ("latency-by-percentile.svg", by_percentile(rounds).render()),
        ("latency-by-rate.svg", by_rate(rounds).render()),
        ("cpu-a-request.svg", cpu(rounds).render()),
        ("memory-by-connections.svg", memory(rounds).render()),
    ];
    all.into_iter().filter_map(|(name, svg)| Some((name, svg?))).collect()
}

fn by_percentile(rounds: &Rounds<'_>) -> Lines {
    let nines = |share: f64| -(1.0 - share).log10();
    let shown: Vec<f64> = PERCENTILES.into_iter().filter(|&share| (0.5..=0.999).contains(&share)).collect();
    let series = whole(rounds).into_iter().map(|subject| {
        let points =
            shown.iter().filter_map(|&share| Some((nines(share), percentile(rounds, &subject, "rate-1000", share)?)));
        let points = points.collect();
        (subject, points)
    });
    let ticks = [(0.5, "50"), (0.9, "90"), (0.99, "99"), (0.999, "99.9")];
    let mut x = Axis::new("percentile", false);
    x.ticks = ticks.map(|(share, text)| (nines(share), text.to_owned())).into();
    Lines {
        title: "Latency at 1 000 requests a second, from when they were due".to_owned(),
        x,
        y: Axis::new("microseconds", true),
        series: series.collect(),
        first_colour: 0,
    }
}

fn by_rate(rounds: &Rounds<'_>) -> Lines {
    let rates = rates(rounds);
    let mut series = Vec::new();
    for subject in whole(rounds) {
        for (name, share) in [("p50", 0.5), ("p99", 0.99)] {
            let points = rates.iter().filter_map(|rate| {
                Some((f64::from(*rate), percentile(rounds, &subject, &format!("rate-{rate}"), share)?))
            });
            series.push((format!("{subject} {name}"), points.collect()));
        }
    }
    let mut x = Axis::new("requests a second", true);
    x.ticks = rates.iter().map(|rate| (f64::from(*rate), rate.to_string())).collect();
    Lines {
        title: "Latency by rate, 16 connections".to_owned(),
        x,
        y: Axis::new("microseconds", true),
        series,
        first_colour: 0,
    }
}

fn cpu(rounds: &Rounds<'_>) -> Bars {
    let groups: [(&str, Figure); 4] = [
        ("HTTP/1.1", figures::cpu_http1),
        ("HTTP/2", figures::cpu_http2),
        ("gRPC", figures::cpu_grpc),
        ("HTTP/1.1 at 1 000/s", figures::cpu_rate_1000),
    ];
    let series = whole(rounds).into_iter().filter(|subject| subject != "direct");
    let series = series.map(|subject| {
        let heights = groups.iter().map(|&(_, figure)| rounds.median(&subject, figure)).collect();
        (subject, heights)
    });
    Bars {
        title: "CPU of both proxies for a request".to_owned(),
        y: "microseconds".to_owned(),
        groups: groups.iter().map(|(name, _)| (*name).to_owned()).collect(),
        series: series.collect(),
        first_colour: WITHOUT_DIRECT,
    }
}

fn memory(rounds: &Rounds<'_>) -> Lines {
    let series = whole(rounds).into_iter().filter(|subject| subject != "direct").map(|subject| {
        let outcomes: Vec<&Outcome> = each_outcome(rounds, &subject, "hold").collect();
        let steps = outcomes.iter().map(|outcome| outcome.held.len()).min().unwrap_or(0);
        let points = (0..steps).filter_map(|step| {
            let of = |figure: fn(&crate::load::Held) -> f64| {
                median(&outcomes.iter().map(|outcome| figure(&outcome.held[step])).collect::<Vec<_>>())
            };
            Some((
                of(|held| held.connections as f64)?,
                of(|held| held.resident_kib.iter().sum::<u64>() as f64 / 1024.0)?,
            ))
        });
        let points = points.collect();
        (subject, points)
    });
    Lines {
        title: "Memory of both proxies by connections that are held".to_owned(),
        x: Axis::new("connections", false),
        y: Axis::new("MiB", false),
        series: series.collect(),
        first_colour: WITHOUT_DIRECT,
    }
}

/// Names in the order in which they were first measured.
fn subjects(rounds: &Rounds<'_>) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for one in rounds.0 {
        if !names.contains(&one.subject) {
            names.push(one.subject.clone());
        }
    }
    names
}

/// Those who took part in everything.
fn whole(rounds: &Rounds<'_>) -> Vec<String> {
    let mut names = subjects(rounds);
    names.retain(|name| each_outcome(rounds, name, "rate-1000").next().is_some());
    names
}

/// Those that everybody was measured at.
fn rates(rounds: &Rounds<'_>) -> Vec<u32> {
    let names =
        rounds.0.iter().flat_map(|one| one.points.keys()).filter_map(|name| name.strip_prefix("rate-")?.parse().ok());
    let mut rates: Vec<u32> = names.filter(|rate| *rate >= 500).collect();
    rates.sort_unstable();
    rates.dedup();
    rates
}

fn each_outcome<'r>(rounds: &'r Rounds<'_>, subject: &str, point: &str) -> impl Iterator<Item = &'r Outcome> {
    rounds.0.iter().filter(move |one| one.subject == subject).filter_map(move |one| one.points.get(point))
}

fn percentile(rounds: &Rounds<'_>, subject: &str, point: &str, share: f64) -> Option<f64> {
    let values = each_outcome(rounds, subject, point)
        .filter_map(|outcome| outcome.latency.as_ref().and_then(|latency: &Latency| latency.at(share)));
    median(&values.collect::<Vec<_>>())
}

fn table(names: &[&str]) -> String {
    format!("| {} |\n|{}\n", names.join(" | "), "---|".repeat(names.len()))
}

fn row(text: &mut String, cells: &[String]) {
    append(text, format_args!("| {} |", cells.join(" | ")));
}

fn append(text: &mut String, line: std::fmt::Arguments<'_>) {
    writeln!(text, "{line}").expect("a String takes everything");
}

fn number(value: Option<f64>, digits: usize) -> String {
    value.map_or("–".to_owned(), |value| format!("{value:.digits$}"))
}

/// The direct connection has no proxies whose cost could be drawn.
const WITHOUT_DIRECT: usize = 1;

/// What is true of every run.
const LIMITS: &str = "\
- A figure is the median over rounds; a ratio is taken within a round, then the median of the ratios; its interval is a bootstrap's.
- p99.9 is of a few thousand requests a round: an order of magnitude, no more. `worst` is the worst of the median round.
- Everybody has one thread for connections. HAProxy and Envoy have static configurations, no policy and no telemetry but their own
  counters; a mesh made of them costs more. HAProxy compares a DNS name where the others compare SPIFFE IDs;
  linkerd2-proxy's client does too.
- linkerd2-proxy has beside it a control plane of the benchmark's own: what its mesh says about a Service without routes and a port that
  takes mutual TLS alone, said once, without news. Its settings are those that its injector makes.
- Bytes go from client to server only. Held connections are opened one after the other, so they stand at the client's side, and
  few lead to the server.
- CPU is what the kernel accounts to the processes of both proxies; what it does for them in interrupts of others is in nobody's figure,
  and the work of control planes is not in it either.
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_that_measured_nothing_makes_a_page_that_says_so() {
        let run = Run { absent: [("linkerd2".to_owned(), "no program".to_owned())].into(), ..Run::default() };
        let Report { page, plots } = report(&run, &[], "data/");
        assert!(page.contains("**linkerd2 was not measured**: no program"), "{page}");
        assert_eq!(page.matches("not measured").count(), 1 + BARS.len(), "{page}");
        assert!(plots.is_empty());
    }

    #[test]
    fn figures_of_a_run_are_on_its_page_and_failures_are_named() {
        let latency = Some(Latency { percentiles: (1..=12).map(f64::from).collect(), ..Latency::default() });
        let cpu = vec![crate::load::Cpu { exact: 0.05, user: 0.02, kernel: 0.03 }; 2];
        let outcome = Outcome { completed: 1000, seconds: 1.0, cpu, latency, errors: 3, ..Outcome::default() };
        let points = ["http1", "rate-1000"].map(|name| (name.to_owned(), outcome.clone())).into();
        let ours =
            Measured { subject: "minimesh".to_owned(), points, idle_kib: vec![9216, 8192], ..Measured::default() };
        let failed =
            Measured { subject: "haproxy".to_owned(), failed: Some("it died".to_owned()), ..Measured::default() };
        let Report { page, plots } = report(&Run::default(), &[ours, failed], "data/");
        assert!(page.contains("| minimesh | 100.0 | 60 | 100 |"), "{page}");
        assert!(page.contains("| an idle proxy holds at most 10 MiB | 9.0 MiB | ≤ 10 MiB |  | met |"), "{page}");
        assert!(
            page.contains("http1 of minimesh in round 0: 3")
                && page.contains("haproxy in round 0 was given up: it died")
        );
        let names: Vec<&str> = plots.iter().map(|(name, _)| *name).collect();
        assert_eq!(names, ["latency-by-percentile.svg", "latency-by-rate.svg", "cpu-a-request.svg"]);
        assert!(page.contains("![latency by rate](data/latency-by-rate.svg)"), "{page}");
    }
}
