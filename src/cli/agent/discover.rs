//! `gangplank-agent discover`: prints the `AcceleratorNode` of this machine, and as a table the matrix of its links.

use std::fs;
use std::path::PathBuf;

use clap::Args;

use super::matrix::matrix;
use crate::agent::{Driver, DriverError, Gpu, Machine, Sysfs, report};
use crate::cli::console::columns;
use crate::cli::{Advice, Console, Exit, Run};
use crate::wire::{AcceleratorNode, DeviceReport, HealthReport};

/// Arguments of `discover`.
#[derive(Args, Debug)]
pub(super) struct DiscoverArgs {
    /// NVIDIA's management library; without it the one that the system's loader finds
    #[arg(long, value_name = "FILE")]
    library: Option<PathBuf>,
    /// Where Linux' tree of devices is mounted
    #[arg(long, value_name = "FOLDER", default_value = "/sys")]
    sysfs: PathBuf,
    /// The name of the Node; without it the host's
    #[arg(long, env = "NODE_NAME", value_name = "NAME")]
    node: Option<String>,
}

impl Run for DiscoverArgs {
    const NAME: &'static str = "discover";
    const ABOUT: &'static str = "Print what this machine's accelerators are, and how they are linked";

    fn run(self, console: Console) -> anyhow::Result<Exit> {
        let read = Driver::open(self.library.as_deref()).and_then(|driver| driver.read(&Sysfs::new(self.sysfs)));
        let (machine, error) = match read {
            Ok(machine) => (machine, None),
            Err(error) => (Machine::default(), Some(error)),
        };
        let node = AcceleratorNode::new(&self.node.map_or_else(host_name, Ok)?, report(&machine));
        console.data(&node, |node| table(node, &machine))?;
        // A machine without a driver has no device that anybody could use: that is printed, and is not what was hoped for.
        error.map_or(Ok(Exit::Ok), |error| Err(advised(&error)))
    }
}

fn advised(error: &DriverError) -> anyhow::Error {
    Advice::new(error.to_string(), error.remedy()).into()
}

fn host_name() -> anyhow::Result<String> {
    let name = fs::read_to_string("/proc/sys/kernel/hostname");
    let name = name.map_err(|error| Advice::new(format!("cannot read the host's name: {error}"), "name the Node with --node"))?;
    Ok(name.trim().to_ascii_lowercase())
}

fn table(node: &AcceleratorNode, machine: &Machine) -> String {
    let spec = &node.spec;
    let known = |text: &Option<String>| text.clone().unwrap_or_else(|| "unknown".into());
    let mut lines = vec![format!(
        "{}  driver {}  CUDA {}  {} devices",
        node.metadata.name.as_deref().unwrap_or_default(),
        known(&spec.driver_version),
        known(&spec.cuda_version),
        spec.devices.len()
    )];
    lines.extend(spec.fabric.as_ref().map(|fabric| format!("NVLink fabric {}, clique {}", fabric.cluster_uuid, fabric.clique_id)));
    if spec.devices.is_empty() {
        return lines.remove(0);
    }
    let mut rows = vec![["INDEX", "ID", "RESOURCE", "PRODUCT", "MEMORY", "PCI", "PROCESSES", "HEALTH"].map(String::from)];
    rows.extend(spec.devices.iter().map(|device| row(device, machine)));
    lines.push(String::new());
    lines.extend(columns(&rows));
    lines.extend(spec.devices.iter().filter_map(remark));
    let matrix = matrix(spec);
    if !matrix.is_empty() {
        lines.push(String::new());
        lines.extend(matrix);
    }
    lines.join("\n")
}

fn row(device: &DeviceReport, machine: &Machine) -> [String; 8] {
    let text = |value: &Option<String>| value.clone().unwrap_or_else(|| "-".into());
    let health = match (device.health, &device.warning) {
        (HealthReport::Unhealthy, _) => "unhealthy",
        (HealthReport::Healthy, Some(_)) => "warning",
        (HealthReport::Healthy, None) => "healthy",
    };
    let gpu = machine.gpus.iter().find(|gpu| gpu.index == device.index && device.partition.is_none() && gpu.gone.is_none());
    [
        device.index.to_string(),
        device.id.clone(),
        device.resource.clone(),
        text(&device.product),
        device.memory_mib.map_or_else(|| "-".into(), |mib| format!("{mib} MiB")),
        text(&device.pci_bus_id),
        gpu.map_or_else(|| "-".into(), processes),
        health.into(),
    ]
}

/// `1`, or `3, 2 by MPS`, or `0, exclusive`: of an MPS server without clients NVML tells no more than that others cannot come in.
fn processes(gpu: &Gpu) -> String {
    let exclusive = gpu.compute_mode == Some(crate::agent::ComputeMode::ExclusiveProcess);
    match (gpu.processes.len(), gpu.mps_clients.len()) {
        (all, 0) if exclusive => format!("{all}, exclusive"),
        (all, 0) => all.to_string(),
        (all, clients) => format!("{all}, {clients} by MPS"),
    }
}

fn remark(device: &DeviceReport) -> Option<String> {
    let text = device.health_reason.as_ref().or(device.warning.as_ref())?;
    Some(format!("  device {}: {text}", device.index))
}
