//! What every long-running part of minimesh needs besides its own work: how to stop, what to log, what to count, and an HTTP
//! port for people and scrapers.
//!
//! ```text
//! admin      a small HTTP/1 server with limits, in two kinds: for the network (GET) and for this machine (GET and POST)
//! drain      a trigger and its watches: who holds a watch keeps the drain open
//! duration   durations as Gateway API writes them
//! logging    lines on stderr, plain or JSON; the level changes at run time
//! metrics    single-writer cells, the histogram, OpenMetrics text
//! process    memory, CPU, files and threads of this process as metrics
//! signals    SIGTERM and SIGINT
//! ```
//!
//! Used by proxy, control plane and demo. Nothing here knows what a target or a route is.

pub mod admin;
pub mod drain;
pub mod duration;
pub mod logging;
pub mod metrics;
pub mod process;
pub mod signals;
