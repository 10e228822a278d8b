//! `minimesh check`: is everything as it should be?

use std::time::Duration;

use kube::Client;
use minimesh_runtime::duration;
use serde_json::{Value, json};

use crate::{
    Failure,
    api_server::ApiServer,
    check::{CHECKS, Check, Facts, Finding, Problem, Stage, gather},
    stats::asking::print_lines,
};

/// Is everything as it should be?
#[derive(clap::Args)]
#[command(
    about = ABOUT,
    long_about = "Check the cluster, the mesh and the meshed pods\n\n\
        Reads the cluster and changes nothing. What is not as it should be is said with why that matters and what to do. What may be over \
        in a moment, because something is starting, is waited for. The exit status is 1 where something is wrong.",
    after_long_help = EXAMPLES
)]
pub(crate) struct Args {
    /// Before an installation: is the cluster fit, may you install?
    #[arg(long, conflicts_with = "proxy")]
    pre: bool,
    /// The meshed pods as well
    #[arg(long)]
    proxy: bool,
    /// How long to wait for what is starting
    #[arg(long, value_name = "DURATION", default_value = "2m", value_parser = duration::parse)]
    wait: Duration,
    /// Namespace of the mesh's own parts
    #[arg(long, value_name = "NAMESPACE", default_value = "minimesh")]
    mesh_namespace: String,
    /// How to print
    #[arg(short, long, value_enum, default_value_t = Form::Table)]
    output: Form,
    #[command(flatten)]
    cluster: ApiServer,
}

/// How to print.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Form {
    /// One JSON document
    Json,
    /// A line for each check
    Table,
}

impl Args {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let facts = self.cluster.ask(async |client| self.settled(&client).await)?;
        let found = self.found(&facts);
        match self.output {
            Form::Json => print_lines(&[format!("{:#}", as_json(&found))])?,
            Form::Table => {
                print_lines(&found.iter().flat_map(|(check, finding)| as_lines(check, finding)).collect::<Vec<_>>())?
            }
        }
        let wrong = found.iter().filter(|(_, finding)| matches!(finding, Finding::Wrong(_))).count();
        if wrong == 0 { Ok(()) } else { Err(Failure::silent(1)) }
    }

    /// The facts, once nothing is starting any more, or the time is over.
    async fn settled(&self, client: &Client) -> Result<Facts, Failure> {
        let end = tokio::time::Instant::now() + self.wait;
        loop {
            let facts = gather(client, &self.mesh_namespace, self.pre).await?;
            let passes =
                |(_, finding): &(&Check, Finding)| matches!(finding, Finding::Wrong(Problem { passes: true, .. }));
            if tokio::time::Instant::now() >= end || !self.found(&facts).iter().any(passes) {
                return Ok(facts);
            }
            tokio::time::sleep(ROUND).await;
        }
    }

    fn found(&self, facts: &Facts) -> Vec<(&'static Check, Finding)> {
        let made = |check: &&Check| match check.stage {
            Stage::Before => self.pre,
            Stage::Cluster => true,
            Stage::Installed => !self.pre,
            Stage::Proxies => self.proxy,
        };
        CHECKS.iter().filter(made).map(|check| (check, (check.judge)(facts))).collect()
    }
}

fn as_lines(check: &Check, finding: &Finding) -> Vec<String> {
    let (mark, problem) = match finding {
        Finding::Good => return vec![format!("ok     {}", check.what)],
        Finding::Odd(problem) => ("look  ", problem),
        Finding::Wrong(problem) => ("WRONG ", problem),
    };
    vec![
        format!("{mark} {} ({})", check.what, check.name),
        format!("         found: {}", problem.problem),
        format!("         why:   {}", check.why),
        format!("         fix:   {}", problem.fix),
    ]
}

fn as_json(found: &[(&Check, Finding)]) -> Value {
    let one = |(check, finding): &(&Check, Finding)| {
        let (result, problem) = match finding {
            Finding::Good => ("good", None),
            Finding::Odd(problem) => ("odd", Some(problem)),
            Finding::Wrong(problem) => ("wrong", Some(problem)),
        };
        json!({
            "check": check.name,
            "what": check.what,
            "why": check.why,
            "result": result,
            "found": problem.map(|problem| &problem.problem),
            "fix": problem.map(|problem| &problem.fix),
        })
    };
    json!({ "checks": found.iter().map(one).collect::<Vec<_>>() })
}

/// Between looks at what is starting.
const ROUND: Duration = Duration::from_secs(1);

/// In the list of commands.
pub(super) const ABOUT: &str = "Check the cluster, the mesh and the meshed pods";

const EXAMPLES: &str = "Examples:
  # before an installation
  minimesh check --pre

  # after it; waits until everything has started
  minimesh check

  # with the meshed pods, for scripts
  minimesh check --proxy -o json | jq '.checks[] | select(.result != \"good\")'";
