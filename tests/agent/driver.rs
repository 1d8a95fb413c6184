//! A driver for machines without one: exports the NVML functions that the agent calls, and answers from a text of lines `key=value`.
//!
//! `tests/agent.rs` compiles it into a shared library and writes the text, whose path is in `FAKE_NVML_MACHINE`. Layouts and
//! numbers are those of NVIDIA's header, written down a second time here: were they taken from the bindings that the agent
//! uses, a wrong one would agree with itself. What a key means stands where it is read.
#![allow(non_snake_case, clippy::missing_safety_doc)]

use std::collections::BTreeMap;
use std::ffi::{c_char, c_int, c_uint, c_ulong, c_ulonglong};
use std::sync::RwLock;

type Code = c_uint;
const SUCCESS: Code = 0;
const INVALID_ARGUMENT: Code = 2;
const NOT_SUPPORTED: Code = 3;
const NO_PERMISSION: Code = 4;
const NOT_FOUND: Code = 6;
const INSUFFICIENT_SIZE: Code = 7;
const FUNCTION_NOT_FOUND: Code = 13;
const GPU_IS_LOST: Code = 15;
const RESET_REQUIRED: Code = 16;

/// A GPU is its index + 1. A MIG device adds its place + 1 in thousands, a GPU instance a million and its id in thousands.
type Handle = usize;

static MACHINE: RwLock<BTreeMap<String, String>> = RwLock::new(BTreeMap::new());

fn read(key: &str) -> Option<String> {
    MACHINE.read().unwrap().get(key).cloned()
}

fn number(key: &str) -> Option<u64> {
    read(key)?.parse().ok()
}

/// `gpu.3` or `gpu.3.mig.0`.
fn device(handle: Handle) -> String {
    let (gpu, mig) = (handle % 1000, handle % 1_000_000 / 1000);
    if mig == 0 { format!("gpu.{}", gpu - 1) } else { format!("gpu.{}.mig.{}", gpu - 1, mig - 1) }
}

/// What stands before every answer about a device: `without` lists functions that this driver does not have, `gpu.N.lost=calls`
/// is a GPU that has a handle and answers nothing, `gpu.N.reset=1` one that answers nothing until it is reset.
fn gate(function: &str, handle: Handle) -> Result<String, Code> {
    if read("without").is_some_and(|all| all.split(' ').any(|one| one == function)) {
        return Err(FUNCTION_NOT_FOUND);
    }
    let gpu = format!("gpu.{}", handle % 1000 - 1);
    if read(&format!("{gpu}.lost")).as_deref() == Some("calls") {
        return Err(GPU_IS_LOST);
    }
    if number(&format!("{gpu}.reset")) == Some(1) {
        return Err(RESET_REQUIRED);
    }
    Ok(device(handle))
}

fn code(result: Result<(), Code>) -> Code {
    result.err().unwrap_or(SUCCESS)
}

unsafe fn write_text(text: &str, to: *mut c_char, length: c_uint) -> Result<(), Code> {
    if text.len() + 1 > length as usize {
        return Err(INSUFFICIENT_SIZE);
    }
    unsafe {
        std::ptr::copy_nonoverlapping(text.as_ptr().cast(), to, text.len());
        *to.add(text.len()) = 0;
    }
    Ok(())
}

/// Answers a call about a device with the number under a key, or with `NOT_SUPPORTED`.
macro_rules! number_of {
    ($($function:ident $key:literal $type:ty;)*) => {$(
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $function(handle: Handle, to: *mut $type) -> Code {
            code(gate(stringify!($function), handle).and_then(|device| {
                let value = number(&format!("{device}.{}", $key)).ok_or(NOT_SUPPORTED)?;
                unsafe { *to = value as $type };
                Ok(())
            }))
        }
    )*};
}

number_of! {
    nvmlDeviceGetComputeMode "mode" c_uint;
    nvmlDeviceGetCurrentClocksThrottleReasons "throttle" c_ulonglong;
    nvmlDeviceGetMaxMigDeviceCount "migs" c_uint;
    nvmlDeviceGetGpuInstanceId "gi" c_uint;
}

