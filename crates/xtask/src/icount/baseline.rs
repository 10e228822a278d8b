//! `benches/baselines/costs.json`: what requests cost when somebody last said that this is right, and why.

use std::process::Command;

use serde_json::{Map, Value, json};

use super::{Costs, file};
use crate::workspace::Workspace;

/// Above the baseline by more than this fails.
const TOLERANCE: f64 = 0.02;
/// Allocations per request that housekeeping may come to, whatever the baseline: a sweep a second.
const HOUSEKEEPING: f64 = 0.05;

/// The committed file.
#[derive(Default)]
pub(super) struct Baseline {
    /// With which it was measured.
    pub(super) tools: Tools,
    costs: Costs,
    /// Date and reason of every acceptance, oldest first.
    accepted: Vec<Value>,
}

/// What instruction counts depend on besides the program: they can be compared where all of it is the same.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Tools {
    facts: Vec<(&'static str, String)>,
}

const FACTS: [&str; 5] = ["architecture", "avx2", "libc", "rustc", "valgrind"];

/// What became of a comparison.
pub(super) struct Compared {
    /// For people, every cost.
    pub(super) table: String,
    /// What costs too much.
    pub(super) result: Result<(), String>,
}

impl Tools {
    /// Those of this machine.
    pub(super) fn here() -> Tools {
        let processor = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let avx2 = processor.split_whitespace().any(|word| word == "avx2");
        let fact = |name| match name {
            "architecture" => std::env::consts::ARCH.to_owned(),
            // valgrind shows programs one of a few processors of its own, the best that this machine has the instructions for
            "avx2" => avx2.to_string(),
            "libc" => first_line("getconf", &["GNU_LIBC_VERSION"]),
            "rustc" => first_line("rustc", &["--version"]),
            _ => first_line("valgrind", &["--version"]),
        };
        Tools { facts: FACTS.iter().map(|name| (*name, fact(*name))).collect() }
    }

    fn of(value: &Value) -> Tools {
        let fact = |name: &&'static str| (*name, value[*name].as_str().unwrap_or_default().to_owned());
        Tools { facts: FACTS.iter().map(fact).collect() }
    }

    /// Why costs of these cannot be compared with costs of the others.
    pub(super) fn differ(&self, here: &Tools) -> String {
        let pairs = self.facts.iter().zip(&here.facts).filter(|(was, is)| was != is);
        let pairs: Vec<String> =
            pairs.map(|((name, was), (_, is))| format!("{name} was {was:?} and is {is:?}")).collect();
        format!(
            "the baseline was made with other tools ({}); `cargo xtask icount --accept REASON` makes one with these",
            pairs.join(", ")
        )
    }
}

fn first_line(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    text.lines().next().unwrap_or_default().trim().to_owned()
}

