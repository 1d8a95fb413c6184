//! The links of a node in the legend of `nvidia-smi topo -m`, with the NUMA node and the PCIe root of each device.

use crate::wire::{AcceleratorNodeSpec, DeviceReport, LinkReport, LinkType};

/// Lines of the matrix, and of the legend of what occurs in it; none without devices that could be linked.
pub(super) fn matrix(spec: &AcceleratorNodeSpec) -> Vec<String> {
    let devices: Vec<&DeviceReport> = spec.devices.iter().filter(|device| device.partition.is_none()).collect();
    if devices.is_empty() {
        return Vec::new();
    }
    let name = |device: &DeviceReport| format!("GPU{}", device.index);
    let mut header = vec![String::new()];
    header.extend(devices.iter().map(|device| name(device)));
    header.extend(["NUMA", "PCIe root"].map(String::from));
    let mut rows = vec![header];
    for device in &devices {
        let mut row = vec![name(device)];
        row.extend(devices.iter().map(|other| cell(spec, device.index, other.index)));
        row.push(device.numa_node.map_or_else(|| "-".into(), |node| node.to_string()));
        row.push(device.pcie_root.clone().unwrap_or_else(|| "-".into()));
        rows.push(row);
    }
    let widths: Vec<usize> = (0..rows[0].len()).map(|column| rows.iter().map(|row| row[column].len()).max().unwrap_or(0)).collect();
    let line = |row: &Vec<String>| {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        cells.join("  ").trim_end().to_owned()
    };
    let mut lines: Vec<String> = rows.iter().map(line).collect();
    lines.push(String::new());
    lines.extend(legend(spec, &rows));
    lines
}

fn cell(spec: &AcceleratorNodeSpec, a: u32, b: u32) -> String {
    if a == b {
        return "X".into();
    }
    let link = spec.links.iter().find(|link| (link.a, link.b) == (a.min(b), a.max(b)));
    link.map_or_else(|| "?".into(), word)
}

fn word(link: &LinkReport) -> String {
    match link.kind {
        LinkType::NvLink => format!("NV{}", link.count.unwrap_or(1)),
        LinkType::Pix => "PIX".into(),
        LinkType::Pxb => "PXB".into(),
        LinkType::Phb => "PHB".into(),
        LinkType::Node => "NODE".into(),
        LinkType::Sys => "SYS".into(),
        LinkType::Unknown => "?".into(),
    }
}

fn legend(spec: &AcceleratorNodeSpec, rows: &[Vec<String>]) -> Vec<String> {
    let occurs = |word: &str| rows.iter().skip(1).flatten().any(|cell| cell == word);
    let mut lines = Vec::new();
    let generation = spec.links.iter().filter_map(|link| link.generation).min();
    if spec.links.iter().any(|link| link.kind == LinkType::NvLink) {
        let which = generation.map_or_else(String::new, |generation| format!(" of generation {generation}"));
        lines.push(format!("NV#   a bond of # NVLinks{which}"));
    }
    lines.extend(LEGEND.iter().filter(|(word, _)| occurs(word)).map(|(word, text)| format!("{word:<4}  {text}")));
    lines
}

const LEGEND: &[(&str, &str)] = &[
    ("PIX", "through one PCIe switch"),
    ("PXB", "through several PCIe switches"),
    ("PHB", "through a PCIe host bridge"),
    ("NODE", "between PCIe host bridges of a NUMA node"),
    ("SYS", "between NUMA nodes"),
    ("?", "unknown"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_reads_alike_from_both_sides_and_the_legend_explains_what_occurs() {
        let device = |index| DeviceReport { index, numa_node: Some(0), ..DeviceReport::default() };
        let link = |a, b, kind, count| LinkReport { a, b, kind, count, generation: count.map(|_| 4), mb_per_s: None };
        let spec = AcceleratorNodeSpec {
            devices: (0..3).map(device).collect(),
            links: vec![link(0, 1, LinkType::NvLink, Some(18)), link(0, 2, LinkType::Sys, None)],
            ..AcceleratorNodeSpec::default()
        };
        let expected = [
            "      GPU0  GPU1  GPU2  NUMA  PCIe root",
            "GPU0  X     NV18  SYS   0     -",
            "GPU1  NV18  X     ?     0     -",
            "GPU2  SYS   ?     X     0     -",
            "",
            "NV#   a bond of # NVLinks of generation 4",
            "SYS   between NUMA nodes",
            "?     unknown",
        ];
        assert_eq!(matrix(&spec), expected);
        assert!(matrix(&AcceleratorNodeSpec::default()).is_empty());
    }
}
