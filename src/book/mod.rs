//! The ledger: which pod holds which devices, or shares of them. Knows nodes and holders; judges nothing, prefers
//! nothing, and reads no clock.
//!
//! A node's usage is a fold over its inventory and its holders, done afresh whenever either changes: there is no
//! second way to count, so nothing can drift from what the holders say.
//!
//! ```text
//! holder (pod UID) --takes--> device or share        node --inventory--> pools of devices
//!                      \____________ fold ____________/
//!                                     |
//!                          PoolLedger: free ids, free counts, best subsets
//! ```

mod changes;
mod checkpoint;
mod digest;
mod fold;
mod holder;
mod invariants;
mod load;
mod place;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use indexmap::IndexMap;
use rustc_hash::FxBuildHasher;

pub use checkpoint::Checkpoint;
pub use fold::{DeviceUse, PoolLedger};
pub use holder::{Holder, HolderState, Take, takes};
pub use invariants::Violation;
pub use load::Load;
pub use place::{Placement, Shape, ShapeKey};

use crate::model::{Node, NodeName, PodUid, ResourceName};
use crate::topology::LinkTables;
use changes::Changes;
use checkpoint::Undo;

/// The ledger.
#[derive(Clone, Debug, Default)]
pub struct Book {
    /// Slots by name. Slots are reused, so nothing may depend on their order.
    slot_of: IndexMap<NodeName, u32, FxBuildHasher>,
    entries: Vec<Option<NodeEntry>>,
    slots_free: Vec<u32>,
    holders: BTreeMap<PodUid, Holder>,
    /// Holders by node, also of nodes that are not (or no longer) known.
    by_node: BTreeMap<NodeName, BTreeSet<PodUid>>,
    /// Thousandths of devices held, by namespace and resource.
    held_milli: BTreeMap<Arc<str>, BTreeMap<ResourceName, u64>>,
    /// How often that changed.
    held_version: u64,
    /// How many hold devices, by priority.
    priorities: BTreeMap<i32, u64>,
    /// What bound pods without devices take of their nodes, and the sums by node, known or not.
    plain: BTreeMap<PodUid, (NodeName, Load)>,
    plain_on: BTreeMap<NodeName, Load>,
    /// Nodes that are given nobody who asks for devices, known or not.
    quarantined: BTreeSet<NodeName>,
    tables: LinkTables,
    /// Versions of entries, by slot; 0 is no entry.
    versions: Vec<u64>,
    /// The names in the slots, dense: see [`Book::slot_near`].
    names: Vec<Option<NodeName>>,
    changes: Changes,
    undo: Vec<Undo>,
    checkpoints: u32,
}

/// A node and what is left of it.
#[derive(Clone, Debug)]
pub struct NodeEntry {
    /// The node as last seen.
    pub node: Arc<Node>,
    /// One ledger a pool, in the node's order.
    pub pools: Vec<PoolLedger>,
    /// Holders whose devices were claimed twice: each a broken promise, by us or by somebody past us.
    pub conflicts: BTreeSet<PodUid>,
    /// What all its pods take of CPU and memory.
    pub load: Load,
    /// It is given nobody who asks for devices.
    pub quarantined: bool,
}

impl NodeEntry {
    /// The ledger of one resource.
    pub fn pool(&self, resource: &ResourceName) -> Option<&PoolLedger> {
        self.pools.iter().find(|pool| pool.resource == *resource)
    }

    /// Whether anybody holds devices of it.
    pub fn is_in_use(&self) -> bool {
        self.pools.iter().any(|pool| pool.whole != 0 || pool.shared != 0 || pool.unnamed > 0)
    }

    /// Whether our agent keeps shares and whole devices of this node apart.
    pub fn is_served(&self) -> bool {
        self.node.report.as_ref().is_some_and(|report| report.serves_devices)
    }
}

impl Book {
    /// Enters a node, or what became of it.
    pub fn set_node(&mut self, node: Node) {
        let name = node.name.clone();
        self.replace_node(&name, Some(Arc::new(node)));
    }

    /// Forgets a node. Its holders stay: their pods are not gone yet, and the node may come back.
    pub fn remove_node(&mut self, name: &NodeName) {
        self.replace_node(name, None);
    }

