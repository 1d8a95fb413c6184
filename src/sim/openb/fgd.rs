//! Fragmentation gradient descent (ATC'23): the node whose GPUs become useless to the usual pods by the least.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::cells::{Cells, Scored};
use super::{Asked, ClusterState, NodeState, Nodes, Packer, Place, PodSpec, Pods};
use crate::value::{self, Products, Spec, Typical, percent};

/// FGD as published: the gradient through a sigmoid to integers from 0 to 100, ties by the first name. It knows the
/// distribution of the whole list in advance.
#[derive(Debug)]
pub struct Fgd {
    usual: Usual,
    cells: Cells,
}

impl Fgd {
    /// With the usual pods of this list.
    pub fn new(nodes: &Nodes, pods: &Pods) -> Self {
        Self { usual: Usual::of(&pods.list), cells: Cells::new(pods.shapes, nodes.list.len()) }
    }
}

impl Packer for Fgd {
    fn choose(&mut self, state: &ClusterState, asked: &Asked<'_>, offered: &[usize]) -> Option<Place> {
        let (pod, usual) = (asked.pod, &self.usual);
        self.cells.best(state, asked, offered, |node| {
            let tightest = node.tightest(pod)?;
            let before = usual.fragments_milli(node);
            let score = |devices| Scored { score: percent(before - usual.fragments_milli(&node.with(pod, devices))).into(), devices };
            if !pod.is_share() {
                return Some(score(tightest));
            }
            let mut best: Option<Scored> = None;
            for (device, left) in node.left().iter().enumerate() {
                // Equal devices are equally good, and the first counts.
                if *left < pod.gpu_milli || node.left()[..device].contains(left) {
                    continue;
                }
                let here = score(1 << device);
                if best.is_none_or(|best| here.score > best.score) {
                    best = Some(here);
                }
            }
            best
        })
    }
}

/// The usual pods of a list that is known in advance: the most frequent specifications, which together are 95 % of it.
#[derive(Clone, Debug)]
pub struct Usual(Typical);

impl Usual {
    /// Those of this list. Memory does not tell specifications apart, as published.
    pub fn of(pods: &[PodSpec]) -> Self {
        let mut counts: BTreeMap<(u32, usize, u32, Option<u32>), usize> = BTreeMap::new();
        for pod in pods {
            *counts.entry((pod.cpu_milli, pod.gpus, pod.gpu_milli, pod.models)).or_default() += 1;
        }
        let mut counts: Vec<_> = counts.into_iter().collect();
        counts.sort_by_key(|(spec, count)| (Reverse(*count), *spec));
        let (mut sum, enough) = (0, pods.len() * 95);
        counts.retain(|(_, count)| {
            let wanted = sum * 100 < enough;
            sum += if wanted { *count } else { 0 };
            wanted
        });
        let spec = |(cpu_milli, gpus, gpu_milli, models): (u32, usize, u32, Option<u32>)| Spec {
            cpu_milli,
            memory_mib: 0,
            num: u8::try_from(gpus).unwrap_or(u8::MAX),
            milli: milli(gpu_milli),
            products: models.map_or(Products::ANY, products),
        };
        Self(Typical::new(counts.into_iter().map(|(of, count)| (spec(of), count as f64 / sum as f64)).collect()))
    }

    /// Idle thousandths of a node's GPUs that a usual pod cannot use, on average over usual pods.
    pub fn fragments_milli(&self, node: &NodeState) -> f64 {
        let mut left = [0; Nodes::GPUS_MAX];
        left.iter_mut().zip(node.left()).for_each(|(to, from)| *to = milli(*from));
        let product = u8::try_from(node.model).unwrap_or(u8::MAX);
        self.0.fragments_milli(&value::NodeState::new(node.cpu_milli, 0, product, &left[..node.left().len()]))
    }
}

/// The models of a mask; one that is no model of the cluster stands for those that name none of them.
fn products(mask: u32) -> Products {
    const NO_MODEL: u8 = 63;
    Products::of((0..32).filter(|model| mask & 1 << model != 0).chain((mask == 0).then_some(NO_MODEL)))
}

fn milli(of_gpu: u32) -> u16 {
    u16::try_from(of_gpu).unwrap_or(u16::MAX)
}
