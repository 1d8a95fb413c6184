//! The openb trace (Alibaba cluster-trace-gpu-v2023) as a packing benchmark: lists, arrival order, loops and baselines.
//!
//! ```text
//! list.rs  two CSV texts -> NodeSpec, PodSpec        order.rs   seed -> the order in which pods arrive
//! state.rs what is left on each node                 fill.rs    arrivals only, until everybody has come
//! curve.rs allocated at so much arrived              replay.rs  with departures and a queue
//! published.rs what the paper's authors measured     ALL        whom we compare with, one file each
//! ```
//!
//! Every packer is offered the nodes that kube-scheduler's own filters pass, and is asked for a node and devices on it.
//! [`Ours`] asks the engine itself, by filter, bind and outcome. Not here: files, clocks, printing (`cli`).

mod best_fit;
mod cells;
mod curve;
mod dot_product;
mod fgd;
mod fill;
mod first_fit;
mod gpu_packing;
mod list;
mod order;
mod ours;
mod published;
mod random;
mod replay;
mod state;
mod stock;
#[cfg(test)]
mod tests;

use std::fmt;

pub use crate::sim::table::ListError;
pub use best_fit::BestFit;
pub use curve::{Curve, Spread};
pub use dot_product::DotProduct;
pub use fgd::{Fgd, Usual};
pub use fill::{Broken, Fill, fill};
pub use first_fit::FirstFit;
pub use gpu_packing::GpuPacking;
pub use list::{NodeSpec, Nodes, PodSpec, Pods};
pub use order::arrivals;
pub use ours::Ours;
pub use published::Published;
pub use random::Random;
pub use replay::{Replay, ReplayError, replay};
pub use state::{ClusterState, NodeState, Place};
pub use stock::{LeastAllocated, MostAllocated};

/// Somebody who chooses places.
pub trait Packer: fmt::Debug {
    /// A place for the pod among the offered nodes, which pass kube-scheduler's own filters (ascending, in the order
    /// of names); none if no device there has what it asks for.
    fn choose(&mut self, state: &ClusterState, pod: &Asked<'_>, offered: &[usize]) -> Option<Place>;

    /// The pod was put where `choose` said.
    fn placed(&mut self, _: &Asked<'_>, _: &Place) {}

    /// The pod is gone: it has ended, or nobody took it.
    fn gone(&mut self, _: &Asked<'_>) {}

    /// Nanoseconds of the last decision, where the packer's own part can be told from the harness around it.
    fn decided_ns(&self) -> Option<u64> {
        None
    }

    /// Nanoseconds spent so far on work that nobody waits for, where there is any.
    fn ahead_ns(&self) -> Option<u64> {
        None
    }
}

/// A pod that arrives.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// Its number among the arrivals: the same line of the list may come several times.
    pub arrival: usize,
    /// What it asks for.
    pub pod: &'a PodSpec,
}

/// A way of packing that others have published, or that is in use.
#[derive(Clone, Copy, Debug)]
pub struct Baseline {
    /// For options and tables.
    pub name: &'static str,
    /// The name in the published results, where it is among them.
    pub published: Option<&'static str>,
    /// One for a run; the seed is for those that throw dice.
    pub start: fn(&Nodes, &Pods, u64) -> Box<dyn Packer>,
}

/// Whom we compare with.
pub static ALL: &[Baseline] = &[
    Baseline { name: "random", published: Some("Random"), start: |_, _, seed| Box::new(Random::new(seed)) },
    Baseline { name: "first-fit", published: None, start: |_, _, _| Box::new(FirstFit) },
    Baseline { name: "least-allocated", published: None, start: |nodes, _, seed| Box::new(LeastAllocated::new(nodes, seed)) },
    Baseline { name: "most-allocated", published: None, start: |nodes, _, seed| Box::new(MostAllocated::new(nodes, seed)) },
    Baseline { name: "best-fit", published: Some("BestFit"), start: |nodes, pods, _| Box::new(BestFit::new(nodes, pods)) },
    Baseline { name: "dot-product", published: Some("DotProd"), start: |nodes, pods, _| Box::new(DotProduct::new(nodes, pods)) },
    Baseline { name: "gpu-packing", published: Some("GpuPacking"), start: |nodes, pods, _| Box::new(GpuPacking::new(nodes, pods)) },
    Baseline { name: "fgd", published: Some("FGD"), start: |nodes, pods, _| Box::new(Fgd::new(nodes, pods)) },
];
