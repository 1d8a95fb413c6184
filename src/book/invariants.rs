//! What must hold after every step. Simulation and tests assert it; production counts and reports it.

use super::{Book, HolderState};

/// A broken invariant, named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which kind: a metric label.
    pub kind: &'static str,
    /// What exactly.
    pub text: String,
}

impl Book {
    /// Everything that does not hold.
    pub fn violations(&mut self) -> Vec<Violation> {
        let mut found = Vec::new();
        self.check_capacity(&mut found);
        self.check_indexes(&mut found);
        self.check_folds(&mut found);
        found
    }

    /// I1, I19: no device twice, no sum above its capacity. A conflict between bound pods may be somebody else's
    /// doing; one that involves a hold of ours may not last beyond its bind.
    fn check_capacity(&self, found: &mut Vec<Violation>) {
        for entry in self.nodes() {
            let name = &entry.node.name;
            for uid in &entry.conflicts {
                found.push(Violation { kind: "double-grant", text: format!("{name}: devices of pod {uid} are held by another") });
            }
            for pool in &entry.pools {
                if pool.whole & pool.shared != 0 {
                    found.push(Violation {
                        kind: "whole-and-shared",
                        text: format!("{name}: {} {:b}", pool.resource, pool.whole & pool.shared),
                    });
                }
                let over = pool.usage.iter().filter(|using| using.share_milli > 1000).count();
                if over > 0 {
                    found.push(Violation { kind: "oversubscribed", text: format!("{name}: {over} devices of {}", pool.resource) });
                }
            }
        }
    }

    /// I2: one pod, one node, one entry.
    fn check_indexes(&self, found: &mut Vec<Violation>) {
        let indexed: usize = self.by_node.values().map(std::collections::BTreeSet::len).sum();
        if indexed != self.holders.len() {
            found.push(Violation { kind: "index", text: format!("{indexed} indexed, {} held", self.holders.len()) });
        }
        let mut priorities = std::collections::BTreeMap::new();
        self.holders.values().for_each(|holder| *priorities.entry(holder.priority).or_insert(0) += 1);
        if priorities != self.priorities {
            found.push(Violation { kind: "index", text: format!("priorities {priorities:?}, counted {:?}", self.priorities) });
        }
        for holder in self.holders.values() {
            if !self.by_node.get(&holder.node).is_some_and(|uids| uids.contains(&holder.uid)) {
                found.push(Violation { kind: "index", text: format!("{} is not indexed on {}", holder.key, holder.node) });
            }
            // A pod without devices may be held for its load between filter and bind; once bound it is no holder.
            if holder.takes.is_empty() && holder.state == HolderState::Bound {
                found.push(Violation { kind: "index", text: format!("{} holds nothing", holder.key) });
            }
        }
        if self.checkpoints != 0 || !self.undo.is_empty() {
            found.push(Violation { kind: "checkpoint", text: format!("{} left open", self.checkpoints) });
        }
    }

    /// I13: what is kept equals what the holders add up to.
    fn check_folds(&mut self, found: &mut Vec<Violation>) {
        let nodes: Vec<_> = self.entries.iter().flatten().map(|entry| entry.node.clone()).collect();
        for node in nodes {
            let fresh = self.fold(node.clone());
            let kept = self.node(node.name.as_str());
            let same = kept.is_some_and(|kept| {
                kept.conflicts == fresh.conflicts
                    && kept.load == fresh.load
                    && kept.pools.len() == fresh.pools.len()
                    && kept.pools.iter().zip(&fresh.pools).all(|(a, b)| {
                        a.usage == b.usage && (a.free, a.free_ids, a.unnamed, a.bound) == (b.free, b.free_ids, b.unnamed, b.bound)
                    })
            });
            if !same {
                found.push(Violation { kind: "fold", text: format!("{} differs from its holders", node.name) });
            }
        }
    }

    /// How many holders are in each state, by [`HolderState::name`].
    pub fn census(&self) -> [(&'static str, usize); 4] {
        let mut counts = [("held", 0), ("planned", 0), ("binding", 0), ("bound", 0)];
        for holder in self.holders.values() {
            let place = match holder.state {
                HolderState::Held { .. } => 0,
                HolderState::Planned => 1,
                HolderState::Binding { .. } => 2,
                HolderState::Bound => 3,
            };
            counts[place].1 += 1;
        }
        counts
    }
}
