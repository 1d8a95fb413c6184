//! Volcano's HyperNodes: which of them a node belongs to, directly or through other HyperNodes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use petgraph::graph::{DiGraph, NodeIndex};
use petgraph::visit::Bfs;
use regex::Regex;

use crate::model::{Constraints, Node};

/// A HyperNode, as far as placement reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HyperNode {
    /// `metadata.name`.
    pub name: Arc<str>,
    /// `spec.tier`: the lower, the nearer its members are to each other.
    pub tier: u32,
    /// `spec.tierName`.
    pub tier_name: Option<Arc<str>>,
    /// `spec.members`.
    pub members: Vec<Member>,
}

/// What belongs to a HyperNode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// HyperNodes rather than nodes.
    pub hyper_nodes: bool,
    /// Which of them.
    pub selector: Selector,
}

/// How members are named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selector {
    /// By name.
    Exact(Arc<str>),
    /// By a regular expression over the name, found anywhere in it as in Go.
    Pattern(Arc<str>),
    /// By node labels; HyperNodes are never chosen so.
    Labels(Constraints),
}

/// HyperNodes, ready to ask.
#[derive(Clone, Debug, Default)]
pub(super) struct HyperNodes {
    known: Vec<HyperNode>,
    /// Patterns, compiled; one that is no regular expression matches nothing.
    patterns: BTreeMap<Arc<str>, Option<Regex>>,
    /// From each to those it is a member of, by place in `known`.
    parents: DiGraph<(), ()>,
}

impl HyperNodes {
    pub(super) fn new(mut known: Vec<HyperNode>) -> Self {
        known.sort_by(|a, b| (a.tier, &a.name).cmp(&(b.tier, &b.name)));
        let pattern = |member: &Member| match &member.selector {
            Selector::Pattern(pattern) => Some((pattern.clone(), Regex::new(pattern).ok())),
            Selector::Exact(_) | Selector::Labels(_) => None,
        };
        let patterns = known.iter().flat_map(|hyper_node| hyper_node.members.iter().filter_map(pattern)).collect();
        let mut parents = DiGraph::new();
        for _ in &known {
            parents.add_node(());
        }
        let mut built = Self { known, patterns, parents };
        for (parent, hyper_node) in built.known.iter().enumerate() {
            for member in hyper_node.members.iter().filter(|member| member.hyper_nodes) {
                for (child, other) in built.known.iter().enumerate() {
                    if other.tier < hyper_node.tier && built.names(&member.selector, &other.name) {
                        built.parents.add_edge(NodeIndex::new(child), NodeIndex::new(parent), ());
                    }
                }
            }
        }
        built
    }

    /// The HyperNode of each tier that a node belongs to; of several of one tier the first by name.
    pub(super) fn of(&self, node: &Node) -> BTreeMap<u32, Arc<str>> {
        let mut found: BTreeSet<(u32, Arc<str>)> = BTreeSet::new();
        for (place, hyper_node) in self.known.iter().enumerate() {
            if !hyper_node.members.iter().any(|member| !member.hyper_nodes && self.selects(&member.selector, node)) {
                continue;
            }
            let mut search = Bfs::new(&self.parents, NodeIndex::new(place));
            while let Some(above) = search.next(&self.parents) {
                let above = &self.known[above.index()];
                found.insert((above.tier, above.name.clone()));
            }
        }
        let mut by_tier = BTreeMap::new();
        for (tier, name) in found {
            by_tier.entry(tier).or_insert(name);
        }
        by_tier
    }

    fn selects(&self, selector: &Selector, node: &Node) -> bool {
        match selector {
            Selector::Labels(constraints) => constraints.selects(node),
            Selector::Exact(_) | Selector::Pattern(_) => self.names(selector, node.name.as_str()),
        }
    }

    fn names(&self, selector: &Selector, name: &str) -> bool {
        match selector {
            Selector::Exact(exact) => **exact == *name,
            Selector::Pattern(pattern) => self.patterns.get(pattern).and_then(Option::as_ref).is_some_and(|regex| regex.is_match(name)),
            Selector::Labels(_) => false,
        }
    }
}
