//! Levels of the fabric as data: which label, or which tier of HyperNodes, says where a node is.

use std::sync::Arc;

use super::{HyperNode, Preset};
use crate::model::Node;

/// The rules by which nodes are sorted into domains.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FabricRules {
    /// Widest first. The node itself is the narrowest level of all, [`NODE_LEVEL`], and is not listed.
    pub levels: Vec<Level>,
    /// Members of the tiers, where levels come from Volcano's HyperNodes.
    pub hyper_nodes: Vec<HyperNode>,
    /// Where the search for a group without a wish of its own starts; without one, at the node itself.
    pub preferred: Option<Arc<str>>,
}

/// One level: racks, blocks, NVLink partitions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Level {
    /// What pods and people call it.
    pub name: Arc<str>,
    /// Where a node's domain stands; the first one that says something counts.
    pub sources: Vec<Source>,
    /// Whether equal values are one domain wherever they stand. Else they are one within one domain of the next wider level.
    pub unique: bool,
    /// How many nodes of one domain groups may use; the rest are spares for those that fail.
    pub usable_nodes: Option<u32>,
}

/// Where a node's domain stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The value of a node label.
    Label(Arc<str>),
    /// What stands before the last dot of a node label's value.
    LabelPrefix(Arc<str>),
    /// The HyperNode of this tier that the node belongs to.
    Tier(u32),
}

/// The name of the narrowest level: one node.
pub const NODE_LEVEL: &str = "node";

/// The label by which Kueue and others mean the same.
const HOSTNAME: &str = "kubernetes.io/hostname";

impl FabricRules {
    /// The rules of a preset.
    pub fn preset(preset: &Preset) -> Self {
        Self { levels: preset.levels(), ..Self::default() }
    }

    /// One level a label key, widest first, as Kueue's `Topology` lists them; the host name stands for the node itself.
    pub fn labels<'a>(keys: impl IntoIterator<Item = &'a str>) -> Self {
        let level = |key: &str| Level { name: key.into(), sources: vec![Source::Label(key.into())], unique: false, usable_nodes: None };
        Self { levels: keys.into_iter().filter(|key| *key != HOSTNAME).map(level).collect(), ..Self::default() }
    }

    /// One level a tier of Volcano's HyperNodes, the highest first.
    pub fn hyper_nodes(hyper_nodes: Vec<HyperNode>) -> Self {
        let mut tiers: Vec<u32> = hyper_nodes.iter().map(|hyper_node| hyper_node.tier).collect();
        tiers.sort_unstable_by(|a, b| b.cmp(a));
        tiers.dedup();
        let level = |tier: u32| {
            let named = hyper_nodes.iter().find_map(|hyper_node| hyper_node.tier_name.clone().filter(|_| hyper_node.tier == tier));
            Level {
                name: named.unwrap_or_else(|| Arc::from(format!("tier-{tier}"))),
                sources: vec![Source::Tier(tier)],
                unique: true,
                usable_nodes: None,
            }
        };
        let levels = tiers.into_iter().map(level).collect();
        Self { levels, hyper_nodes, preferred: None }
    }

    /// The place of a level by its name, or by a label key that it reads; the number of levels stands for the node itself.
    pub fn level_of(&self, wanted: &str) -> Option<usize> {
        if wanted == NODE_LEVEL || wanted == HOSTNAME {
            return Some(self.levels.len());
        }
        let reads = |level: &Level| level.sources.iter().any(|source| matches!(source, Source::Label(key) if **key == *wanted));
        let named = self.levels.iter().position(|level| *level.name == *wanted);
        // Volcano's jobs may name a tier by its number although it has a name.
        let number: Option<u32> = wanted.strip_prefix("tier-").and_then(|tier| tier.parse().ok());
        let is_tier = |level: &Level| level.sources.iter().any(|source| matches!(source, Source::Tier(tier) if Some(*tier) == number));
        // Of two levels that read one label, the narrower one takes its value whole.
        named.or_else(|| self.levels.iter().rposition(reads)).or_else(|| self.levels.iter().position(is_tier))
    }

    /// The name of the level at a place.
    pub fn name_of(&self, level: usize) -> &str {
        self.levels.get(level).map_or(NODE_LEVEL, |level| &level.name)
    }

    /// Every name, widest first, for people.
    pub fn names(&self) -> Vec<&str> {
        self.levels.iter().map(|level| &*level.name).chain([NODE_LEVEL]).collect()
    }
}

impl Source {
    /// What a node's labels say; tiers are answered by who knows the HyperNodes.
    pub(super) fn label_value(&self, node: &Node) -> Option<Arc<str>> {
        let value = |key: &Arc<str>| node.labels.get(key).filter(|value| !value.is_empty()).cloned();
        match self {
            Self::Label(key) => value(key),
            Self::LabelPrefix(key) => value(key).and_then(|value| value.rsplit_once('.').map(|(prefix, _)| Arc::from(prefix))),
            Self::Tier(_) => None,
        }
    }
}
