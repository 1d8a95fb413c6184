//! What is left of a node: its inventory less what its holders take.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::holder::implied_mib;
use super::{Holder, HolderState, Load, NodeEntry, Take};
use crate::model::{Amount, DeviceId, Health, Node, PodUid, Pool, ResourceName, SHARE_MILLI};
use crate::topology::torus::HostChips;
use crate::topology::{Best, LinkGraph, LinkTable, LinkTables, bits, partitions};

/// One pool and what is left of it. Masks are over places in the pool.
#[derive(Clone, Debug)]
pub struct PoolLedger {
    /// The resource.
    pub resource: ResourceName,
    /// Each device's use, by place.
    pub usage: Vec<DeviceUse>,
    /// How many devices there are; of a counted pool `usage` and the masks say nothing.
    pub units: u32,
    /// Devices that may be granted.
    pub healthy: u64,
    /// Devices held whole by somebody known.
    pub whole: u64,
    /// Devices with at least one share on them.
    pub shared: u64,
    /// Whole devices held by pods that nobody can tell which: while there is one, no id counts as free.
    pub unnamed: u32,
    /// How many whole devices may be granted.
    pub free: u32,
    /// Which they are; empty while `unnamed` is above zero.
    pub free_ids: u64,
    /// Whole devices that bound pods count for in kube-scheduler's own integers.
    pub bound: u32,
    /// The best choice of each size out of `free_ids`.
    pub best: Arc<Best>,
    /// Which of its chips may be granted together, where it is a TPU host of a known generation.
    pub chips: Option<&'static HostChips>,
    /// The links, for explaining.
    pub graph: Arc<LinkGraph>,
    /// The links, compiled.
    pub table: Arc<LinkTable>,
}

/// What is taken of one device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeviceUse {
    /// Who has it whole.
    pub whole: Option<PodUid>,
    /// Compute taken by shares.
    pub share_milli: u32,
    /// Memory taken by shares: what they asked for, else their part of the device.
    pub share_memory_mib: u64,
    /// Who shares it.
    pub sharers: Vec<PodUid>,
}

impl PoolLedger {
    /// The pool's facts; `node` must be the node this ledger was folded from.
    pub fn pool<'a>(&self, node: &'a Node) -> Option<&'a Pool> {
        node.pools.iter().find(|pool| pool.resource == self.resource)
    }
}

/// Folds holders into what is left. Holders come in any order: firmer ones count first, then by UID, so that any
/// order of events ends in the same ledger.
pub(super) fn fold<'a>(node: Arc<Node>, holders: impl Iterator<Item = &'a Holder>, plain: Load, tables: &mut LinkTables) -> NodeEntry {
    let Counted { counts, conflicts, load } = Counted::of(&node, holders, plain);
    let broken: BTreeSet<DeviceId> = node.pools.iter().zip(&counts).flat_map(|(pool, count)| count.broken(pool)).collect();
    let finish = |(pool, count): (&Pool, Count)| {
        let left = count.finish(pool, &node);
        let (graph, table, linked) = tables.of(pool, left.free_ids);
        let best = partitions::best(&pool.devices, left.free_ids, &broken).map_or(linked, Arc::new);
        let chips = HostChips::of(pool.resource.as_str(), pool.product.as_deref(), pool.devices.len());
        left.ledger(pool, best, chips, graph, table)
    };
    let pools = node.pools.iter().zip(counts).map(finish).collect();
    NodeEntry { node, pools, conflicts, load, quarantined: false }
}

/// The same node with some of its holders alone, counted for what-if: the best choices are still those of `entry`, as they
/// say which devices and not how many.
pub(super) fn refold<'a>(entry: &NodeEntry, holders: impl Iterator<Item = &'a Holder>, plain: Load) -> NodeEntry {
    let node = entry.node.clone();
    let Counted { counts, conflicts, load } = Counted::of(&node, holders, plain);
    let finish = |((pool, known), count): ((&Pool, &PoolLedger), Count)| {
        count.finish(pool, &node).ledger(pool, known.best.clone(), known.chips, known.graph.clone(), known.table.clone())
    };
    let pools = node.pools.iter().zip(&entry.pools).zip(counts).map(finish).collect();
    NodeEntry { node, pools, conflicts, load, quarantined: entry.quarantined }
}

