//! The `AcceleratorNode` of what was read. It reads nothing itself: the same machine gives the same object.

use std::fmt::Write as _;

use super::facts::{ComputeMode, Gpu, Instance, Machine, Seat};
use super::health::verdict;
use super::links::links;
use crate::wire::accelerator_node::Fabric;
use crate::wire::{AcceleratorNodeSpec, DeviceReport, PartitionReport};

/// What is to be published. `served_by_agent` is false: nothing of ours hands out the devices yet.
pub fn report(machine: &Machine) -> AcceleratorNodeSpec {
    let mut devices: Vec<DeviceReport> = machine.gpus.iter().filter(|gpu| !gpu.mig || gpu.gone.is_some()).map(whole).collect();
    // Indices of GPUs stay NVML's. A MIG device has none of its own, and comes after all of them.
    let first = machine.gpus.iter().map(|gpu| gpu.index + 1).max().unwrap_or(0);
    let cut = machine.gpus.iter().filter(|gpu| gpu.mig && gpu.gone.is_none());
    let parts = cut.flat_map(|gpu| gpu.instances.iter().filter_map(move |instance| part(gpu, instance)));
    devices.extend((first..).zip(parts).map(|(index, part)| DeviceReport { index, ..part }));
    // What the object's schema takes; no machine is known that has more.
    devices.retain(|device| device.index < DEVICES_MAX);
    let mut links = links(machine);
    links.retain(|link| link.b < DEVICES_MAX);
    AcceleratorNodeSpec {
        served_by_agent: false,
        driver_version: machine.driver_version.clone(),
        cuda_version: machine.cuda_version.clone(),
        fabric: fabric(&machine.gpus),
        devices,
        links,
        allocations: Vec::new(),
    }
}

fn whole(gpu: &Gpu) -> DeviceReport {
    let verdict = verdict(gpu);
    DeviceReport {
        // A GPU that was lost before anybody asked is counted, and has no name but its place.
        id: gpu.uuid.clone().unwrap_or_else(|| format!("index-{}", gpu.index)),
        index: gpu.index,
        resource: WHOLE.into(),
        product: gpu.product.clone(),
        memory_mib: gpu.memory_mib,
        numa_node: gpu.numa_node,
        partition: None,
        pci_bus_id: gpu.pci_bus_id.clone(),
        pcie_root: gpu.pcie_root.clone(),
        health: verdict.health,
        health_reason: verdict.reason,
        warning: verdict.warning,
        exclusive_process: gpu.compute_mode == Some(ComputeMode::ExclusiveProcess),
    }
}

/// A MIG device under the resource name of NVIDIA's strategy `mixed`. One whose GPU instance is divided once more into compute
/// instances (`1c.2g.20gb`) is no resource there, and none here.
fn part(gpu: &Gpu, instance: &Instance) -> Option<DeviceReport> {
    let (parent, profile) = (gpu.uuid.clone()?, instance.profile.clone()?);
    if profile.contains("c.") {
        return None;
    }
    Some(DeviceReport {
        id: instance.uuid.clone(),
        resource: format!("nvidia.com/mig-{}", profile.replace('+', ".")),
        memory_mib: instance.memory_mib,
        partition: Some(PartitionReport { parent, profile, start: instance.start }),
        ..whole(gpu)
    })
}

/// The fabric across nodes, if all GPUs that answer are in one place of it. On a box whose NVSwitches reach no other node
/// the fabric manager is done too, and the domain's UUID is zero.
fn fabric(gpus: &[Gpu]) -> Option<Fabric> {
    let mut seats = gpus.iter().filter(|gpu| gpu.gone.is_none()).map(|gpu| gpu.seat);
    let first = seats.next()??;
    let alike = seats.all(|seat| seat == Some(first));
    (alike && first.completed && first.cluster != [0; 16])
        .then(|| Fabric { cluster_uuid: cluster_uuid(first), clique_id: first.clique.to_string() })
}

fn cluster_uuid(seat: Seat) -> String {
    let mut text = String::with_capacity(36);
    for (place, byte) in seat.cluster.iter().enumerate() {
        if matches!(place, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        let _ = write!(text, "{byte:02x}");
    }
    text
}

const WHOLE: &str = "nvidia.com/gpu";
const DEVICES_MAX: u32 = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::Gone;
    use crate::wire::HealthReport;

    fn gpu(index: u32) -> Gpu {
        Gpu { index, uuid: Some(format!("GPU-{index}")), ..Gpu::default() }
    }

    fn ids(gpus: Vec<Gpu>) -> Vec<(String, u32)> {
        report(&Machine { gpus, ..Machine::default() }).devices.into_iter().map(|device| (device.id, device.index)).collect()
    }

    #[test]
    fn a_gpu_that_is_cut_up_gives_way_to_its_parts_and_the_others_keep_their_indices() {
        let part = |name: &str, profile: &str| Instance { uuid: name.into(), profile: Some(profile.into()), ..Instance::default() };
        let cut = Gpu { mig: true, instances: vec![part("MIG-a", "1g.10gb+me"), part("MIG-b", "1c.2g.20gb")], ..gpu(0) };
        assert_eq!(ids(vec![cut.clone(), gpu(1)]), [("GPU-1".into(), 1), ("MIG-a".into(), 2)]);
        let report = report(&Machine { gpus: vec![cut], ..Machine::default() });
        assert_eq!(report.devices[0].resource, "nvidia.com/mig-1g.10gb.me");
        let place = report.devices[0].partition.clone().unwrap();
        assert_eq!((place.parent.as_str(), place.profile.as_str()), ("GPU-0", "1g.10gb+me"));
    }

    #[test]
    fn a_lost_gpu_is_counted_and_unhealthy() {
        let lost = Gpu { index: 1, gone: Some(Gone::Lost), ..Gpu::default() };
        let machine = Machine { gpus: vec![gpu(0), lost], ..Machine::default() };
        let devices = report(&machine).devices;
        assert_eq!((devices.len(), devices[1].id.as_str(), devices[1].health), (2, "index-1", HealthReport::Unhealthy));
        assert_eq!(devices[0].health, HealthReport::Healthy);
    }

    #[test]
    fn a_fabric_is_told_only_when_all_are_in_one_place_of_one_that_is_up() {
        let seat = |cluster, clique, completed| Seat { cluster: [cluster; 16], clique, completed };
        let of = |seats: &[Option<Seat>]| {
            let gpus: Vec<Gpu> = (0..).zip(seats).map(|(index, seat)| Gpu { seat: *seat, ..gpu(index) }).collect();
            fabric(&gpus).map(|fabric| format!("{}.{}", fabric.cluster_uuid, fabric.clique_id))
        };
        let here = Some(seat(0xab, 3, true));
        assert_eq!(of(&[here, here]).as_deref(), Some("abababab-abab-abab-abab-abababababab.3"));
        for other in [Some(seat(0xab, 4, true)), Some(seat(0xac, 3, true)), None] {
            assert_eq!(of(&[here, other]), None);
        }
        assert_eq!(of(&[Some(seat(0xab, 3, false))]), None, "the fabric manager is at it");
        assert_eq!(of(&[Some(seat(0, 0, true))]), None, "the fabric ends at this machine");
        assert_eq!(of(&[]), None);
    }
}
