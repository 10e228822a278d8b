//! What the first committed run should show, and whether it does.

use std::collections::BTreeMap;

use super::figures::{self, Figure, Ratio, Rounds};

/// A claim about us.
pub(super) struct Bar {
    pub(super) claim: &'static str,
    unit: &'static str,
    figure: Figure,
    ours: &'static str,
    beside: Beside,
}

/// What ours is held against.
enum Beside {
    /// A figure of theirs: the upper end of the ratio's interval is below 1.10.
    AsGoodAs(&'static str),
    /// A number of its own.
    AtMost(f64),
    /// So many times theirs at most, by the median of the ratios.
    Times(f64, &'static str),
}

/// Whether it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Met,
    NotMeasured,
    NotMet,
    /// It may hold; these rounds are not sure of it.
    NotShown,
}

/// What was found for a bar, as text for its row.
pub(super) struct Found {
    pub(super) ours: String,
    pub(super) theirs: String,
    pub(super) ratio: String,
    pub(super) verdict: Verdict,
    /// Why nothing was found, if that is known.
    pub(super) why: Option<String>,
}

pub(super) const BARS: [Bar; 8] = [
    Bar {
        claim: "HTTP/1.1, 64 connections: CPU a request as good as HAProxy's",
        unit: "µs",
        figure: figures::cpu_http1,
        ours: "minimesh",
        beside: Beside::AsGoodAs("haproxy"),
    },
    Bar {
        claim: "HTTP/1.1, 64 connections: CPU a request at most 0.6 of linkerd2-proxy's",
        unit: "µs",
        figure: figures::cpu_http1,
        ours: "minimesh",
        beside: Beside::Times(0.6, "linkerd2"),
    },
    Bar {
        claim: "opaque TCP: CPU a gigabyte at most Envoy's",
        unit: "s",
        figure: figures::cpu_stream,
        ours: "minimesh",
        beside: Beside::Times(1.0, "envoy-h2"),
    },
    Bar {
        claim: "p99 added at 1 000 requests a second as good as linkerd2-proxy's",
        unit: "µs",
        figure: figures::added_p99,
        ours: "minimesh",
        beside: Beside::AsGoodAs("linkerd2"),
    },
    Bar {
        claim: "an idle proxy holds at most 10 MiB",
        unit: "MiB",
        figure: figures::idle,
        ours: "minimesh",
        beside: Beside::AtMost(10.0),
    },
    Bar {
        claim: "a held connection costs a pair at most 6 KiB",
        unit: "KiB",
        figure: figures::per_connection,
        ours: "minimesh",
        beside: Beside::AtMost(6.0),
    },
    Bar {
        claim: "100 endpoints on a target: CPU a request at most 3 % more",
        unit: "µs",
        figure: figures::cpu_http1,
        ours: "minimesh-endpoints-100",
        beside: Beside::Times(1.03, "minimesh"),
    },
    Bar {
        claim: "1 000 rules on a target: CPU a request at most 3 % more",
        unit: "µs",
        figure: figures::cpu_http1,
        ours: "minimesh-rules-1000",
        beside: Beside::Times(1.03, "minimesh"),
    },
];

impl Bar {
    /// `absent`: who was not measured, with the reason.
    pub(super) fn judge(&self, rounds: &Rounds<'_>, absent: &BTreeMap<String, String>) -> Found {
        let shown = |value: Option<f64>| value.map_or("–".to_owned(), |value| format!("{value:.1} {}", self.unit));
        let own = rounds.median(self.ours, self.figure);
        let (verdict, theirs, ratio) = match self.beside {
            Beside::AtMost(most) => (at_most(own, most), format!("≤ {most} {}", self.unit), String::new()),
            Beside::AsGoodAs(name) | Beside::Times(_, name) => {
                let ratio = rounds.ratio(self.ours, name, self.figure);
                let verdict = match self.beside {
                    Beside::Times(factor, _) => at_most(ratio.map(|ratio| ratio.median), factor),
                    _ => as_good_as(ratio),
                };
                (
                    verdict,
                    shown(rounds.median(name, self.figure)),
                    ratio.map_or("–".to_owned(), |ratio| {
                        let all = rounds.count();
                        let part = if ratio.rounds < all {
                            format!(", {} rounds of {all}", ratio.rounds)
                        } else {
                            String::new()
                        };
                        format!("{ratio}{part}")
                    }),
                )
            }
        };
        let lacking = || self.named().find_map(|name| Some(format!("{name}: {}", absent.get(name)?)));
        let why = (verdict == Verdict::NotMeasured).then(lacking).flatten();
        Found { ours: shown(own), theirs, ratio, verdict, why }
    }

    /// Whom it is about.
    fn named(&self) -> impl Iterator<Item = &'static str> {
        let theirs = match self.beside {
            Beside::AsGoodAs(name) | Beside::Times(_, name) => Some(name),
            Beside::AtMost(_) => None,
        };
        std::iter::once(self.ours).chain(theirs)
    }
}

fn at_most(found: Option<f64>, most: f64) -> Verdict {
    match found {
        None => Verdict::NotMeasured,
        Some(value) if value <= most => Verdict::Met,
        Some(_) => Verdict::NotMet,
    }
}

fn as_good_as(ratio: Option<Ratio>) -> Verdict {
    match ratio {
        None => Verdict::NotMeasured,
        Some(Ratio { interval: (_, high), .. }) if high < 1.1 => Verdict::Met,
        Some(_) => Verdict::NotShown,
    }
}

impl std::fmt::Display for Ratio {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Ratio { median, interval: (low, high), .. } = self;
        write!(f, "{median:.2} ({low:.2}–{high:.2})")
    }
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Verdict::Met => "met",
            Verdict::NotMeasured => "not measured",
            Verdict::NotMet => "**not met**",
            Verdict::NotShown => "not shown",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_good_as_is_shown_by_the_upper_end_and_nothing_less() {
        let ratio = |low, high| Some(Ratio { median: 0.9, interval: (low, high), rounds: 10 });
        assert_eq!(as_good_as(ratio(0.8, 1.09)), Verdict::Met);
        assert_eq!(as_good_as(ratio(0.8, 1.1)), Verdict::NotShown);
        assert_eq!(as_good_as(None), Verdict::NotMeasured);
    }

    #[test]
    fn a_factor_is_met_by_the_median() {
        assert_eq!(
            [Some(0.6), Some(0.61), None].map(|found| at_most(found, 0.6)),
            [Verdict::Met, Verdict::NotMet, Verdict::NotMeasured]
        );
    }

    #[test]
    fn nothing_measured_is_said_for_every_bar() {
        for bar in &BARS {
            let found = bar.judge(&Rounds(&[]), &BTreeMap::new());
            assert_eq!((found.verdict, found.why), (Verdict::NotMeasured, None), "{}", bar.claim);
        }
    }

    #[test]
    fn a_peer_that_is_absent_is_the_reason_for_its_bars() {
        let absent = [("linkerd2".to_owned(), "no program".to_owned())].into();
        let whys = BARS.map(|bar| bar.judge(&Rounds(&[]), &absent).why);
        let ours = |why: &Option<String>| why.as_deref() == Some("linkerd2: no program");
        assert_eq!((whys.iter().flatten().count(), whys.iter().filter(|why| ours(why)).count()), (2, 2));
    }
}
