//! What a pod asks for, from its containers' limits and requests: devices, and CPU and memory as kube-scheduler
//! sums them. It decides which amounts cannot be; whether there is room for the others is the engine's.

use std::sync::Arc;

use super::{Container, PodSpec};
use crate::model::{
    Classes, ContainerRequest, ContainerRole, DeviceRequest, Quantity, ResourceName, SHARE_MEMORY_MIB, SHARE_MILLI, ShareRequest,
};
use crate::wire::QuantityText;
use crate::wire::meta::{self, Amounts};

/// More devices than any node has; beyond it an amount is a mistake or an attack.
const WHOLE_MAX: u64 = 65_536;
/// Lines on managed resources in one pod: a Pod has room for tens of thousands of `nvidia.com/mig-*`, which would be summed
/// one against the other.
const ASKS_MAX: usize = 1024;
/// 16 TiB: more than any device has.
const SHARE_MEMORY_MIB_MAX: u64 = 1 << 24;

/// What the pod asks of managed resources.
pub(super) fn devices(spec: &PodSpec, classes: &Classes) -> DeviceRequest {
    let mut request = DeviceRequest::default();
    let init = spec.init_containers.iter().map(|container| (container, init_role(container)));
    let main = spec.containers.iter().map(|container| (container, ContainerRole::Main));
    let mut asks = 0;
    for (index, (container, role)) in init.enumerate().chain(main.enumerate()) {
        match container_request(container, classes) {
            Ok(asked) if asked.whole.is_empty() && asked.share.is_none() => {}
            Ok(asked) if asks + asked.whole.len() + 1 > ASKS_MAX => {
                request.impossible.get_or_insert_with(|| {
                    format!("container `{}`: the pod has more lines on accelerators than are summed", container.name).into()
                });
            }
            Ok(asked) => {
                asks += asked.whole.len() + 1;
                request.containers.push(ContainerRequest { index: u32::try_from(index).unwrap_or(u32::MAX), role, ..asked });
            }
            Err(problem) => {
                request.impossible.get_or_insert_with(|| format!("container `{}`: {problem}", container.name).into());
            }
        }
    }
    request
}

fn init_role(container: &Container) -> ContainerRole {
    if container.restart_policy.as_deref() == Some("Always") { ContainerRole::Sidecar } else { ContainerRole::Init }
}

fn container_request(container: &Container, classes: &Classes) -> Result<ContainerRequest, String> {
    let (limits, requests) = (&container.resources.limits, &container.resources.requests);
    // Extended resources need limits equal to requests, and a manifest may leave either out: limits win.
    let only_requested = requests.iter().filter(|(name, _)| !limits.contains_key(*name));
    let mut asked = ContainerRequest {
        container: Arc::from(container.name.as_str()),
        index: 0,
        role: ContainerRole::Main,
        whole: Vec::new(),
        share: None,
    };
    let (mut milli, mut memory_mib, mut fraction) = (None, None, None);
    for (name, amount) in limits.iter().chain(only_requested) {
        match name.as_str() {
            SHARE_MILLI => milli = units(name, amount, 1000)?,
            SHARE_MEMORY_MIB => memory_mib = units(name, amount, SHARE_MEMORY_MIB_MAX)?,
            _ => {
                let Some(class) = classes.of(name) else { continue };
                let quantity = read(name, amount)?;
                if quantity.whole().is_some() {
                    let count = units(name, amount, WHOLE_MAX)?.unwrap_or(0);
                    if count > 0 {
                        asked.whole.push((ResourceName::from(name.as_str()), count));
                    }
                } else if !class.sharable {
                    return Err(format!("{name}: {} of a device that cannot be shared", amount.shown()));
                } else if quantity > Quantity::units(1) {
                    return Err(format!("{name}: {} is neither whole devices nor a share of one", amount.shown()));
                } else if fraction.is_some() {
                    return Err(format!("{name}: {}: a container gets one share", amount.shown()));
                } else {
                    fraction = u32::try_from(quantity.milli()).ok();
                }
            }
        }
    }
    asked.whole.sort_unstable();
    if milli.is_some() && fraction.is_some() {
        return Err(format!("a fraction beside {SHARE_MILLI}: a container gets one share"));
    }
    asked.share = match (milli.or(fraction), memory_mib) {
        (None, None) => None,
        (Some(milli), memory_mib) => Some(ShareRequest { milli, memory_mib: memory_mib.map(u64::from) }),
        (None, Some(_)) => return Err(format!("{SHARE_MEMORY_MIB} needs {SHARE_MILLI} beside it")),
    };
    Ok(asked)
}

fn read(name: &str, amount: &QuantityText) -> Result<Quantity, String> {
    amount.read().map_err(|problem| format!("{name}: {}: {problem}", amount.shown()))
}

/// A whole number of units above zero, at most `max`.
fn units(name: &str, amount: &QuantityText, max: u64) -> Result<Option<u32>, String> {
    let quantity = read(name, amount)?;
    let count = quantity.whole().ok_or_else(|| format!("{name}: {} is not a whole number", amount.shown()))?;
    if count > max {
        return Err(format!("{name}: {} is more than {max}", amount.shown()));
    }
    Ok(u32::try_from(count).ok().filter(|count| *count > 0))
}

/// CPU in thousandths and memory in bytes, as kube-scheduler sums them: what runs together, or the peak of an init
/// container beside the sidecars started before it; pod-level amounts override the sums; overhead comes on top.
pub(super) fn cpu_and_memory(spec: &PodSpec) -> (u64, u64) {
    (total(spec, "cpu", meta::cpu_milli), total(spec, "memory", meta::memory_bytes))
}

fn total(spec: &PodSpec, name: &str, read: fn(&QuantityText) -> u64) -> u64 {
    let read = |amounts: &Amounts| amounts.get(name).map(read);
    let asked = |container: &Container| read(&container.resources.requests).or_else(|| read(&container.resources.limits)).unwrap_or(0);
    let (mut sidecars, mut init_peak) = (0_u64, 0_u64);
    for container in &spec.init_containers {
        if init_role(container) == ContainerRole::Sidecar {
            sidecars = sidecars.saturating_add(asked(container));
            init_peak = init_peak.max(sidecars);
        } else {
            init_peak = init_peak.max(sidecars.saturating_add(asked(container)));
        }
    }
    let together = spec.containers.iter().map(asked).fold(sidecars, u64::saturating_add);
    let summed = together.max(init_peak);
    // The API server writes a pod-level limit into the request too, unless a container asks for some.
    let pod_level = read(&spec.resources.requests).or_else(|| read(&spec.resources.limits).filter(|_| summed == 0));
    pod_level.unwrap_or(summed).saturating_add(read(&spec.overhead).unwrap_or(0))
}
