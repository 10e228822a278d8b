//! Every annotation that the mesh reads or writes: one table, from which objects are read, sidecars are made, and
//! docs/reference/annotations.md is written.
//!
//! ```text
//! table.rs    the annotations, and those of Linkerd that have nothing to do here, with why
//! value.rs    which texts each of them takes
//! ```
//!
//! Owned by the injector, read by the index, the injector, the program's commands. Knows names and forms; what a value does
//! stands where it is done. Our own name wins over another mesh's.

mod table;
mod value;

use std::collections::BTreeMap;

pub use table::*;
pub use value::{Form, entries, networks, port_range, seconds};

/// One annotation.
#[derive(Clone, Copy, Debug)]
pub struct Annotation {
    /// Full name.
    pub name: &'static str,
    /// Names under which other meshes' users know it; read where ours is absent.
    pub aliases: &'static [&'static str],
    /// Objects on which it is read. A pod's word wins over that of its namespace.
    pub on: &'static [Place],
    /// Which values it takes.
    pub form: Form,
    /// What is in force without it, for people.
    pub default: &'static str,
    /// What it does, a sentence or two.
    pub about: &'static str,
    /// How it comes into force.
    pub effect: Effect,
}

/// An object that can carry an annotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Read for every pod in it that says nothing itself.
    Namespace,
    /// A pod; in a Deployment and its like, the pod template.
    Pod,
    /// An HTTPRoute or a GRPCRoute.
    Route,
    /// A Service.
    Service,
}

/// How an annotation comes into force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// At once: the control plane reads it and tells the proxies.
    Live,
    /// When the pod is made: an environment variable of the sidecar.
    Sidecar(&'static str),
    /// When the pod is made: an environment variable of the step that programs interception. The control plane reads it too.
    Redirect(&'static str),
    /// When the pod is made: resources of the containers that are added, by field (`requests` or `limits`) and name.
    Resource(&'static str, &'static str),
    /// When the pod is made: the application's containers are changed.
    Application,
    /// Written by the mesh, not by people.
    Written,
}

/// An annotation of another mesh that is understood and has nothing to do here.
#[derive(Clone, Copy, Debug)]
pub struct Foreign {
    /// Full name.
    pub name: &'static str,
    /// Why there is nothing to do, or what to use instead.
    pub why: &'static str,
}

impl Annotation {
    /// The value in these annotations, without blanks around it, and the name under which it stands there.
    pub fn find<'a>(&self, annotations: &'a BTreeMap<String, String>) -> Option<(&'static str, &'a str)> {
        [self.name].iter().chain(self.aliases).find_map(|&name| Some((name, annotations.get(name)?.trim())))
    }

    /// The same, looked for in a pod's annotations and then in its namespace's, where a namespace may say it.
    pub fn find_for_pod<'a>(
        &self,
        pod: &'a BTreeMap<String, String>,
        namespace: &'a BTreeMap<String, String>,
    ) -> Option<(&'static str, &'a str)> {
        let of_namespace = || self.on.contains(&Place::Namespace).then(|| self.find(namespace)).flatten();
        self.find(pod).or_else(of_namespace)
    }

    /// Without the prefix.
    pub fn short_name(&self) -> &'static str {
        self.name.strip_prefix(PREFIX).unwrap_or(self.name)
    }

    fn answers_to(&self, name: &str) -> bool {
        self.name == name || self.aliases.contains(&name)
    }
}

/// The annotation of this name, or of this alias.
pub fn named(name: &str) -> Option<&'static Annotation> {
    TABLE.iter().copied().find(|annotation| annotation.answers_to(name))
}

