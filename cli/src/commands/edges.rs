//! `minimesh edges`: who talks to whom.

use crate::{
    Failure,
    stats::{
        asking::{Asking, print_lines, style},
        merge, view,
    },
};

/// Who talks to whom, and whether both sides proved who they are
///
/// An edge is secured only when the client's proxy verified the server's identity and the server's proxy verified the
/// client's. All numbers come from the proxies' own reports; the client's side is shown.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(flatten)]
    asking: Asking,
    /// How to print; `wide` adds both identities and the reason where an edge is not secured
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Output {
    Json,
    Table,
    Wide,
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
        match self.output {
            Output::Json => print_lines(&[view::edge_json(&edges)]),
            _ if edges.is_empty() => {
                print_lines(
                    &["no proxy reported traffic in this window; try a longer one with --window 10m".to_owned()],
                )
            }
            Output::Table => print_lines(&view::edge_table(&edges, style())),
            Output::Wide => {
                let mut lines = view::wide_edge_table(&edges, style());
                lines.extend(view::node_line(&asked_by_nodes));
                print_lines(&lines)
            }
        }
    }
}

const EXAMPLES: &str = "Examples:
  minimesh edges                          the last minute of the running demo
  minimesh edges -o wide                  with identities, and why an edge is not secured
  minimesh edges -n sock-shop --window 5m
  minimesh edges -o json | jq '.edges[] | select(.secured | not)'";