/// What holders come to on a node.
struct Counted {
    counts: Vec<Count>,
    conflicts: BTreeSet<PodUid>,
    load: Load,
}

impl Counted {
    fn of<'a>(node: &Node, holders: impl Iterator<Item = &'a Holder>, plain: Load) -> Self {
        let mut holders: Vec<&Holder> = holders.collect();
        holders.sort_by_key(|holder| (firmness(holder.state), &holder.uid));
        let mut conflicts = BTreeSet::new();
        let count = |pool: &Pool| {
            let mut count = Count::new(pool);
            for holder in &holders {
                let seen = actual(node, pool, holder);
                let takes = seen.as_ref().unwrap_or(&holder.takes);
                let bound = holder.state == HolderState::Bound;
                for take in
                    takes.iter().filter(|take| take.resource == pool.resource || (pool.sharable && take.resource.as_str() == SHARE_MILLI))
                {
                    if !count.take(pool, &holder.uid, take, bound) {
                        conflicts.insert(holder.uid.clone());
                    }
                }
            }
            count
        };
        let counts = node.pools.iter().map(count).collect();
        let load = holders.iter().fold(plain, |sum, holder| sum + holder.load);
        Self { counts, conflicts, load }
    }
}

fn firmness(state: HolderState) -> u8 {
    match state {
        HolderState::Bound => 0,
        HolderState::Binding { .. } => 1,
        HolderState::Planned => 2,
        HolderState::Held { .. } => 3,
    }
}

/// What the agent saw this pod really get from this pool: the node is the truth. Amounts stay as planned.
fn actual(node: &Node, pool: &Pool, holder: &Holder) -> Option<Vec<Take>> {
    let seen = node.report.as_ref()?.actual.get(&holder.uid)?;
    let known: BTreeSet<&DeviceId> = pool.devices.iter().map(|device| &device.id).collect();
    let ids: BTreeSet<&DeviceId> = seen.iter().flat_map(|(_, ids)| ids).filter(|id| known.contains(id)).collect();
    let planned: Vec<&Take> = holder.takes.iter().filter(|take| take.resource == pool.resource).collect();
    if ids.is_empty() || planned.is_empty() || pool.is_counted() {
        return None;
    }
    // Equal parts may have swapped devices; what the agent does not name stays as planned.
    let named: BTreeSet<&DeviceId> = planned.iter().filter_map(|take| take.device.as_ref()).collect();
    let mut fresh = ids.difference(&named).copied();
    let instead: BTreeMap<&DeviceId, &DeviceId> = named.difference(&ids).copied().zip(fresh.by_ref()).collect();
    let mut takes: Vec<Take> = Vec::with_capacity(planned.len());
    for take in planned {
        let device = take.device.as_ref().map(|id| instead.get(id).copied().unwrap_or(id)).or_else(|| fresh.next());
        takes.push(Take { device: device.cloned(), ..take.clone() });
    }
    // More than was planned is taken all the same, unless another pool has devices of these names.
    let elsewhere = |id: &DeviceId| {
        node.pools.iter().any(|other| other.resource != pool.resource && other.devices.iter().any(|device| device.id == *id))
    };
    let more = fresh.filter(|id| !elsewhere(id));
    takes.extend(more.map(|id| Take { resource: pool.resource.clone(), device: Some(id.clone()), amount: Amount::Whole }));
    Some(takes)
}

/// A pool being counted.
struct Count {
    usage: Vec<DeviceUse>,
    place_of: BTreeMap<DeviceId, usize>,
    healthy: u64,
    whole: u64,
    shared: u64,
    unnamed: u32,
    bound: u32,
}

impl Count {
    fn new(pool: &Pool) -> Self {
        let devices = || pool.devices.iter().take(Pool::DEVICES_MAX).enumerate();
        Self {
            usage: vec![DeviceUse::default(); pool.devices.len().min(Pool::DEVICES_MAX)],
            place_of: devices().filter(|_| !pool.is_counted()).map(|(place, device)| (device.id.clone(), place)).collect(),
            healthy: devices().filter(|(_, device)| device.health == Health::Healthy).fold(0, |mask, (place, _)| mask | 1 << place),
            whole: 0,
            shared: 0,
            unnamed: 0,
            bound: 0,
        }
    }

