//! Conditions of routes, written back as our controller's: what the index judged of the object as it is, what of it has no effect,
//! and of one that cannot be read as it is, that.
//!
//! Written by the replica that leads (`keep`). Entries and conditions of others stay as they are and where they are, and what is there
//! already is not written again: two controllers that mend each other's order would do so for ever.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::jiff::Timestamp;
use kube::Client;
use kube::api::{Api, ApiResource, DynamicObject, ListParams, PostParams};
use minimesh_index::resource::ParentRef;
use minimesh_index::{Condition, Kind, ObjectKey, ParentStatus, RouteStatus};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::watch;
use tracing::{debug, warn};

use super::Problem;
use super::gateway::served;
use super::keep::{Writer, keep};
use super::lease::Leadership;
use super::reflect::in_words;

/// What the writer needs.
pub(crate) struct Statuses {
    /// Whom it writes to.
    pub(crate) client: Client,
    /// What the index judged of all routes that there are; nothing before it knows them.
    pub(crate) routes: watch::Receiver<Option<Arc<[RouteStatus]>>>,
    /// What has no effect.
    pub(crate) problems: watch::Receiver<Arc<[Problem]>>,
    /// Of routes that cannot be read as they are.
    pub(crate) unread: watch::Receiver<Arc<[RouteStatus]>>,
}

struct Conditions {
    source: Statuses,
    /// What stands there.
    written: BTreeMap<ObjectKey, RouteStatus>,
    /// Whether all that others wrote as our controller is in `written`, or gone.
    swept: bool,
}

/// Where kinds are served, each asked once for a batch of writes; `None`: nowhere.
#[derive(Default)]
struct Kinds(BTreeMap<Kind, Option<ApiResource>>);

/// What became of a status.
enum Outcome {
    /// It stands there.
    Written,
    /// The object is another one than was judged; its news is on its way.
    Behind,
}

impl Statuses {
    /// Writes until nobody judges any more.
    pub(crate) async fn run(self, leadership: Leadership) {
        keep(Conditions { source: self, written: BTreeMap::new(), swept: false }, leadership).await;
    }

    /// What is to be said of each route now; `None`: nobody can tell yet.
    fn wanted(&mut self) -> Option<BTreeMap<ObjectKey, RouteStatus>> {
        let judged = self.routes.borrow_and_update().clone();
        let (problems, unread) = (self.problems.borrow_and_update().clone(), self.unread.borrow_and_update().clone());
        let judged = judged?;
        let mut wanted: BTreeMap<_, _> = judged.iter().map(|status| (status.route.clone(), status.clone())).collect();
        for problem in problems.iter() {
            let Some(status) = wanted.get_mut(&problem.object) else { continue };
            status.parents.iter_mut().for_each(|parent| add(&mut parent.conditions, &problem.said()));
        }
        wanted.extend(unread.iter().map(|status| (status.route.clone(), status.clone())));
        Some(wanted)
    }

    /// Routes that have a word of ours, whoever of us wrote it.
    async fn marked(&self, kinds: &mut Kinds) -> Result<BTreeSet<ObjectKey>, kube::Error> {
        let mut marked = BTreeSet::new();
        for kind in [Kind::HttpRoute, Kind::GrpcRoute] {
            let Some(resource) = kinds.resource(kind, &self.client).await? else { continue };
            let api: Api<DynamicObject> = Api::all_with(self.client.clone(), &resource);
            let mut page = ListParams::default().limit(PAGE);
            loop {
                let list = api.list(&page).await?;
                let ours = list.items.iter().filter(|object| {
                    let parents = object.data["status"]["parents"].as_array();
                    parents.into_iter().flatten().any(|entry| entry["controllerName"] == CONTROLLER)
                });
                let names =
                    ours.filter_map(|object| object.metadata.namespace.as_deref().zip(object.metadata.name.as_deref()));
                marked.extend(names.map(|(namespace, name)| ObjectKey::new(kind, namespace, name)));
                page.continue_token = list.metadata.continue_.filter(|token| !token.is_empty());
                if page.continue_token.is_none() {
                    break;
                }
            }
        }
        Ok(marked)
    }

    async fn put(&self, status: &RouteStatus, kinds: &mut Kinds) -> Result<Outcome, kube::Error> {
        let key = &status.route;
        // Its kind is served no more, or it is gone itself: so is its status.
        let Some(resource) = kinds.resource(key.kind, &self.client).await? else { return Ok(Outcome::Written) };
        let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), &key.namespace, &resource);
        let Some(mut object) = api.get_opt(&key.name).await? else { return Ok(Outcome::Written) };
        let is_other = |uid: &Arc<str>| object.metadata.uid.as_deref() != Some(uid);
        let is_older = |generation| object.metadata.generation != Some(generation);
        if status.uid.as_ref().is_some_and(is_other) || status.generation.is_some_and(is_older) {
            return Ok(Outcome::Behind);
        }
        let before = object.data["status"]["parents"].as_array().cloned().unwrap_or_default();
        let after = merged(&before, &status.parents, object.metadata.generation, Timestamp::now());
        if after == before {
            return Ok(Outcome::Written);
        }
        object.data["status"]["parents"] = Value::Array(after);
        match api.replace_status(&key.name, &PostParams::default(), &object).await {
            Ok(_) => {
                debug!(route = %key, "status written");
                Ok(Outcome::Written)
            }
            Err(kube::Error::Api(answer)) if answer.code == 409 => Ok(Outcome::Behind),
            Err(error) => Err(error),
        }
    }
}

