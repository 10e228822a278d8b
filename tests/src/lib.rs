//! Tests of the real program in network namespaces that the tests make, and what they are made of.
//!
//! A test is a story told to a [`world::World`]: pods are put on a node, get their sidecars and applications, talk, and are
//! looked at. The test process itself enters no namespace. It starts `netns-runner`, which does ([`stage`]), and tells it over
//! a pipe what to start ([`protocol`]); when the pipe ends, everything that was started ends with it. Applications
//! and clients of the stories are in [`apps`]; programs that nobody here wrote are found and compared by [`compat`].
//!
//! ```text
//! test ── pipe ── netns-runner node ── netns-runner init (PID 1, bridge 10.42.0.1/16)
//!                                        ├── netns-runner enter → minimesh proxy …       in a pod's namespace
//!                                        └── netns-runner enter → netns-runner app …     in a pod's namespace
//! ```
//!
//! Tests of a real Kubernetes, which `cargo xtask test` starts before them, are told to a [`cluster::Cluster`].
//!
//! Every wait has a deadline and an event; no address outside of the namespaces is ever dialled.

pub mod apps;
pub mod body;
pub mod cluster;
pub mod compat;
pub mod demo;
pub mod http;
pub mod http2;
pub mod protocol;
pub mod stage;
pub mod wait;
pub mod world;

/// What goes wrong in a helper program is for people.
pub type Failure = Box<dyn std::error::Error>;
