//! Notes of all kinds, joined: one complete list first, then what changed, and what is wrong.
//!
//! Half a list never passes for a complete one: nothing is told before every kind was listed once. An object that cannot be
//! read keeps its last good state.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use minimesh_index::{Condition, Event, Kind, Object, ObjectKey, ParentStatus, RouteStatus, Truth, faults, refusals};
use tokio::sync::{mpsc, watch};

use super::kept::Malformed;
use super::reflect::Note;
use super::{Problem, Source};

/// Starts the task that joins.
pub(super) fn spawn(notes: mpsc::Receiver<Note>) -> Source {
    let (changes, events) = mpsc::channel(1);
    let (report, problems) = watch::channel(Arc::from([]));
    let (judge, unread) = watch::channel(Arc::from([]));
    tokio::spawn(run(notes, changes, report, judge));
    Source { events, problems, unread }
}

async fn run(
    mut notes: mpsc::Receiver<Note>,
    changes: mpsc::Sender<Vec<Event>>,
    report: watch::Sender<Arc<[Problem]>>,
    judge: watch::Sender<Arc<[RouteStatus]>>,
) {
    let mut collection = Collection::new(WATCHED);
    loop {
        let note = tokio::select! {
            note = notes.recv() => note,
            () = changes.closed() => None,
        };
        let Some(note) = note else { return };
        collection.take(note);
        // What came meanwhile belongs to the same batch; the index is asked once for all of it.
        while collection.events.len() < BATCH
            && let Ok(note) = notes.try_recv()
        {
            collection.take(note);
        }
        if let Some(problems) = collection.news() {
            report.send_replace(problems);
            judge.send_replace(collection.unread.values().cloned().collect());
        }
        let batch = collection.batch();
        if !batch.is_empty() && changes.send(batch).await.is_err() {
            return;
        }
    }
}

/// What is known, and what has not been told yet.
struct Collection {
    kinds: BTreeMap<Kind, Known>,
    /// Until everything was listed: all objects. Then nothing.
    first: Option<BTreeMap<ObjectKey, Object>>,
    events: Vec<Event>,
    objects: BTreeMap<ObjectKey, Vec<Problem>>,
    /// Routes that cannot be read as they are, with what is to be said of them.
    unread: BTreeMap<ObjectKey, RouteStatus>,
    changed: bool,
}

/// What is known of one kind.
#[derive(Default)]
struct Known {
    listed: bool,
    /// In the index.
    in_force: BTreeSet<ObjectKey>,
    /// While a list is read: what of it was seen.
    seen: Option<BTreeSet<ObjectKey>>,
}

impl Collection {
    fn new(kinds: impl IntoIterator<Item = Kind>) -> Collection {
        Collection {
            kinds: kinds.into_iter().map(|kind| (kind, Known::default())).collect(),
            first: Some(BTreeMap::new()),
            events: Vec::new(),
            objects: BTreeMap::new(),
            unread: BTreeMap::new(),
            changed: false,
        }
    }

    fn take(&mut self, note: Note) {
        match note {
            Note::Absent(kind) => {
                self.known(kind).seen = Some(BTreeSet::new());
                self.listed(kind);
            }
            Note::Begun(kind) => self.known(kind).seen = Some(BTreeSet::new()),
            Note::Done(kind) => self.listed(kind),
            Note::Gone(key) => self.gone(key),
            Note::Seen(key, body) => self.seen(key, *body),
        }
    }

    fn known(&mut self, kind: Kind) -> &mut Known {
        self.kinds.entry(kind).or_default()
    }

    /// The list is complete: what it lacks is gone.
    fn listed(&mut self, kind: Kind) {
        let known = self.known(kind);
        known.listed = true;
        let seen = known.seen.take().unwrap_or_default();
        let of_kind = self.objects.keys().filter(|key| key.kind == kind).cloned();
        let gone: Vec<ObjectKey> = of_kind.chain(self.kinds[&kind].in_force.iter().cloned()).collect();
        gone.into_iter().filter(|key| !seen.contains(key)).for_each(|key| self.gone(key));
        if self.kinds.values().all(|known| known.listed)
            && let Some(first) = self.first.take()
        {
            self.events.push(Event::Replace(first.into_values().collect()));
        }
    }

