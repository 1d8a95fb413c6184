//! Prices of what is scarce: room for pods of several whole devices, and products that some pods insist on.

use std::collections::BTreeMap;

use super::gaps::{Gaps, Inventory};
use super::{DEVICES_MAX, Flow, NodeState, Products, Spec};

/// Prices refreshed against the whole cluster.
#[derive(Clone, Debug, Default)]
pub struct Prices {
    /// A new one with every refresh; 0 is none yet.
    pub version: u32,
    /// What room for one of each large kind costs, in device milli.
    pub large: Vec<f64>,
    /// By product: what a device milli of it costs.
    pub rent: Vec<f64>,
    /// What gaps of devices are worth.
    pub gaps: Gaps,
    /// What room to come is worth, by devices and free ones of them, and how far what is free now counts beside it.
    coming: Vec<[f64; DEVICES_MAX + 1]>,
    fading: f64,
}

/// A kind of pod that needs several devices of one node.
#[derive(Clone, Copy, Debug)]
pub struct Large {
    /// What it asks for.
    pub spec: Spec,
    /// Its part of all arrivals.
    pub part: f64,
}

/// What the prices are made from.
#[derive(Clone, Debug, Default)]
pub struct Supply {
    /// For each large kind, how many the cluster has room for.
    room: Vec<u64>,
    /// By product: free device milli.
    idle_milli: Vec<u64>,
    inventory: Inventory,
    capacity_milli: u64,
    /// Nodes by devices and free ones of them.
    nodes: Vec<[u32; DEVICES_MAX + 1]>,
}

/// The highest scarcity that a price still follows.
const SCARCITY_MAX: f64 = 100.0;
/// What room costs when as many pods are expected as fit, per device milli.
const PRICE_AT_PAR: f64 = 3.0;
/// How much more room is worth, and how much less gaps are, for each part of what is in use that comes back.
const ROOM_LASTS: f64 = 5.0;
const GAPS_FADE: f64 = 2.0;
/// Rounds and slices in which the demand for products is levelled.
const LEVEL_ROUNDS: usize = 30;
const LEVEL_SLICES: usize = 8;

/// How many pods of a kind a node has room for.
pub fn room(spec: &Spec, state: &NodeState) -> u32 {
    if state.free() < spec.num
        || !spec.products.has(state.product)
        || state.cpu_milli < spec.cpu_milli
        || state.memory_mib < spec.memory_mib
    {
        return 0;
    }
    let by_devices = u32::from(state.free() / spec.num.max(1));
    let by_cpu = state.cpu_milli.checked_div(spec.cpu_milli).unwrap_or(u32::MAX);
    let by_memory = state.memory_mib.checked_div(spec.memory_mib).unwrap_or(u32::MAX);
    by_devices.min(by_cpu).min(by_memory)
}

/// How likely a node of which `free` devices are free has room for a pod of `num` before long: the others must come back.
fn coming(num: u8, free: u8, turnover: f64) -> f64 {
    if free < num && turnover > 0.0 { turnover.powi((num - free).into()) } else { 0.0 }
}

impl Prices {
    /// Sets every price anew from the demand and what is left.
    pub fn refresh(&mut self, demand: &[(Spec, f64)], large: &[Large], supply: &Supply, flow: &Flow) {
        let idle: u64 = supply.idle_milli.iter().sum();
        let mean: f64 = demand.iter().map(|(spec, part)| part * f64::from(spec.device_milli())).sum();
        let ahead = flow.horizon(idle, supply.capacity_milli);
        // Pods to come until nothing is left.
        let pods = |milli: f64| if mean > 0.0 { milli / mean } else { 0.0 };
        let horizon = pods(ahead.offered_milli);
        let of_size = |num: u8| -> f64 { large.iter().filter(|other| other.spec.num == num).map(|other| other.part).sum() };
        let price_at_par = PRICE_AT_PAR * (1.0 + ROOM_LASTS * ahead.turnover);
        let price = |(kind, room): (&Large, &u64)| {
            let of_size = of_size(kind.spec.num);
            let scarcity = of_size * horizon / (*room as f64 + supply.coming(kind.spec.num, ahead.turnover) + 1.0);
            price_at_par * (scarcity * scarcity).min(SCARCITY_MAX) * kind.part / of_size * f64::from(kind.spec.device_milli())
        };
        self.version += 1;
        self.large = large.iter().zip(&supply.room).map(price).collect();
        self.coming = vec![[0.0; DEVICES_MAX + 1]; DEVICES_MAX + 1];
        for (kind, price) in large.iter().zip(&self.large).filter(|_| ahead.turnover > 0.0) {
            let num = usize::from(kind.spec.num);
            for by_free in self.coming.iter_mut().skip(num) {
                by_free
                    .iter_mut()
                    .zip(0..)
                    .take(num)
                    .for_each(|(worth, free)| *worth += price * coming(kind.spec.num, free, ahead.turnover));
            }
        }
        self.fading = (1.0 - GAPS_FADE * ahead.turnover).max(0.0);
        self.rent = rents(demand, &supply.idle_milli, pods(idle as f64));
        self.gaps.refresh(demand, &supply.inventory);
    }

