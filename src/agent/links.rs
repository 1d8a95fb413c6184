//! What runs between two GPUs.
//!
//! An NVLink that ends at a GPU of this machine belongs to that pair. One that ends at an NVSwitch belongs to every pair whose
//! two GPUs the driver lets talk over NVLink: both then have as many links to share as the poorer of them. Counting by the
//! remote PCI id alone would find no NVLink at all on an HGX board, since every remote end is a switch.

use super::facts::{Gpu, Machine, NvLink, Pair, Remote};
use crate::wire::{LinkReport, LinkType};

/// The links between GPUs that can be asked for whole; a pair that nothing is known of is left out.
pub(super) fn links(machine: &Machine) -> Vec<LinkReport> {
    let whole = |index| machine.gpus.iter().find(|gpu| gpu.index == index && gpu.gone.is_none() && !gpu.mig);
    machine.pairs.iter().filter_map(|pair| link(machine, pair, whole(pair.a)?, whole(pair.b)?)).collect()
}

fn link(machine: &Machine, pair: &Pair, a: &Gpu, b: &Gpu) -> Option<LinkReport> {
    let used = nvlinks(machine, pair, a, b);
    if let Some(count) = u8::try_from(used.len()).ok().filter(|count| *count > 0) {
        let each = a.link_mb_per_s.zip(b.link_mb_per_s).map(|(a, b)| a.min(b));
        return Some(LinkReport {
            a: pair.a,
            b: pair.b,
            kind: LinkType::NvLink,
            count: Some(count),
            generation: used.iter().filter_map(|link| link.generation).min(),
            mb_per_s: each.map(|each| each.saturating_mul(u32::from(count))),
        });
    }
    Some(LinkReport { a: pair.a, b: pair.b, kind: pair.level?, count: None, generation: None, mb_per_s: None })
}

/// The links of one end that lead to the other, of the end that has fewer.
fn nvlinks<'a>(machine: &Machine, pair: &Pair, a: &'a Gpu, b: &'a Gpu) -> Vec<&'a NvLink> {
    let fewer = |one: Vec<&'a NvLink>, other: Vec<&'a NvLink>| if other.len() < one.len() { other } else { one };
    let direct = fewer(direct(a, b), direct(b, a));
    if !direct.is_empty() {
        return direct;
    }
    let through = fewer(switched(machine, a), switched(machine, b));
    // Old drivers do not answer for the pair; then what stands at the other end decides, if that much is known.
    let reach = pair.nvlink.unwrap_or_else(|| through.iter().all(|link| link.remote == Remote::Switch));
    if reach { through } else { Vec::new() }
}

fn direct<'a>(from: &'a Gpu, to: &Gpu) -> Vec<&'a NvLink> {
    from.links.iter().filter(|link| link.remote_bus_id.is_some() && link.remote_bus_id == to.pci_bus_id).collect()
}

fn switched<'a>(machine: &Machine, gpu: &'a Gpu) -> Vec<&'a NvLink> {
    let is_gpu = |bus_id: &String| machine.gpus.iter().any(|gpu| gpu.pci_bus_id.as_ref() == Some(bus_id));
    let ends_at_switch = |link: &&NvLink| match link.remote {
        Remote::Switch => true,
        Remote::Unknown => !link.remote_bus_id.as_ref().is_some_and(is_gpu),
        Remote::Gpu | Remote::Cpu => false,
    };
    gpu.links.iter().filter(ends_at_switch).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gpu(index: u32, links: &[(Remote, &str)]) -> Gpu {
        let links = links.iter().map(|(remote, bus)| NvLink { remote: *remote, remote_bus_id: Some((*bus).into()), generation: Some(4) });
        Gpu { index, uuid: Some(format!("GPU-{index}")), pci_bus_id: Some(format!("gpu{index}")), links: links.collect(), ..Gpu::default() }
    }

    /// `[kind, count]` of the only pair.
    fn between(a: Gpu, b: Gpu, nvlink: Option<bool>) -> (LinkType, Option<u8>) {
        let pair = Pair { a: 0, b: 1, level: Some(LinkType::Node), nvlink };
        let machine = Machine { gpus: vec![a, b], pairs: vec![pair], ..Machine::default() };
        let links = links(&machine);
        (links[0].kind, links[0].count)
    }

    #[test]
    fn links_that_end_at_a_switch_belong_to_every_pair_that_it_lets_talk() {
        let switched = |index| gpu(index, &[(Remote::Switch, "switch0"), (Remote::Switch, "switch1")]);
        assert_eq!(between(switched(0), switched(1), Some(true)), (LinkType::NvLink, Some(2)));
        assert_eq!(between(switched(0), switched(1), None), (LinkType::NvLink, Some(2)), "an old driver");
        assert_eq!(between(switched(0), switched(1), Some(false)), (LinkType::Node, None), "the fabric manager is not up");
        let poorer = gpu(1, &[(Remote::Switch, "switch0")]);
        assert_eq!(between(switched(0), poorer, Some(true)), (LinkType::NvLink, Some(1)));
    }

    #[test]
    fn a_driver_that_names_no_remote_end_is_believed_about_the_pair() {
        let unnamed = |index| gpu(index, &[(Remote::Unknown, "switch0")]);
        assert_eq!(between(unnamed(0), unnamed(1), Some(true)), (LinkType::NvLink, Some(1)));
        assert_eq!(between(unnamed(0), unnamed(1), None), (LinkType::Node, None));
    }

    #[test]
    fn direct_links_count_for_their_own_pair_alone() {
        let a = || gpu(0, &[(Remote::Gpu, "gpu1"), (Remote::Gpu, "gpu1"), (Remote::Gpu, "gpu2")]);
        assert_eq!(between(a(), gpu(1, &[(Remote::Gpu, "gpu0"), (Remote::Gpu, "gpu0")]), Some(true)), (LinkType::NvLink, Some(2)));
        // One end sees a link down before the other does.
        assert_eq!(between(a(), gpu(1, &[(Remote::Gpu, "gpu0")]), Some(true)), (LinkType::NvLink, Some(1)));
        // A box of direct links, two GPUs that have none with each other: the driver says no, and so do we.
        assert_eq!(between(a(), gpu(1, &[(Remote::Gpu, "gpu3")]), Some(false)), (LinkType::Node, None));
        assert_eq!(between(gpu(0, &[(Remote::Cpu, "npu")]), gpu(1, &[(Remote::Cpu, "npu")]), Some(true)), (LinkType::Node, None));
    }

    #[test]
    fn a_gpu_that_is_cut_up_or_gone_has_no_links() {
        for index in 0..2 {
            let mut gpus = vec![gpu(0, &[(Remote::Gpu, "gpu1")]), gpu(1, &[(Remote::Gpu, "gpu0")])];
            gpus[index].mig = index == 0;
            gpus[index].gone = (index == 1).then_some(crate::agent::Gone::Lost);
            let pairs = vec![Pair { a: 0, b: 1, level: Some(LinkType::Pix), nvlink: Some(true) }];
            assert!(links(&Machine { gpus, pairs, ..Machine::default() }).is_empty());
        }
    }
}
