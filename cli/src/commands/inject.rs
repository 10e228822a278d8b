//! `minimesh inject`: manifests in, meshed manifests out.

use std::io::Write;
use std::path::PathBuf;

use minimesh_injector::Settings;
use serde_json::Value;

use crate::{
    Failure,
    manifest::{
        stream::Input,
        workload::{self, Change, Report},
    },
    stats::asking::print_lines,
};

/// Into the mesh.
#[derive(clap::Args)]
#[command(
    about = ABOUT,
    long_about = "Mark workloads in manifests as meshed\n\n\
        Reads YAML or JSON (files, folders, - for stdin; lists and streams), sets the label minimesh.io/inject: enabled on every pod \
        template, whatever the object's kind, and prints the result; comments and layout of YAML stay. Linkerd's annotation \
        linkerd.io/inject becomes the label. What was changed, what was not and why is said on stderr. Nothing is written to a \
        cluster: pipe the output into `kubectl apply -f -`. With --manual the sidecar itself is written into the pod template, as the \
        injector would do it when a pod is made.",
    after_long_help = EXAMPLES
)]
pub(crate) struct Args {
    /// Files, folders of manifests, or - for stdin
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// Write the sidecar itself, for clusters without the injector
    #[arg(long)]
    manual: bool,
    #[command(flatten)]
    settings: Settings,
}

impl Args {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let change = if self.manual { Change::Manual(Box::new(self.settings)) } else { Change::Label };
        pass(&self.files, &change)
    }
}

/// Manifests in and out, the report on stderr.
pub(super) fn pass(files: &[PathBuf], change: &Change) -> Result<(), Failure> {
    let mut text = String::new();
    let mut reports: Vec<Report> = Vec::new();
    let mut notes = Vec::new();
    for input in Input::all(files)? {
        let output = input.pass(|document: &mut Value| workload::change(document, change, &mut reports))?;
        // a file's last document and the next one's first are two
        if !text.is_empty() && !output.text.starts_with("---") {
            text.push_str("---\n");
        }
        text.push_str(&output.text);
        let name = &input.name;
        notes.extend(output.rewritten.iter().map(|number| {
            format!("{name}: comments of document {number} are lost: it has anchors, or is not in block style")
        }));
    }
    print_lines(&[text.trim_end_matches('\n').to_owned()])?;
    let mut stderr = std::io::stderr();
    for line in reports.iter().map(ToString::to_string).chain(notes) {
        // a closed stderr is no reason to lose the manifests
        let _ = writeln!(stderr, "{line}");
    }
    if reports.is_empty() {
        let _ = writeln!(
            stderr,
            "nothing here has pods: Deployments, StatefulSets, DaemonSets, Jobs, CronJobs and Pods do"
        );
    }
    Ok(())
}

/// In the list of commands.
pub(super) const ABOUT: &str = "Mark workloads in manifests as meshed";

const EXAMPLES: &str = "Examples:
  # what runs already: new pods take the place of the old ones
  kubectl get deployments -n sock-shop -o yaml | minimesh inject - | kubectl apply -f -

  # a folder of manifests
  minimesh inject manifests/ | kubectl apply -f -

  # with the sidecar written out, to look at
  minimesh inject --manual deployment.yaml";
