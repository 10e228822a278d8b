//! `minimesh identity`: who has which certificate until when, and the replacement of the root.

use std::time::Duration;

use minimesh_api::model::{Identities, RotationPhase};
use minimesh_runtime::duration;

use crate::{
    Failure,
    cluster::MeshedPod,
    identities::{self, rotation, view},
    stats::{
        asking::{Output, print_lines, print_table},
        mesh::{Mesh, Which},
    },
};

/// Who has which certificate.
#[derive(clap::Args)]
#[command(
    about = ABOUT,
    long_about = "Who has which certificate until when, and which roots everybody trusts\n\n\
        Of every proxy that is connected to the control plane: its identity, how long its certificate holds, the root that it was issued \
        under, and whether it trusts what is to be trusted now. `identity rotate` replaces the root without a restart.",
    after_long_help = EXAMPLES,
    args_conflicts_with_subcommands = true,
    disable_help_subcommand = true
)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Option<Action>,
    #[command(flatten)]
    list: List,
}

#[derive(clap::Subcommand)]
enum Action {
    /// Replace the root: trust a new one, issue under it, trust the old one no more
    Rotate(Rotate),
}

#[derive(clap::Args)]
struct List {
    #[command(flatten)]
    which: Which,
    /// Only workloads of this namespace
    #[arg(short, long)]
    namespace: Option<String>,
    /// How to print
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

/// Each step waits for every replica and every proxy; called again after an interruption it goes on where it was.
#[derive(clap::Args)]
struct Rotate {
    #[command(flatten)]
    which: Which,
    /// The longest that a step waits for proxies that have not followed
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = duration::parse)]
    timeout: Duration,
    /// Wait for no proxy; those that have not followed are refused by others until they have
    #[arg(long)]
    force: bool,
}

impl Args {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            match self.action {
                Some(Action::Rotate(rotate)) => rotate.run().await,
                None => self.list.run().await,
            }
        })
    }
}

impl List {
    async fn run(self) -> Result<(), Failure> {
        let mesh = self.which.find().await?;
        let answers = mesh.ask(async |source| source.identities().await).await?;
        let Some(mut whole) = identities::join(&answers) else {
            return Err(Failure::new("no control plane answered"));
        };
        let wanted = |namespace: &str| self.namespace.as_deref().is_none_or(|wanted| wanted == namespace);
        whole.held.retain(|held| wanted(&held.workload.namespace));
        match self.output {
            Output::Json => print_lines(&[view::document(&whole)]),
            Output::Table | Output::Wide => print_table(self.output, |style| view::lines(&whole, style)).map(drop),
        }
    }
}

impl Rotate {
    async fn run(self) -> Result<(), Failure> {
        let patience = rotation::Patience { timeout: self.timeout, force: self.force };
        rotation::replace(&Asked { which: self.which }, patience).await
    }
}

/// Found anew at each look: replicas come and go.
struct Asked {
    which: Which,
}

impl rotation::Mesh for Asked {
    async fn identities(&self) -> Result<Vec<Identities>, Failure> {
        self.which.find().await?.ask_all(async |source| source.identities().await).await
    }

    async fn meshed_pods(&self) -> Result<Vec<MeshedPod>, Failure> {
        match self.which.find().await?.cluster {
            Some(cluster) => cluster.meshed_pods().await,
            None => Ok(Vec::new()),
        }
    }

    async fn take(&self, replica: &str, from: RotationPhase, force: bool) -> Result<RotationPhase, Failure> {
        let Mesh { sources, cluster } = self.which.find().await?;
        // on this machine there is one
        let source = sources.iter().find(|source| cluster.is_none() || source.to_string() == replica);
        let source = source.ok_or_else(|| Failure::new(format!("replica {replica} has gone; call again")))?;
        Ok(source.rotate(from, force).await?)
    }

    fn say(&self, line: &str) {
        // a closed stdout is no reason to stop in the middle
        let _ = print_lines(&[line.to_owned()]);
    }
}

/// In the list of commands.
pub(super) const ABOUT: &str = "Who has which certificate until when; replaces the root";

const EXAMPLES: &str = "Examples:
  # everybody's
  minimesh identity

  # of one namespace, in another cluster
  minimesh identity -n sock-shop --context staging

  # replace the root while everything runs
  minimesh identity rotate

  # certificates that hold for less than an hour, for scripts
  minimesh identity -o json | jq '.certificates[] | select(.expires_in_seconds < 3600)'";