    /// What losing so much room for each large kind costs.
    pub fn room_cost(&self, lost: &[u32]) -> f64 {
        self.large.iter().zip(lost).map(|(price, lost)| price * f64::from(*lost)).sum()
    }

    /// What it is worth that so many devices of a node are free, for room to come when others come back.
    pub fn worth_coming(&self, devices: u8, free: u8) -> f64 {
        self.coming.get(usize::from(devices)).map_or(0.0, |by_free| by_free[usize::from(free)])
    }

    /// What gaps count for: they are filled and opened anew where pods leave.
    pub fn gaps_count(&self) -> f64 {
        self.fading
    }

    /// What a device milli of a product costs.
    pub fn rent_of(&self, product: u8) -> f64 {
        self.rent.get(usize::from(product)).copied().unwrap_or(0.0)
    }
}

/// The load of each product, when pods that name products spread as evenly as they can; at most 1.
fn rents(demand: &[(Spec, f64)], idle_milli: &[u64], horizon: f64) -> Vec<f64> {
    let mut classes: BTreeMap<Products, f64> = BTreeMap::new();
    for (spec, part) in demand.iter().filter(|(spec, _)| spec.num > 0 && !spec.products.is_any()) {
        *classes.entry(spec.products).or_default() += part * f64::from(spec.device_milli()) * horizon;
    }
    let mut load = vec![0.0; idle_milli.len()];
    let mut placed: Vec<Vec<f64>> = vec![vec![0.0; idle_milli.len()]; classes.len()];
    let relative = |load: &[f64], product: usize| load[product] / (idle_milli[product] as f64).max(1.0);
    for _ in 0..LEVEL_ROUNDS {
        for ((products, demand_milli), mine) in classes.iter().zip(&mut placed) {
            for (load, mine) in load.iter_mut().zip(mine.iter_mut()) {
                *load -= *mine;
                *mine = 0.0;
            }
            for _ in 0..LEVEL_SLICES {
                let fitting = (0..load.len())
                    .filter(|product| idle_milli[*product] > 0 && u8::try_from(*product).is_ok_and(|product| products.has(product)));
                let Some(least) = fitting.min_by(|a, b| relative(&load, *a).total_cmp(&relative(&load, *b))) else { continue };
                load[least] += demand_milli / LEVEL_SLICES as f64;
                mine[least] += demand_milli / LEVEL_SLICES as f64;
            }
        }
    }
    (0..load.len()).map(|product| relative(&load, product).clamp(0.0, 1.0)).collect()
}

impl Supply {
    /// Counts a node of this state in.
    pub fn add(&mut self, large: &[Large], state: &NodeState) {
        self.inventory.add(state.residual_milli());
        self.capacity_milli += state.capacity_milli();
        self.nodes.resize(DEVICES_MAX + 1, [0; DEVICES_MAX + 1]);
        self.nodes[usize::from(state.devices)][usize::from(state.free())] += 1;
        self.change(large, state, |sum, part| sum + part);
    }

    /// Counts it out.
    pub fn remove(&mut self, large: &[Large], state: &NodeState) {
        self.inventory.remove(state.residual_milli());
        self.capacity_milli -= state.capacity_milli();
        self.nodes[usize::from(state.devices)][usize::from(state.free())] -= 1;
        self.change(large, state, |sum, part| sum - part);
    }

    /// Thousandths of devices, in use or not.
    pub fn capacity_milli(&self) -> u64 {
        self.capacity_milli
    }

    /// For how many pods of so many devices there will be room before long where there is none now.
    fn coming(&self, num: u8, turnover: f64) -> f64 {
        let nodes = self.nodes.iter().skip(num.into()).flat_map(|by_free| by_free.iter().zip(0_u8..));
        nodes.map(|(nodes, free)| f64::from(*nodes) * coming(num, free, turnover)).sum()
    }

    fn change(&mut self, large: &[Large], state: &NodeState, apply: fn(u64, u64) -> u64) {
        self.room.resize(large.len(), 0);
        for (sum, large) in self.room.iter_mut().zip(large) {
            *sum = apply(*sum, room(&large.spec, state).into());
        }
        let product = usize::from(state.product);
        if self.idle_milli.len() <= product {
            self.idle_milli.resize(product + 1, 0);
        }
        self.idle_milli[product] = apply(self.idle_milli[product], state.idle_milli());
    }
}
