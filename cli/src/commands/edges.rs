//! `minimesh edges`: who talks to whom.

use crate::{
    Failure,
    stats::{
        asking::{Asking, Output, print_lines},
        merge, view,
    },
};

/// Who talks to whom.
#[derive(clap::Args)]
#[command(
    about = ABOUT,
    long_about = "Who talks to whom, and whether both sides proved who they are\n\n\
        An edge is secured only when the client's proxy verified the server's identity and the server's proxy verified the \
        client's. All numbers come from the proxies' own reports; the client's side is shown. `-o wide` adds both \
        identities and, where an edge is not secured, why. docs/stat-json.md says what each number means.",
    after_long_help = EXAMPLES
)]
pub(crate) struct Args {
    #[command(flatten)]
    asking: Asking,
}

impl Args {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let rows = self.asking.ask()?;
        let mut asked_by_nodes = merge::asked_by_nodes(&rows);
        asked_by_nodes.retain(|workload| self.asking.wants(Some(&workload.namespace)));
        let mut edges = merge::edges(&rows);
        edges.retain(|edge| {
            self.asking.wants(edge.source.namespace()) || self.asking.wants(edge.destination.namespace())
        });
        match self.asking.output {
            Output::Json => print_lines(&[view::edge_json(&edges)]),
            _ if edges.is_empty() => Err(self.asking.nothing(&rows)),
            Output::Table => self.asking.print_table(|style| view::edge_table(&edges, style)),
            Output::Wide => self.asking.print_table(|style| {
                let mut lines = view::wide_edge_table(&edges, style);
                lines.extend(view::node_line(&asked_by_nodes));
                lines
            }),
        }
    }
}

/// In the list of commands.
pub(super) const ABOUT: &str = "Who talks to whom, and whether both sides proved who they are";

const EXAMPLES: &str = "Examples:
  # the last minute of the running demo
  minimesh edges

  # with both identities, and why an edge is not secured
  minimesh edges -o wide

  # of the mesh in a cluster
  minimesh edges -n sock-shop --context staging

  # five minutes, one namespace
  minimesh edges -n sock-shop --window 5m

  # edges that are not secured, for scripts
  minimesh edges -o json | jq '.edges[] | select(.secured | not)'";
