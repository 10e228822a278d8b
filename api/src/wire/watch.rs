//! The Watch stream: what each side says, as values that cannot be malformed.

use std::sync::Arc;

use super::{Invalid, field, report};
use crate::grpc::{self, endpoints, update, watch_request, watch_response};
use crate::model::{Endpoint, EndpointsDelta, PortPolicy, ResourceKey, Target, TrustBundle, Workload};

/// First message of each direction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// Of the protocol; [`super::PROTOCOL_VERSION`].
    pub version: u32,
    /// What the sender understands beyond the base.
    pub features: Vec<Arc<str>>,
    /// 16 random bytes made when the process started.
    pub instance: [u8; 16],
    /// Program version, for people.
    pub software: Arc<str>,
}

/// What a proxy says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// The version was applied.
    Ack {
        /// Of what.
        key: ResourceKey,
        /// Which.
        version: u64,
    },
    /// First message.
    Hello(Hello),
    /// The version was refused; the last good one stays in force.
    Nack {
        /// Of what.
        key: ResourceKey,
        /// Which.
        version: u64,
        /// Where and why.
        invalid: Invalid,
    },
    /// Tell me about this.
    Subscribe {
        /// What.
        key: ResourceKey,
        /// Version still held; `None`: nothing is.
        held_version: Option<u64>,
    },
    /// No longer.
    Unsubscribe {
        /// What.
        key: ResourceKey,
    },
}

/// What the control plane says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Response {
    /// First message.
    Hello(Hello),
    /// A resource, or a chunk of one.
    Update(Box<Update>),
}

/// One resource in one version, or a chunk of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Update {
    /// Which.
    pub key: ResourceKey,
    /// Opaque, never 0.
    pub version: u64,
    /// The content.
    pub state: State,
}

/// The part of an update that a Nack needs, readable when the rest is not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpdateHead {
    /// Which.
    pub key: ResourceKey,
    /// Opaque, never 0.
    pub version: u64,
}

/// Content of an update.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// For [`ResourceKey::Endpoints`].
    Endpoints(EndpointsPart),
    /// For [`ResourceKey::Port`].
    Port(PortPolicy),
    /// For [`ResourceKey::Target`].
    Target(Target),
    /// For [`ResourceKey::Trust`].
    Trust(TrustBundle),
    /// For [`ResourceKey::Workload`].
    Workload(Workload),
}

/// One chunk of endpoints; [`super::Assembly`] puts chunks together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EndpointsPart {
    /// Changes against an acknowledged version.
    Delta {
        /// The changes in this chunk.
        delta: EndpointsDelta,
        /// Another chunk of the same version follows.
        more: bool,
    },
    /// All there are.
    Full {
        /// Those in this chunk.
        endpoints: Vec<Endpoint>,
        /// Another chunk of the same version follows.
        more: bool,
    },
}

impl TryFrom<grpc::Hello> for Hello {
    type Error = Invalid;

    fn try_from(value: grpc::Hello) -> Result<Hello, Invalid> {
        if value.version == 0 {
            return Err(Invalid::new("version", "0"));
        }
        field::bounded(value.features.len(), "features", field::FEATURES)?;
        let features = value.features.into_iter().enumerate();
        let features = features.map(|(index, feature)| field::word(feature, &format!("features[{index}]")));
        Ok(Hello {
            version: value.version,
            features: features.collect::<Result<_, _>>()?,
            instance: report::instance(&value.instance)?,
            software: field::hint(value.software),
        })
    }
}

impl From<&Hello> for grpc::Hello {
    fn from(value: &Hello) -> grpc::Hello {
        grpc::Hello {
            version: value.version,
            features: value.features.iter().map(|feature| feature.as_ref().to_owned()).collect(),
            instance: value.instance.to_vec().into(),
            software: value.software.as_ref().to_owned(),
        }
    }
}

