//! Reads a machine through NVIDIA's management library. A call that fails leaves its field unknown; one that says that the
//! GPU is gone marks the GPU. Only a driver that is not there at all is an error.

use std::path::Path;

use nvml_wrapper::bitmasks::device::ThrottleReasons;
use nvml_wrapper::enum_wrappers::device::{self, EccCounter, MemoryError, P2pCapabilitiesIndex, P2pStatus, TopologyLevel};
use nvml_wrapper::enums::device::SampleValue;
use nvml_wrapper::error::NvmlError;
use nvml_wrapper::struct_wrappers::device::ProcessInfo;
use nvml_wrapper::structs::device::FieldId;
use nvml_wrapper::sys_exports::field_id::NVML_FI_DEV_NVLINK_SPEED_MBPS_COMMON;
use nvml_wrapper::{Device, Nvml, cuda_driver_version_major, cuda_driver_version_minor};

use super::facts::{Brakes, ComputeMode, Gone, Gpu, Instance, Machine, NvLink, Pair};
use super::raw;
use super::sysfs::{Sysfs, bus_id};
use crate::wire::LinkType;

/// The driver's library, opened and ready.
#[derive(Debug)]
pub struct Driver {
    nvml: Nvml,
}

/// Why no GPU can be seen at all.
#[derive(Debug, thiserror::Error)]
pub enum DriverError {
    /// No library.
    #[error("the NVIDIA driver's library cannot be opened: {0}")]
    Library(String),
    /// A library, and no kernel module.
    #[error("the NVIDIA kernel module is not loaded")]
    Module,
    /// The package was updated, and the old module still runs.
    #[error("the NVIDIA kernel module and the driver's library are of different versions")]
    Mismatch,
    /// Something else.
    #[error("the NVIDIA driver does not start: {0}")]
    Other(NvmlError),
}

impl DriverError {
    /// What a person can do about it.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Library(_) => {
                "install the driver; in a container let the NVIDIA runtime mount it (NVIDIA_VISIBLE_DEVICES=all, \
                 NVIDIA_DRIVER_CAPABILITIES=utility); elsewhere name the file with --library"
            }
            Self::Module => "load it with `modprobe nvidia`, and look into `dmesg` if it does not stay",
            Self::Mismatch => "drain the node and reboot it",
            Self::Other(_) => "see what `nvidia-smi` says on the node",
        }
    }
}

impl From<NvmlError> for DriverError {
    fn from(error: NvmlError) -> Self {
        match error {
            NvmlError::LibloadingError(error) => Self::Library(error.to_string()),
            NvmlError::FailedToLoadSymbol(symbol) => Self::Library(symbol),
            NvmlError::DriverNotLoaded => Self::Module,
            NvmlError::LibRmVersionMismatch => Self::Mismatch,
            other => Self::Other(other),
        }
    }
}

impl Driver {
    /// Opens the library: the one that the system's loader finds, or the one at a path.
    ///
    /// # Errors
    /// There is no driver, or it does not start.
    pub fn open(library: Option<&Path>) -> Result<Self, DriverError> {
        let mut builder = Nvml::builder();
        if let Some(library) = library {
            builder.lib_path(library.as_os_str());
        }
        Ok(Self { nvml: builder.init()? })
    }

    /// Reads everything once.
    ///
    /// # Errors
    /// The driver does not even tell how many GPUs there are.
    pub fn read(&self, sysfs: &Sysfs) -> Result<Machine, DriverError> {
        let count = self.nvml.device_count()?;
        let cuda = self.nvml.sys_cuda_driver_version().ok();
        let gpus: Vec<Gpu> = (0..count).map(|index| self.gpu(index, sysfs)).collect();
        let pairs = (0..count).flat_map(|a| (a + 1..count).map(move |b| (a, b)));
        Ok(Machine {
            driver_version: self.nvml.sys_driver_version().ok(),
            cuda_version: cuda.map(|cuda| format!("{}.{}", cuda_driver_version_major(cuda), cuda_driver_version_minor(cuda))),
            pairs: pairs.filter_map(|(a, b)| self.pair(a, b)).collect(),
            gpus,
        })
    }

