//! What can be measured.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{Task, cgroup, linkerd2};

/// Something between client and application.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Subject {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    /// Left out of a quick run.
    full_only: bool,
}

/// Who.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Kind {
    Direct,
    Envoy { http2_between: bool },
    Haproxy,
    Linkerd2,
    Minimesh(Variant),
}

/// Our pair, as it is shipped or with one thing changed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Variant {
    /// A JSON line of each request at both ends.
    AccessLog,
    /// A hundred endpoints behind the target.
    Endpoints,
    /// A tenth of a processor for each proxy.
    Limit,
    /// A thousand rules on the target.
    Rules,
    Shipped,
    /// Only mTLS gets in.
    Strict,
}

/// In the order of even rounds. What is compared stands close together.
const SUBJECTS: [Subject; 11] = [
    Subject { name: "direct", kind: Kind::Direct, full_only: false },
    Subject { name: "haproxy", kind: Kind::Haproxy, full_only: false },
    Subject { name: SHIPPED, kind: Kind::Minimesh(Variant::Shipped), full_only: false },
    Subject { name: "linkerd2", kind: Kind::Linkerd2, full_only: false },
    Subject { name: "envoy-h2", kind: Kind::Envoy { http2_between: true }, full_only: false },
    Subject { name: "envoy-h1", kind: Kind::Envoy { http2_between: false }, full_only: true },
    Subject { name: "minimesh-strict", kind: Kind::Minimesh(Variant::Strict), full_only: false },
    Subject { name: "minimesh-endpoints-100", kind: Kind::Minimesh(Variant::Endpoints), full_only: false },
    Subject { name: "minimesh-rules-1000", kind: Kind::Minimesh(Variant::Rules), full_only: false },
    Subject { name: "minimesh-access-log", kind: Kind::Minimesh(Variant::AccessLog), full_only: false },
    Subject { name: "minimesh-limit-100m", kind: Kind::Minimesh(Variant::Limit), full_only: false },
];

/// Ours.
pub(crate) const SHIPPED: &str = "minimesh";

/// Those that are asked for and can be had; and the others, with the reason.
pub(crate) fn choose(task: &Task) -> (Vec<Subject>, BTreeMap<String, String>) {
    let (mut present, mut absent) = (Vec::new(), BTreeMap::new());
    for subject in SUBJECTS {
        let asked = if task.only.is_empty() {
            !(task.quick && subject.full_only)
        } else {
            task.only.iter().any(|name| name == subject.name)
        };
        match subject.available(task) {
            _ if !asked => drop(absent.insert(subject.name.to_owned(), "not asked for".to_owned())),
            Err(why) => drop(absent.insert(subject.name.to_owned(), why)),
            Ok(()) => present.push(subject),
        }
    }
    (present, absent)
}

impl Subject {
    fn available(&self, task: &Task) -> Result<(), String> {
        match self.kind {
            Kind::Envoy { .. } => task.envoy.as_ref().map(drop).map_err(Clone::clone),
            Kind::Haproxy => task.haproxy.as_ref().map(drop).map_err(Clone::clone),
            Kind::Linkerd2 => task.linkerd2.as_ref().map(drop).map_err(Clone::clone),
            Kind::Minimesh(Variant::Limit) => cgroup::Limit::new("probe", 100).map(drop),
            Kind::Direct | Kind::Minimesh(_) => Ok(()),
        }
    }

    /// What it says of itself.
    pub(crate) fn version(&self, task: &Task) -> String {
        let of = |program: &Result<PathBuf, String>, say: fn(&Path) -> String| match program {
            Ok(program) => say(program),
            Err(why) => why.clone(),
        };
        match self.kind {
            Kind::Direct => "no proxy".to_owned(),
            Kind::Envoy { .. } => of(&task.envoy, |program| said(program, "--version")),
            Kind::Haproxy => of(&task.haproxy, |program| said(program, "-v")),
            Kind::Linkerd2 => of(&task.linkerd2, linkerd2::version),
            Kind::Minimesh(_) => {
                format!("{}: {}", said(&minimesh_tests::world::minimesh(), "--version"), task.minimesh)
            }
        }
    }
}

fn said(program: &Path, argument: &str) -> String {
    let output = Command::new(program).arg(argument).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    let line = text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or("says no version");
    // some say first where they are
    line.trim_start_matches(&*program.display().to_string()).trim().to_owned()
}
