//! The calls that nvml-wrapper 0.13 lacks, or gets wrong: `NvLink::remote_device_type` answers Unknown whatever the driver says.
//!
//! The only `unsafe` of the crate; each block says why it holds. Nothing here is judged.

use std::mem;
use std::os::raw::c_uint;

use nvml_wrapper::Device;
use nvml_wrapper::error::{NvmlError, nvml_sym, nvml_try};
use nvml_wrapper_sys::bindings as sys;

use super::facts::{Remote, Rows, Seat};

/// What stands at the other end of an NVLink.
pub(super) fn remote(device: &Device<'_>, link: u32) -> Result<Remote, NvmlError> {
    let call = nvml_sym(device.nvml().lib().nvmlDeviceGetNvLinkRemoteDeviceType.as_ref())?;
    let mut kind: sys::nvmlIntNvLinkDeviceType_t = sys::nvmlIntNvLinkDeviceType_enum_NVML_NVLINK_DEVICE_TYPE_UNKNOWN;
    // SAFETY: the handle lives as long as `device`, and the driver writes one enum through the pointer.
    nvml_try(unsafe { call(device.handle(), link, &raw mut kind) })?;
    Ok(match kind {
        sys::nvmlIntNvLinkDeviceType_enum_NVML_NVLINK_DEVICE_TYPE_GPU => Remote::Gpu,
        sys::nvmlIntNvLinkDeviceType_enum_NVML_NVLINK_DEVICE_TYPE_SWITCH => Remote::Switch,
        sys::nvmlIntNvLinkDeviceType_enum_NVML_NVLINK_DEVICE_TYPE_IBMNPU => Remote::Cpu,
        _ => Remote::Unknown,
    })
}

/// Bytes of a device's memory, as drivers before 510 tell it; the wrapper knows the later form of the call only.
pub(super) fn memory(device: &Device<'_>) -> Result<u64, NvmlError> {
    let call = nvml_sym(device.nvml().lib().nvmlDeviceGetMemoryInfo.as_ref())?;
    // SAFETY: all fields are integers, for which zero is a value.
    let mut info: sys::nvmlMemory_t = unsafe { mem::zeroed() };
    // SAFETY: the handle lives as long as `device`, and this form of the call has one layout.
    nvml_try(unsafe { call(device.handle(), &raw mut info) })?;
    Ok(info.total)
}

/// The place of a GPU in an NVLink fabric. Drivers before 535 know the first form of the call only.
pub(super) fn seat(device: &Device<'_>) -> Result<Seat, NvmlError> {
    let lib = device.nvml().lib();
    let done = |state: sys::nvmlGpuFabricState_t, status: sys::nvmlReturn_t| {
        u32::from(state) == sys::NVML_GPU_FABRIC_STATE_COMPLETED && status == sys::nvmlReturn_enum_NVML_SUCCESS
    };
    if let Ok(call) = nvml_sym(lib.nvmlDeviceGetGpuFabricInfoV.as_ref()) {
        // SAFETY: all fields are integers, for which zero is a value.
        let mut info: sys::nvmlGpuFabricInfo_v3_t = unsafe { mem::zeroed() };
        info.version = version::<sys::nvmlGpuFabricInfo_v3_t>(3);
        // SAFETY: the handle lives as long as `device`; `version` tells the driver how much it may write.
        if nvml_try(unsafe { call(device.handle(), &raw mut info) }).is_ok() {
            return Ok(Seat { cluster: info.clusterUuid, clique: info.cliqueId, completed: done(info.state, info.status) });
        }
    }
    let call = nvml_sym(lib.nvmlDeviceGetGpuFabricInfo.as_ref())?;
    // SAFETY: all fields are integers, for which zero is a value.
    let mut info: sys::nvmlGpuFabricInfo_t = unsafe { mem::zeroed() };
    // SAFETY: the handle lives as long as `device`, and this form of the call has one layout.
    nvml_try(unsafe { call(device.handle(), &raw mut info) })?;
    Ok(Seat { cluster: info.clusterUuid, clique: info.cliqueId, completed: done(info.state, info.status) })
}

/// Rows of memory that are replaced, or could not be.
pub(super) fn rows(device: &Device<'_>) -> Result<Rows, NvmlError> {
    let call = nvml_sym(device.nvml().lib().nvmlDeviceGetRemappedRows.as_ref())?;
    let (mut correctable, mut uncorrectable, mut pending, mut failed): (c_uint, c_uint, c_uint, c_uint) = (0, 0, 0, 0);
    // SAFETY: the handle lives as long as `device`, and the driver writes one integer through each pointer.
    nvml_try(unsafe { call(device.handle(), &raw mut correctable, &raw mut uncorrectable, &raw mut pending, &raw mut failed) })?;
    Ok(Rows { pending: pending != 0, failed: failed != 0 })
}

/// The first memory slice of a MIG device's GPU instance. Only root may ask.
pub(super) fn start(gpu: &Device<'_>, mig: &Device<'_>) -> Result<u32, NvmlError> {
    let lib = gpu.nvml().lib();
    let id_of = nvml_sym(lib.nvmlDeviceGetGpuInstanceId.as_ref())?;
    let by_id = nvml_sym(lib.nvmlDeviceGetGpuInstanceById.as_ref())?;
    let info_of = nvml_sym(lib.nvmlGpuInstanceGetInfo.as_ref())?;
    let mut id: c_uint = 0;
    // SAFETY: the handle lives as long as `mig`, and the driver writes one integer through the pointer.
    nvml_try(unsafe { id_of(mig.handle(), &raw mut id) })?;
    let mut instance: sys::nvmlGpuInstance_t = std::ptr::null_mut();
    // SAFETY: the handle lives as long as `gpu`, and the driver writes one handle through the pointer.
    nvml_try(unsafe { by_id(gpu.handle(), id, &raw mut instance) })?;
    // SAFETY: integers and a handle that may be null.
    let mut info: sys::nvmlGpuInstanceInfo_t = unsafe { mem::zeroed() };
    // SAFETY: the driver gave `instance` a moment ago, and this call has one layout; a stale handle is answered with an error.
    nvml_try(unsafe { info_of(instance, &raw mut info) })?;
    Ok(info.placement.start)
}

/// `NVML_STRUCT_VERSION` of the header: the size, and the version in the top byte.
fn version<T>(number: c_uint) -> c_uint {
    c_uint::try_from(size_of::<T>()).unwrap_or(0) | (number << 24)
}