    fn gpu(&self, index: u32, sysfs: &Sysfs) -> Gpu {
        let mut calls = Calls::default();
        let Some(device) = calls.answer(self.nvml.device_by_index(index)) else {
            return Gpu { index, gone: Some(calls.gone.unwrap_or(Gone::Refused)), ..Gpu::default() };
        };
        let pci_bus_id = calls.answer(device.pci_info()).map(|pci| bus_id(&pci.bus_id));
        let on_bus = pci_bus_id.as_deref().map(|bus_id| sysfs.pci(bus_id)).unwrap_or_default();
        let brakes = calls.answer(device.current_throttle_reasons()).unwrap_or(ThrottleReasons::NONE);
        let mig = calls.answer(device.mig_mode()).is_some_and(|mode| mode.current != 0);
        Gpu {
            index,
            uuid: calls.answer(device.uuid()),
            product: calls.answer(device.name()),
            memory_mib: memory_mib(&device, &mut calls),
            numa_node: on_bus.numa_node.or_else(|| calls.answer(device.memory_affinity(NODE_WORDS, SCOPE_NODE)).and_then(|set| only(&set))),
            pcie_root: on_bus.root,
            pci_bus_id,
            compute_mode: calls.answer(device.compute_mode()).and_then(compute_mode),
            mig,
            instances: if mig { instances(&device, &mut calls) } else { Vec::new() },
            links: (0..LINKS_MAX).filter_map(|link| nvlink(&device, link, &mut calls)).collect(),
            link_mb_per_s: link_speed(&device, &mut calls),
            seat: calls.answer(raw::seat(&device)),
            memory_errors: calls.answer(device.total_ecc_errors(MemoryError::Uncorrected, EccCounter::Volatile)),
            rows: calls.answer(raw::rows(&device)),
            brakes: Brakes {
                thermal: brakes.contains(ThrottleReasons::HW_THERMAL_SLOWDOWN),
                power: brakes.contains(ThrottleReasons::HW_POWER_BRAKE_SLOWDOWN),
            },
            processes: pids(calls.answer(device.running_compute_processes())),
            mps_clients: pids(calls.answer(device.mps_running_compute_processes())),
            gone: calls.gone,
        }
    }

    fn pair(&self, a: u32, b: u32) -> Option<Pair> {
        let (first, second) = (self.nvml.device_by_index(a).ok()?, self.nvml.device_by_index(b).ok()?);
        let nvlink = first.p2p_status(&second, P2pCapabilitiesIndex::NvLink).ok().map(|status| status == P2pStatus::Ok);
        Some(Pair { a, b, level: first.topology_common_ancestor(second).ok().map(level), nvlink })
    }
}

/// What the calls to one GPU have in common: any of them may be the first to say that it is gone.
#[derive(Default)]
struct Calls {
    gone: Option<Gone>,
}

impl Calls {
    fn answer<T>(&mut self, result: Result<T, NvmlError>) -> Option<T> {
        match &result {
            Err(NvmlError::GpuLost) => self.gone = Some(Gone::Lost),
            Err(NvmlError::ResetRequired) => self.gone = self.gone.or(Some(Gone::ResetRequired)),
            // Not supported by this product, not known to this driver, not allowed to us: the field stays unknown.
            _ => {}
        }
        result.ok()
    }
}

fn memory_mib(device: &Device<'_>, calls: &mut Calls) -> Option<u64> {
    let bytes = calls.answer(device.memory_info()).map(|memory| memory.total).or_else(|| calls.answer(raw::memory(device)))?;
    Some(bytes >> 20)
}

fn nvlink(device: &Device<'_>, link: u32, calls: &mut Calls) -> Option<NvLink> {
    let link = device.link_wrapper_for(link);
    if !calls.answer(link.is_active())? {
        return None;
    }
    Some(NvLink {
        remote: calls.answer(raw::remote(device, link.link())).unwrap_or(super::Remote::Unknown),
        remote_bus_id: calls.answer(link.remote_pci_info()).map(|pci| bus_id(&pci.bus_id)),
        generation: calls.answer(link.version()).and_then(generation),
    })
}