    /// Says that a node is given nobody who asks for devices, or is again. Who has a place there keeps it. Outside checkpoints.
    pub fn set_quarantined(&mut self, name: &NodeName, quarantined: bool) {
        let changed = if quarantined { self.quarantined.insert(name.clone()) } else { self.quarantined.remove(name) };
        if changed {
            self.refold(name);
        }
    }

    /// Enters a holder in place of what the same pod held before.
    pub fn set_holder(&mut self, holder: Holder) {
        let uid = holder.uid.clone();
        self.replace_holder(&uid, Some(holder));
    }

    /// Takes back everything a pod holds.
    pub fn release(&mut self, uid: &PodUid) -> Option<Holder> {
        self.replace_holder(uid, None)
    }

    /// What a pod holds.
    pub fn holder(&self, uid: &PodUid) -> Option<&Holder> {
        self.holders.get(uid)
    }

    /// Every holder, by UID.
    pub fn holders(&self) -> impl Iterator<Item = &Holder> {
        self.holders.values()
    }

    /// The holders on a node, by UID.
    pub fn holders_on(&self, name: &str) -> impl Iterator<Item = &Holder> {
        self.by_node.get(name).into_iter().flatten().filter_map(|uid| self.holders.get(uid))
    }

    /// The entry of a node.
    pub fn node(&self, name: &str) -> Option<&NodeEntry> {
        self.slot_of.get(name).and_then(|slot| self.entries[*slot as usize].as_ref())
    }

    /// A node as it would be if only the holders that stay were on it. Counts are exact; which devices are the best
    /// choice is still said of the node as it is, so that no grant may be taken from it.
    pub fn node_if(&self, name: &str, stays: impl Fn(&Holder) -> bool) -> Option<NodeEntry> {
        let entry = self.node(name)?;
        Some(fold::refold(entry, self.holders_on(name).filter(|holder| stays(holder)), self.plain_on(&entry.node.name)))
    }

    /// Every node, by name.
    pub fn nodes(&self) -> impl Iterator<Item = &NodeEntry> {
        let mut entries: Vec<&NodeEntry> = self.entries.iter().flatten().collect();
        entries.sort_unstable_by(|a, b| a.node.name.cmp(&b.node.name));
        entries.into_iter()
    }

    /// Where a node's facts are kept while it is known; below [`Book::slots`].
    pub fn slot(&self, name: &str) -> Option<usize> {
        self.slot_of.get(name).map(|slot| *slot as usize)
    }

    /// The same, for who asks for one node after the other: most ask in the order in which nodes came to be known, and
    /// to look a few slots ahead is quicker than to look the name up.
    pub fn slot_near(&self, name: &str, guess: usize) -> Option<usize> {
        const AHEAD: usize = 4;
        let ahead = self.names.iter().enumerate().skip(guess).take(AHEAD);
        let found = ahead.filter_map(|(slot, known)| known.as_ref().map(|known| (slot, known))).find(|(_, known)| known.as_str() == name);
        found.map(|(slot, _)| slot).or_else(|| self.slot(name))
    }

    /// The last version of anything in the book; see [`Book::version`].
    pub fn latest_version(&self) -> u64 {
        self.changes.version()
    }

    /// The slots whose nodes changed, came or went after a version, ascending; none if too many did.
    pub fn changed_since(&self, version: u64) -> Option<Vec<usize>> {
        self.changes.since(version)
    }

    /// The entry of the node in a slot.
    pub fn entry(&self, slot: usize) -> Option<&NodeEntry> {
        self.entries.get(slot).and_then(Option::as_ref)
    }

    /// The version of what is in a slot: a new one whenever anything about the node changes, 0 when it is gone.
    pub fn version(&self, slot: usize) -> u64 {
        self.versions[slot]
    }

    /// How many slots there are.
    pub fn slots(&self) -> usize {
        self.entries.len()
    }

    /// How many nodes.
    pub fn node_count(&self) -> usize {
        self.slot_of.len()
    }

    /// Thousandths of `resource` that pods of a namespace hold, shares counted.
    pub fn held_milli(&self, namespace: &str, resource: &ResourceName) -> u64 {
        self.held_milli.get(namespace).and_then(|held| held.get(resource)).copied().unwrap_or(0)
    }

    /// All of that: namespace, resource, thousandths.
    pub fn held(&self) -> impl Iterator<Item = (&Arc<str>, &ResourceName, u64)> {
        self.held_milli.iter().flat_map(|(namespace, held)| held.iter().map(move |(resource, milli)| (namespace, resource, *milli)))
    }

