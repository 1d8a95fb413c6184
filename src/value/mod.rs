//! What a node is worth for the pods that usually come, and what is scarce: the arithmetic behind the policies
//! `offered-value` and `fragmentation`. Knows counts, not names: no pods, no nodes, no ledger, no preferences.
//!
//! ```text
//! arrivals -> Demand -> typical pods -> Offers: value of a node's state
//!                           |
//! node states -> Supply ----+--------> Prices: room for large pods, rent of products
//!                           +--------> Fragments: what typical pods cannot use of a node's state
//! ```

mod demand;
mod flow;
mod fragments;
mod gaps;
mod market;
mod offers;
mod prices;
mod state;
mod states;
mod tables;

pub use demand::Demand;
pub use flow::{Flow, Horizon};
pub use fragments::{Asking, Fragmented, Fragments, Typical, percent};
pub use gaps::{Gaps, Inventory};
pub use market::{Appraisal, Asked, Market};
pub use offers::Offers;
pub use prices::{Large, Prices, Supply, room};
pub use state::{DEVICES_MAX, NodeState, Products, Shape, Spec, WHOLE};
pub use tables::{Change, Quote};

#[cfg(test)]
mod tests;
