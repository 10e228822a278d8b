//! What `edges` and `stat` share: which demo to ask, over how long, and how to print the answer.

use std::{
    io::{self, Write},
    path::PathBuf,
    time::Duration,
};

use minimesh_api::model::ReportedEdge;
use minimesh_runtime::duration;

use super::{Screen, Source, table::Style};
use crate::{Failure, run_dir};

/// Which demo, and how far back.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Asking {
    #[command(flatten)]
    base: run_dir::Base,
    /// The demo to ask, as the folder that it printed; without it the newest that runs
    #[arg(long, value_name = "DIR")]
    run: Option<PathBuf>,
    /// Only workloads of this namespace
    #[arg(short, long)]
    pub(crate) namespace: Option<String>,
    /// Over how long rates and percentiles are taken
    #[arg(long, default_value = "1m", value_parser = duration::parse)]
    window: Duration,
}

impl Asking {
    /// Finds the demo and asks its control plane.
    pub(crate) fn ask(&self) -> Result<Vec<ReportedEdge>, Failure> {
        let found = self.base.find(self.run.as_deref())?;
        if let Some(note) = &found.note {
            // a closed stderr is no reason to refuse the answer
            let _ = writeln!(io::stderr(), "{note}");
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        Ok(runtime.block_on(Source::at(found.run.operator_socket).edges(self.window))?)
    }

    /// Whether a namespace was asked for.
    pub(crate) fn wants(&self, namespace: Option<&str>) -> bool {
        self.namespace.is_none() || self.namespace.as_deref() == namespace
    }
}

/// Tables are as wide as they get: the terminal wraps or the user pipes into `less -S`.
pub(crate) fn style() -> Style {
    let (style, _) = Screen::of_stdout().style();
    Style { width: None, ..style }
}

/// Prints lines; a reader that went away is no error.
pub(crate) fn print_lines(lines: &[String]) -> Result<(), Failure> {
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}
