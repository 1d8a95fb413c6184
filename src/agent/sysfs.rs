//! What only Linux knows of a PCI device: under which root it hangs, and next to which CPUs.

use std::fs;
use std::path::{Path, PathBuf};

/// Linux' tree of devices.
#[derive(Clone, Debug)]
pub struct Sysfs {
    root: PathBuf,
}

/// Where a PCI device hangs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PciBus {
    /// `pci0000:15`
    pub root: Option<String>,
    /// The NUMA node of the CPUs next to it; none on a machine without NUMA.
    pub numa_node: Option<u32>,
}

impl Sysfs {
    /// The tree that is mounted here: `/sys`, or the host's in a container.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// Looks a device up by `0000:1b:00.0`. What cannot be read is unknown.
    pub fn pci(&self, bus_id: &str) -> PciBus {
        let folder = self.root.join("bus/pci/devices").join(bus_id);
        // -1 says that there is no NUMA node.
        let numa_node = fs::read_to_string(folder.join("numa_node")).ok().and_then(|text| text.trim().parse().ok());
        let root = fs::canonicalize(&folder).ok().and_then(|path| root(&path));
        PciBus { root, numa_node }
    }
}

/// `/sys/devices/pci0000:15/0000:15:01.0/0000:1b:00.0` hangs under `pci0000:15`.
fn root(path: &Path) -> Option<String> {
    let is_root = |part: &&str| part.strip_prefix("pci").is_some_and(|rest| rest.contains(':'));
    path.iter().filter_map(|part| part.to_str()).find(is_root).map(String::from)
}

/// NVML's `00000000:1B:00.0` as sysfs writes it: `0000:1b:00.0`.
pub(super) fn bus_id(nvml: &str) -> String {
    let lower = nvml.to_ascii_lowercase();
    match lower.split_once(':') {
        Some((domain, rest)) if domain.len() == 8 && domain.starts_with("0000") => format!("{}:{rest}", &domain[4..]),
        _ => lower,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bus_id_is_written_as_sysfs_does() {
        assert_eq!(bus_id("00000000:1B:00.0"), "0000:1b:00.0");
        assert_eq!(bus_id("0000:1B:00.0"), "0000:1b:00.0");
        assert_eq!(bus_id("00010000:1B:00.0"), "00010000:1b:00.0", "a domain that does not fit into four letters");
        assert_eq!(bus_id(""), "");
    }

    #[test]
    fn the_root_is_the_first_part_of_the_path_that_is_one() {
        let path = |text: &str| root(Path::new(text));
        assert_eq!(path("/sys/devices/pci0000:15/0000:15:01.0/0000:1b:00.0").as_deref(), Some("pci0000:15"));
        assert_eq!(path("/sys/devices/platform/pcie/0000:1b:00.0"), None);
    }

    #[test]
    fn a_device_that_is_not_there_is_unknown() {
        assert_eq!(Sysfs::new("/nowhere").pci("0000:1b:00.0"), PciBus::default());
    }
}
