//! The user's manifests: read once by the supervisor, which refuses what the demo cannot run, and watched by the node.
//!
//! Reading itself is the control plane's folder source; what is added here are the demands of a machine that pulls no images.

use std::{
    ffi::OsStr,
    fs, io,
    path::{Path, PathBuf},
};

use minimesh_control_plane::folder;
use minimesh_index::{
    Event, Object,
    resource::{Container, Deployment, Service},
};

use super::{
    cluster::{command_of, unsupported_env},
    messages::Exposed,
};

/// What one look at the folder says.
#[derive(Debug, Default)]
pub(crate) struct Checked {
    /// Why it cannot run, a sentence each with file, line and field.
    pub(crate) problems: Vec<String>,
    /// What will not run although it is there.
    pub(crate) notes: Vec<String>,
    /// The Service for the host's port; the port on the host is not set yet.
    pub(crate) exposed: Option<Exposed>,
    /// Deployments.
    pub(crate) deployments: usize,
}

/// What the watch reports.
pub(crate) enum Change {
    Objects(Vec<Event>),
    Warning(String),
}

/// Writes the shop's own manifests out.
pub(crate) fn write_shop(folder: &Path) -> io::Result<()> {
    fs::create_dir(folder)?;
    sock_shop::MANIFESTS.iter().try_for_each(|(name, text)| fs::write(folder.join(name), text))
}

/// Reads everything in the folder.
pub(crate) fn check(folder: &Path) -> io::Result<Checked> {
    let mut checked = Checked::default();
    let mut services = Vec::new();
    for path in files(folder)? {
        let file = path.display().to_string();
        let text =
            fs::read_to_string(&path).map_err(|error| io::Error::new(error.kind(), format!("{file}: {error}")))?;
        let parsed = folder::parse(&file, &text);
        checked.problems.extend(parsed.problems.iter().map(ToString::to_string));
        for kind in parsed.ignored.iter().filter(|kind| NOT_RUN.iter().any(|name| kind.ends_with(name))) {
            checked.notes.push(format!("{file}: {kind} is not run by the demo; write a Deployment"));
        }
        for (object, line) in parsed.objects {
            match object {
                Object::Deployment(deployment) => {
                    checked.deployments += 1;
                    let place = |container: &Container| {
                        let line = line_of(&text, line, &container.name);
                        format!("{file}:{line}: ")
                    };
                    checked.problems.extend(faults(&deployment, place));
                }
                Object::Pod(pod) => {
                    let name = &pod.metadata.name;
                    checked.notes.push(format!("{file}:{line}: Pod {name} is not run by the demo; write a Deployment"));
                }
                Object::Service(service) => services.push(*service),
                _ => {}
            }
        }
    }
    if checked.deployments == 0 && checked.problems.is_empty() {
        let folder = folder.display();
        checked
            .problems
            .push(format!("{folder}: no Deployment in any .yaml, .yml or .json file; the demo runs Deployments"));
    }
    checked.exposed = exposed(&services);
    Ok(checked)
}

/// Watches the folder from now on. A Deployment that cannot run is reported, and what ran before goes on.
pub(crate) fn watch(folder: &Path, tell: impl Fn(Change) + 'static) -> Result<(), String> {
    let mut watched = folder::watch(vec![folder.to_owned()]).map_err(|error| error.to_string())?;
    tokio::task::spawn_local(async move {
        loop {
            tokio::select! {
                events = watched.events.recv() => match events {
                    Some(events) => tell(Change::Objects(events.into_iter().filter_map(|event| runnable(event, &tell)).collect())),
                    None => return,
                },
                Ok(()) = watched.problems.changed() => {
                    for problem in watched.problems.borrow_and_update().iter() {
                        tell(Change::Warning(problem.to_string()));
                    }
                }
            }
        }
    });
    Ok(())
}

/// The event without Deployments that cannot run.
fn runnable(event: Event, tell: &impl Fn(Change)) -> Option<Event> {
    let can_run = |object: &Object| {
        let Object::Deployment(deployment) = object else { return true };
        let faults = faults(deployment, |_| String::new());
        let metadata = &deployment.metadata;
        for fault in &faults {
            tell(Change::Warning(format!("Deployment {}/{}: {fault}", metadata.namespace, metadata.name)));
        }
        faults.is_empty()
    };
    match event {
        Event::Apply(object) => can_run(&object).then_some(Event::Apply(object)),
        Event::Delete(key) => Some(Event::Delete(key)),
        Event::Replace(mut objects) => {
            objects.retain(can_run);
            Some(Event::Replace(objects))
        }
    }
}