    /// Enters one take; false when somebody else had it already. An unknown id counts as an unknown device.
    fn take(&mut self, pool: &Pool, uid: &PodUid, take: &Take, bound: bool) -> bool {
        let place = take.device.as_ref().and_then(|id| self.place_of.get(id)).copied();
        match (take.amount, place) {
            (Amount::Whole, place) => {
                self.bound += u32::from(bound);
                let Some(place) = place else {
                    self.unnamed += 1;
                    return true;
                };
                if self.whole & 1 << place != 0 || self.shared & 1 << place != 0 {
                    // Two pods cannot both be right: the later one has some device, nobody knows which.
                    self.unnamed += 1;
                    return false;
                }
                self.whole |= 1 << place;
                self.usage[place].whole = Some(uid.clone());
                true
            }
            (Amount::Share { .. }, None) => {
                self.unnamed += 1;
                true
            }
            (Amount::Share { milli, memory_mib }, Some(place)) => {
                let device = &pool.devices[place];
                let implied = || device.memory_mib.map_or(0, |all| implied_mib(all, milli.into()));
                let using = &mut self.usage[place];
                using.share_milli = using.share_milli.saturating_add(milli);
                using.share_memory_mib = using.share_memory_mib.saturating_add(memory_mib.unwrap_or_else(implied));
                if using.sharers.last() != Some(uid) {
                    using.sharers.push(uid.clone());
                }
                self.shared |= 1 << place;
                let fits = using.share_milli <= 1000 && device.memory_mib.is_none_or(|all| using.share_memory_mib <= all);
                fits && self.whole & 1 << place == 0
            }
        }
    }

    /// Whole devices of which somebody holds a partition, through whichever pool of the node.
    fn broken<'a>(&self, pool: &'a Pool) -> impl Iterator<Item = DeviceId> + 'a {
        bits(self.whole | self.shared)
            .filter_map(|place| pool.devices.get(place as usize))
            .filter_map(|device| Some(device.partition.as_ref()?.parent.clone()))
    }

    fn finish(self, pool: &Pool, node: &Node) -> Left {
        let served = node.report.as_ref().is_some_and(|report| report.serves_devices);
        // Where nobody keeps them apart, the vendor's plugin sees every device of a shared node as free.
        let closed = !served && self.shared != 0;
        let untouched = self.healthy & !self.whole & !self.shared;
        let healthy = || u32::try_from(pool.devices.iter().filter(|device| device.health == Health::Healthy).count()).unwrap_or(u32::MAX);
        let by_device = if pool.is_counted() { healthy() } else { untouched.count_ones() }.saturating_sub(self.unnamed);
        let by_kubelet = pool.allocatable.saturating_sub((self.whole & self.healthy).count_ones()).saturating_sub(self.unnamed);
        let free = if closed { 0 } else { by_device.min(by_kubelet) };
        let free_ids = if self.unnamed > 0 || closed || pool.is_counted() { 0 } else { untouched };
        Left { count: self, free, free_ids }
    }
}

/// A pool, counted.
struct Left {
    count: Count,
    free: u32,
    free_ids: u64,
}

impl Left {
    fn ledger(
        self,
        pool: &Pool,
        best: Arc<Best>,
        chips: Option<&'static HostChips>,
        graph: Arc<LinkGraph>,
        table: Arc<LinkTable>,
    ) -> PoolLedger {
        let Self { count, free, free_ids } = self;
        PoolLedger {
            resource: pool.resource.clone(),
            units: u32::try_from(pool.devices.len()).unwrap_or(u32::MAX),
            usage: count.usage,
            healthy: count.healthy,
            whole: count.whole,
            shared: count.shared,
            unnamed: count.unnamed,
            free,
            free_ids,
            bound: count.bound,
            best,
            chips,
            graph,
            table,
        }
    }
}
