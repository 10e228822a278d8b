//! Sockets: where a connection was meant to go, dialling, names of what the proxy itself dials, and the one accept loop.

mod accept;
mod dial;
mod dialled;
pub(crate) mod names;
mod origin;
mod unacked;

pub(crate) use accept::serve;
pub(crate) use dial::{Dialer, tune};
pub(crate) use dialled::Dialled;
pub use origin::Origin;
pub(crate) use origin::{Place, Refused, own_addresses};
pub(crate) use unacked::reached_nobody;
