//! Endpoints from their chunks.
//!
//! Called by whoever receives updates of endpoints: one `Assembly` per subscription. It never gives out a part: what was in
//! force stays until the chunk without `more` has come.

use std::net::SocketAddr;

use super::{EndpointsPart, Invalid, field};
use crate::model::{Endpoint, Endpoints, EndpointsDelta};

/// The chunks of one version that have come so far.
#[derive(Clone, Debug, Default)]
pub struct Assembly(Option<Partial>);

#[derive(Clone, Debug)]
struct Partial {
    version: u64,
    base_version: Option<u64>,
    endpoints: Vec<Endpoint>,
    removed: Vec<SocketAddr>,
}

/// What a complete series of chunks says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EndpointsChange {
    /// Changes against the version acknowledged last.
    Delta(EndpointsDelta),
    /// All there are.
    Full(Endpoints),
}

impl EndpointsChange {
    /// The endpoints after the change. `held` is the version acknowledged last, with its content.
    pub fn apply(self, held: Option<(u64, &Endpoints)>) -> Result<Endpoints, Invalid> {
        match (self, held) {
            (EndpointsChange::Full(endpoints), _) => Ok(endpoints),
            (EndpointsChange::Delta(delta), Some((version, base))) if version == delta.base_version => {
                Ok(base.with(&delta))
            }
            (EndpointsChange::Delta(_), _) => {
                Err(Invalid::new("delta.base_version", "not the version acknowledged last"))
            }
        }
    }
}

impl Assembly {
    /// Takes a chunk; answers when it was the last of its version. After an error the series is forgotten.
    pub fn push(&mut self, version: u64, part: EndpointsPart) -> Result<Option<EndpointsChange>, Invalid> {
        let (base_version, mut endpoints, mut removed, more) = match part {
            EndpointsPart::Delta { delta, more } => (Some(delta.base_version), delta.upserts, delta.removed, more),
            EndpointsPart::Full { endpoints, more } => (None, endpoints, Vec::new(), more),
        };
        if let Some(mut earlier) = self.0.take().filter(|earlier| earlier.version == version) {
            if earlier.base_version != base_version {
                return Err(Invalid::new("body", "chunks of one version differ in kind or base"));
            }
            earlier.endpoints.append(&mut endpoints);
            earlier.removed.append(&mut removed);
            (endpoints, removed) = (earlier.endpoints, earlier.removed);
        }
        field::bounded(endpoints.len().max(removed.len()), "body", field::ENDPOINTS)?;
        if more {
            self.0 = Some(Partial { version, base_version, endpoints, removed });
            return Ok(None);
        }
        Ok(Some(match base_version {
            Some(base_version) => EndpointsChange::Delta(EndpointsDelta { base_version, upserts: endpoints, removed }),
            None => EndpointsChange::Full(Endpoints::new(endpoints)),
        }))
    }
}
