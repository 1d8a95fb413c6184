//! Links compiled for placement: the best k of the free devices, exhaustively, over bit masks.
//!
//! Best is: the largest sum of pair weights inside the choice, then the largest sum left behind, then the lowest
//! ids. Up to [`LinkTable::EXHAUSTIVE_MAX`] devices the answer is the optimum; beyond it, and where all links are
//! alike, the lowest ids are as good as any.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::LinkGraph;
use crate::model::{Device, Link, LinkKind};

/// A choice of devices.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Subset {
    /// Which, as bits of places in the pool.
    pub mask: u64,
    /// How well they are linked, in thousandths of the best choice of that size on the empty box.
    pub quality_milli: u16,
}

/// The links of one shape of box.
#[derive(Clone, Debug)]
pub struct LinkTable {
    devices: u32,
    /// Sum of pair weights by mask; empty where all links are alike or the box is too large to enumerate.
    weight_of: Vec<u32>,
    /// The heaviest choice of each size on the empty box.
    heaviest: Vec<u32>,
}

impl LinkTable {
    /// Boxes up to this size are searched exhaustively: 65,536 masks.
    pub const EXHAUSTIVE_MAX: usize = 16;

    /// Compiles a graph.
    pub fn compile(graph: &LinkGraph) -> Self {
        let devices = graph.len();
        let mut row = vec![vec![0_u32; devices]; devices];
        let (mut lightest, mut heaviest_pair) = (u32::MAX, 0);
        for (a, b, kind) in graph.pairs() {
            let weight = weight(kind);
            (row[a as usize][b as usize], row[b as usize][a as usize]) = (weight, weight);
            (lightest, heaviest_pair) = (lightest.min(weight), heaviest_pair.max(weight));
        }
        let uniform = lightest >= heaviest_pair;
        let mut table = Self { devices: u32::try_from(devices).unwrap_or(u32::MAX), weight_of: Vec::new(), heaviest: Vec::new() };
        if uniform || devices > Self::EXHAUSTIVE_MAX {
            return table;
        }
        table.weight_of = vec![0; 1 << devices];
        table.heaviest = vec![0; devices + 1];
        for mask in 1_usize..1 << devices {
            let lowest = mask.trailing_zeros() as usize;
            let rest = mask & (mask - 1);
            let joins: u32 = bits(rest as u64).map(|place| row[lowest][place as usize]).sum();
            table.weight_of[mask] = table.weight_of[rest] + joins;
            let size = mask.count_ones() as usize;
            table.heaviest[size] = table.heaviest[size].max(table.weight_of[mask]);
        }
        table
    }

    /// The best choice of every size out of `free`: entry `k` has `k` devices; entries end at the number free.
    pub fn best(&self, free: u64) -> Vec<Subset> {
        let count = free.count_ones() as usize;
        let mut best = vec![Subset { mask: 0, quality_milli: 1000 }; count + 1];
        if self.weight_of.is_empty() {
            let mut mask = 0;
            for (place, subset) in bits(free).zip(best.iter_mut().skip(1)) {
                mask |= 1 << place;
                subset.mask = mask;
            }
            return best;
        }
        let mut key = vec![(0_u32, 0_u32); count + 1];
        let mut mask = free;
        while mask != 0 {
            let size = mask.count_ones() as usize;
            let candidate = (self.weight(mask), self.weight(free ^ mask));
            // Masks come in falling order: on a tie the later one has the lower ids.
            if best[size].mask == 0 || candidate >= key[size] {
                (key[size], best[size].mask) = (candidate, mask);
            }
            mask = (mask - 1) & free;
        }
        for (size, subset) in best.iter_mut().enumerate().skip(2) {
            subset.quality_milli = thousandths(key[size].0, self.heaviest[size]);
        }
        best
    }

    /// How many devices.
    pub fn devices(&self) -> u32 {
        self.devices
    }

    fn weight(&self, mask: u64) -> u32 {
        usize::try_from(mask).ok().and_then(|mask| self.weight_of.get(mask)).copied().unwrap_or(0)
    }
}

/// Tables by shape of box, so that a thousand equal nodes share one.
#[derive(Clone, Debug, Default)]
pub struct LinkTables {
    by_shape: BTreeMap<Shape, (Arc<LinkGraph>, Arc<LinkTable>)>,
}

/// NUMA nodes by place, and links as reported.
type Shape = (Vec<Option<u32>>, Vec<(u32, u32, LinkKind)>);

impl LinkTables {
    /// More shapes than a cluster has kinds of boxes; past it the cache starts over.
    const SHAPES_MAX: usize = 256;

