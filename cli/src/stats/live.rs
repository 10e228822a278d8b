//! The demo's table: drawn until the demo ends, then the last word and the verdict.
//!
//! Called by `minimesh demo`, which says when the end is. A control plane that does not answer for a while is said so and
//! asked again; the last good table stays.

use std::{pin::pin, time::Duration};

use minimesh_api::model::ReportedEdge;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use super::{
    Error, LiveOptions, Output, Source, Verdict,
    merge::{self, Edge, Secured, Workload},
    screen::Screen,
    table::{Paint, Style},
    view,
};

/// Shows the edges until `end` resolves, then prints the last table (or the JSON document) and judges.
///
/// Asks again while the control plane does not answer, and says so in the table; fails only if it never answered.
pub(crate) async fn live(
    source: &Source,
    options: LiveOptions,
    end: impl Future<Output = ()>,
) -> Result<Verdict, Error> {
    let begun = Instant::now();
    let mut screen = match options.output {
        Output::Table => Screen::of_stdout(),
        Output::Json | Output::Plain => Screen::plain(),
    };
    let mut view =
        Live { header: options.header, edges: Vec::new(), asked_by_nodes: Vec::new(), trouble: None, answered: false };
    let mut before = None;
    let mut ticks = interval(options.refresh);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut end = pin!(end);
    let mut next_lines = begun;
    loop {
        tokio::select! {
            () = &mut end => break,
            _ = ticks.tick() => {}
        }
        tokio::select! {
            () = &mut end => break,
            answer = source.edges(options.window) => view.take(answer),
        }
        if view.answered {
            before.get_or_insert_with(|| view.edges.clone());
        }
        match options.output {
            Output::Json => {}
            _ if screen.redraws() => {
                let (style, height) = screen.style();
                screen.show(&view.drawing(style, height, begun.elapsed()));
            }
            _ if Instant::now() >= next_lines && !view.edges.is_empty() => {
                screen.show(&view.lines(begun.elapsed()));
                next_lines = Instant::now() + BETWEEN_LINES;
            }
            _ => {}
        }
    }
    let last = last_word(source, begun.elapsed()).await;
    view.take(last);
    if !view.answered {
        let reason = view.trouble.unwrap_or_else(|| "the demo ended before it was asked".to_owned());
        return Err(Error::Unanswered { socket: source.to_string(), reason });
    }
    let verdict = judge(&view.edges, &before.unwrap_or_default(), view.trouble.as_deref());
    conclude(&mut screen, &view, options.output, &verdict, begun.elapsed());
    Ok(verdict)
}

/// Waits for the first requests that proxies report, and says how many there were.
pub(crate) async fn first_requests(source: &Source) -> String {
    let mut ticks = interval(FIRST_LOOKS);
    loop {
        ticks.tick().await;
        let edges = source.edges(FIRST_WINDOW).await.map(|rows| merge::edges(&rows)).unwrap_or_default();
        let requests: u64 = edges.iter().map(|edge| edge.numbers.total_requests).sum();
        let spoken = edges.iter().filter(|edge| edge.numbers.total_requests > 0).count();
        if requests > 0 {
            let pairs = if spoken == 1 { "pair" } else { "pairs" };
            return format!("{requests} between {spoken} {pairs} of workloads");
        }
    }
}

/// The last answer covers the whole time; a control plane that is just being restarted gets some time.
async fn last_word(source: &Source, window: Duration) -> Result<Vec<ReportedEdge>, Error> {
    let window = window.max(Duration::from_secs(1));
    for _ in 0..LAST_ATTEMPTS {
        if let Ok(rows) = source.edges(window).await {
            return Ok(rows);
        }
        sleep(Duration::from_millis(500)).await;
    }
    source.edges(window).await
}

fn conclude(screen: &mut Screen, view: &Live, output: Output, verdict: &Verdict, elapsed: Duration) {
    match output {
        Output::Json => screen.conclude(&[view::edge_json(&view.edges)]),
        Output::Plain | Output::Table => {
            let (style, _) = screen.style();
            // what the header names, the page and the folder, is about to end
            let mut lines = view.table(style, elapsed, "in all");
            lines.push(String::new());
            lines.extend(verdict.sentences());
            screen.conclude(&lines);
        }
    }
}

