//! Sockets: where a connection was meant to go, dialling, and the one accept loop.

mod accept;
mod dial;
mod origin;

pub(crate) use accept::serve;
pub(crate) use dial::{Dialer, tune};
pub use origin::Origin;
pub(crate) use origin::{Place, Refused};
