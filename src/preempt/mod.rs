//! Who must go so that a whole group can start: the search for victims. It works on the book under a checkpoint and
//! returns a plan; it evicts nothing and remembers nothing.
//!
//! What may live here: the rules that say who may be taken for whom and in which order (`rules`), what a victim costs
//! (`unit`), the search for the cheapest set of them, and the same for a block that shall stand empty (`block`, `defrag`). When who is evicted, and what holds the freed devices, is the
//! engine's.
//!
//! ```text
//! Unit: a whole gang, a pod above a gang's minimum, a pod alone
//!   rungs of grounds (gang) --rooms--> what each set of units frees on a node --frontier--> by connected nodes
//!        --cover--> cheapest set that frees enough, budgets kept --plan (gang)--> Takeover
//!                                                       `-- oracle: where counting is not enough
//! ```
//!
//! The objective, in this order: no disruption budget violated; the best topology that the group wishes; the lowest
//! highest reach; the least lost work; the fewest pods. docs/decisions/0013 says why.

mod block;
mod cover;
mod defrag;
mod frontier;
mod oracle;
mod rooms;
pub mod rules;
mod search;
mod unit;

pub use block::{Block, Wanted, What, blocks};
pub use defrag::{Clearance, Move, Opening, Return, open};
pub use search::{Ask, Takeover, search};
pub use unit::{Cost, Reach, Unit, lost_ms};

#[cfg(test)]
mod tests;
