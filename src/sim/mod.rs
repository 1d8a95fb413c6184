//! A cluster in memory, and a kube-scheduler that runs on it: nodes, pods, the checks of kube-scheduler 1.36 that
//! matter for placement, and its pattern of extender calls.
//!
//! ```text
//! manifests -> Cluster (versions, watch log) -> Queue -> Scheduler --predicates--> feasible nodes
//!                 ^                                          |
//!                 +---- Binding ---- World <--- filter, prioritize, bind
//! ```
//!
//! [`World`] is what the scheduler talks to. [`Direct`] answers from an engine in this process, one step a call, so
//! that a run is a function of its input and seed; the demo answers through a real server and real bytes.
//! Not here: wire formats (`wire`), printing (`cli`), and scheduler features that [`Scheduler`] lists as left out.

mod cluster;
mod direct;
pub mod faults;
pub mod jobs;
mod objects;
pub mod openb;
mod owners;
pub mod predicate;
mod queue;
mod quota;
mod scheduler;
mod score;
mod story;
mod table;
mod world;

pub use cluster::{BindError, Binding, Change, Cluster, CreateError, Expired};
pub use direct::{Direct, Surroundings};
pub use objects::{NodeView, PodTerm, SimNode, SimPod, Usage};
pub use queue::Queue;
pub use quota::{Charge, HardLimits};
pub use scheduler::{Attempt, Diagnosis, Outcome, Scheduler, Waiting};
pub use story::{Story, tell};
pub use world::{CallError, Calls, FilterReply, RefusedNode, World};