    fn gone(&mut self, key: ObjectKey) {
        self.changed |= self.objects.remove(&key).is_some();
        self.unread.remove(&key);
        if !self.known(key.kind).in_force.remove(&key) {
            return;
        }
        match &mut self.first {
            Some(first) => drop(first.remove(&key)),
            None => self.events.push(Event::Delete(key)),
        }
    }

    fn seen(&mut self, key: ObjectKey, body: Result<Object, Malformed>) {
        let known = self.known(key.kind);
        if let Some(seen) = &mut known.seen {
            seen.insert(key.clone());
        }
        let had = known.in_force.contains(&key);
        let problem = |field: String, reason| Problem { object: key.clone(), field, reason };
        let mut unread = None;
        let (object, problems) = match body {
            Err(malformed) => {
                let follows = if had { "the object's last good state stays in force" } else { "it is not in force" };
                let field = if malformed.field == "." { String::new() } else { malformed.field.clone() };
                let problem = problem(field, format!("{}; {follows}", malformed.reason));
                unread = status(&problem, malformed);
                (None, vec![problem])
            }
            Ok(object) => {
                let refused = refusals(&object);
                let follows = if had { "the object's last good state stays in force" } else { "it denies" };
                let refusals =
                    refused.iter().map(|fault| problem(fault.field.clone(), format!("{}; {follows}", fault.reason)));
                let faults = faults(&object).into_iter().map(|fault| problem(fault.field, fault.reason));
                let problems = refusals.chain(faults).collect();
                // Who is there is there: without a good state, what cannot be read denies (index/policy).
                (Some(object).filter(|_| refused.is_empty() || !had), problems)
            }
        };
        self.changed |= unread.as_ref() != self.unread.get(&key);
        match unread {
            Some(status) => drop(self.unread.insert(key.clone(), status)),
            None => drop(self.unread.remove(&key)),
        }
        self.note_problems(&key, problems);
        let Some(object) = object else { return };
        self.known(key.kind).in_force.insert(key.clone());
        match &mut self.first {
            Some(first) => drop(first.insert(key, object)),
            None => self.events.push(Event::Apply(object)),
        }
    }

    fn note_problems(&mut self, key: &ObjectKey, problems: Vec<Problem>) {
        let before = match problems.is_empty() {
            true => self.objects.remove(key),
            false => self.objects.insert(key.clone(), problems),
        };
        self.changed |= before.as_ref() != self.objects.get(key);
    }

    /// What is wrong now, if that has changed.
    fn news(&mut self) -> Option<Arc<[Problem]>> {
        let all = || self.objects.values().flatten().cloned().collect();
        std::mem::take(&mut self.changed).then(all)
    }

    fn batch(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }
}

/// What is said of a route that cannot be read: to each of its parents that can.
fn status(problem: &Problem, malformed: Malformed) -> Option<RouteStatus> {
    let Malformed { parents, uid, generation, .. } = malformed;
    let accepted = Condition {
        condition_type: "Accepted",
        status: Truth::False,
        reason: "UnsupportedValue",
        message: problem.said().into_owned(),
    };
    let resolved = Condition {
        condition_type: "ResolvedRefs",
        status: Truth::Unknown,
        reason: "Pending",
        message: "what the route refers to cannot be told before it can be read".to_owned(),
    };
    let conditions = vec![accepted, resolved];
    let parents = parents.into_iter().map(|parent| ParentStatus { parent, conditions: conditions.clone() });
    let status = RouteStatus { route: problem.object.clone(), uid, generation, parents: parents.collect() };
    Some(status).filter(|status| !status.parents.is_empty())
}

/// What must have been listed before anybody is answered.
const WATCHED: [Kind; 8] = [
    Kind::Namespace,
    Kind::Node,
    Kind::Service,
    Kind::Pod,
    Kind::EndpointSlice,
    Kind::HttpRoute,
    Kind::GrpcRoute,
    Kind::ReferenceGrant,
];
/// Changes that are taken in as one.
const BATCH: usize = 512;

#[cfg(test)]
mod tests {
    use minimesh_index::resource::{Metadata, Namespace, ServiceAccount};

    use super::*;

    fn namespace(name: &str, policy: Option<&str>) -> Object {
        let mut metadata = Metadata::new("", name);
        metadata.annotations.extend(policy.map(|policy| (POLICY.to_owned(), policy.to_owned())));
        Object::Namespace(Namespace { metadata })
    }

    fn seen(object: Object) -> Note {
        Note::Seen(object.key(), Box::new(Ok(object)))
    }