impl Writer for Conditions {
    async fn write(&mut self, afresh: bool) -> bool {
        let Conditions { source, written, swept } = self;
        if afresh {
            written.clear();
            *swept = false;
        }
        let (mut kinds, mut all) = (Kinds::default(), true);
        let Some(wanted) = source.wanted() else { return true };
        let mut left: BTreeSet<ObjectKey> = written.keys().cloned().collect();
        if !*swept {
            match source.marked(&mut kinds).await {
                Ok(marked) => {
                    left.extend(marked);
                    *swept = true;
                }
                Err(error) => {
                    warn!(error = in_words(&error), "routes cannot be listed to clear old statuses; trying again");
                    all = false;
                }
            }
        }
        // a route without a parent of ours any more keeps no word of ours
        left.retain(|route| !wanted.contains_key(route));
        let left =
            left.into_iter().map(|route| RouteStatus { route, uid: None, generation: None, parents: Vec::new() });
        let news = wanted.into_values().filter(|status| written.get(&status.route) != Some(status));
        let news: Vec<RouteStatus> = news.chain(left).collect();
        for status in news {
            match source.put(&status, &mut kinds).await {
                Ok(Outcome::Written) if status.parents.is_empty() => drop(written.remove(&status.route)),
                Ok(Outcome::Written) => drop(written.insert(status.route.clone(), status)),
                Ok(Outcome::Behind) => {
                    *swept &= !status.parents.is_empty();
                    all = false;
                }
                Err(error) => {
                    warn!(route = %status.route, error = in_words(&error), "its status cannot be written; trying again");
                    // A route that another replica wrote to, and that is not in `written`, must be found again.
                    *swept &= !status.parents.is_empty();
                    all = false;
                }
            }
        }
        all
    }

    async fn changed(&mut self) -> bool {
        let changed = tokio::select! {
            changed = self.source.routes.changed() => changed,
            changed = self.source.problems.changed() => changed,
            changed = self.source.unread.changed() => changed,
        };
        changed.is_ok()
    }
}

impl Kinds {
    async fn resource(&mut self, kind: Kind, client: &Client) -> Result<Option<ApiResource>, kube::Error> {
        if let Some(known) = self.0.get(&kind) {
            return Ok(known.clone());
        }
        let resource = served(client, kind).await?;
        self.0.insert(kind, resource.clone());
        Ok(resource)
    }
}

/// Adds to what is said of acceptance what none of the conditions says yet.
fn add(conditions: &mut [Condition], said: &str) {
    if conditions.iter().any(|condition| condition.message.contains(said)) {
        return;
    }
    for condition in conditions.iter_mut().filter(|condition| condition.condition_type == "Accepted") {
        let pause = if condition.message.is_empty() { "" } else { "; " };
        condition.message.extend([pause, said]);
    }
}

/// `before` with our entries as they are to be: in their place where they were, at the end where they are new.
fn merged(before: &[Value], wanted: &[ParentStatus], generation: Option<i64>, now: Timestamp) -> Vec<Value> {
    let mut missing: Vec<&ParentStatus> = wanted.iter().collect();
    let mut after = Vec::with_capacity(before.len() + wanted.len());
    for entry in before {
        if entry["controllerName"] != CONTROLLER {
            after.push(entry.clone());
            continue;
        }
        let parent = ParentRef::deserialize(&entry["parentRef"]).ok();
        let at = missing.iter().position(|status| Some(&status.parent) == parent.as_ref());
        if let Some(at) = at {
            after.push(entry_of(missing.remove(at), entry, generation, now));
        }
    }
    after.extend(missing.into_iter().map(|status| entry_of(status, &Value::Null, generation, now)));
    after
}

fn entry_of(status: &ParentStatus, before: &Value, generation: Option<i64>, now: Timestamp) -> Value {
    let none = Vec::new();
    let known = before["conditions"].as_array().unwrap_or(&none);
    let ours = |condition: &Condition| {
        let same = known.iter().find(|known| known["type"] == condition.condition_type);
        let status = condition.status.word();
        let since = same.filter(|known| known["status"] == status).map(|known| known["lastTransitionTime"].clone());
        let mut written = json!({
            "type": condition.condition_type,
            "status": status,
            "reason": condition.reason,
            "message": cut(&condition.message),
            "lastTransitionTime": since.unwrap_or_else(|| json!(now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())),
        });
        if let Some(generation) = generation {
            written["observedGeneration"] = json!(generation);
        }
        written
    };
    let foreign = known.iter().filter(|known| !OURS.iter().any(|ours| known["type"] == *ours));
    let conditions: Vec<Value> = status.conditions.iter().map(ours).chain(foreign.cloned()).collect();
    json!({ "parentRef": parent_ref(&status.parent), "controllerName": CONTROLLER, "conditions": conditions })
}

