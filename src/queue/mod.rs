//! Queues: what each holds, what it had of late, who is served next, and who may take from whom. Rules come from the profile
//! ([`crate::policy::Queues`]), facts from the book, time is passed in; nothing here places or evicts anybody.
//!
//! ```text
//! decay.rs    what was had of late, in whole numbers       ledger.rs  what is held and was had, up the hierarchy
//! limits.rs   maximum, guarantee, borrowing, reclaim       next.rs    which queue is served next
//! service.rs  how long each job ran and what it had, for orders that go by it
//! durations.rs  how long earlier runs of an owner took, for who asks when room comes free
//! ```

mod decay;
mod durations;
mod ledger;
mod limits;
mod next;
mod service;

pub use durations::{Durations, Expectation};
pub use ledger::{Asks, Ledger};
pub use limits::{BoxLimit, Exceeded, Right, Spare};
pub use next::Head;
pub use service::{Run, Service};

#[cfg(test)]
mod tests;