impl Baseline {
    /// The committed one; an empty one if there is no file.
    pub(super) fn read(workspace: &Workspace) -> Result<Baseline, String> {
        let path = file(workspace);
        let text = match std::fs::read_to_string(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Baseline::default()),
            text => text.map_err(|error| format!("{}: {error}", path.display()))?,
        };
        let value: Value = serde_json::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))?;
        let costs = value["costs"].as_object().into_iter().flatten();
        Ok(Baseline {
            tools: Tools::of(&value["tools"]),
            costs: costs.filter_map(|(name, cost)| Some((name.clone(), cost.as_f64()?))).collect(),
            accepted: value["accepted"].as_array().cloned().unwrap_or_default(),
        })
    }

    /// Every cost of this kind, beside what it was.
    pub(super) fn compare(&self, costs: &Costs, kind: &str) -> Compared {
        let mut lines = vec![format!("{:<48} {:>12} {:>12} {:>8}", "cost", "baseline", "now", "change")];
        let mut wrong = Vec::new();
        for (name, now) in costs.iter().filter(|(name, _)| name.starts_with(kind)) {
            let Some(was) = self.costs.get(name) else {
                lines.push(format!("{name:<48} {:>12} {now:>12}", "-"));
                wrong.push(format!("{name}: {now}, and the baseline does not have it"));
                continue;
            };
            let change = if was == now { 0.0 } else { (now - was) / was * 100.0 };
            lines.push(format!("{name:<48} {was:>12} {now:>12} {change:>+7.2} %"));
            if now > &most(name, *was) {
                wrong.push(format!("{name}: {was} became {now} ({change:+.2} %)"));
            }
        }
        let gone = self.costs.keys().filter(|name| name.starts_with(kind) && !costs.contains_key(*name));
        wrong.extend(gone.map(|name| format!("{name}: in the baseline, and not measured any more")));
        let advice =
            "At most 2 % more is let pass. If it is worth that: `cargo xtask icount --accept REASON`, and commit";
        let result = if wrong.is_empty() { Ok(()) } else { Err(format!("{}\n{advice}", wrong.join("\n"))) };
        Compared { table: lines.join("\n"), result }
    }

    /// Makes what was measured the baseline.
    pub(super) fn accept(self, workspace: &Workspace, reason: &str, tools: Tools, costs: Costs) -> Result<(), String> {
        if reason.trim().is_empty() {
            return Err("a new baseline needs a reason".to_owned());
        }
        let date = first_line("date", &["--utc", "+%Y-%m-%d"]);
        let mut accepted = self.accepted;
        accepted.push(json!({ "date": date, "reason": reason.trim() }));
        let facts: Map<String, Value> =
            tools.facts.into_iter().map(|(name, fact)| (name.into(), fact.into())).collect();
        let costs: Map<String, Value> = costs.into_iter().map(|(name, cost)| (name, cost.into())).collect();
        let whole = json!({ "accepted": accepted, "costs": costs, "tools": facts });
        let text = serde_json::to_string_pretty(&whole).map_err(|error| error.to_string())?;
        let path = file(workspace);
        let folder = path.parent().map(std::path::Path::to_owned).unwrap_or_default();
        let written = std::fs::create_dir_all(folder).and_then(|()| std::fs::write(&path, format!("{text}\n")));
        written.map_err(|error| format!("{}: {error}", path.display()))
    }
}

/// What a cost may come to.
fn most(name: &str, was: f64) -> f64 {
    let most = was * (1.0 + TOLERANCE);
    if name.starts_with("allocations ") { most.max(was + HOUSEKEEPING) } else { most }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn costs(pairs: &[(&str, f64)]) -> Costs {
        pairs.iter().map(|(name, cost)| ((*name).to_owned(), *cost)).collect()
    }

    #[test]
    fn more_than_two_per_cent_is_too_much_and_is_named() {
        let was = costs(&[("instructions a", 1000.0), ("instructions b", 1000.0), ("allocations c", 0.0)]);
        let baseline = Baseline { costs: was, ..Baseline::default() };
        let compare = |a, b| baseline.compare(&costs(&[("instructions a", a), ("instructions b", b)]), "instructions ");
        assert_eq!(compare(1020.0, 500.0).result, Ok(()));
        let error = compare(1021.0, 1000.0).result.expect_err("too much");
        assert!(error.starts_with("instructions a: 1000 became 1021 (+2.10 %)\nAt most"), "{error}");
    }

    #[test]
    fn a_cost_must_be_on_both_sides() {
        let baseline = Baseline { costs: costs(&[("bytes a", 1.0)]), ..Baseline::default() };
        let error = baseline.compare(&costs(&[("bytes b", 1.0)]), "bytes ").result.expect_err("another");
        assert!(error.contains("bytes b: 1, and the baseline does not have it"), "{error}");
        assert!(error.contains("bytes a: in the baseline, and not measured any more"), "{error}");
    }

    #[test]
    fn housekeeping_is_no_allocation_of_a_request() {
        let baseline = Baseline { costs: costs(&[("allocations a", 0.0)]), ..Baseline::default() };
        assert_eq!(baseline.compare(&costs(&[("allocations a", 0.04)]), "allocations ").result, Ok(()));
        assert!(baseline.compare(&costs(&[("allocations a", 0.06)]), "allocations ").result.is_err());
    }

    #[test]
    fn tools_that_differ_are_named() {
        let tools = |rustc: &str| Tools { facts: vec![("avx2", "true".into()), ("rustc", rustc.into())] };
        let why = tools("1.95").differ(&tools("1.96"));
        assert!(why.contains("(rustc was \"1.95\" and is \"1.96\")"), "{why}");
    }
}