    /// The graph and the table of a pool's devices and links.
    pub fn of(&mut self, devices: &[Device], links: &[Link]) -> (Arc<LinkGraph>, Arc<LinkTable>) {
        let shape: Shape =
            (devices.iter().map(|device| device.numa_node).collect(), links.iter().map(|link| (link.a, link.b, link.kind)).collect());
        if let Some((graph, table)) = self.by_shape.get(&shape) {
            return (graph.clone(), table.clone());
        }
        if self.by_shape.len() >= Self::SHAPES_MAX {
            self.by_shape.clear();
        }
        let graph = Arc::new(LinkGraph::build(devices, links));
        let table = Arc::new(LinkTable::compile(&graph));
        self.by_shape.insert(shape, (graph.clone(), table.clone()));
        (graph, table)
    }
}

/// The places of a mask, ascending.
pub(crate) fn bits(mut mask: u64) -> impl Iterator<Item = u32> {
    std::iter::from_fn(move || {
        let place = (mask != 0).then(|| mask.trailing_zeros());
        mask &= mask.wrapping_sub(1);
        place
    })
}

/// Relative bandwidth: one NVLink of any generation carries about as much as a PCIe 4.0 x16 slot (25 GB/s each way),
/// and each step away from the devices costs more. Only the order matters.
fn weight(kind: LinkKind) -> u32 {
    match kind {
        LinkKind::Sys => 4,
        LinkKind::Node => 6,
        LinkKind::Phb => 10,
        LinkKind::Pxb => 14,
        LinkKind::Pix => 18,
        LinkKind::NvLink(links) => 25 * u32::from(links.max(1)),
    }
}

fn thousandths(part: u32, whole: u32) -> u16 {
    if whole == 0 {
        return 1000;
    }
    u16::try_from(u64::from(part) * 1000 / u64::from(whole)).unwrap_or(1000)
}

#[cfg(test)]
mod tests {
    use super::super::graph::tests::devices;
    use super::*;

    fn table(count: u32, links: &[(u32, u32, LinkKind)]) -> LinkTable {
        let links: Vec<Link> = links.iter().map(|&(a, b, kind)| Link { a, b, kind }).collect();
        LinkTable::compile(&LinkGraph::build(&devices(count), &links))
    }

    /// Two islands of four: 0-3 and 4-7, as two NVLink bridges' worth on a PCIe box.
    fn two_islands() -> LinkTable {
        let inside = |base: u32| (0..4).flat_map(move |a| (a + 1..4).map(move |b| (base + a, base + b, LinkKind::NvLink(2))));
        table(8, &inside(0).chain(inside(4)).collect::<Vec<_>>())
    }

    #[test]
    fn the_best_four_are_an_island() {
        assert_eq!(two_islands().best(0xff)[4], Subset { mask: 0b0000_1111, quality_milli: 1000 });
        let split = two_islands().best(0b0111_0111)[4];
        assert!(split.quality_milli < 700, "three of one island and one of the other: {split:?}");
    }

    #[test]
    fn a_single_device_comes_from_the_broken_island() {
        assert_eq!(two_islands().best(0b1111_0111)[1].mask, 0b0000_0001, "0-2 lost a member already: break no other island");
        assert_eq!(two_islands().best(0b0111_1111)[1].mask, 0b0001_0000);
    }

    #[test]
    fn the_choice_is_the_optimum_by_brute_force() {
        let links: Vec<_> =
            (0..6).flat_map(|a| (a + 1..6).map(move |b| (a, b, LinkKind::NvLink(u8::try_from((a * 7 + b * 3) % 5).unwrap())))).collect();
        let table = table(6, &links);
        for free in 1_u64..64 {
            let best = table.best(free);
            assert_eq!(best.len(), free.count_ones() as usize + 1);
            for (size, subset) in best.iter().enumerate() {
                assert_eq!((subset.mask & !free, subset.mask.count_ones() as usize), (0, size));
                let optimum =
                    (0..64).filter(|mask| mask & !free == 0 && mask.count_ones() as usize == size).map(|mask| table.weight(mask)).max();
                assert_eq!(Some(table.weight(subset.mask)), optimum, "free {free:b}, {size} of them");
            }
        }
    }

    #[test]
    fn where_all_links_are_alike_the_lowest_ids_are_taken() {
        let all: Vec<_> = (0..8).flat_map(|a| (a + 1..8).map(move |b| (a, b, LinkKind::NvLink(18)))).collect();
        assert_eq!(table(8, &all).best(0b1010_1010)[3], Subset { mask: 0b0010_1010, quality_milli: 1000 });
        assert_eq!(table(40, &[]).best(u64::MAX >> 24)[40].mask, u64::MAX >> 24, "too large to enumerate");
    }
}
