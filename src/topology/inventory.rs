//! The devices of a node from its labels and its allocatable amounts, for nodes whose agent says nothing.
//!
//! What a label cannot tell stays unknown: devices are named by their place (`"0"` to `"n-1"`), all of them healthy,
//! on no known NUMA node. The count is kubelet's allocatable, whatever a label claims.
//!
//! A vendor's plugin that shares by itself (time-slicing, MPS, MIG) advertises more units than there are devices.
//! Each unit then counts as a device of its own, without memory, without links and never shared by us: several units
//! are one piece of silicon, and which ones is not known here.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::catalogue;
use crate::model::{AcceleratorClass, Classes, Device, DeviceId, Health, MemoryLabel, MemoryUnit, Pool, Quantity, ResourceName};

/// One pool a managed resource that the node has, ordered by resource. A resource that has run out (0) keeps its pool:
/// a device plugin that restarts reports 0 for a while, and pods still hold its devices.
pub fn pools(labels: &BTreeMap<Arc<str>, Arc<str>>, allocatable: &BTreeMap<Arc<str>, u64>, classes: &Classes) -> Vec<Pool> {
    let managed = allocatable.iter().filter_map(|(resource, count)| Some((resource, *count, classes.of(resource)?)));
    managed.map(|(resource, count, class)| pool(resource, count, class, labels)).collect()
}

fn pool(resource: &Arc<str>, count: u64, class: &AcceleratorClass, labels: &BTreeMap<Arc<str>, Arc<str>>) -> Pool {
    let label = |key: &str| labels.get(key).map(|value| &**value);
    // GPU Feature Discovery writes what it knows of a resource under the resource's own name: `nvidia.com/gpu.product`,
    // `nvidia.com/mig-1g.10gb.product`.
    let own = |field: &str| label(&format!("{resource}.{field}"));
    let product = own("product").or_else(|| class.product_labels.iter().find_map(|key| label(key))).filter(|product| !product.is_empty());
    let units = units(resource, product, &own, &label);
    let memory_mib = match units {
        Units::Shared => None,
        Units::Devices | Units::Partitions => own("memory")
            .and_then(|value| mib(value, MemoryUnit::Mib))
            .or_else(|| class.memory_labels.iter().find_map(|MemoryLabel { key, unit }| mib(label(key)?, *unit))),
    };
    let devices_count = usize::try_from(count).unwrap_or(usize::MAX).min(Pool::DEVICES_MAX);
    let device = |index: u32| Device { id: DeviceId::new(index.to_string()), index, memory_mib, numa_node: None, health: Health::Healthy };
    Pool {
        resource: ResourceName::new(resource.clone()),
        allocatable: u32::try_from(count).unwrap_or(u32::MAX),
        product: product.map(Arc::from),
        devices: (0..).take(devices_count).map(device).collect(),
        links: match units {
            Units::Devices => catalogue::links(resource, product, devices_count),
            Units::Shared | Units::Partitions => Vec::new(),
        },
        sharable: class.sharable && matches!(units, Units::Devices),
    }
}

/// What one unit of a resource is.
enum Units {
    /// A device.
    Devices,
    /// A partition with memory of its own (MIG).
    Partitions,
    /// One of several users of a device (time-slicing, MPS).
    Shared,
}

fn units<'a>(
    resource: &str,
    product: Option<&str>,
    own: &impl Fn(&str) -> Option<&'a str>,
    label: &impl Fn(&str) -> Option<&'a str>,
) -> Units {
    let replicated = own("replicas").and_then(|value| value.parse::<u32>().ok()).is_some_and(|replicas| replicas > 1)
        || own("sharing-strategy").is_some_and(|strategy| strategy != "none")
        || product.is_some_and(|product| product.ends_with("-SHARED"));
    let gke_shared = label("cloud.google.com/gke-gpu-sharing-strategy").is_some()
        || label("cloud.google.com/gke-max-shared-clients-per-gpu")
            .and_then(|value| value.parse::<u32>().ok())
            .is_some_and(|clients| clients > 1);
    let nvidia = resource.starts_with("nvidia.com/");
    if replicated || (nvidia && gke_shared) {
        Units::Shared
    } else if resource.starts_with("nvidia.com/mig-")
        || product.is_some_and(|product| product.contains("-MIG-"))
        || (nvidia && label("cloud.google.com/gke-gpu-partition-size").is_some())
    {
        Units::Partitions
    } else {
        Units::Devices
    }
}

/// Device memory in MiB. AMD's `192G` means GiB, so does a bare number under a GiB label; any other suffix is a quantity's.
fn mib(value: &str, unit: MemoryUnit) -> Option<u64> {
    let mib = match (unit, value.strip_suffix('G')) {
        (MemoryUnit::Gib, Some(number)) => number.parse::<u64>().ok()?.checked_mul(1024)?,
        (unit, _) => match (value.parse::<u64>(), unit) {
            (Ok(number), MemoryUnit::Mib) => number,
            (Ok(number), MemoryUnit::Gib) => number.checked_mul(1024)?,
            (Err(_), _) => Quantity::parse(value).ok()?.milli() / 1000 / (1024 * 1024),
        },
    };
    (1..=MEMORY_MIB_MAX).contains(&mib).then_some(mib)
}

/// 16 TiB: what claims more is a mistake.
const MEMORY_MIB_MAX: u64 = 1 << 24;