/// `init` is what the start answers: 0, 9 without the kernel module, 18 with another version of it.
#[unsafe(no_mangle)]
pub extern "C" fn nvmlInit_v2() -> Code {
    let Some(text) = std::env::var_os("FAKE_NVML_MACHINE").and_then(|path| std::fs::read_to_string(path).ok()) else { return 999 };
    let lines = text.lines().filter_map(|line| line.split_once('=')).map(|(key, value)| (key.to_owned(), value.to_owned()));
    *MACHINE.write().unwrap() = lines.collect();
    number("init").unwrap_or(0) as Code
}

#[unsafe(no_mangle)]
pub extern "C" fn nvmlShutdown() -> Code {
    SUCCESS
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlSystemGetDriverVersion(to: *mut c_char, length: c_uint) -> Code {
    code(read("driver").ok_or(NOT_SUPPORTED).and_then(|text| unsafe { write_text(&text, to, length) }))
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlSystemGetCudaDriverVersion_v2(to: *mut c_int) -> Code {
    let Some(version) = number("cuda") else { return NOT_SUPPORTED };
    unsafe { *to = version as c_int };
    SUCCESS
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetCount_v2(to: *mut c_uint) -> Code {
    unsafe { *to = number("count").unwrap_or(0) as c_uint };
    SUCCESS
}

/// `gpu.N.lost=handle` is a GPU that is counted, and has no handle; `refused` one that this process may not open.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetHandleByIndex_v2(index: c_uint, to: *mut Handle) -> Code {
    if u64::from(index) >= number("count").unwrap_or(0) {
        return INVALID_ARGUMENT;
    }
    match read(&format!("gpu.{index}.lost")).as_deref() {
        Some("handle") => return GPU_IS_LOST,
        Some("refused") => return NO_PERMISSION,
        _ => {}
    }
    unsafe { *to = index as Handle + 1 };
    SUCCESS
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetUUID(handle: Handle, to: *mut c_char, length: c_uint) -> Code {
    let text = gate("nvmlDeviceGetUUID", handle).and_then(|device| read(&format!("{device}.uuid")).ok_or(NOT_SUPPORTED));
    code(text.and_then(|text| unsafe { write_text(&text, to, length) }))
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetName(handle: Handle, to: *mut c_char, length: c_uint) -> Code {
    let text = gate("nvmlDeviceGetName", handle).and_then(|device| read(&format!("{device}.name")).ok_or(NOT_SUPPORTED));
    code(text.and_then(|text| unsafe { write_text(&text, to, length) }))
}

#[repr(C)]
pub struct Memory {
    version: c_uint,
    total: c_ulonglong,
    reserved: c_ulonglong,
    free: c_ulonglong,
    used: c_ulonglong,
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetMemoryInfo_v2(handle: Handle, to: *mut Memory) -> Code {
    code(gate("nvmlDeviceGetMemoryInfo_v2", handle).and_then(|device| {
        let to = unsafe { &mut *to };
        if to.version != (size_of::<Memory>() as c_uint | 2 << 24) {
            return Err(INVALID_ARGUMENT);
        }
        to.total = number(&format!("{device}.memory")).ok_or(NOT_SUPPORTED)?;
        Ok(())
    }))
}

#[repr(C)]
pub struct OldMemory {
    total: c_ulonglong,
    free: c_ulonglong,
    used: c_ulonglong,
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetMemoryInfo(handle: Handle, to: *mut OldMemory) -> Code {
    code(gate("nvmlDeviceGetMemoryInfo", handle).and_then(|device| {
        unsafe { (*to).total = number(&format!("{device}.memory")).ok_or(NOT_SUPPORTED)? };
        Ok(())
    }))
}

#[repr(C)]
pub struct Pci {
    bus_id_legacy: [c_char; 16],
    domain: c_uint,
    bus: c_uint,
    device: c_uint,
    pci_device_id: c_uint,
    pci_sub_system_id: c_uint,
    bus_id: [c_char; 32],
}

/// NVML writes eight letters of domain, and all of it large.
unsafe fn write_bus(bus: &str, to: *mut Pci) -> Result<(), Code> {
    let long = format!("0000{}", bus.to_ascii_uppercase());
    unsafe {
        write_text(&bus.to_ascii_uppercase(), (&raw mut (*to).bus_id_legacy).cast(), 16)?;
        write_text(&long, (&raw mut (*to).bus_id).cast(), 32)
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetPciInfo_v3(handle: Handle, to: *mut Pci) -> Code {
    let bus = gate("nvmlDeviceGetPciInfo_v3", handle).and_then(|device| read(&format!("{device}.bus")).ok_or(NOT_SUPPORTED));
    code(bus.and_then(|bus| unsafe { write_bus(&bus, to) }))
}

/// `gpu.N.node` is the NUMA node of its memory.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetMemoryAffinity(handle: Handle, words: c_uint, to: *mut c_ulong, _scope: c_uint) -> Code {
    code(gate("nvmlDeviceGetMemoryAffinity", handle).and_then(|device| {
        let node = number(&format!("{device}.node")).ok_or(NOT_SUPPORTED)? as usize;
        if node / 64 >= words as usize {
            return Err(INSUFFICIENT_SIZE);
        }
        unsafe { *to.add(node / 64) |= 1 << (node % 64) };
        Ok(())
    }))
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetMigMode(handle: Handle, current: *mut c_uint, pending: *mut c_uint) -> Code {
    code(gate("nvmlDeviceGetMigMode", handle).and_then(|device| {
        let mode = number(&format!("{device}.mig")).ok_or(NOT_SUPPORTED)? as c_uint;
        unsafe { (*current, *pending) = (mode, mode) };
        Ok(())
    }))
}

/// Places for MIG devices have holes: `gpu.N.mig.M` need not be there for every M.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetMigDeviceHandleByIndex(handle: Handle, place: c_uint, to: *mut Handle) -> Code {
    code(gate("nvmlDeviceGetMigDeviceHandleByIndex", handle).and_then(|device| {
        read(&format!("{device}.mig.{place}.uuid")).ok_or(NOT_FOUND)?;
        unsafe { *to = handle + (place as Handle + 1) * 1000 };
        Ok(())
    }))
}

/// `privileged=0` is an agent without root.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetGpuInstanceById(handle: Handle, id: c_uint, to: *mut Handle) -> Code {
    if number("privileged") == Some(0) {
        return NO_PERMISSION;
    }
    unsafe { *to = handle + 1_000_000 + id as Handle * 1000 };
    SUCCESS
}

#[repr(C)]
pub struct GpuInstance {
    device: Handle,
    id: c_uint,
    profile: c_uint,
    start: c_uint,
    size: c_uint,
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlGpuInstanceGetInfo(instance: Handle, to: *mut GpuInstance) -> Code {
    let (gpu, id) = (instance % 1000, (instance - 1_000_000) / 1000);
    let mut migs = (0..56).map(|mig| format!("gpu.{}.mig.{mig}", gpu - 1));
    let Some(mig) = migs.find(|mig| number(&format!("{mig}.gi")) == Some(id as u64)) else { return NOT_FOUND };
    let start = number(&format!("{mig}.start")).unwrap_or(0) as c_uint;
    unsafe { *to = GpuInstance { device: gpu, id: id as c_uint, profile: 0, start, size: 1 } };
    SUCCESS
}

/// `gpu.N.link.L=switch 0000:05:00.0`: kind and bus id of the other end; `down` is a link that is there, and not up.
fn link(function: &str, handle: Handle, link: c_uint) -> Result<(String, String), Code> {
    let device = gate(function, handle)?;
    let text = read(&format!("{device}.link.{link}")).ok_or(NOT_SUPPORTED)?;
    let (kind, bus) = text.split_once(' ').unwrap_or((&text, ""));
    Ok((kind.to_owned(), bus.to_owned()))
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetNvLinkState(handle: Handle, number: c_uint, to: *mut c_uint) -> Code {
    code(link("nvmlDeviceGetNvLinkState", handle, number).map(|(kind, _)| unsafe { *to = c_uint::from(kind != "down") }))
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetNvLinkVersion(handle: Handle, link: c_uint, to: *mut c_uint) -> Code {
    let _ = link;
    code(gate("nvmlDeviceGetNvLinkVersion", handle).and_then(|device| {
        unsafe { *to = number(&format!("{device}.nvlink")).ok_or(NOT_SUPPORTED)? as c_uint };
        Ok(())
    }))
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetNvLinkRemotePciInfo_v2(handle: Handle, number: c_uint, to: *mut Pci) -> Code {
    code(link("nvmlDeviceGetNvLinkRemotePciInfo_v2", handle, number).and_then(|(_, bus)| unsafe { write_bus(&bus, to) }))
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetNvLinkRemoteDeviceType(handle: Handle, number: c_uint, to: *mut c_uint) -> Code {
    code(link("nvmlDeviceGetNvLinkRemoteDeviceType", handle, number).map(|(kind, _)| {
        let kind = match kind.as_str() {
            "gpu" => 0,
            "cpu" => 1,
            "switch" => 2,
            _ => 255,
        };
        unsafe { *to = kind };
    }))
}

#[repr(C)]
pub struct Field {
    id: c_uint,
    scope: c_uint,
    timestamp: i64,
    latency_us: i64,
    kind: c_uint,
    code: Code,
    value: u64,
}

/// Field 90 alone: megabytes a second of one NVLink, an unsigned int.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetFieldValues(handle: Handle, count: c_int, fields: *mut Field) -> Code {
    code(gate("nvmlDeviceGetFieldValues", handle).map(|device| {
        for field in unsafe { std::slice::from_raw_parts_mut(fields, count as usize) } {
            let speed = number(&format!("{device}.speed")).filter(|_| field.id == 90);
            (field.kind, field.code, field.value) = (1, if speed.is_some() { SUCCESS } else { NOT_SUPPORTED }, speed.unwrap_or(0));
        }
    }))
}

#[repr(C)]
pub struct Fabric {
    version: c_uint,
    cluster: [u8; 16],
    status: Code,
    clique: c_uint,
    state: u8,
    health_mask: c_uint,
    health_summary: u8,
}

/// `gpu.N.fabric=CLUSTER CLIQUE STATE`: 32 letters, a number, 3 for completed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetGpuFabricInfoV(handle: Handle, to: *mut Fabric) -> Code {
    code(gate("nvmlDeviceGetGpuFabricInfoV", handle).and_then(|device| {
        let to = unsafe { &mut *to };
        if to.version != (size_of::<Fabric>() as c_uint | 3 << 24) {
            return Err(INVALID_ARGUMENT);
        }
        (to.cluster, to.clique, to.state) = fabric(&device)?;
        to.status = SUCCESS;
        Ok(())
    }))
}

#[repr(C)]
pub struct OldFabric {
    cluster: [u8; 16],
    status: Code,
    clique: c_uint,
    state: u8,
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetGpuFabricInfo(handle: Handle, to: *mut OldFabric) -> Code {
    code(gate("nvmlDeviceGetGpuFabricInfo", handle).and_then(|device| {
        let (cluster, clique, state) = fabric(&device)?;
        unsafe { *to = OldFabric { cluster, status: SUCCESS, clique, state } };
        Ok(())
    }))
}

fn fabric(device: &str) -> Result<([u8; 16], c_uint, u8), Code> {
    let text = read(&format!("{device}.fabric")).ok_or(NOT_SUPPORTED)?;
    let parts: Vec<&str> = text.split(' ').collect();
    let cluster = u128::from_str_radix(parts[0], 16).map_err(|_| INVALID_ARGUMENT)?;
    Ok((cluster.to_be_bytes(), parts[1].parse().unwrap_or(0), parts[2].parse().unwrap_or(0)))
}

/// `gpu.N.ecc`: uncorrected errors; the count of the corrected ones is none of our business.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetTotalEccErrors(handle: Handle, kind: c_uint, counter: c_uint, to: *mut c_ulonglong) -> Code {
    code(gate("nvmlDeviceGetTotalEccErrors", handle).and_then(|device| {
        if (kind, counter) != (1, 0) {
            return Err(INVALID_ARGUMENT);
        }
        unsafe { *to = number(&format!("{device}.ecc")).ok_or(NOT_SUPPORTED)? };
        Ok(())
    }))
}

/// `gpu.N.rows=pending`, `failed` or `none`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetRemappedRows(
    handle: Handle,
    correctable: *mut c_uint,
    uncorrectable: *mut c_uint,
    pending: *mut c_uint,
    failed: *mut c_uint,
) -> Code {
    code(gate("nvmlDeviceGetRemappedRows", handle).and_then(|device| {
        let rows = read(&format!("{device}.rows")).ok_or(NOT_SUPPORTED)?;
        unsafe { (*correctable, *uncorrectable) = (1, c_uint::from(rows != "none")) };
        unsafe { (*pending, *failed) = (c_uint::from(rows == "pending"), c_uint::from(rows == "failed")) };
        Ok(())
    }))
}

#[repr(C)]
pub struct Process {
    pid: c_uint,
    memory: c_ulonglong,
    gpu_instance: c_uint,
    compute_instance: c_uint,
}

unsafe fn processes(function: &str, key: &str, handle: Handle, count: *mut c_uint, to: *mut Process) -> Code {
    code(gate(function, handle).and_then(|device| {
        let pids: Vec<c_uint> =
            read(&format!("{device}.{key}")).unwrap_or_default().split_whitespace().filter_map(|pid| pid.parse().ok()).collect();
        let room = unsafe { *count } as usize;
        unsafe { *count = pids.len() as c_uint };
        if pids.len() > room {
            return Err(INSUFFICIENT_SIZE);
        }
        for (place, pid) in pids.into_iter().enumerate() {
            unsafe { *to.add(place) = Process { pid, memory: 1 << 20, gpu_instance: u32::MAX, compute_instance: u32::MAX } };
        }
        Ok(())
    }))
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetComputeRunningProcesses_v3(handle: Handle, count: *mut c_uint, to: *mut Process) -> Code {
    unsafe { processes("nvmlDeviceGetComputeRunningProcesses_v3", "pids", handle, count, to) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetMPSComputeRunningProcesses_v3(handle: Handle, count: *mut c_uint, to: *mut Process) -> Code {
    unsafe { processes("nvmlDeviceGetMPSComputeRunningProcesses_v3", "mps", handle, count, to) }
}

/// `level.A.B`: 0, 10, 20, 30, 40 or 50, as the header numbers them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetTopologyCommonAncestor(a: Handle, b: Handle, to: *mut c_uint) -> Code {
    code(gate("nvmlDeviceGetTopologyCommonAncestor", a).and_then(|_| {
        let level = number(&format!("level.{}.{}", a - 1, b - 1)).ok_or(INVALID_ARGUMENT)?;
        unsafe { *to = level as c_uint };
        Ok(())
    }))
}

/// `p2p.A.B=1`: they reach each other over NVLink. 5 is `NVML_P2P_STATUS_NOT_SUPPORTED`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetP2PStatus(a: Handle, b: Handle, what: c_uint, to: *mut c_uint) -> Code {
    code(gate("nvmlDeviceGetP2PStatus", a).and_then(|_| {
        let reach = what == 2 && number(&format!("p2p.{}.{}", a - 1, b - 1)) == Some(1);
        unsafe { *to = if reach { 0 } else { 5 } };
        Ok(())
    }))
}
