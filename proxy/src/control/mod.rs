//! The control thread: one current-thread runtime that talks to the control plane.
//!
//! It owns the certificate, the `Watch` stream and the reports. Workers see it only through [`ControlHandle`] and the
//! snapshots published there; a snapshot is replaced by a complete one or not at all. Nothing here is on a request's path.

mod handle;

pub use handle::{ControlHandle, FakeControl, State, TargetSnapshot};
