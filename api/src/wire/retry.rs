//! What a rule says about repetition and sessions.

use super::{Invalid, field};
use crate::grpc::{self, session};
use crate::model::{Retry, Session, SessionKind};

impl TryFrom<grpc::Retry> for Retry {
    type Error = Invalid;

    fn try_from(value: grpc::Retry) -> Result<Retry, Invalid> {
        field::bounded(value.codes.len(), "codes", field::RULE_ITEMS)?;
        let code = |(index, code): (usize, u32)| match u16::try_from(code) {
            Ok(code @ 400..=599) => Ok(code),
            _ => Err(Invalid::new(format!("codes[{index}]"), "not from 400 to 599")),
        };
        Ok(Retry {
            codes: value.codes.into_iter().enumerate().map(code).collect::<Result<_, _>>()?,
            attempts: value.attempts,
            backoff: value.backoff.map(|backoff| field::duration(backoff, "backoff")).transpose()?,
        })
    }
}

impl From<&Retry> for grpc::Retry {
    fn from(value: &Retry) -> grpc::Retry {
        grpc::Retry {
            codes: value.codes.iter().copied().map(u32::from).collect(),
            attempts: value.attempts,
            backoff: value.backoff.map(field::wire_duration),
        }
    }
}

impl TryFrom<grpc::Session> for Session {
    type Error = Invalid;

    fn try_from(value: grpc::Session) -> Result<Session, Invalid> {
        let kind = match field::required(value.kind, "kind")? {
            session::Kind::Cookie(session::Cookie { path, permanent }) => SessionKind::Cookie {
                path: match field::word(path, "cookie.path")? {
                    path if path.starts_with('/') && !path.contains(';') => path,
                    _ => return Err(Invalid::new("cookie.path", "no path")),
                },
                permanent,
            },
            session::Kind::Header(session::Empty {}) => SessionKind::Header,
        };
        if !KEY_BYTES.contains(&value.key.len()) {
            return Err(Invalid::new("key", "not 16 to 64 bytes"));
        }
        let limit = |value: Option<prost_types::Duration>, name| {
            value.map(|value| field::duration(value, name)).transpose().map(|limit| limit.filter(|l| !l.is_zero()))
        };
        Ok(Session {
            name: field::token(value.name, "name")?,
            kind,
            absolute_timeout: limit(value.absolute_timeout, "absolute_timeout")?,
            idle_timeout: limit(value.idle_timeout, "idle_timeout")?,
            key: value.key.as_ref().into(),
        })
    }
}

impl From<&Session> for grpc::Session {
    fn from(value: &Session) -> grpc::Session {
        let kind = match &value.kind {
            SessionKind::Cookie { path, permanent } => {
                session::Kind::Cookie(session::Cookie { path: path.as_ref().to_owned(), permanent: *permanent })
            }
            SessionKind::Header => session::Kind::Header(session::Empty {}),
        };
        grpc::Session {
            name: value.name.as_ref().to_owned(),
            kind: Some(kind),
            absolute_timeout: value.absolute_timeout.map(field::wire_duration),
            idle_timeout: value.idle_timeout.map(field::wire_duration),
            key: value.key.to_vec().into(),
        }
    }
}

/// Shorter ones can be guessed, longer ones say nothing more.
const KEY_BYTES: std::ops::RangeInclusive<usize> = 16..=64;