/// Sentences about annotations under our prefix or Linkerd's that have no effect: unknown ones, and those that need none.
pub fn without_effect(annotations: &BTreeMap<String, String>) -> Vec<String> {
    let ours = |name: &&String| PREFIXES.iter().any(|prefix| name.starts_with(prefix)) && named(name).is_none();
    let sentence = |name: &String| match FOREIGN.iter().find(|foreign| foreign.name == name) {
        Some(Foreign { why, .. }) => format!("annotation {name} has no effect: {why}"),
        None => match nearest(name) {
            Some(near) => format!("annotation {name} is unknown and has no effect; did you mean {near}?"),
            None => format!(
                "annotation {name} is unknown and has no effect; docs/reference/annotations.md names those that are read"
            ),
        },
    };
    annotations.keys().filter(ours).map(sentence).collect()
}

/// A known name that differs in at most two letters.
fn nearest(name: &str) -> Option<&'static str> {
    let names =
        TABLE.iter().flat_map(|annotation| [annotation.name].into_iter().chain(annotation.aliases.iter().copied()));
    let near =
        names.map(|known| (distance(name.as_bytes(), known.as_bytes()), known)).min_by_key(|(distance, _)| *distance);
    near.filter(|(distance, _)| *distance <= 2).map(|(_, known)| known)
}

/// Levenshtein's.
fn distance(left: &[u8], right: &[u8]) -> usize {
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, a) in left.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in right.iter().enumerate() {
            let above = row[j + 1];
            row[j + 1] = (diagonal + usize::from(a != b)).min(above + 1).min(row[j] + 1);
            diagonal = above;
        }
    }
    row[right.len()]
}

/// docs/reference/annotations.md.
pub fn reference() -> String {
    let mut page = String::from(INTRODUCTION);
    for (place, heading) in [
        (Place::Pod, "On a pod template"),
        (Place::Service, "On a Service"),
        (Place::Route, "On an HTTPRoute or GRPCRoute"),
    ] {
        page.push_str(&format!(
            "\n## {heading}\n\n| annotation | values | without it | what it does |\n|---|---|---|---|\n"
        ));
        let here = |annotation: &&&Annotation| annotation.on.contains(&place) && annotation.effect != Effect::Written;
        for annotation in TABLE.iter().filter(here) {
            page.push_str(&row(annotation, place));
        }
    }
    page.push_str("\n## Written by the mesh\n\n| annotation | what it says |\n|---|---|\n");
    for annotation in TABLE.iter().filter(|annotation| annotation.effect == Effect::Written) {
        page.push_str(&format!("| `{}` | {} |\n", annotation.name, annotation.about));
    }
    page.push_str(
        "\n## Linkerd's annotations without effect\n\nThey are recognised, do no harm, and are named in a warning.\n\n| annotation | why |\n|---|---|\n",
    );
    for foreign in FOREIGN {
        page.push_str(&format!("| `{}` | {} |\n", foreign.name, foreign.why));
    }
    page
}

fn row(annotation: &Annotation, place: Place) -> String {
    let mut name = format!("`{}`", annotation.name);
    for alias in annotation.aliases {
        name.push_str(&format!("<br>`{alias}`"));
    }
    let when = match annotation.effect {
        Effect::Live => "At once.".to_owned(),
        Effect::Sidecar(variable) => format!("When the pod is made (`{variable}` of the sidecar)."),
        Effect::Redirect(variable) => format!("When the pod is made (`{variable}` of `minimesh-redirect`)."),
        Effect::Resource(field, name) => format!("When the pod is made (`resources.{field}.{name}` of the sidecar)."),
        Effect::Application | Effect::Written => "When the pod is made.".to_owned(),
    };
    let namespace = place == Place::Pod && annotation.on.contains(&Place::Namespace);
    let also = if namespace { " Also on a namespace." } else { "" };
    let Annotation { form, default, about, .. } = annotation;
    format!("| {name} | {} | {default} | {about} {when}{also} |\n", form.words())
}

/// Of our own annotations and labels.
pub const PREFIX: &str = "minimesh.io/";
/// Under these, a name that is not in the table is a mistake of somebody.
const PREFIXES: [&str; 4] = [PREFIX, "config.linkerd.io/", "config.alpha.linkerd.io/", "config.beta.linkerd.io/"];

