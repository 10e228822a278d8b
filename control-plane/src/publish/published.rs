//! One resource in one version, encoded once for all who subscribe to it.
//!
//! Made by the publisher, read by watch sessions. Immutable; the delta is computed when the first session asks for it.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use minimesh_api::grpc::{self, endpoints, update, watch_response};
use minimesh_api::model::{Endpoints, ResourceKey};
use minimesh_api::wire::{self, CHUNK_BYTES, EndpointsPart, State};
use prost::Message;
use tokio::sync::watch;
use tokio::time::Instant;

/// One resource in one version.
pub(crate) struct Published {
    /// Which.
    pub(crate) key: ResourceKey,
    /// Hash of the content.
    pub(crate) version: u64,
    /// When it came to be: what a subscriber's lag is measured from.
    pub(crate) at: Instant,
    /// The content, for endpoints: what deltas are computed from.
    endpoints: Option<Endpoints>,
    /// The whole as `WatchResponse` messages.
    full: Arc<[Bytes]>,
    /// Against the base that was asked for first, which nearly everyone shares.
    delta: OnceLock<(u64, Arc<[Bytes]>)>,
    /// Ends with it.
    life: watch::Sender<()>,
}

impl Published {
    /// Encodes a state; endpoints are given whole.
    pub(crate) fn new(key: ResourceKey, state: State, at: Instant) -> Published {
        let (state, endpoints) = match state {
            // Ordered, so that the version does not depend on who found them in which order.
            State::Endpoints(EndpointsPart::Full { endpoints, .. }) => {
                let endpoints = Endpoints::new(endpoints);
                let part = EndpointsPart::Full { endpoints: endpoints.0.clone(), more: false };
                (State::Endpoints(part), Some(endpoints))
            }
            state => (state, None),
        };
        let state = update::State::from(&state);
        let version = wire::version(&state);
        let full = match &endpoints {
            Some(endpoints) => full_chunks(&key, version, endpoints),
            None => Arc::from([frame(&key, version, state)]),
        };
        Published { key, version, at, endpoints, full, delta: OnceLock::new(), life: watch::channel(()).0 }
    }

    /// Ends when nobody holds this version any more: every proxy that had it has acknowledged a later one, or is gone.
    pub(super) fn life(&self) -> watch::Receiver<()> {
        self.life.subscribe()
    }

    /// The messages that bring a subscriber to this version. `acknowledged` is the version that it holds for sure.
    pub(crate) fn frames(&self, acknowledged: Option<&Published>) -> Arc<[Bytes]> {
        let (Some(base), Some(new)) = (acknowledged.and_then(Published::base), &self.endpoints) else {
            return Arc::clone(&self.full);
        };
        let (base_version, base) = base;
        let encode = || (base_version, delta_chunks(&self.key, self.version, &new.delta(base, base_version)));
        let delta = match self.delta.get_or_init(encode) {
            (cached, delta) if *cached == base_version => Arc::clone(delta),
            _ => encode().1,
        };
        let bytes = |frames: &[Bytes]| frames.iter().map(Bytes::len).sum::<usize>();
        if bytes(&delta) < bytes(&self.full) { delta } else { Arc::clone(&self.full) }
    }

    fn base(&self) -> Option<(u64, &Endpoints)> {
        Some((self.version, self.endpoints.as_ref()?))
    }
}

impl std::fmt::Debug for Published {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} version {:016x}", self.key, self.version)
    }
}

/// What a chunk's own fields may take beside its endpoints: key, version, lengths.
const CHUNK_HEADROOM: usize = 2_048;
/// A field's tag and length before each item.
const ITEM_HEADROOM: usize = 6;

/// One item of a delta.
enum Change {
    Removed(grpc::SocketAddress),
    Upsert(Box<grpc::Endpoint>),
}

fn full_chunks(key: &ResourceKey, version: u64, endpoints: &Endpoints) -> Arc<[Bytes]> {
    let items: Vec<grpc::Endpoint> = endpoints.0.iter().map(Into::into).collect();
    let chunk = |endpoints| endpoints::Body::Full(endpoints::Full { endpoints });
    chunks(items, Message::encoded_len).into_frames(key, version, chunk)
}

fn delta_chunks(key: &ResourceKey, version: u64, delta: &minimesh_api::model::EndpointsDelta) -> Arc<[Bytes]> {
    let upserts = delta.upserts.iter().map(|endpoint| Change::Upsert(Box::new(endpoint.into())));
    let removed = delta.removed.iter().map(|address| Change::Removed((*address).into()));
    let size = |change: &Change| match change {
        Change::Removed(address) => address.encoded_len(),
        Change::Upsert(endpoint) => endpoint.encoded_len(),
    };
    chunks(upserts.chain(removed).collect(), size).into_frames(key, version, |changes| {
        let mut delta = endpoints::Delta { base_version: delta.base_version, ..endpoints::Delta::default() };
        for change in changes {
            match change {
                Change::Removed(address) => delta.removed.push(address),
                Change::Upsert(endpoint) => delta.upserts.push(*endpoint),
            }
        }
        endpoints::Body::Delta(delta)
    })
}

/// Items in portions, each of which fits a chunk; at least one, possibly empty.
struct Chunks<T>(Vec<Vec<T>>);

fn chunks<T>(items: Vec<T>, size: impl Fn(&T) -> usize) -> Chunks<T> {
    let mut chunks = vec![Vec::new()];
    let mut filled = 0;
    for item in items {
        let size = size(&item) + ITEM_HEADROOM;
        if filled + size > CHUNK_BYTES - CHUNK_HEADROOM && filled > 0 {
            chunks.push(Vec::new());
            filled = 0;
        }
        filled += size;
        if let Some(chunk) = chunks.last_mut() {
            chunk.push(item);
        }
    }
    Chunks(chunks)
}

impl<T> Chunks<T> {
    fn into_frames(self, key: &ResourceKey, version: u64, body: impl Fn(Vec<T>) -> endpoints::Body) -> Arc<[Bytes]> {
        let last = self.0.len() - 1;
        let part = |(index, items)| {
            let endpoints = grpc::Endpoints { body: Some(body(items)), more: index < last };
            frame(key, version, update::State::Endpoints(endpoints))
        };
        self.0.into_iter().enumerate().map(part).collect()
    }
}

fn frame(key: &ResourceKey, version: u64, state: update::State) -> Bytes {
    let update = grpc::Update { resource: Some(key.into()), version, state: Some(state) };
    grpc::WatchResponse { message: Some(watch_response::Message::Update(update)) }.encode_to_vec().into()
}