impl Hello {
    /// This build's hello.
    pub fn new(instance: [u8; 16]) -> Hello {
        Hello {
            version: super::PROTOCOL_VERSION,
            features: super::FEATURES.iter().map(|feature| Arc::from(*feature)).collect(),
            instance,
            software: concat!("minimesh/", env!("CARGO_PKG_VERSION")).into(),
        }
    }
}

impl TryFrom<grpc::WatchRequest> for Request {
    type Error = Invalid;

    fn try_from(value: grpc::WatchRequest) -> Result<Request, Invalid> {
        use watch_request::Message;
        match field::required(value.message, "message")? {
            Message::Hello(hello) => hello.try_into().map(Request::Hello).map_err(|e: Invalid| e.under("hello")),
            Message::Subscribe(subscribe) => {
                let key = field::convert(subscribe.resource, "resource").map_err(|e| e.under("subscribe"))?;
                Ok(Request::Subscribe { key, held_version: Some(subscribe.held_version).filter(|held| *held != 0) })
            }
            Message::Unsubscribe(unsubscribe) => {
                let key = field::convert(unsubscribe.resource, "resource").map_err(|e| e.under("unsubscribe"))?;
                Ok(Request::Unsubscribe { key })
            }
            Message::Ack(ack) => {
                let key = field::convert(ack.resource, "resource").map_err(|e| e.under("ack"))?;
                Ok(Request::Ack { key, version: ack.version })
            }
            Message::Nack(nack) => {
                let key = field::convert(nack.resource, "resource").map_err(|e| e.under("nack"))?;
                let invalid = Invalid::new(&*field::hint(nack.field), &*field::hint(nack.reason));
                Ok(Request::Nack { key, version: nack.version, invalid })
            }
        }
    }
}

impl From<&Request> for grpc::WatchRequest {
    fn from(value: &Request) -> grpc::WatchRequest {
        use watch_request::Message;
        let message = match value {
            Request::Ack { key, version } => Message::Ack(grpc::Ack { resource: Some(key.into()), version: *version }),
            Request::Hello(hello) => Message::Hello(hello.into()),
            Request::Nack { key, version, invalid } => Message::Nack(grpc::Nack {
                resource: Some(key.into()),
                version: *version,
                field: invalid.field.clone(),
                reason: invalid.reason.clone(),
            }),
            Request::Subscribe { key, held_version } => Message::Subscribe(grpc::Subscribe {
                resource: Some(key.into()),
                held_version: held_version.unwrap_or_default(),
            }),
            Request::Unsubscribe { key } => Message::Unsubscribe(grpc::Unsubscribe { resource: Some(key.into()) }),
        };
        grpc::WatchRequest { message: Some(message) }
    }
}

impl TryFrom<grpc::WatchResponse> for Response {
    type Error = Invalid;

    /// For an update, first take its [`UpdateHead`]: what cannot be converted is answered with a Nack that names it.
    fn try_from(value: grpc::WatchResponse) -> Result<Response, Invalid> {
        use watch_response::Message;
        match field::required(value.message, "message")? {
            Message::Hello(hello) => hello.try_into().map(Response::Hello).map_err(|e: Invalid| e.under("hello")),
            Message::Update(update) => Ok(Response::Update(Box::new(update.try_into()?))),
        }
    }
}

impl From<&Response> for grpc::WatchResponse {
    fn from(value: &Response) -> grpc::WatchResponse {
        use watch_response::Message;
        let message = match value {
            Response::Hello(hello) => Message::Hello(hello.into()),
            Response::Update(update) => Message::Update(update.as_ref().into()),
        };
        grpc::WatchResponse { message: Some(message) }
    }
}

impl TryFrom<&grpc::Update> for UpdateHead {
    type Error = Invalid;

    fn try_from(value: &grpc::Update) -> Result<UpdateHead, Invalid> {
        if value.version == 0 {
            return Err(Invalid::new("version", "0"));
        }
        Ok(UpdateHead { key: field::convert(value.resource.clone(), "resource")?, version: value.version })
    }
}

