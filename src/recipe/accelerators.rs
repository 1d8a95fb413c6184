//! Accelerators as people write them: `H100:8`, `A100-80GB:4`, `A100|H100:8`, `24GB..:2`, `gpu:0.5`, `tpu-v5e:4x4`,
//! `nvidia.com/mig-1g.10gb:2`. Decides which resource, how much of it a worker asks for, and which nodes may serve it.
//!
//! ```text
//! WHAT[:MEMORY][:HOW-MUCH]      in any order behind WHAT
//!   WHAT      gpu, a product (several with |), tpu-GENERATION, mig-PROFILE, a resource with its domain, or MEMORY alone
//!   MEMORY    24GB, 24GB.., ..24GB, 24GB..80GB    per device, as it is sold
//!   HOW-MUCH  8 devices, 0.5 of one, or a TPU slice: 4x4
//! ```

use crate::model::{SHARE_MEMORY_MIB, SHARE_MILLI};
use crate::policy::Mistake;
use crate::topology::torus::{Extent, Generation};

use super::products::{MEMORY_LABEL, NVIDIA, PRODUCT_LABEL, Product};

/// What each worker asks for, and where it may run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Accelerators {
    /// Entries of the container's limits, such as `("nvidia.com/gpu", 8)`.
    pub(super) limits: Vec<(String, u64)>,
    /// How many processes one would start: the devices of a worker, 1 for a share.
    pub(super) devices: u32,
    /// Alternatives; a node must carry every label of one of them. None: any node that has the resource.
    pub(super) nodes: Vec<Vec<Label>>,
    /// A TPU slice, which says itself how many workers there are.
    pub(super) slice: Option<Slice>,
}

/// What a node label must say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Label {
    /// The key.
    pub(super) key: &'static str,
    /// `In`, `Gt` or `Lt`, as node affinity has them.
    pub(super) operator: &'static str,
    /// One of these, or the number to compare with.
    pub(super) values: Vec<String>,
}

/// A TPU slice and the hosts that it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slice {
    /// As GKE labels write it.
    pub(super) shape: Extent,
    /// Hosts of one worker each.
    pub(super) hosts: u32,
}

impl Accelerators {
    /// Reads the compact form.
    ///
    /// # Errors
    /// Anything that is not of it, with what to write instead.
    pub(super) fn parse(text: &str) -> Result<Self, Mistake> {
        let text = text.trim();
        if text.is_empty() || text.len() > TEXT_BYTES_MAX {
            return Err(wrong(text, "is no accelerator"));
        }
        let mut parts = text.split(':').map(str::trim);
        let what = parts.next().unwrap_or_default();
        let mut wish = Wish::default();
        for part in parts {
            wish.take(part, text)?;
        }
        if let Some(generation) = what.strip_prefix("tpu-") {
            return wish.tpu(generation, text);
        }
        if let Some((domain, name)) = what.split_once('/') {
            crate::policy::text::resource("", what).map_err(|_| wrong(text, "names no resource"))?;
            if name.ends_with('*') || domain == "google.com" {
                return Err(Mistake::new(
                    "",
                    format!("`{text}` does not say which"),
                    "write tpu-v5e:4x4 for a TPU slice, or a whole resource name",
                ));
            }
            return wish.of(what, &[], text);
        }
        if what.starts_with("mig-") {
            return wish.of(&format!("nvidia.com/{what}"), &[], text);
        }
        if wish.amount.is_none() && amount(what).is_some() {
            wish.take(what, text)?;
            return wish.of(NVIDIA, &[], text);
        }
        if what.eq_ignore_ascii_case("gpu") {
            return wish.of(NVIDIA, &[], text);
        }
        if let Some(memory) = Memory::parse(what) {
            wish.memory = Some(memory);
            return wish.of(NVIDIA, &[], text);
        }
        let products = what.split(['|', ',']).map(|name| Product::named(name.trim())).collect::<Result<Vec<_>, _>>()?;
        let resource = products.first().map_or(NVIDIA, |product| product.resource);
        if products.iter().any(|product| product.resource != resource) {
            return Err(Mistake::new("", format!("`{what}` names devices of different vendors"), "name devices of one vendor"));
        }
        wish.of(resource, &products, text)
    }

    /// So many NVIDIA GPUs, or a part of one, of any product or of those whose label says one of these.
    pub(super) fn gpus(gpu: f64, products: &[String]) -> Result<Self, Mistake> {
        let text = gpu.to_string();
        let Some(amount) = amount(&text) else {
            return Err(Mistake::new(
                "",
                format!("`{text}` is no number of GPUs"),
                "write a whole number within 1..=64, or a part of one: 0.5",
            ));
        };
        let mut wish = Wish { amount: Some(amount), ..Wish::default() };
        wish.memory = None;
        let mut made = wish.of(NVIDIA, &[], &text)?;
        if !products.is_empty() {
            made.nodes = vec![vec![Label { key: PRODUCT_LABEL, operator: "In", values: products.to_vec() }]];
        }
        Ok(made)
    }
}