/// As written: what is absent stays so.
fn parent_ref(parent: &ParentRef) -> Value {
    let mut value = serde_json::to_value(parent).unwrap_or_default();
    if let Some(fields) = value.as_object_mut() {
        fields.retain(|_, field| !field.is_null());
    }
    value
}

/// The API server's bound.
fn cut(message: &str) -> &str {
    let end =
        message.char_indices().map(|(at, letter)| at + letter.len_utf8()).take_while(|end| *end <= MESSAGE).last();
    &message[..end.unwrap_or(0)]
}

/// By which entries of ours are known.
pub(super) const CONTROLLER: &str = "minimesh.io/control-plane";
/// Conditions that we write.
const OURS: [&str; 3] = ["Accepted", "PartiallyInvalid", "ResolvedRefs"];
const MESSAGE: usize = 32_768;
/// Routes of a page.
const PAGE: u32 = 100;

#[cfg(test)]
mod tests {
    use super::*;

    fn parent(port: Option<u16>) -> ParentRef {
        let (group, kind) = (Some(String::new()), Some("Service".to_owned()));
        ParentRef { group, kind, namespace: None, name: "carts".to_owned(), section_name: None, port }
    }

    fn accepted(port: Option<u16>, status: bool) -> ParentStatus {
        let reason = if status { "Accepted" } else { "NoMatchingParent" };
        let condition =
            Condition { condition_type: "Accepted", status: status.into(), reason, message: "m".to_owned() };
        ParentStatus { parent: parent(port), conditions: vec![condition] }
    }

    fn time(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn foreign(name: &str) -> Value {
        json!({"controllerName": "example.com/other", "parentRef": {"name": name}, "conditions": [{"type": "Accepted"}]})
    }

    #[test]
    fn a_parent_is_named_as_written_with_the_generation_that_was_judged() {
        let expected = json!({
            "parentRef": {"group": "", "kind": "Service", "name": "carts", "port": 80},
            "controllerName": "minimesh.io/control-plane",
            "conditions": [{"type": "Accepted", "status": "True", "reason": "Accepted", "message": "m",
                "lastTransitionTime": "1970-01-01T00:00:07Z", "observedGeneration": 3}],
        });
        assert_eq!(merged(&[], &[accepted(Some(80), true)], Some(3), time(7)), [expected]);
    }

    #[test]
    fn what_is_there_already_is_not_another_content_later() {
        let wanted = [accepted(None, true), accepted(Some(80), false)];
        let first = merged(&[foreign("a")], &wanted, Some(3), time(7));
        let other_order = [wanted[1].clone(), wanted[0].clone()];
        assert_eq!(merged(&first, &other_order, Some(3), time(99)), first);
    }

    #[test]
    fn a_condition_keeps_its_time_until_its_status_changes() {
        let first = merged(&[], &[accepted(None, true)], Some(3), time(7));
        let since = |entries: &[Value]| entries[0]["conditions"][0]["lastTransitionTime"].as_str().map(str::to_owned);
        let same = merged(&first, &[accepted(None, true)], Some(4), time(8));
        assert_eq!((since(&same), &same[0]["conditions"][0]["observedGeneration"]), (since(&first), &json!(4)));
        let other = merged(&first, &[accepted(None, false)], Some(4), time(8));
        assert_eq!(since(&other).as_deref(), Some("1970-01-01T00:00:08Z"));
    }

    #[test]
    fn entries_and_conditions_of_others_stay_where_they_are() {
        let mut ours = merged(&[], &[accepted(None, true), accepted(Some(80), true)], Some(3), time(7));
        ours[0]["conditions"].as_array_mut().unwrap().push(json!({"type": "example.com/Seen", "status": "True"}));
        let before = [foreign("a"), ours[0].clone(), foreign("b"), ours[1].clone()];
        let after = merged(&before, &[accepted(None, false)], Some(3), time(9));
        assert_eq!((&after[0], &after[2], after.len()), (&before[0], &before[2], 3), "port 80 is no parent any more");
        assert_eq!(after[1]["conditions"][1], json!({"type": "example.com/Seen", "status": "True"}));
        assert_eq!(merged(&before, &[], None, time(9)), [foreign("a"), foreign("b")]);
    }

    #[test]
    fn a_message_fits_the_bound_and_ends_between_letters() {
        assert_eq!(cut("short"), "short");
        let long = "ü".repeat(MESSAGE);
        assert_eq!(cut(&long).len(), MESSAGE);
        assert_eq!(cut(&format!("x{long}")).len(), MESSAGE - 1);
    }
}
