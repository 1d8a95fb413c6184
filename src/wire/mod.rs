//! The only place with JSON names: kube-scheduler's extender protocol, the Kubernetes objects that we watch, our own
//! kind and our annotations, parsed into checked [`crate::model`] values and rendered from decisions.
//!
//! It decides what bytes mean, never what to do about it. Nothing in here panics on foreign bytes, and one bad object
//! never fails a list: it becomes a request that no node can grant.

pub mod accelerator_node;
pub mod admission;
pub mod annotations;
pub mod api;
mod error;
mod event;
pub mod extender;
pub mod fabric;
pub mod gang;
pub mod journal;
pub(crate) mod kinds;
pub mod manifest;
mod meta;
pub mod node;
pub mod objects;
pub mod pod;
pub mod provisioning;

pub use accelerator_node::{AcceleratorNode, AcceleratorNodeSpec, DeviceReport, HealthReport, LinkReport, LinkType, PartitionReport};
pub use error::WireError;
pub use event::EventObject;
pub use gang::GangObject;
pub use kinds::Kind;
pub use meta::{Amounts, QuantityText};
pub use node::NodeObject;
pub use objects::{BudgetObject, PriorityClassObject, QuotaObject, VolumeObject};
pub use pod::PodObject;