/// What stands behind the colons.
#[derive(Default)]
struct Wish {
    memory: Option<Memory>,
    amount: Option<Amount>,
}

#[derive(Clone, Copy, PartialEq)]
enum Amount {
    Whole(u32),
    Milli(u32),
    Shape(Extent),
}

impl Wish {
    fn take(&mut self, part: &str, text: &str) -> Result<(), Mistake> {
        if let Some(memory) = Memory::parse(part) {
            let before = self.memory.replace(memory);
            return if before.is_none() { Ok(()) } else { Err(wrong(text, "says twice how much memory")) };
        }
        let Some(amount) = amount(part) else { return Err(wrong(text, &format!("has `{part}`, which is no amount"))) };
        let before = self.amount.replace(amount);
        if before.is_none() { Ok(()) } else { Err(wrong(text, "says twice how many")) }
    }

    fn of(self, resource: &str, products: &[&'static Product], text: &str) -> Result<Accelerators, Mistake> {
        let nodes = nodes(products, self.memory, resource, text)?;
        let made = |limits, devices| Accelerators { limits, devices, nodes, slice: None };
        match self.amount.unwrap_or(Amount::Whole(1)) {
            Amount::Whole(count) => Ok(made(vec![(resource.to_owned(), count.into())], count)),
            Amount::Milli(milli) if resource == NVIDIA => {
                let mut limits = vec![(SHARE_MILLI.to_owned(), milli.into())];
                // A share of a device of so much memory has that part of it.
                if let Some(from) = self.memory.and_then(|memory| memory.mib_min) {
                    limits.push((SHARE_MEMORY_MIB.to_owned(), from * u64::from(milli) / 1000));
                }
                Ok(made(limits, 1))
            }
            Amount::Milli(_) => {
                Err(Mistake::new("", format!("`{text}` is a part of a {resource}"), "write whole devices: only NVIDIA GPUs are shared"))
            }
            Amount::Shape(_) => {
                Err(Mistake::new("", format!("`{text}` gives a shape to what is no TPU"), "write a number of devices, or tpu-v5e:4x4"))
            }
        }
    }

    fn tpu(self, name: &str, text: &str) -> Result<Accelerators, Mistake> {
        let known: Vec<&str> = Generation::ALL.iter().filter(|known| !known.labels.is_empty()).map(|known| known.name).collect();
        let Some(generation) = Generation::named(name).filter(|known| !known.labels.is_empty()) else {
            return Err(Mistake::unknown("", "TPU generation", name, &known));
        };
        if self.memory.is_some() {
            return Err(wrong(text, "says how much memory a TPU has"));
        }
        let shape = match self.amount {
            Some(Amount::Shape(shape)) => shape,
            Some(Amount::Whole(chips)) => generation.host(chips).ok_or_else(|| no_slice(generation, &chips.to_string(), None))?,
            _ => return Err(no_slice(generation, text, None)),
        };
        if !generation.allows(shape) {
            return Err(no_slice(generation, &shape.to_string(), Some(shape)));
        }
        // One host where there is one of that size, else hosts of four chips.
        let (hosts, chips) = match generation.host(shape.chips()) {
            Some(_) => (1, shape.chips()),
            None => (shape.chips() / HOST_CHIPS, HOST_CHIPS),
        };
        let label = if hosts == 1 { generation.labels.iter().find(|label| label.ends_with("-device")) } else { None };
        let labels = match (generation.name, label) {
            // A host of v5e is in a pool of either name.
            ("v5e", _) => {
                if hosts == 1 {
                    generation.labels.to_vec()
                } else {
                    vec![generation.labels[0]]
                }
            }
            (_, Some(device)) => vec![*device],
            (_, None) => {
                generation.labels.iter().copied().filter(|label| !label.ends_with("-device") || generation.labels.len() == 1).collect()
            }
        };
        let nodes = vec![vec![
            Label { key: TPU_LABEL, operator: "In", values: labels.into_iter().map(str::to_owned).collect() },
            Label { key: TPU_TOPOLOGY_LABEL, operator: "In", values: vec![shape.to_string()] },
        ]];
        let limits = vec![(TPU.to_owned(), chips.into())];
        Ok(Accelerators { limits, devices: chips, nodes, slice: Some(Slice { shape, hosts }) })
    }
}

/// Node labels that say one of these products, of so much memory.
fn nodes(products: &[&'static Product], memory: Option<Memory>, resource: &str, text: &str) -> Result<Vec<Vec<Label>>, Mistake> {
    if memory.is_some() && resource != NVIDIA {
        return Err(wrong(text, "says how much memory, which only NVIDIA's labels tell"));
    }
    let sizes = memory.map(Memory::labels).unwrap_or_default();
    let mut nodes: Vec<Vec<Label>> = Vec::new();
    for (key, values) in products.iter().flat_map(|product| product.labels) {
        let values = values.iter().map(|value| (*value).to_owned());
        match nodes.iter_mut().find(|labels| labels[0].key == *key) {
            Some(labels) => labels[0].values.extend(values),
            None => nodes.push(vec![Label { key, operator: "In", values: values.collect() }]),
        }
    }
    for labels in &mut nodes {
        let mut seen = std::collections::BTreeSet::new();
        labels[0].values.retain(|value| seen.insert(value.clone()));
    }
    if !sizes.is_empty() {
        // Sizes stand in NVIDIA's own label; GKE's name says the size by itself, and its nodes may lack the label.
        nodes.retain(|labels| labels[0].key == PRODUCT_LABEL);
        nodes.iter_mut().for_each(|labels| labels.extend(sizes.clone()));
        if nodes.is_empty() {
            nodes.push(sizes);
        }
    }
    Ok(nodes)
}

/// Device memory in MiB, the bounds included.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Memory {
    mib_min: Option<u64>,
    mib_max: Option<u64>,
}

impl Memory {
    /// A device that is sold as 24 GB reports between 24 x 10^9 bytes and 24 GiB.
    fn parse(text: &str) -> Option<Self> {
        let text = text.to_ascii_uppercase();
        let size = |text: &str| -> Option<Option<u64>> {
            if text.is_empty() {
                return Some(None);
            }
            let digits = text.strip_suffix("GB").or_else(|| text.strip_suffix("GIB"))?;
            let fine = !digits.is_empty() && digits.len() <= 4 && digits.bytes().all(|byte| byte.is_ascii_digit());
            digits.parse().ok().filter(|gb| fine && *gb > 0).map(Some)
        };
        let (from, to) = match text.split_once("..") {
            Some((from, to)) => (size(from)?, size(to)?),
            None => (size(&text).flatten(), size(&text).flatten()),
        };
        let ordered = from.is_some() || to.is_some();
        let (mib_min, mib_max) = (from.map(|gb: u64| gb * 1_000_000_000 / (1 << 20)), to.map(|gb| gb * 1024));
        (ordered && mib_min.zip(mib_max).is_none_or(|(min, max)| min <= max)).then_some(Self { mib_min, mib_max })
    }

