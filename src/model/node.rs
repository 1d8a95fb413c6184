//! A node as placement sees it: its labels for policies, its pools of devices for grants.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Device, DeviceId, Link, NodeName, PodUid, ResourceName, Taint};

/// A node with what is known of its accelerators from labels, allocatable and, where it exists, the agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Identity (a node recreated under its name is the same place).
    pub name: NodeName,
    /// `metadata.labels`.
    pub labels: BTreeMap<Arc<str>, Arc<str>>,
    /// `spec.taints`.
    pub taints: Vec<Taint>,
    /// `spec.unschedulable`.
    pub unschedulable: bool,
    /// Condition Ready is True.
    pub ready: bool,
    /// `status.allocatable.cpu` in thousandths of a core.
    pub cpu_milli: u64,
    /// `status.allocatable.memory` in bytes.
    pub memory_bytes: u64,
    /// `status.allocatable.pods`.
    pub pods: u32,
    /// One pool a managed resource, ordered by resource.
    pub pools: Vec<Pool>,
    /// What the agent says, where there is one.
    pub report: Option<NodeReport>,
}

/// The devices behind one resource of a node. More than [`Pool::DEVICES_MAX`] of them are counted and never named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pool {
    /// The resource that kube-scheduler counts.
    pub resource: ResourceName,
    /// `status.allocatable` of it: what kubelet would still admit, unhealthy devices left out.
    pub allocatable: u32,
    /// The product, as the vendor's label or the agent names it.
    pub product: Option<Arc<str>>,
    /// The devices, ordered by index.
    pub devices: Vec<Device>,
    /// Links between them, each pair at most once; a missing pair is unknown.
    pub links: Vec<Link>,
    /// Whether shares of these devices may be granted.
    pub sharable: bool,
}

impl Pool {
    /// Devices that are told apart are bits of one `u64` mask. A pool of more (128 `neuroncore` of a trn2.48xlarge, eight GPUs
    /// in sixteen time slices each) is granted by count, as kube-scheduler would.
    pub const DEVICES_MAX: usize = 64;
    /// What is beyond it is not ours to hand out.
    pub const UNITS_MAX: usize = 1024;

    /// Whether its devices are counted alone.
    pub fn is_counted(&self) -> bool {
        self.devices.len() > Self::DEVICES_MAX
    }
}

/// What a node agent says beyond the devices themselves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeReport {
    /// Our agent serves this node's devices to kubelet, so that the planned device is the real one.
    pub serves_devices: bool,
    /// What each pod's containers really got: overrides every plan (the node is the truth).
    pub actual: BTreeMap<PodUid, Vec<(Arc<str>, Vec<DeviceId>)>>,
}
