//! The demo's room: nodes as `kubectl get nodes -o json` would print them, of the kinds that stand in real rooms.

use serde_json::{Value, json};

use crate::wire::manifest::{Document, Place};

/// One kind of machine.
struct Machine {
    prefix: &'static str,
    count: usize,
    resource: &'static str,
    devices: u32,
    labels: &'static [(&'static str, &'static str)],
    cpu: u32,
    memory_gib: u32,
}

const ROOM: &[Machine] = &[
    Machine {
        prefix: "dgx-h100",
        count: 4,
        resource: "nvidia.com/gpu",
        devices: 8,
        labels: &[("nvidia.com/gpu.product", "NVIDIA-H100-80GB-HBM3"), ("nvidia.com/gpu.memory", "81559"), ("nvidia.com/gpu.count", "8")],
        cpu: 224,
        memory_gib: 2048,
    },
    Machine {
        prefix: "nvl72-tray",
        count: 18,
        resource: "nvidia.com/gpu",
        devices: 4,
        labels: &[
            ("nvidia.com/gpu.product", "NVIDIA-GB200"),
            ("nvidia.com/gpu.memory", "189471"),
            ("nvidia.com/gpu.count", "4"),
            ("nvidia.com/gpu.clique", "7f3c9a52-0d1e-4c8b-9c55-2f6f2f0a9b10.0"),
        ],
        cpu: 144,
        memory_gib: 960,
    },
    Machine {
        prefix: "dgx1-v100",
        count: 2,
        resource: "nvidia.com/gpu",
        devices: 8,
        labels: &[("nvidia.com/gpu.product", "Tesla-V100-SXM2-32GB"), ("nvidia.com/gpu.memory", "32768"), ("nvidia.com/gpu.count", "8")],
        cpu: 80,
        memory_gib: 512,
    },
    Machine {
        prefix: "pcie-l40s",
        count: 3,
        resource: "nvidia.com/gpu",
        devices: 4,
        labels: &[("nvidia.com/gpu.product", "NVIDIA-L40S"), ("nvidia.com/gpu.memory", "46068"), ("nvidia.com/gpu.count", "4")],
        cpu: 64,
        memory_gib: 512,
    },
    Machine {
        prefix: "tpu-v5e",
        count: 4,
        resource: "google.com/tpu",
        devices: 4,
        labels: &[("cloud.google.com/gke-tpu-accelerator", "tpu-v5-lite-podslice"), ("cloud.google.com/gke-tpu-topology", "4x4")],
        cpu: 112,
        memory_gib: 192,
    },
    Machine { prefix: "tpu-v3", count: 2, resource: "cloud-tpus.google.com/v3", devices: 8, labels: &[], cpu: 96, memory_gib: 340 },
];

/// The nodes.
pub(super) fn nodes() -> Vec<Document> {
    let place = Place { file: "room".into(), line: 1, document: 1, item: None };
    let node = |machine: &Machine, at: usize| Document { place: place.clone(), object: node(machine, at) };
    ROOM.iter().flat_map(|machine| (1..=machine.count).map(move |at| node(machine, at))).collect()
}

fn node(machine: &Machine, at: usize) -> Value {
    let name = if machine.count > 9 { format!("{}-{at:02}", machine.prefix) } else { format!("{}-{at}", machine.prefix) };
    let mut labels = json!({"kubernetes.io/hostname": name, "kubernetes.io/os": "linux"});
    for (key, value) in machine.labels {
        labels[*key] = (*value).into();
    }
    json!({
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "uid": format!("node-{name}"), "labels": labels},
        "status": {
            "allocatable": {
                "cpu": machine.cpu.to_string(),
                "memory": format!("{}Gi", machine.memory_gib),
                "pods": "110",
                machine.resource: machine.devices.to_string(),
            },
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_room_is_mixed() {
        let of = |resource: &str| -> u64 {
            let amounts =
                nodes().into_iter().filter_map(|node| node.object["status"]["allocatable"][resource].as_str()?.parse::<u64>().ok());
            amounts.sum()
        };
        assert_eq!((of("nvidia.com/gpu"), of("google.com/tpu"), of("cloud-tpus.google.com/v3")), (32 + 72 + 16 + 12, 16, 16));
    }
}
