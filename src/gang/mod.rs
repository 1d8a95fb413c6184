//! Groups of pods that start together: where all members go at once, or why they cannot.
//!
//! What may live here: the planner, which chooses domains of the fabric, nodes in them and ranks along them; and what
//! follows from a group as a whole. It works on the book under a checkpoint and sends nothing.
//!
//! ```text
//! Group, wishes --seats--> nodes that take a member --choose--> domains --deal--> rank, node, devices
//!                                    |                            |
//!                                    +--------- Shortfall --------+---> Refusal in words
//! ```

mod choose;
mod ground;
pub mod life;
mod place;
mod plan;
mod seats;
mod shortfall;
mod slice;
mod wishes;

pub use ground::{Ground, Rung, room, rungs};
pub use plan::{Context, Group, Member, Plan, Planned, Role, plan};
pub use slice::{ask_for_slice, slice_hosts};

#[cfg(test)]
mod tests;
