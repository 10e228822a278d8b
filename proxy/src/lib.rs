//! The data plane: a sidecar proxy, and the `redirect` step that programs interception.
//!
//! ```text
//! app        binds the listeners, starts one control thread and N workers, waits for signals, drains
//! control    the control thread: identity, discovery, reports; publishes immutable snapshots through `watch`
//! worker …   the data path: everything mutable lives on one worker thread (outbound, inbound, http, io, net, detect)
//! metrics    single-writer cells of the workers, summed at scrape and report
//! admin      what the two admin ports serve
//! redirect   nf_tables by netlink, run once before the application starts
//! ```
//!
//! A request takes no lock, crosses no channel and spawns nothing; whatever needs one of these belongs to `control`.

pub mod control;
pub mod error;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
pub mod metrics;
pub mod observe;
pub mod redirect;
pub mod worker;

mod admin;
mod app;
mod args;
mod code_pages;
mod cpu;
mod detect;
mod http;
mod inbound;
mod io;
mod net;
mod outbound;

pub use app::{Error, run};
pub use args::{Args, Policy};
pub use net::Origin;

#[cfg(test)]
mod path_tests;
