//! Pure load balancing: power of two choices over peak EWMA latency; and the budget of retries.
//!
//! Owns the estimate of how busy and how slow an endpoint is, and the choice between two. Called by the proxy's workers, one
//! request at a time; a [`Slot`] lives as long as the endpoint is known, whatever happens to the list it stands in. Never
//! reads a clock, never makes randomness, never sees an address.
//!
//! ```text
//! load = estimated latency × (requests in flight + 1)
//! ```
//!
//! The estimate jumps to any latency above it (a slow answer is believed at once) and approaches any below it exponentially,
//! by the time that passed and not by the number of answers. Without traffic it falls towards zero, so that an endpoint that
//! was slow is asked again.

mod budget;
mod pick;
mod rng;
mod slot;

pub use budget::Budget;
pub use pick::pick_p2c;
pub use rng::Rng;
pub use slot::{Outcome, Slot};
