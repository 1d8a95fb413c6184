//! What was read of a machine, as it was read. Nothing here is judged; what could not be read is `None`.

use crate::wire::LinkType;

/// A machine with its GPUs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Machine {
    /// `570.124.06`
    pub driver_version: Option<String>,
    /// `12.8`
    pub cuda_version: Option<String>,
    /// All that the driver counts, by index, also those that it has lost.
    pub gpus: Vec<Gpu>,
    /// Each two of them once.
    pub pairs: Vec<Pair>,
}

/// One GPU.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Gpu {
    /// NVML's index: the order on the PCI bus.
    pub index: u32,
    /// It stopped to answer while it was read, or before.
    pub gone: Option<Gone>,
    /// `GPU-` and 36 letters.
    pub uuid: Option<String>,
    /// `NVIDIA H100 80GB HBM3`
    pub product: Option<String>,
    /// Its memory.
    pub memory_mib: Option<u64>,
    /// `0000:1b:00.0`, as sysfs writes it.
    pub pci_bus_id: Option<String>,
    /// `pci0000:15`
    pub pcie_root: Option<String>,
    /// The node of the CPUs next to it. On a Grace machine the GPU's memory is a node of its own: not this one.
    pub numa_node: Option<u32>,
    /// Who may run on it.
    pub compute_mode: Option<ComputeMode>,
    /// Whether it is cut up. Nobody can ask for it whole then.
    pub mig: bool,
    /// The MIG devices cut from it.
    pub instances: Vec<Instance>,
    /// Its active NVLinks.
    pub links: Vec<NvLink>,
    /// What one of them carries each way.
    pub link_mb_per_s: Option<u32>,
    /// Its place in a fabric across nodes.
    pub seat: Option<Seat>,
    /// Uncorrected memory errors since the driver was loaded.
    pub memory_errors: Option<u64>,
    /// Memory rows that were replaced by spare ones.
    pub rows: Option<Rows>,
    /// What slows it.
    pub brakes: Brakes,
    /// Processes that compute on it, by id, MPS clients among them.
    pub processes: Vec<u32>,
    /// Those of them that are clients of an MPS server.
    pub mps_clients: Vec<u32>,
}

/// How a GPU is out of reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gone {
    /// It fell off the bus.
    Lost,
    /// It answers nothing until it is reset.
    ResetRequired,
    /// The driver counts it, and lets nobody ask it: no permission, no power, no interrupts.
    Refused,
}

/// Who may make a context on a GPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ComputeMode {
    /// Everybody.
    Default,
    /// One process: the MPS server, where there is one.
    ExclusiveProcess,
    /// Nobody.
    Prohibited,
}

/// A MIG device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Instance {
    /// `MIG-` and 36 letters.
    pub uuid: String,
    /// `1g.10gb`, the last word of its name.
    pub profile: Option<String>,
    /// Its memory.
    pub memory_mib: Option<u64>,
    /// The first memory slice of its GPU instance. NVML tells it to root alone.
    pub start: Option<u8>,
}

/// An NVLink that is up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NvLink {
    /// What is at its other end.
    pub remote: Remote,
    /// The PCI bus id of that.
    pub remote_bus_id: Option<String>,
    /// 1 to 5.
    pub generation: Option<u8>,
}

/// What an NVLink leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remote {
    /// Another GPU.
    Gpu,
    /// An NVSwitch.
    Switch,
    /// A CPU (POWER9).
    Cpu,
    /// The driver does not say.
    Unknown,
}

/// Two GPUs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pair {
    /// The lower index.
    pub a: u32,
    /// The higher index.
    pub b: u32,
    /// Their nearest common ancestor on PCIe.
    pub level: Option<LinkType>,
    /// Whether the driver lets them reach each other over NVLink.
    pub nvlink: Option<bool>,
}

/// A place in an NVLink fabric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seat {
    /// The domain; all zero where the fabric ends at this machine.
    pub cluster: [u8; 16],
    /// The partition in it.
    pub clique: u32,
    /// Whether the fabric manager is done with it, successfully.
    pub completed: bool,
}

/// Rows of a GPU's memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rows {
    /// Some are replaced at the next reset.
    pub pending: bool,
    /// No spare one was left.
    pub failed: bool,
}

/// What slows a GPU's clocks to a half or less.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Brakes {
    /// It is too hot.
    pub thermal: bool,
    /// The power supply asks for it.
    pub power: bool,
}