/// Why a Deployment cannot run here.
fn faults(deployment: &Deployment, place: impl Fn(&Container) -> String) -> Vec<String> {
    let pod = &deployment.spec.template.spec;
    let containers = pod.containers.iter().enumerate().map(|(index, container)| ("containers", index, container));
    let before = pod.init_containers.iter().enumerate().map(|(index, container)| ("initContainers", index, container));
    let mut faults = Vec::new();
    for (list, index, container) in before.chain(containers) {
        let field = format!("{}spec.template.spec.{list}[{index}]", place(container));
        if command_of(container).is_empty() {
            let image = container.image.as_deref().map(|image| format!(" {image}")).unwrap_or_default();
            faults.push(format!(
                "{field}.command is missing: the image{image} is not pulled; name a program of this machine, \
                 as in command: [\"python3\", \"-m\", \"http.server\", \"8080\"]"
            ));
        }
        if let Some(variable) = unsupported_env(container) {
            faults.push(format!(
                "{field}.env: {} comes from a source that the demo has not (Secrets, ConfigMaps); give it a value",
                variable.name
            ));
        }
    }
    if pod.containers.is_empty() {
        faults.push("spec.template.spec.containers is empty: a pod needs a container".into());
    }
    faults
}

/// Which Service the host's port leads to: the one that says so, else the shop's page, else the first that is meant to be
/// reached from outside.
fn exposed(services: &[Service]) -> Option<Exposed> {
    let marked = |service: &&Service| service.metadata.annotations.get(EXPOSE).is_some_and(|value| value == "true");
    let page = |service: &&Service| service.metadata.name == "front-end";
    let outside =
        |service: &&Service| matches!(service.spec.service_type.as_deref(), Some("LoadBalancer" | "NodePort"));
    let find = |rule: &dyn Fn(&&Service) -> bool| services.iter().find(rule);
    let service = find(&marked).or_else(|| find(&page)).or_else(|| find(&outside))?;
    let port = service.spec.ports.iter().find(|port| port.is_tcp())?.port;
    let metadata = &service.metadata;
    Some(Exposed { namespace: metadata.namespace.clone(), service: metadata.name.clone(), port, host_port: 0 })
}

/// In the order in which the folder source reads them.
fn files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let is_manifest = |path: &PathBuf| {
        let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        !hidden && path.is_file() && path.extension().and_then(OsStr::to_str).is_some_and(|end| ENDINGS.contains(&end))
    };
    let mut files: Vec<PathBuf> =
        fs::read_dir(folder)?.flatten().map(|entry| entry.path()).filter(is_manifest).collect();
    files.sort();
    Ok(files)
}

/// Where a container is named, at or below the line on which its object begins.
fn line_of(text: &str, object: u32, container: &str) -> usize {
    let first = (object as usize).saturating_sub(1);
    let names_it = |line: &str| {
        let value = line.trim_start_matches([' ', '-']).strip_prefix("name:").map(str::trim);
        value.is_some_and(|value| value.trim_matches(['"', '\'']) == container)
    };
    let mut inside = false;
    for (index, line) in text.lines().enumerate().skip(first) {
        inside |= line.trim_end().ends_with("ontainers:");
        if inside && names_it(line) {
            return index + 1;
        }
    }
    first + 1
}

/// Marks the Service that the host's port leads to.
const EXPOSE: &str = "minimesh.io/demo-expose";
const ENDINGS: [&str; 3] = ["json", "yaml", "yml"];
const NOT_RUN: [&str; 5] = ["CronJob", "DaemonSet", "Job", "ReplicaSet", "StatefulSet"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn container_without_command_is_named_by_field_with_advice() {
        let mut deployment = Deployment::default();
        let image = Some("redis:7".to_owned());
        deployment.spec.template.spec.containers = vec![Container { name: "a".into(), image, ..Container::default() }];
        let faults = faults(&deployment, |_| "web.yaml:7: ".into());
        assert_eq!(faults.len(), 1);
        assert!(
            faults[0].starts_with("web.yaml:7: spec.template.spec.containers[0].command is missing"),
            "{}",
            faults[0]
        );
        assert!(faults[0].contains("redis:7"), "{}", faults[0]);
    }

    #[test]
    fn line_of_a_container_is_found_below_its_list() {
        let text = "kind: Deployment\nmetadata:\n  name: web\nspec:\n  template:\n    spec:\n      containers:\n        - name: web\n";
        assert_eq!(line_of(text, 1, "web"), 8);
        assert_eq!(line_of(text, 1, "nobody"), 1);
    }

    #[test]
    fn marked_service_wins_over_the_page_and_over_node_ports() {
        let service = |name: &str, kind: Option<&str>, marked: bool| {
            let mut service =
                Service { metadata: minimesh_index::resource::Metadata::new("ns", name), ..Service::default() };
            service.spec.service_type = kind.map(Into::into);
            service.spec.ports = vec![minimesh_index::resource::ServicePort { port: 80, ..Default::default() }];
            if marked {
                service.metadata.annotations.insert(EXPOSE.into(), "true".into());
            }
            service
        };
        let (plain, node, page) =
            (service("a", None, false), service("b", Some("NodePort"), false), service("front-end", None, false));
        let name = |services: &[Service]| exposed(services).map(|found| found.service);
        assert_eq!(name(std::slice::from_ref(&plain)), None);
        assert_eq!(name(&[plain, node.clone()]), Some("b".into()));
        assert_eq!(name(&[node.clone(), page.clone()]), Some("front-end".into()));
        assert_eq!(name(&[page, node, service("z", None, true)]), Some("z".into()));
    }
}