impl TryFrom<grpc::Update> for Update {
    type Error = Invalid;

    /// Paths of a refused field begin below the state: `service.http_routes[0]…`.
    fn try_from(value: grpc::Update) -> Result<Update, Invalid> {
        let UpdateHead { key, version } = UpdateHead::try_from(&value)?;
        let state = match (&key, field::required(value.state, "state")?) {
            (ResourceKey::Endpoints(_), update::State::Endpoints(part)) => State::Endpoints(part.try_into()?),
            (ResourceKey::Port(_), update::State::Port(port)) => State::Port(port.try_into()?),
            (ResourceKey::Target(_), update::State::Target(target)) => State::Target(target.try_into()?),
            (ResourceKey::Trust, update::State::Trust(trust)) => State::Trust(trust.try_into()?),
            (ResourceKey::Workload, update::State::Workload(workload)) => State::Workload(workload.try_into()?),
            _ => return Err(Invalid::new("state", "not of the resource's kind")),
        };
        Ok(Update { key, version, state })
    }
}

impl From<&Update> for grpc::Update {
    fn from(value: &Update) -> grpc::Update {
        grpc::Update { resource: Some((&value.key).into()), version: value.version, state: Some((&value.state).into()) }
    }
}

impl From<&State> for update::State {
    fn from(value: &State) -> update::State {
        match value {
            State::Endpoints(part) => update::State::Endpoints(part.into()),
            State::Port(port) => update::State::Port((*port).into()),
            State::Target(target) => update::State::Target(target.into()),
            State::Trust(trust) => update::State::Trust(trust.into()),
            State::Workload(workload) => update::State::Workload(workload.into()),
        }
    }
}

impl TryFrom<grpc::Endpoints> for EndpointsPart {
    type Error = Invalid;

    fn try_from(value: grpc::Endpoints) -> Result<EndpointsPart, Invalid> {
        let more = value.more;
        match field::required(value.body, "body")? {
            endpoints::Body::Full(full) => {
                let endpoints = field::list(full.endpoints, "endpoints", field::ENDPOINTS);
                Ok(EndpointsPart::Full { endpoints: endpoints.map_err(|e| e.under("full"))?, more })
            }
            endpoints::Body::Delta(delta) => {
                let delta = EndpointsDelta::try_from(delta).map_err(|e| e.under("delta"))?;
                Ok(EndpointsPart::Delta { delta, more })
            }
        }
    }
}

impl TryFrom<endpoints::Delta> for EndpointsDelta {
    type Error = Invalid;

    fn try_from(value: endpoints::Delta) -> Result<EndpointsDelta, Invalid> {
        if value.base_version == 0 {
            return Err(Invalid::new("base_version", "0"));
        }
        Ok(EndpointsDelta {
            base_version: value.base_version,
            upserts: field::list(value.upserts, "upserts", field::ENDPOINTS)?,
            removed: field::list(value.removed, "removed", field::ENDPOINTS)?,
        })
    }
}

impl From<&EndpointsPart> for grpc::Endpoints {
    fn from(value: &EndpointsPart) -> grpc::Endpoints {
        match value {
            EndpointsPart::Delta { delta, more } => {
                let delta = endpoints::Delta {
                    base_version: delta.base_version,
                    upserts: delta.upserts.iter().map(Into::into).collect(),
                    removed: delta.removed.iter().map(|address| (*address).into()).collect(),
                };
                grpc::Endpoints { body: Some(endpoints::Body::Delta(delta)), more: *more }
            }
            EndpointsPart::Full { endpoints, more } => {
                let full = endpoints::Full { endpoints: endpoints.iter().map(Into::into).collect() };
                grpc::Endpoints { body: Some(endpoints::Body::Full(full)), more: *more }
            }
        }
    }
}