const INTRODUCTION: &str = "\
# Annotations

Written by `cargo xtask gen-docs` from the table that the program reads (api/src/annotations).

Whether a pod is meshed is said by a *label*, `minimesh.io/inject` with the value `enabled` or `disabled`, on a namespace or on a
pod template; the pod's word wins, except in a namespace that says `disabled`. How it is meshed is said by annotations. A pod's
annotation wins over its namespace's, and our name wins over Linkerd's. No annotation chooses an image, a variable or a right of
the containers that are added. A value that cannot be read is named in a warning and has no effect, unless a policy is meant:
then the pod is refused.
";

#[cfg(test)]
mod tests {
    use super::*;

    fn annotations(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
    }

    #[test]
    fn names_are_unique_sorted_and_ours() {
        let names: Vec<&str> = TABLE.iter().map(|annotation| annotation.name).collect();
        assert!(names.is_sorted() && names.iter().all(|name| name.starts_with(PREFIX)), "{names:?}");
        let mut all: Vec<&str> = TABLE.iter().flat_map(|annotation| annotation.aliases).copied().chain(names).collect();
        all.extend(FOREIGN.iter().map(|foreign| foreign.name));
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), count, "a name stands twice");
    }

    #[test]
    fn our_name_wins_and_blanks_do_not_count() {
        let both = annotations(&[
            ("config.linkerd.io/skip-outbound-ports", "25"),
            ("minimesh.io/skip-outbound-ports", " 26 "),
        ]);
        assert_eq!(SKIP_OUTBOUND_PORTS.find(&both), Some(("minimesh.io/skip-outbound-ports", "26")));
        let linkerd = annotations(&[("config.linkerd.io/skip-outbound-ports", "25")]);
        assert_eq!(SKIP_OUTBOUND_PORTS.find(&linkerd), Some(("config.linkerd.io/skip-outbound-ports", "25")));
    }

    #[test]
    fn a_pods_word_wins_over_its_namespaces_where_a_namespace_may_say_it() {
        let namespace =
            annotations(&[("minimesh.io/proxy-log-level", "warn"), ("minimesh.io/token-sha256", "of nobody")]);
        let pod = annotations(&[("config.linkerd.io/proxy-log-level", "debug")]);
        let none = BTreeMap::new();
        assert_eq!(PROXY_LOG_LEVEL.find_for_pod(&pod, &namespace).map(|(_, value)| value), Some("debug"));
        assert_eq!(PROXY_LOG_LEVEL.find_for_pod(&none, &namespace).map(|(_, value)| value), Some("warn"));
        assert_eq!(TOKEN_SHA256.find_for_pod(&none, &namespace), None);
    }

    #[test]
    fn what_has_no_effect_is_said_with_the_reason() {
        let found = without_effect(&annotations(&[
            ("config.linkerd.io/proxy-await", "enabled"),
            ("config.linkerd.io/skip-outbound-ports", "25"),
            ("example.com/anything", "x"),
            ("minimesh.io/frobnicate", "x"),
            ("minimesh.io/skip-outbound-port", "25"),
        ]));
        assert_eq!(found.len(), 3, "{found:#?}");
        assert!(found[0].starts_with("annotation config.linkerd.io/proxy-await has no effect: "), "{found:#?}");
        assert!(found[1].contains("docs/reference/annotations.md"), "{found:#?}");
        assert!(found[2].ends_with("did you mean minimesh.io/skip-outbound-ports?"), "{found:#?}");
    }

    #[test]
    fn the_reference_names_every_annotation_and_every_alias() {
        let page = reference();
        for annotation in TABLE {
            for name in [annotation.name].iter().chain(annotation.aliases) {
                assert!(page.contains(&format!("`{name}`")), "{name}");
            }
        }
        assert!(FOREIGN.iter().all(|foreign| page.contains(foreign.why)));
    }
}
