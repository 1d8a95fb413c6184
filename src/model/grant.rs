//! What a pod was given: per container, which devices and how much of each.

use std::sync::Arc;

use super::{DeviceId, NodeName, ResourceName};

/// The devices of one pod on one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Where.
    pub node: NodeName,
    /// Containers that got devices, init containers included, in the pod's order.
    pub containers: Vec<ContainerGrant>,
}

/// The devices of one container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerGrant {
    /// The container's name, unique in its pod.
    pub container: Arc<str>,
    /// Its devices. Init containers list devices that later containers of the pod get too, as kubelet does.
    pub devices: Vec<DeviceShare>,
}

/// A device, or a share of one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DeviceShare {
    /// The resource that was asked for: the pool the device belongs to.
    pub resource: ResourceName,
    /// Which device; absent where a holder without our record makes it unknowable (docs/decisions/0002).
    pub device: Option<DeviceId>,
    /// How much of it.
    pub amount: Amount,
}

/// How much of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Amount {
    /// All of it, alone.
    Whole,
    /// A part, beside other parts.
    Share {
        /// Compute, in thousandths of a device.
        milli: u32,
        /// Memory, where the pod asked for an amount of it.
        memory_mib: Option<u64>,
    },
}
