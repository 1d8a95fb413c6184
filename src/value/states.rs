//! The states that nodes are in, each once: five thousand equal boxes are one state.

use indexmap::IndexMap;
use rustc_hash::FxBuildHasher;

use super::{NodeState, Shape};

/// Nodes by slot, and their states by id.
#[derive(Clone, Debug, Default)]
pub(super) struct States {
    /// A state's id is its place.
    nodes_in: IndexMap<NodeState, u32, FxBuildHasher>,
    slots: Vec<Option<(Shape, u32)>>,
    nodes: usize,
    /// Ids in the order in which a node came to a state that no other was in: every state that a node is in stands here.
    entered: Vec<u32>,
}

/// States kept beyond twice the nodes, so that what was a moment ago is known when it comes back.
const KEPT: usize = 1024;

impl States {
    /// The node in a slot is now like this; none is gone. Returns the state before, and the id of the new one and
    /// whether no other node is in it.
    pub(super) fn set(&mut self, slot: usize, node: Option<(Shape, NodeState)>) -> (Option<NodeState>, Option<(u32, bool)>) {
        if self.slots.len() <= slot {
            self.slots.resize(slot + 1, None);
        }
        let entered = node.map(|(shape, state)| {
            let entry = self.nodes_in.entry(state);
            let id = u32::try_from(entry.index()).unwrap_or(u32::MAX);
            let nodes_in = entry.or_insert(0);
            *nodes_in += 1;
            if *nodes_in == 1 {
                self.entered.push(id);
            }
            (shape, id, *nodes_in == 1)
        });
        let previous = std::mem::replace(&mut self.slots[slot], entered.map(|(shape, id, _)| (shape, id)));
        let previous = previous.and_then(|(_, id)| {
            let (state, nodes_in) = self.nodes_in.get_index_mut(id as usize)?;
            *nodes_in -= 1;
            Some(*state)
        });
        self.nodes = self.nodes + usize::from(entered.is_some()) - usize::from(previous.is_some());
        (previous, entered.map(|(_, id, alone)| (id, alone)))
    }

    /// Drops states that no node is in, if there are many: then every id is new. Returns the new ones by the old.
    pub(super) fn compact(&mut self) -> Option<Vec<Option<u32>>> {
        if self.nodes_in.len().max(self.entered.len() / 2) <= KEPT + 2 * self.nodes {
            return None;
        }
        let old = std::mem::take(self);
        self.slots.resize(old.slots.len(), None);
        for (slot, node) in old.slots.iter().enumerate() {
            let node = node.and_then(|(shape, id)| Some((shape, *old.state(id)?)));
            self.set(slot, node);
        }
        let renamed = |state| self.nodes_in.get_index_of(state).and_then(|place| u32::try_from(place).ok());
        Some(old.nodes_in.keys().map(renamed).collect())
    }

    /// How many ids there are.
    pub(super) fn len(&self) -> usize {
        self.nodes_in.len()
    }

    /// The state of an id.
    pub(super) fn state(&self, id: u32) -> Option<&NodeState> {
        self.nodes_in.get_index(id as usize).map(|(state, _)| state)
    }

    /// Which state the node in a slot is in.
    #[inline]
    pub(super) fn id_of(&self, slot: usize) -> Option<u32> {
        (*self.slots.get(slot)?).map(|(_, id)| id)
    }

    /// States that nodes came to, in that order, again and again where they did; anew after [`Self::compact`].
    pub(super) fn entered(&self) -> &[u32] {
        &self.entered
    }

    /// The state that the node in a slot is in.
    pub(super) fn of(&self, slot: usize) -> Option<(u32, &NodeState)> {
        let id = self.id_of(slot)?;
        Some((id, self.state(id)?))
    }

    /// Whether any node is in it.
    pub(super) fn is_live(&self, id: u32) -> bool {
        self.nodes_in.get_index(id as usize).is_some_and(|(_, nodes_in)| *nodes_in > 0)
    }

    /// Every node's shape and state.
    pub(super) fn nodes(&self) -> impl Iterator<Item = (&Shape, &NodeState)> {
        self.slots.iter().flatten().filter_map(|(shape, id)| Some((shape, self.state(*id)?)))
    }
}
