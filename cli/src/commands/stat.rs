//! `minimesh stat`: golden metrics per workload.

use crate::{
    Failure,
    stats::{
        asking::{Asking, Output, print_lines},
        merge::{self, Served},
        view,
    },
};

/// Golden metrics.
#[derive(clap::Args)]
#[command(
    about = ABOUT,
    long_about = "Golden metrics of the running mesh: of what comes in, per workload or per pod\n\n\
        Of the demo on this machine if one runs, else of the mesh in the cluster, where every replica of the control plane is asked. \
        Success rate, requests per second and latencies are those that each workload's own proxies measured inbound. \
        MESHED counts the pods whose proxies report, of the pods that any proxy named. docs/stat-json.md says what each \
        number means.",
    after_long_help = EXAMPLES
)]
pub(crate) struct Args {
    /// `deployments`, `pods`, or names of workloads or pods
    #[arg(value_name = "WHAT")]
    what: Vec<String>,
    #[command(flatten)]
    asking: Asking,
}

impl Args {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let what = What::of(&self.what);
        let rows = self.asking.ask()?;
        let mut served = merge::served(&rows, what.by_pod);
        served.retain(|row| self.asking.wants(Some(&row.workload.namespace)));
        if served.is_empty() && self.asking.output != Output::Json {
            return Err(self.asking.nothing(&rows));
        }
        let (wanted, others): (Vec<Served>, Vec<Served>) = served.into_iter().partition(|row| what.wants(row));
        match self.asking.output {
            Output::Json => print_lines(&[view::served_json(&wanted)]),
            Output::Table | Output::Wide if wanted.is_empty() => Err(Failure::new(what.nothing(&others))),
            Output::Table | Output::Wide => self.asking.print_table(|style| view::served_table(&wanted, style)),
        }
    }
}

/// What was asked for.
struct What {
    by_pod: bool,
    kind: Option<&'static str>,
    names: Vec<String>,
}

impl What {
    fn of(words: &[String]) -> What {
        let mut what = What { by_pod: false, kind: None, names: Vec::new() };
        for word in words {
            let (kind, name) = word.split_once('/').map_or((word.as_str(), None), |(kind, name)| (kind, Some(name)));
            match kind {
                "deploy" | "deployment" | "deployments" => what.kind = Some("Deployment"),
                "po" | "pod" | "pods" => what.by_pod = true,
                _ => what.names.push(word.clone()),
            }
            what.names.extend(name.filter(|_| kind != word.as_str() && !what.names.contains(word)).map(str::to_owned));
        }
        what
    }

    fn wants(&self, row: &Served) -> bool {
        let named = |name: &String| *row.workload.name == **name || row.pod.as_deref() == Some(name);
        self.kind.is_none_or(|kind| *row.workload.kind == *kind)
            && (self.names.is_empty() || self.names.iter().any(named))
    }

    fn nothing(&self, others: &[Served]) -> String {
        let known: Vec<&str> = others.iter().map(|row| &**row.pod.as_ref().unwrap_or(&row.workload.name)).collect();
        format!("nothing named {} reports; there are: {}", self.names.join(", "), known.join(", "))
    }
}

/// In the list of commands.
pub(super) const ABOUT: &str = "Golden metrics of the running mesh";

const EXAMPLES: &str = "Examples:
  # every workload of the running demo, over the last minute
  minimesh stat

  # of the mesh in a cluster
  minimesh stat deployments -n sock-shop --context staging

  # every pod
  minimesh stat pods

  # some workloads; one, over ten seconds
  minimesh stat catalogue carts
  minimesh stat deploy/orders --window 10s

  # for scripts
  minimesh stat -n sock-shop -o json | jq '.workloads[] | {name, rps, p99_ms}'";

#[cfg(test)]
mod tests {
    use super::*;

    fn what(line: &str) -> (bool, Option<&'static str>, Vec<String>) {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        let What { by_pod, kind, names } = What::of(&words);
        (by_pod, kind, names)
    }

    #[test]
    fn kinds_and_names_are_told_apart() {
        let names = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(what(""), (false, None, vec![]));
        assert_eq!(what("pods"), (true, None, vec![]));
        assert_eq!(what("deploy"), (false, Some("Deployment"), vec![]));
        assert_eq!(what("deploy/carts"), (false, Some("Deployment"), names(&["carts"])));
        assert_eq!(what("pod/carts-1 carts-2"), (true, None, names(&["carts-1", "carts-2"])));
        assert_eq!(what("carts user"), (false, None, names(&["carts", "user"])));
    }
}