    fn labels(self) -> Vec<Label> {
        let label = |operator, mib: u64| Label { key: MEMORY_LABEL, operator, values: vec![mib.to_string()] };
        let from = self.mib_min.map(|mib| label("Gt", mib.saturating_sub(1)));
        from.into_iter().chain(self.mib_max.map(|mib| label("Lt", mib + 1))).collect()
    }
}

fn amount(text: &str) -> Option<Amount> {
    if text.is_empty() || text.len() > 16 {
        return None;
    }
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        return text.parse().ok().filter(|count| (1..=DEVICES_MAX).contains(count)).map(Amount::Whole);
    }
    if let Some(shape) = Extent::parse(text) {
        return Some(Amount::Shape(shape));
    }
    let (whole, part) = text.split_once('.')?;
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if !matches!(whole, "" | "0") || part.is_empty() || part.len() > 3 || !digits(part) {
        return None;
    }
    let milli = format!("{part:0<3}").parse().ok().filter(|milli| *milli > 0)?;
    Some(Amount::Milli(milli))
}

fn no_slice(generation: &Generation, is: &str, shape: Option<Extent>) -> Mistake {
    let near =
        shape.map_or_else(|| generation.shapes_within(generation.pod).into_iter().take(5).collect(), |shape| generation.nearest(shape));
    let near: Vec<String> = near.iter().map(ToString::to_string).collect();
    let problem = format!("`{is}` is no slice of TPU {}", generation.name);
    Mistake::new("", problem, format!("write a shape that exists, such as tpu-{}:{}", generation.name, near.join(" or ")))
}

fn wrong(text: &str, problem: &str) -> Mistake {
    let text: String = text.chars().take(60).collect();
    Mistake::new(
        "",
        format!("`{text}` {problem}"),
        "write H100:8, A100|H100:4, A100-80GB:4, 24GB..:2, gpu:0.5, tpu-v5e:4x4 or a resource: amd.com/gpu:8",
    )
}

const TEXT_BYTES_MAX: usize = 200;
/// No node has more.
const DEVICES_MAX: u32 = 64;
const HOST_CHIPS: u32 = 4;
const TPU: &str = "google.com/tpu";
const TPU_LABEL: &str = "cloud.google.com/gke-tpu-accelerator";
const TPU_TOPOLOGY_LABEL: &str = "cloud.google.com/gke-tpu-topology";

#[cfg(test)]
#[path = "accelerators/tests.rs"]
mod tests;