    /// A new number whenever what anybody holds changes.
    pub fn held_version(&self) -> u64 {
        self.held_version
    }

    /// The lowest priority of anybody who holds devices.
    pub fn lowest_priority(&self) -> Option<i32> {
        self.priorities.keys().next().copied()
    }

    fn replace_node(&mut self, name: &NodeName, node: Option<Arc<Node>>) {
        let slot = self.slot_of.get(name).copied();
        let previous = slot.and_then(|slot| self.entries[slot as usize].take()).map(|entry| entry.node);
        match (slot, node) {
            (slot, Some(node)) => {
                let slot = slot.unwrap_or_else(|| self.slot_for(name));
                let entry = self.fold(node);
                self.put(slot, entry);
            }
            (Some(slot), None) => {
                self.slot_of.swap_remove(name);
                self.versions[slot as usize] = 0;
                self.names[slot as usize] = None;
                self.changes.note(slot);
                self.slots_free.push(slot);
            }
            (None, None) => {}
        }
        self.record(|| Undo::Node(name.clone(), previous));
    }

    fn replace_holder(&mut self, uid: &PodUid, holder: Option<Holder>) -> Option<Holder> {
        let previous = self.holders.remove(uid);
        if let Some(previous) = &previous {
            if let Some(uids) = self.by_node.get_mut(&previous.node) {
                uids.remove(uid);
                if uids.is_empty() {
                    self.by_node.remove(&previous.node);
                }
            }
            self.count(previous, u64::checked_sub);
        }
        let touched: Vec<NodeName> = previous.iter().chain(&holder).map(|holder| holder.node.clone()).collect();
        if let Some(holder) = holder {
            self.by_node.entry(holder.node.clone()).or_default().insert(uid.clone());
            self.count(&holder, u64::checked_add);
            self.holders.insert(uid.clone(), holder);
        }
        for (place, name) in touched.iter().enumerate() {
            if !touched[..place].contains(name) {
                self.refold(name);
            }
        }
        self.record(|| Undo::Holder(uid.clone(), previous.clone()));
        previous
    }

    #[expect(clippy::expect_used, reason = "sums of what was added; 2^64 thousandths are 10^16 devices")]
    fn count(&mut self, holder: &Holder, change: fn(u64, u64) -> Option<u64>) {
        self.held_version += 1;
        let holders = self.priorities.entry(holder.priority).or_default();
        *holders = change(*holders, 1).expect("who is taken off was added before");
        if *holders == 0 {
            self.priorities.remove(&holder.priority);
        }
        let held = self.held_milli.entry(holder.key.namespace.clone()).or_default();
        for take in &holder.takes {
            let sum = held.entry(take.resource.clone()).or_default();
            *sum = change(*sum, u64::from(take.milli())).expect("what is taken off was added before");
        }
        held.retain(|_, milli| *milli > 0);
        if held.is_empty() {
            self.held_milli.remove(&holder.key.namespace);
        }
    }

    fn slot_for(&mut self, name: &NodeName) -> u32 {
        let slot = self.slots_free.pop().unwrap_or_else(|| {
            self.entries.push(None);
            self.versions.push(0);
            self.names.push(None);
            u32::try_from(self.entries.len() - 1).unwrap_or(u32::MAX)
        });
        self.slot_of.insert(name.clone(), slot);
        self.names[slot as usize] = Some(name.clone());
        slot
    }

    fn refold(&mut self, name: &NodeName) {
        let Some(&slot) = self.slot_of.get(name) else { return };
        if let Some(entry) = self.entries[slot as usize].take() {
            let entry = self.fold(entry.node);
            self.put(slot, entry);
        }
    }

    fn put(&mut self, slot: u32, entry: NodeEntry) {
        self.versions[slot as usize] = self.changes.note(slot);
        self.entries[slot as usize] = Some(entry);
    }

    fn fold(&mut self, node: Arc<Node>) -> NodeEntry {
        let on_node = self.by_node.get(&node.name).into_iter().flatten().filter_map(|uid| self.holders.get(uid));
        let plain = self.plain_on(&node.name);
        let quarantined = self.quarantined.contains(&node.name);
        NodeEntry { quarantined, ..fold::fold(node, on_node, plain, &mut self.tables) }
    }
}

#[cfg(test)]
mod tests;