/// What is on the screen.
#[derive(Debug)]
struct Live {
    header: Vec<String>,
    edges: Vec<Edge>,
    asked_by_nodes: Vec<Workload>,
    trouble: Option<String>,
    answered: bool,
}

impl Live {
    fn take(&mut self, answer: Result<Vec<ReportedEdge>, Error>) {
        match answer {
            Ok(rows) => {
                (self.edges, self.trouble, self.answered) = (merge::edges(&rows), None, true);
                self.asked_by_nodes = merge::asked_by_nodes(&rows);
            }
            Err(error) => self.trouble = Some(error.to_string()),
        }
    }

    /// As much as fits into the window, the state of things last.
    fn drawing(&self, style: Style, height: Option<usize>, elapsed: Duration) -> Vec<String> {
        let mut lines: Vec<String> = self.header.iter().map(|line| style.cut(line)).collect();
        lines.extend(self.table(style, elapsed, "now"));
        let last = style.paint(&style.cut("Ctrl-C ends the demo."), Paint::Dim);
        if let Some(room) = height.map(|height| height.saturating_sub(2))
            && lines.len() > room
        {
            let hidden = lines.len() - room.saturating_sub(1);
            lines.truncate(room.saturating_sub(1));
            lines.push(style.paint(
                &style.cut(&format!("{hidden} more lines: make the window higher, or ask `minimesh edges`")),
                Paint::Dim,
            ));
        }
        lines.push(last);
        lines
    }

    fn lines(&self, elapsed: Duration) -> Vec<String> {
        let mut lines = self.header.clone();
        lines.extend(self.table(Style::PLAIN, elapsed, "now"));
        lines.push(String::new());
        lines
    }

    fn table(&self, style: Style, elapsed: Duration, when: &str) -> Vec<String> {
        let secured = self.edges.iter().filter(|edge| edge.secured.is_yes()).count();
        let state = match self.edges.len() {
            0 => format!("{} s: waiting for the proxies' first reports", elapsed.as_secs()),
            all => format!("{} s: {secured} of {all} edges secured, {when}:", elapsed.as_secs()),
        };
        let mut lines = vec![style.paint(&style.cut(&state), Paint::Dim)];
        if !self.edges.is_empty() {
            lines.extend(view::edge_table(&self.edges, style));
        }
        let reasons = self.edges.iter().filter_map(|edge| match &edge.secured {
            Secured::No(reason) => Some(format!("not secured: {} -> {}: {reason}", edge.source, edge.destination)),
            Secured::NotYet(_) | Secured::Yes => None,
        });
        lines.extend(reasons.map(|reason| style.paint(&style.cut(&reason), Paint::Red)));
        lines.extend(view::node_line(&self.asked_by_nodes).map(|line| style.paint(&style.cut(&line), Paint::Dim)));
        let trouble =
            self.trouble.iter().map(|trouble| style.paint(&style.cut(&format!("stale: {trouble}")), Paint::Red));
        lines.extend(trouble);
        lines
    }
}

/// Every edge secured, none failed, at least one seen.
pub(super) fn judge(edges: &[Edge], before: &[Edge], trouble: Option<&str>) -> Verdict {
    let mut problems = Vec::new();
    problems.extend(trouble.map(|trouble| format!("the last word is missing: {trouble}")));
    for edge in edges {
        let (source, destination, numbers) = (&edge.source, &edge.destination, &edge.numbers);
        if let Some(reason) = edge.secured.reason() {
            problems.push(format!("{source} -> {destination} was not secured: {reason}"));
        }
        let (old_failures, old_requests) = totals_of(before, edge);
        let failures = since(numbers.total_failures, old_failures);
        if failures > 0 {
            let of = since(numbers.total_requests, old_requests).max(failures);
            problems.push(format!("{source} -> {destination} failed: {failures} of {of} requests"));
        }
    }
    Verdict { edges: edges.len(), problems }
}

/// Failures and requests of an edge when the showing began.
fn totals_of(before: &[Edge], edge: &Edge) -> (u64, u64) {
    let same =
        |old: &&Edge| old.source == edge.source && old.destination == edge.destination && old.protocol == edge.protocol;
    before.iter().find(same).map_or((0, 0), |old| (old.numbers.total_failures, old.numbers.total_requests))
}