/// NVML numbers the versions 1.0, 2.0, 2.2, 3.0, 3.1, 4.0, 5.0 from 1 on.
fn generation(version: u32) -> Option<u8> {
    match version {
        1 => Some(1),
        2 | 3 => Some(2),
        4 | 5 => Some(3),
        6 => Some(4),
        7 => Some(5),
        _ => None,
    }
}

fn link_speed(device: &Device<'_>, calls: &mut Calls) -> Option<u32> {
    let values = calls.answer(device.field_values_for(&[FieldId(NVML_FI_DEV_NVLINK_SPEED_MBPS_COMMON)]))?;
    let speed = match values.into_iter().next()?.ok()?.value.ok()? {
        SampleValue::U32(speed) => speed,
        SampleValue::U64(speed) => u32::try_from(speed).ok()?,
        SampleValue::F64(_) | SampleValue::I64(_) => return None,
    };
    (speed > 0).then_some(speed)
}

/// The places for MIG devices on a GPU may have holes.
fn instances(device: &Device<'_>, calls: &mut Calls) -> Vec<Instance> {
    let places = calls.answer(device.mig_device_count()).unwrap_or(0);
    let mut instances = Vec::new();
    for mig in (0..places).filter_map(|place| device.mig_device_by_index(place).ok()) {
        let Some(uuid) = calls.answer(mig.uuid()) else { continue };
        instances.push(Instance {
            uuid,
            profile: calls.answer(mig.name()).and_then(|name| Some(name.rsplit_once(" MIG ")?.1.to_owned())),
            memory_mib: memory_mib(&mig, calls),
            start: calls.answer(raw::start(device, &mig)).and_then(|start| u8::try_from(start).ok()),
        });
    }
    instances
}

fn pids(processes: Option<Vec<ProcessInfo>>) -> Vec<u32> {
    let mut pids: Vec<u32> = processes.unwrap_or_default().into_iter().map(|process| process.pid).collect();
    pids.sort_unstable();
    pids.dedup();
    pids
}

fn compute_mode(mode: device::ComputeMode) -> Option<ComputeMode> {
    match mode {
        device::ComputeMode::Default => Some(ComputeMode::Default),
        device::ComputeMode::ExclusiveProcess => Some(ComputeMode::ExclusiveProcess),
        device::ComputeMode::Prohibited => Some(ComputeMode::Prohibited),
        device::ComputeMode::ExclusiveThread => None,
    }
}

fn level(level: TopologyLevel) -> LinkType {
    match level {
        // Two GPUs on one board hang on the switch of that board.
        TopologyLevel::Internal | TopologyLevel::Single => LinkType::Pix,
        TopologyLevel::Multiple => LinkType::Pxb,
        TopologyLevel::HostBridge => LinkType::Phb,
        TopologyLevel::Node => LinkType::Node,
        TopologyLevel::System => LinkType::Sys,
    }
}

/// The only member of a set of NUMA nodes.
fn only(set: &[std::os::raw::c_ulong]) -> Option<u32> {
    let mut nodes =
        (0_u32..).zip(set).flat_map(|(word, bits)| (0..64).filter(move |bit| bits >> bit & 1 == 1).map(move |bit| word * 64 + bit));
    nodes.next().filter(|_| nodes.next().is_none())
}

/// `NVML_NVLINK_MAX_LINKS` of NVML 13.0; the driver answers those that a product lacks with an error.
const LINKS_MAX: u32 = 18;
/// Words of 64 NUMA nodes: as many as Linux can have.
const NODE_WORDS: usize = 16;
/// `NVML_AFFINITY_SCOPE_NODE`
const SCOPE_NODE: u32 = 0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_of_several_numa_nodes_names_none() {
        assert_eq!(only(&[0, 0]), None);
        assert_eq!(only(&[0b100, 0]), Some(2));
        assert_eq!(only(&[0, 1]), Some(64));
        assert_eq!(only(&[1, 1]), None);
    }

    #[test]
    fn a_missing_library_says_what_to_do() {
        let error = Driver::open(Some(Path::new("/nowhere/libnvidia-ml.so.1"))).unwrap_err();
        assert!(matches!(error, DriverError::Library(_)) && error.to_string().contains("/nowhere"), "{error}");
    }
}
