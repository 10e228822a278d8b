//! What `edges` and `stat` share: which mesh to ask, over how long, and how to print the answer.

use std::{
    collections::BTreeSet,
    io::{self, Write},
    time::Duration,
};

use minimesh_api::model::ReportedEdge;
use minimesh_runtime::duration;

use super::{
    Screen, merge,
    mesh::{Which, say},
    replicas,
    table::Style,
};
use crate::Failure;

/// Which mesh, how far back, and how to print. Flatten this into a command's arguments.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Asking {
    #[command(flatten)]
    which: Which,
    /// Only workloads of this namespace
    #[arg(short, long)]
    namespace: Option<String>,
    /// Over how long rates and percentiles are taken, 1s to 15m
    #[arg(long, default_value = "1m", value_parser = window)]
    window: Duration,
    /// How to print
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    pub(crate) output: Output,
}

/// How to print an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Output {
    /// One JSON document
    Json,
    /// As many columns as fit into the window; all of them where stdout is no terminal
    Table,
    /// All columns and more, however wide
    Wide,
}

impl Asking {
    /// Finds the mesh and asks every control plane of it.
    pub(crate) fn ask(&self) -> Result<Vec<ReportedEdge>, Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let mesh = self.which.find().await?;
            let answers = mesh.ask(async |source| source.edges(self.window).await).await?;
            Ok(replicas::join(answers))
        })
    }

    /// Whether something of this namespace was asked for.
    pub(crate) fn wants(&self, namespace: Option<&str>) -> bool {
        self.namespace.is_none() || self.namespace.as_deref() == namespace
    }

    /// Why there is nothing to show of what was reported.
    pub(crate) fn nothing(&self, rows: &[ReportedEdge]) -> Failure {
        let workloads = merge::served(rows, false);
        let known: BTreeSet<&str> = workloads.iter().map(|row| &*row.workload.namespace).collect();
        let known = known.into_iter().collect::<Vec<_>>().join(", ");
        match &self.namespace {
            Some(namespace) if !known.is_empty() => {
                Failure::new(format!("nothing in namespace {namespace} reports; there are: {known}"))
            }
            _ => Failure::new(format!(
                "no proxy reported traffic in the last {}; try a longer time, such as --window 10m",
                duration::format(self.window)
            )),
        }
    }

    /// Prints a table, and on stderr what did not fit into the window.
    pub(crate) fn print_table(&self, table: impl Fn(Style) -> Vec<String>) -> Result<(), Failure> {
        let style = print_table(self.output, &table)?;
        let columns = |style| table(style).first().map(|head| head.split_whitespace().map(str::to_owned).collect());
        let all: Vec<String> = columns(Style::PLAIN).unwrap_or_default();
        let shown: Vec<String> = columns(Style { colours: false, ..style }).unwrap_or_default();
        let hidden: Vec<String> = all.into_iter().filter(|column| !shown.contains(column)).collect();
        if !hidden.is_empty() {
            say(&format!("not shown for want of room: {}; widen the window, or add -o wide", hidden.join(", ")));
        }
        Ok(())
    }
}

/// Prints a table as wide as the window, or wider; answers how wide.
pub(crate) fn print_table(output: Output, table: impl Fn(Style) -> Vec<String>) -> Result<Style, Failure> {
    let (window, _) = Screen::of_stdout().style();
    let style = match output {
        Output::Wide => Style { width: None, ..window },
        Output::Json | Output::Table => window,
    };
    print_lines(&table(style))?;
    Ok(style)
}

/// Prints lines; a reader that went away is no error.
pub(crate) fn print_lines(lines: &[String]) -> Result<(), Failure> {
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::new(format!("cannot write to stdout: {error}")))
        }
        _ => Ok(()),
    }
}

fn window(text: &str) -> Result<Duration, String> {
    let window = duration::parse(text).map_err(|error| error.to_string())?;
    if (SHORTEST..=LONGEST).contains(&window) { Ok(window) } else { Err("must be 1s to 15m".to_owned()) }
}

/// Proxies report no more often.
const SHORTEST: Duration = Duration::from_secs(1);
/// The control plane keeps no more.
const LONGEST: Duration = Duration::from_secs(15 * 60);