/// A control plane that was restarted counts from zero.
fn since(total: u64, old: u64) -> u64 {
    total.checked_sub(old).unwrap_or(total)
}

/// Proxies of the demo report every second.
const FIRST_LOOKS: Duration = Duration::from_millis(250);
/// Longer than the demo has been running by then.
const FIRST_WINDOW: Duration = Duration::from_secs(60);
/// Without a terminal, the table is repeated this often.
const BETWEEN_LINES: Duration = Duration::from_secs(10);
/// For the last answer, half a second apart.
const LAST_ATTEMPTS: usize = 6;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::testing::{inbound, outbound, probe};

    fn edges() -> Vec<Edge> {
        merge::edges(&[outbound("front-end", "carts"), inbound("carts", "front-end"), outbound("front-end", "user")])
    }

    fn live(edges: Vec<Edge>) -> Live {
        Live {
            header: vec!["The shop: http://127.0.0.1:8079/".into()],
            edges,
            asked_by_nodes: merge::asked_by_nodes(&[probe("carts"), probe("user")]),
            trouble: None,
            answered: true,
        }
    }

    #[test]
    fn a_demo_without_problems_passes() {
        let verdict = judge(&edges()[..1], &[], None);
        assert!(verdict.passed());
        assert_eq!(verdict.sentences(), ["passed: 1 edge, all secured by mutual TLS, no failed request"]);
    }

    #[test]
    fn every_problem_has_a_sentence() {
        let mut failing = outbound("front-end", "carts");
        failing.total_failures = 3;
        let verdict = judge(&merge::edges(&[failing]), &[], Some("gone"));
        assert!(!verdict.passed());
        let expected = [
            "the last word is missing: gone",
            "front-end -> carts was not secured: carts did not report",
            "front-end -> carts failed: 3 of 100 requests",
        ];
        assert_eq!(verdict.problems, expected);
    }

    #[test]
    fn what_failed_while_the_pods_were_starting_is_not_judged() {
        let pair = |failures| {
            let mut row = outbound("front-end", "carts");
            row.total_failures = failures;
            merge::edges(&[row, inbound("carts", "front-end")])
        };
        assert!(judge(&pair(3), &pair(3), None).passed());
        assert!(!judge(&pair(4), &pair(3), None).passed());
        assert!(!judge(&pair(1), &pair(3), None).passed(), "the control plane was restarted and counts anew");
    }

    #[test]
    fn a_demo_without_traffic_does_not_pass() {
        let verdict = judge(&[], &[], None);
        assert!(!verdict.passed());
        assert_eq!(verdict.sentences(), ["failed: no traffic was reported"]);
    }

    #[test]
    fn a_drawing_fits_any_window() {
        for (width, height) in [(0, 0), (1, 1), (20, 3), (80, 24), (200, 5)] {
            let style = Style { width: Some(width), ..Style::PLAIN };
            let lines = live(edges()).drawing(style, Some(height), Duration::from_secs(12));
            assert!(lines.iter().all(|line| line.chars().count() <= width.max(1)), "{width}: {lines:?}");
            assert!(lines.len() <= height.max(2), "{height}: {lines:?}");
        }
    }

    #[test]
    fn a_table_says_why_an_edge_is_not_secured_and_that_numbers_are_old() {
        let mut view = live(edges());
        view.take(Err(Error::Unanswered { socket: "s".into(), reason: "refused".into() }));
        let lines = view.lines(Duration::from_secs(5));
        assert_eq!(lines[0], "The shop: http://127.0.0.1:8079/");
        assert_eq!(lines[1], "5 s: 1 of 2 edges secured, now:");
        assert!(lines.iter().any(|line| line == "not secured: front-end -> user: user did not report"), "{lines:#?}");
        let probed = "in plaintext from their own nodes, which is no edge (probes): carts, user";
        assert!(lines.iter().any(|line| line == probed), "{lines:#?}");
        assert!(lines.iter().any(|line| line.starts_with("stale: ")), "{lines:#?}");
    }
}
