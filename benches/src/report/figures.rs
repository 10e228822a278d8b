//! Figures of one pair in one round, and how those of two pairs compare over all rounds.

use std::collections::{BTreeMap, BTreeSet};

use crate::load::Outcome;
use crate::percentile::{median, median_interval};
use crate::record::Measured;

/// One number of one pair in one round; what it is beside, if it needs that, is the direct connection of the same round.
pub(super) type Figure = fn(&Measured, Option<&Measured>) -> Option<f64>;

/// All that was measured and did not fail.
pub(super) struct Rounds<'m>(pub(super) &'m [Measured]);

/// How much of theirs ours is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Ratio {
    pub(super) median: f64,
    /// 95 % of confidence.
    pub(super) interval: (f64, f64),
    pub(super) rounds: usize,
}

impl Rounds<'_> {
    /// How many there were.
    pub(super) fn count(&self) -> usize {
        self.0.iter().map(|one| one.round).collect::<BTreeSet<_>>().len()
    }

    /// By round.
    pub(super) fn each(&self, subject: &str, figure: Figure) -> BTreeMap<usize, f64> {
        let direct = |round| self.0.iter().find(|one| one.round == round && one.subject == "direct");
        let of = self.0.iter().filter(|one| one.subject == subject);
        of.filter_map(|one| Some((one.round, figure(one, direct(one.round)).filter(|value| value.is_finite())?)))
            .collect()
    }

    pub(super) fn median(&self, subject: &str, figure: Figure) -> Option<f64> {
        median(&self.each(subject, figure).into_values().collect::<Vec<_>>())
    }

    /// Of the rounds in which both were measured. A cost that came out at nothing or less (a difference to a direct connection that
    /// was itself disturbed) is no cost: its round says nothing.
    pub(super) fn ratio(&self, ours: &str, theirs: &str, figure: Figure) -> Option<Ratio> {
        let (ours, theirs) = (self.each(ours, figure), self.each(theirs, figure));
        let ratios: Vec<f64> = ours
            .iter()
            .filter_map(|(round, own)| Some((*own, *theirs.get(round)?)))
            .filter(|(own, their)| *own > 0.0 && *their > 0.0)
            .map(|(own, their)| own / their)
            .collect();
        Some(Ratio { median: median(&ratios)?, interval: median_interval(&ratios)?, rounds: ratios.len() })
    }
}

/// Microseconds of both proxies for a request.
pub(super) fn cpu_http1(one: &Measured, _: Option<&Measured>) -> Option<f64> {
    each(one, "http1", 1e6)
}

/// The part of it that was spent in the kernel.
pub(super) fn kernel_http1(one: &Measured, _: Option<&Measured>) -> Option<f64> {
    let cpu = &one.points.get("http1")?.cpu;
    let (user, kernel) = cpu.iter().fold((0.0, 0.0), |sum, cpu| (sum.0 + cpu.user, sum.1 + cpu.kernel));
    Some(100.0 * kernel / (user + kernel))
}

pub(super) fn cpu_http2(one: &Measured, _: Option<&Measured>) -> Option<f64> {
    each(one, "http2", 1e6)
}

pub(super) fn cpu_grpc(one: &Measured, _: Option<&Measured>) -> Option<f64> {
    each(one, "grpc", 1e6)
}

/// Seconds for a gigabyte.
pub(super) fn cpu_stream(one: &Measured, _: Option<&Measured>) -> Option<f64> {
    each(one, "stream", 1e9)
}

pub(super) fn cpu_rate_1000(one: &Measured, _: Option<&Measured>) -> Option<f64> {
    each(one, "rate-1000", 1e6)
}

fn each(one: &Measured, point: &str, unit: f64) -> Option<f64> {
    let outcome = one.points.get(point).filter(|outcome| !outcome.cpu.is_empty() && outcome.completed > 0)?;
    Some(outcome.cpu_seconds() / outcome.completed as f64 * unit)
}

/// Requests a second with 64 connections.
pub(super) fn throughput_http1(one: &Measured, _: Option<&Measured>) -> Option<f64> {
    one.points.get("http1").map(per_second)
}

/// Gigabits a second.
pub(super) fn throughput_stream(one: &Measured, _: Option<&Measured>) -> Option<f64> {
    one.points.get("stream").map(|outcome| per_second(outcome) * 8.0 / 1e9)
}

fn per_second(outcome: &Outcome) -> f64 {
    outcome.completed as f64 / outcome.seconds
}