    fn malformed(object: &Object) -> Note {
        let malformed =
            Malformed { field: "spec.x".to_owned(), reason: "is no number".to_owned(), ..Malformed::default() };
        Note::Seen(object.key(), Box::new(Err(malformed)))
    }

    fn said(collection: &mut Collection) -> Vec<String> {
        collection.news().map(|problems| problems.iter().map(ToString::to_string).collect()).unwrap_or_default()
    }

    const POLICY: &str = "minimesh.io/default-inbound-policy";

    fn synced(objects: Vec<Object>) -> Collection {
        let mut collection = Collection::new([Kind::Namespace]);
        collection.take(Note::Begun(Kind::Namespace));
        objects.iter().cloned().for_each(|object| collection.take(seen(object)));
        collection.take(Note::Done(Kind::Namespace));
        assert_eq!(collection.batch(), [Event::Replace(objects)]);
        collection
    }

    #[test]
    fn nothing_is_told_before_every_kind_was_listed() {
        let mut collection = Collection::new([Kind::Namespace, Kind::ServiceAccount]);
        let account = Object::ServiceAccount(ServiceAccount { metadata: Metadata::new("a", "b") });
        collection.take(Note::Begun(Kind::ServiceAccount));
        collection.take(seen(account.clone()));
        collection.take(Note::Done(Kind::ServiceAccount));
        collection.take(seen(account.clone()));
        collection.take(Note::Begun(Kind::Namespace));
        collection.take(seen(namespace("a", None)));
        assert_eq!(collection.batch(), []);
        collection.take(Note::Done(Kind::Namespace));
        assert_eq!(collection.batch(), [Event::Replace(vec![namespace("a", None), account])]);
    }

    #[test]
    fn a_kind_that_is_not_served_counts_as_an_empty_list_and_takes_its_objects_with_it() {
        let mut collection = Collection::new([Kind::Namespace]);
        collection.take(Note::Absent(Kind::Namespace));
        assert_eq!(collection.batch(), [Event::Replace(vec![])]);
        collection.take(seen(namespace("a", None)));
        collection.take(Note::Absent(Kind::Namespace));
        let key = namespace("a", None).key();
        assert_eq!(collection.batch(), [Event::Apply(namespace("a", None)), Event::Delete(key)]);
    }

    #[test]
    fn what_a_later_list_lacks_is_gone() {
        let mut collection = synced(vec![namespace("a", None), namespace("b", None)]);
        collection.take(Note::Begun(Kind::Namespace));
        collection.take(seen(namespace("b", None)));
        assert_eq!(collection.batch(), [Event::Apply(namespace("b", None))]);
        collection.take(Note::Done(Kind::Namespace));
        assert_eq!(collection.batch(), [Event::Delete(namespace("a", None).key())]);
    }

    #[test]
    fn a_malformed_object_keeps_its_last_good_state_and_is_named() {
        let mut collection = synced(vec![namespace("a", None)]);
        collection.take(malformed(&namespace("a", None)));
        collection.take(malformed(&namespace("b", None)));
        assert_eq!(collection.batch(), []);
        assert_eq!(
            said(&mut collection),
            [
                "Namespace a: spec.x: is no number; the object's last good state stays in force",
                "Namespace b: spec.x: is no number; it is not in force",
            ]
        );
        collection.take(Note::Begun(Kind::Namespace));
        collection.take(malformed(&namespace("a", None)));
        collection.take(Note::Done(Kind::Namespace));
        assert_eq!(collection.batch(), [], "still there, still malformed");
        assert_eq!(said(&mut collection).len(), 1, "b is gone");
        collection.take(seen(namespace("a", None)));
        assert_eq!((collection.batch().len(), said(&mut collection).len()), (1, 0));
    }

    #[test]
    fn a_policy_that_cannot_be_read_leaves_the_last_good_one_or_denies() {
        let mut collection = synced(vec![namespace("a", Some("deny"))]);
        collection.take(seen(namespace("a", Some("den"))));
        assert_eq!(collection.batch(), []);
        collection.take(seen(namespace("b", Some("den"))));
        assert_eq!(collection.batch(), [Event::Apply(namespace("b", Some("den")))]);
        let said = said(&mut collection);
        assert!(
            said[0].starts_with("Namespace a: metadata.annotations[minimesh.io/default-inbound-policy]: "),
            "{said:?}"
        );
        assert!(said[0].ends_with("last good state stays in force") && said[1].ends_with("it denies"), "{said:?}");
    }
}
