//! One accelerator device of a node, and how two of them are linked.

use super::DeviceId;

/// What is known of a device. Its place in [`super::Pool::devices`] is its index in every bit mask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Unique on its node.
    pub id: DeviceId,
    /// The vendor's index (`nvidia-smi -L`), as far as known; else the place in the pool.
    pub index: u32,
    /// Device memory in MiB, where a label or the agent tells it.
    pub memory_mib: Option<u64>,
    /// NUMA node the device hangs on.
    pub numa_node: Option<u32>,
    /// Only healthy devices are granted; a blip evicts nobody.
    pub health: Health,
}

/// Whether new grants may use a device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Health {
    /// May be granted.
    #[default]
    Healthy,
    /// Keeps its present holder, gets no new one.
    Unhealthy,
}

/// A link between two devices of one pool, by their places in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// One end.
    pub a: u32,
    /// The other end.
    pub b: u32,
    /// What runs between them.
    pub kind: LinkKind,
}

/// How two devices reach each other, in the legend of `nvidia-smi topo -m`; later is nearer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LinkKind {
    /// SYS: across the interconnect between NUMA nodes.
    Sys,
    /// NODE: across PCIe host bridges within a NUMA node.
    Node,
    /// PHB: through one PCIe host bridge.
    Phb,
    /// PXB: through several PCIe switches, no host bridge.
    Pxb,
    /// PIX: through one PCIe switch.
    Pix,
    /// NV#: this many bonded NVLinks, or another vendor's direct links of the same role.
    NvLink(u8),
}