/// Microseconds that the 99th percentile at 1 000 requests a second is above that of a direct connection.
pub(super) fn added_p99(one: &Measured, direct: Option<&Measured>) -> Option<f64> {
    let p99 = |one: &Measured| one.points.get("rate-1000")?.latency.as_ref()?.at(0.99);
    Some(p99(one)? - p99(direct?)?)
}

pub(super) fn added_p50(one: &Measured, direct: Option<&Measured>) -> Option<f64> {
    let p50 = |one: &Measured| one.points.get("rate-1000")?.latency.as_ref()?.at(0.5);
    Some(p50(one)? - p50(direct?)?)
}

/// MiB of the greater of the two proxies, before any load.
pub(super) fn idle(one: &Measured, _: Option<&Measured>) -> Option<f64> {
    Some(*one.idle_kib.iter().max()? as f64 / 1024.0)
}

/// KiB of both proxies for a connection that is held.
pub(super) fn per_connection(one: &Measured, _: Option<&Measured>) -> Option<f64> {
    let held = &one.points.get("hold")?.held;
    let (first, last) = (held.first()?, held.last()?);
    let kib = |of: &[u64]| of.iter().sum::<u64>() as f64;
    let connections = last.connections.checked_sub(first.connections).filter(|&more| more > 0)?;
    (!last.resident_kib.is_empty()).then(|| (kib(&last.resident_kib) - kib(&first.resident_kib)) / connections as f64)
}

pub(super) fn first_answer(one: &Measured, _: Option<&Measured>) -> Option<f64> {
    Some(one.first_answer_ms)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::{Cpu, Latency};

    fn one(round: usize, subject: &str, seconds: f64, p99: f64) -> Measured {
        let cpu = vec![Cpu { exact: seconds, ..Cpu::default() }];
        let mut percentiles = vec![0.0; 12];
        percentiles[7] = p99;
        let latency = Some(Latency { percentiles, ..Latency::default() });
        let outcome = Outcome { completed: 1_000_000, seconds: 2.0, cpu, latency, ..Outcome::default() };
        let points = ["http1", "rate-1000"].map(|name| (name.to_owned(), outcome.clone())).into();
        Measured { round, subject: subject.to_owned(), points, ..Measured::default() }
    }

    #[test]
    fn ratios_are_of_the_same_round() {
        let measured = [
            one(0, "ours", 50.0, 0.0),
            one(0, "theirs", 100.0, 0.0),
            // everything twice as slow
            one(1, "ours", 100.0, 0.0),
            one(1, "theirs", 200.0, 0.0),
            one(2, "ours", 1.0, 0.0),
        ];
        let rounds = Rounds(&measured);
        let ratio = rounds.ratio("ours", "theirs", cpu_http1).unwrap();
        assert_eq!(ratio, Ratio { median: 0.5, interval: (0.5, 0.5), rounds: 2 });
        assert_eq!(rounds.median("ours", cpu_http1), Some(50.0));
        assert_eq!(rounds.ratio("ours", "nobody", cpu_http1), None);
        assert_eq!(rounds.median("ours", throughput_http1), Some(500_000.0));
    }

    #[test]
    fn added_latency_is_above_the_direct_connection_of_the_same_round() {
        let measured = [one(0, "direct", 1.0, 100.0), one(0, "ours", 1.0, 350.0), one(1, "ours", 1.0, 900.0)];
        assert_eq!(Rounds(&measured).each("ours", added_p99), [(0, 250.0)].into());
    }

    #[test]
    fn a_round_whose_direct_connection_was_disturbed_has_no_ratio_of_what_is_added() {
        let round = |round, direct, ours, theirs| {
            [("direct", direct), ("ours", ours), ("theirs", theirs)].map(|(name, p99)| one(round, name, 1.0, p99))
        };
        let measured =
            [round(0, 100.0, 300.0, 500.0), round(1, 9000.0, 350.0, 500.0), round(2, 100.0, 200.0, 300.0)].concat();
        let rounds = Rounds(&measured);
        let ratio = rounds.ratio("ours", "theirs", added_p99).unwrap();
        assert_eq!((ratio.median, ratio.rounds, rounds.count()), (0.5, 2, 3));
    }

    #[test]
    fn memory_per_connection_is_of_both_proxies() {
        let mut measured = one(0, "ours", 1.0, 1.0);
        let held =
            |connections, resident_kib: [u64; 2]| crate::load::Held { connections, resident_kib: resident_kib.into() };
        let outcome = Outcome { held: vec![held(1, [1000, 1000]), held(101, [1400, 1200])], ..Outcome::default() };
        measured.points.insert("hold".to_owned(), outcome);
        assert_eq!(per_connection(&measured, None), Some(6.0));
    }
}
