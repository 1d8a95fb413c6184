//! A described machine (tests/agent/machines) as the fake driver's text and as a tree of sysfs.
//!
//! How near two GPUs are on PCIe follows from what they hang on; everything else stands in the description.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::Path;

use serde::Deserialize;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Machine {
    driver: String,
    cuda: u32,
    #[serde(default)]
    without: String,
    #[serde(default = "one")]
    privileged: u32,
    product: String,
    #[serde(rename = "memoryMiB")]
    memory_mib: u64,
    nvlink: Option<NvLinks>,
    fabric: Option<String>,
    gpus: Vec<Gpu>,
    /// Direct links: two GPUs, and how many.
    #[serde(default)]
    pairs: Vec<(usize, usize, u32)>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct NvLinks {
    version: u32,
    mb_per_s: u32,
    /// Links of each GPU that end at switches.
    #[serde(default)]
    switched: usize,
    #[serde(default = "yes")]
    reach: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Gpu {
    bus: String,
    root: Option<String>,
    /// Which PCIe switch; without it the GPU hangs on its root.
    switch: Option<u32>,
    numa: Option<u32>,
    /// Links that are not up.
    #[serde(default)]
    down: Vec<usize>,
    mig: Option<Vec<Mig>>,
    /// More keys of the driver's.
    #[serde(default)]
    also: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Mig {
    place: u32,
    profile: String,
    #[serde(rename = "memoryMiB")]
    memory_mib: u64,
    start: u32,
}

fn one() -> u32 {
    1
}

fn yes() -> bool {
    true
}

impl Machine {
    /// The text that the fake driver reads.
    pub(crate) fn driver_text(&self) -> String {
        let mut text = format!("driver={}\ncuda={}\ncount={}\nprivileged={}\n", self.driver, self.cuda, self.gpus.len(), self.privileged);
        let _ = writeln!(text, "without={}", self.without);
        for (index, gpu) in self.gpus.iter().enumerate() {
            for (key, value) in self.keys(index, gpu) {
                let _ = writeln!(text, "gpu.{index}.{key}={value}");
            }
            for other in index + 1..self.gpus.len() {
                let _ = writeln!(text, "level.{index}.{other}={}", level(gpu, &self.gpus[other]));
                let _ = writeln!(text, "p2p.{index}.{other}={}", u32::from(self.reach(index, other)));
            }
        }
        text
    }

    fn keys(&self, index: usize, gpu: &Gpu) -> BTreeMap<String, String> {
        let mut keys = BTreeMap::from([
            ("uuid".to_owned(), uuid("GPU", &gpu.bus, 0)),
            ("name".to_owned(), self.product.clone()),
            ("memory".to_owned(), (self.memory_mib << 20).to_string()),
            ("bus".to_owned(), gpu.bus.clone()),
            ("mode".to_owned(), "0".to_owned()),
            ("throttle".to_owned(), "0".to_owned()),
            ("ecc".to_owned(), "0".to_owned()),
            ("rows".to_owned(), "none".to_owned()),
        ]);
        keys.extend(self.fabric.iter().map(|fabric| ("fabric".to_owned(), fabric.clone())));
        if let Some(nvlink) = &self.nvlink {
            keys.extend([("nvlink".to_owned(), nvlink.version.to_string()), ("speed".to_owned(), nvlink.mb_per_s.to_string())]);
            keys.extend(self.ends(index, nvlink).into_iter().enumerate().map(|(link, end)| {
                let end = if gpu.down.contains(&link) { "down".to_owned() } else { end };
                (format!("link.{link}"), end)
            }));
        }
        if let Some(migs) = &gpu.mig {
            keys.extend([("mig".to_owned(), "1".to_owned()), ("migs".to_owned(), "7".to_owned())]);
            for mig in migs {
                let place = mig.place;
                keys.insert(format!("mig.{place}.uuid"), uuid("MIG", &gpu.bus, place + 1));
                keys.insert(format!("mig.{place}.name"), format!("{} MIG {}", self.product, mig.profile));
                keys.insert(format!("mig.{place}.memory"), (mig.memory_mib << 20).to_string());
                keys.insert(format!("mig.{place}.gi"), (place + 3).to_string());
                keys.insert(format!("mig.{place}.start"), mig.start.to_string());
            }
        }
        keys.extend(gpu.also.clone());
        keys
    }

    /// What each link of a GPU leads to.
    fn ends(&self, index: usize, nvlink: &NvLinks) -> Vec<String> {
        let mut ends: Vec<String> = (0..nvlink.switched).map(|link| format!("switch 0000:{:02x}:00.0", 0xc5 + link % 6)).collect();
        for (a, b, count) in &self.pairs {
            let other = [(*a, *b), (*b, *a)].into_iter().find(|(from, _)| *from == index).map(|(_, to)| to);
            ends.extend(other.into_iter().flat_map(|other| (0..*count).map(move |_| format!("gpu {}", self.gpus[other].bus))));
        }
        ends
    }

    fn reach(&self, a: usize, b: usize) -> bool {
        let switched = self.nvlink.as_ref().is_some_and(|nvlink| nvlink.switched > 0 && nvlink.reach);
        switched || self.pairs.iter().any(|(from, to, _)| (*from, *to) == (a, b))
    }

    /// `bus/pci/devices/BUS` as a link to where the device hangs, as Linux has it.
    pub(crate) fn write_sysfs(&self, folder: &Path) {
        let by_bus = folder.join("bus/pci/devices");
        fs::create_dir_all(&by_bus).unwrap();
        for gpu in &self.gpus {
            let Some(root) = &gpu.root else { continue };
            let place = folder.join("devices").join(root).join(format!("{}:01.0", &root[3..])).join(&gpu.bus);
            fs::create_dir_all(&place).unwrap();
            fs::write(place.join("numa_node"), gpu.numa.map_or_else(|| "-1\n".to_owned(), |node| format!("{node}\n"))).unwrap();
            std::os::unix::fs::symlink(&place, by_bus.join(&gpu.bus)).unwrap();
        }
    }
}

/// The header's number of what two GPUs have in common.
fn level(a: &Gpu, b: &Gpu) -> u32 {
    match () {
        () if a.switch.is_some() && a.switch == b.switch => 10,
        () if a.root.is_some() && a.root == b.root => 30,
        () if a.numa == b.numa => 40,
        () => 50,
    }
}

/// A UUID that tells the bus.
fn uuid(kind: &str, bus: &str, part: u32) -> String {
    let letters: String = bus.chars().filter(char::is_ascii_hexdigit).collect();
    format!("{kind}-00000000-0000-0000-{part:04x}-{letters:0>12}")
}
