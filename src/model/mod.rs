//! Plain, checked data about pods, nodes, devices and grants. No wire names, no behaviour beyond its own invariants and
//! what Kubernetes defines on it.

mod admits;
mod class;
mod constraints;
mod device;
pub(crate) mod duration;
mod failure;
#[cfg(test)]
pub(crate) mod fixtures;
mod gang;
mod grant;
mod ids;
mod node;
mod pod;
mod provisioning;
mod quantity;
mod quota;
mod reason;
mod time;
mod volume;

pub use class::{AcceleratorClass, Classes, MemoryLabel, MemoryUnit, SHARE_MEMORY_MIB, SHARE_MILLI, name_matches};
pub use constraints::{Constraints, Operator, Requirement, Taint, TaintEffect, Toleration};
pub use device::{Device, Health, Link, LinkKind, Partition, Pattern};
pub use failure::{CreationFailure, NodeFailure};
pub use gang::{GangId, GangKind, GangRef, GangSpec, OwnerRef, Parts, PlanRecord, TopologyWishes, Wish};
pub use grant::{Amount, ContainerGrant, DeviceShare, Grant};
pub use ids::{DeviceId, NodeName, PodKey, PodUid, ResourceName};
pub use node::{Node, NodeReport, Pool};
pub use pod::{ContainerRequest, ContainerRole, DeviceRequest, Pod, PodPhase, ShareRequest};
pub use provisioning::{ProvisioningOrder, ProvisioningRequest, ProvisioningState};
pub use quantity::{Quantity, QuantityError};
pub use quota::{Budget, PriorityClass, Quota};
pub use reason::{Curable, Reason, Refusal};
pub use time::Time;
pub use volume::Volume;
