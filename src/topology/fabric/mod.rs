//! Where nodes are, relative to each other: blocks, racks, NVLink partitions, as levels of domains.
//!
//! What may live here: the levels as data, presets, and the tables that say which node is in which domain. Kept node by
//! node as the watch tells of them. Who holds what is the book's; which domain is best is a planner's.
//!
//! ```text
//! node labels --levels, widest first--> domain of each level --order--> nodes along the fabric
//! ```
//!
//! A node without a level's label is outside every domain of that level, and inside those of the other levels.

mod hyper_node;
mod levels;
mod order;
mod presets;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use indexmap::IndexMap;
use rustc_hash::FxBuildHasher;

pub use hyper_node::{HyperNode, Member, Selector};
pub use levels::{FabricRules, Level, NODE_LEVEL, Source};
pub use presets::{PRESETS, Preset};

use crate::model::{Node, NodeName};
use hyper_node::HyperNodes;

/// Every known node in its domains.
#[derive(Clone, Debug, Default)]
pub struct Fabric {
    rules: Arc<FabricRules>,
    hyper_nodes: HyperNodes,
    /// Domains by place; places are reused, so nothing may depend on their order.
    domains: Vec<Option<Domain>>,
    free: Vec<u32>,
    by_key: BTreeMap<DomainKey, DomainId>,
    seats: IndexMap<NodeName, Seat, FxBuildHasher>,
    order: BTreeSet<(String, NodeName)>,
    changes: u64,
}

/// Names a domain for as long as it has nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DomainId(u32);

/// Level, the domain around it, value.
type DomainKey = (usize, Option<DomainId>, Arc<str>);

/// The nodes that share a level's value.
#[derive(Clone, Debug)]
pub struct Domain {
    /// Which level, by its place.
    pub level: usize,
    /// The level's value.
    pub value: Arc<str>,
    /// The domain around it; none for one that is unique, or has nothing around it.
    pub parent: Option<DomainId>,
    /// Its nodes.
    pub nodes: BTreeSet<NodeName>,
}

/// Where one node is.
#[derive(Clone, Debug)]
struct Seat {
    /// One entry a level.
    domains: Arc<[Option<DomainId>]>,
    sort_key: String,
}

impl Fabric {
    /// An empty fabric with these levels.
    pub fn new(rules: Arc<FabricRules>) -> Self {
        Self { hyper_nodes: HyperNodes::new(rules.hyper_nodes.clone()), rules, ..Self::default() }
    }

    /// The levels.
    pub fn rules(&self) -> &FabricRules {
        &self.rules
    }

    /// A number that grows with every change.
    pub fn changes(&self) -> u64 {
        self.changes
    }

    /// Enters a node, or where it is now.
    pub fn set_node(&mut self, node: &Node) {
        self.remove_node(&node.name);
        self.changes += 1;
        if self.rules.levels.is_empty() {
            // Nothing but names to sort by.
            self.seat(&node.name, Arc::from([]), String::new());
            return;
        }
        let tiers = if self.rules.hyper_nodes.is_empty() { BTreeMap::new() } else { self.hyper_nodes.of(node) };
        let rules = Arc::clone(&self.rules);
        let mut around = None;
        let (mut domains, mut values) = (Vec::with_capacity(rules.levels.len()), Vec::with_capacity(rules.levels.len()));
        for (place, level) in rules.levels.iter().enumerate() {
            let value = level.sources.iter().find_map(|source| match source {
                Source::Tier(tier) => tiers.get(tier).cloned(),
                Source::Label(_) | Source::LabelPrefix(_) => source.label_value(node),
            });
            let domain = value.as_ref().map(|value| {
                let parent = around.filter(|_| !level.unique);
                let id = self.domain_for((place, parent, value.clone()));
                if let Some(domain) = self.domains[id.0 as usize].as_mut() {
                    domain.nodes.insert(node.name.clone());
                }
                id
            });
            around = domain.or(around);
            domains.push(domain);
            values.push(value);
        }
        let sort_key = order::sort_key(values.iter().map(Option::as_ref), node.name.as_str());
        self.seat(&node.name, domains.into(), sort_key);
    }

    /// Forgets a node, and every domain that it was the last one of.
    pub fn remove_node(&mut self, name: &NodeName) {
        let Some(seat) = self.seats.swap_remove(name) else { return };
        self.changes += 1;
        self.order.remove(&(seat.sort_key, name.clone()));
        for id in seat.domains.iter().flatten() {
            let Some(domain) = self.domains[id.0 as usize].as_mut() else { continue };
            domain.nodes.remove(name);
            if domain.nodes.is_empty() {
                let key = (domain.level, domain.parent, domain.value.clone());
                self.by_key.remove(&key);
                self.domains[id.0 as usize] = None;
                self.free.push(id.0);
            }
        }
    }

    /// Nodes along the fabric, each with its domain of each level.
    pub fn nodes(&self) -> impl Iterator<Item = (&NodeName, &[Option<DomainId>])> {
        self.order.iter().filter_map(|(_, name)| Some((name, &*self.seats.get(name)?.domains)))
    }

    /// A node's domain of each level; none for an unknown node.
    pub fn domains_of(&self, name: &str) -> Option<&[Option<DomainId>]> {
        self.seats.get(name).map(|seat| &*seat.domains)
    }

    /// A domain.
    pub fn domain(&self, id: DomainId) -> Option<&Domain> {
        self.domains.get(id.0 as usize)?.as_ref()
    }

    /// The domains of a level, by what is around them and their value.
    pub fn domains(&self, level: usize) -> impl Iterator<Item = (DomainId, &Domain)> {
        let mut found: Vec<_> = self.by_key.iter().filter(|((at, ..), _)| *at == level).map(|(_, id)| *id).collect();
        found.sort_by_cached_key(|id| self.title(*id));
        found.into_iter().filter_map(|id| Some((id, self.domain(id)?)))
    }

    /// A domain for people: `rack r7 of block b2`.
    pub fn title(&self, id: DomainId) -> String {
        let Some(domain) = self.domain(id) else { return "a domain that is gone".into() };
        let own = format!("{} {}", self.rules.name_of(domain.level), domain.value);
        domain.parent.map_or_else(|| own.clone(), |parent| format!("{own} of {}", self.title(parent)))
    }

    fn domain_for(&mut self, key: DomainKey) -> DomainId {
        if let Some(id) = self.by_key.get(&key) {
            return *id;
        }
        let (level, parent, value) = key.clone();
        let domain = Some(Domain { level, value, parent, nodes: BTreeSet::new() });
        let place = if let Some(place) = self.free.pop() {
            self.domains[place as usize] = domain;
            place
        } else {
            self.domains.push(domain);
            u32::try_from(self.domains.len() - 1).unwrap_or(u32::MAX)
        };
        self.by_key.insert(key, DomainId(place));
        DomainId(place)
    }

    fn seat(&mut self, name: &NodeName, domains: Arc<[Option<DomainId>]>, sort_key: String) {
        let sort_key = if sort_key.is_empty() { order::sort_key([], name.as_str()) } else { sort_key };
        self.order.insert((sort_key.clone(), name.clone()));
        self.seats.insert(name.clone(), Seat { domains, sort_key });
    }
}

#[cfg(test)]
mod tests;
