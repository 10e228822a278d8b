//! One kind's list and watch, for as long as it is served: kube's watcher, told as notes.
//!
//! Lists in pages, watches with bookmarks, lists again after 410; waits with jitter after an error. It never ends by itself
//! where the kind must be served.

use std::pin::pin;
use std::time::Duration;

use futures_util::StreamExt;
use kube::api::ApiResource;
use kube::runtime::watcher::{self, DefaultBackoff, Event};
use kube::runtime::{WatchStreamExt, watcher as watch};
use kube::{Api, Resource};
use minimesh_index::{Kind, Object, ObjectKey};
use tokio::sync::mpsc;
use tracing::{info, warn};

use super::Cluster;
use super::kept::{Kept, Malformed, Watched};

/// What a reflector says.
#[derive(Debug)]
pub(super) enum Note {
    /// The kind is not served: there are no such objects.
    Absent(Kind),
    /// A complete list begins.
    Begun(Kind),
    /// The list was complete.
    Done(Kind),
    /// The object is gone.
    Gone(ObjectKey),
    /// The object is in the list, new or changed; or cannot be read.
    Seen(ObjectKey, Box<Result<Object, Malformed>>),
}

/// What follows where the API server does not know the kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Absence {
    /// The reflector ends.
    Ends,
    /// It is an error like others.
    Fails,
}

/// Runs until nobody listens, or the kind is not served and may be absent.
pub(super) async fn reflect<T: Kept>(
    cluster: &Cluster,
    resource: ApiResource,
    notes: &mpsc::Sender<Note>,
    absence: Absence,
) {
    let path = Watched::<T>::url_path(&resource, None);
    let api: Api<Watched<T>> = Api::all_with(cluster.client.clone(), &resource);
    let config = watcher::Config::default().timeout(WATCH_SECONDS).page_size(PAGE);
    let mut events = pin!(watch(api, config).backoff(DefaultBackoff::default()));
    cluster.heard.expect(&path);
    let mut failing = false;
    loop {
        let event = tokio::select! {
            event = events.next() => event,
            () = notes.closed() => None,
        };
        let note = match event {
            None => break,
            Some(Err(error)) if absence == Absence::Ends && is_absent(&error) => break,
            Some(Err(error)) => {
                let (kind, error) = (T::KIND.name(), in_words(&error));
                warn!(kind, error, "cannot be watched; what was heard last stays in force, trying again");
                failing = true;
                continue;
            }
            Some(Ok(event)) => {
                if std::mem::take(&mut failing) {
                    info!(kind = T::KIND.name(), "watched again");
                }
                note(event)
            }
        };
        if notes.send(note).await.is_err() {
            break;
        }
    }
    cluster.heard.forget(&path);
}

fn note<T: Kept>(event: Event<Watched<T>>) -> Note {
    let key = |object: &Watched<T>| {
        let (namespace, name) = object.names();
        ObjectKey::new(T::KIND, namespace, name)
    };
    match event {
        Event::Apply(object) | Event::InitApply(object) => Note::Seen(key(&object), Box::new(object.body)),
        Event::Delete(object) => Note::Gone(key(&object)),
        Event::Init => Note::Begun(T::KIND),
        Event::InitDone => Note::Done(T::KIND),
    }
}

fn is_absent(error: &watcher::Error) -> bool {
    match error {
        watcher::Error::InitialListFailed(error) | watcher::Error::WatchStartFailed(error) => is_not_found(error),
        watcher::Error::WatchError(status) => status.code == 404,
        _ => false,
    }
}

/// Whether the API server says that there is no such thing.
pub(super) fn is_not_found(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 404)
}

/// With its causes, which the error itself leaves out.
pub(super) fn in_words(error: &dyn std::error::Error) -> String {
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        if !words.contains(&text) {
            words = format!("{words}: {text}");
        }
        cause = error.source();
    }
    words
}

/// The server ends a watch after that; it is asked for again, which shows that it is there.
pub(super) const WATCH: Duration = Duration::from_secs(WATCH_SECONDS as u64);
const WATCH_SECONDS: u32 = 55;
/// Objects of a page: its text is in memory as a whole, and a pod may have tens of kilobytes.
const PAGE: u32 = 100;
