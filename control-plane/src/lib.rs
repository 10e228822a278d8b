//! The control plane: watches the cluster or a folder, answers the proxies, is their certificate authority.
//!
//! ```text
//! app         wiring: every part in the order in which it starts
//! folder      source: manifests in, events out           kubernetes  source: the API server; identity's keys, tokens, Lease
//! publish     owns the index; answers go to whoever subscribed
//! watch       Discovery: the Watch stream            certify    Identity: token in, certificate out
//! telemetry   Telemetry: reports                     answers    Operator: what people ask
//! issuing     the authority in force                 ledger     who has which certificate
//! operator    where people ask: a Unix socket, or a port of the loopback    unknown    fields that nobody reads
//! serve       TLS, HTTP/2, ages                      places     who may have how many connections
//! own         the control plane's own certificate
//! ```
//!
//! Single-threaded. One task owns the index, one the reports; they are asked through channels and wait for nobody.

mod answers;
mod app;
mod args;
mod certify;
pub mod folder;
mod issuing;
mod kubernetes;
mod ledger;
mod metrics;
mod operator;
mod own;
mod peer;
mod places;
mod publish;
mod serve;
mod session_key;
mod start;
mod telemetry;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod unknown;
mod watch;

pub use app::{Error, run};
pub use args::Args;
pub use kubernetes::ConnectError;
