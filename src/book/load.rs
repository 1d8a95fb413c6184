//! What pods take of a node beside devices: CPU and memory requests and a place, as kube-scheduler sums them. Counted
//! so that policies see what a node can still carry; whether a pod fits by them is kube-scheduler's to say.

use std::ops::{Add, Sub};

use super::{Book, NodeEntry};
use crate::model::{NodeName, Pod, PodUid};

/// Requests, summed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// CPU in thousandths of a core.
    pub cpu_milli: u64,
    /// Memory in bytes.
    pub memory_bytes: u64,
    /// How many pods.
    pub pods: u32,
}

impl Load {
    /// What one pod takes.
    pub fn of(pod: &Pod) -> Self {
        Self { cpu_milli: pod.cpu_milli, memory_bytes: pod.memory_bytes, pods: 1 }
    }
}

impl Add for Load {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            cpu_milli: self.cpu_milli.saturating_add(other.cpu_milli),
            memory_bytes: self.memory_bytes.saturating_add(other.memory_bytes),
            pods: self.pods.saturating_add(other.pods),
        }
    }
}

impl Sub for Load {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self {
            cpu_milli: self.cpu_milli.saturating_sub(other.cpu_milli),
            memory_bytes: self.memory_bytes.saturating_sub(other.memory_bytes),
            pods: self.pods.saturating_sub(other.pods),
        }
    }
}

impl NodeEntry {
    /// What the node can still carry.
    pub fn room(&self) -> Load {
        Load { cpu_milli: self.node.cpu_milli, memory_bytes: self.node.memory_bytes, pods: self.node.pods } - self.load
    }
}

impl Book {
    /// Enters what a bound pod without devices takes of its node.
    pub fn set_plain(&mut self, uid: &PodUid, node: &NodeName, load: Load) {
        if self.plain.get(uid).is_some_and(|(there, known)| there == node && *known == load) {
            return;
        }
        self.drop_plain(uid);
        self.plain.insert(uid.clone(), (node.clone(), load));
        self.move_plain(node, load, Load::add);
    }

    /// Takes it back. Returns whether there was anything to take back.
    pub fn drop_plain(&mut self, uid: &PodUid) -> bool {
        let Some((node, load)) = self.plain.remove(uid) else { return false };
        self.move_plain(&node, load, Load::sub);
        true
    }

    /// Takes back what is not among these.
    pub fn retain_plain(&mut self, keep: impl Fn(&PodUid) -> bool) {
        let gone: Vec<PodUid> = self.plain.keys().filter(|uid| !keep(uid)).cloned().collect();
        for uid in gone {
            self.drop_plain(&uid);
        }
    }

    /// What pods without devices take of a node, known or not.
    pub(super) fn plain_on(&self, node: &NodeName) -> Load {
        self.plain_on.get(node).copied().unwrap_or_default()
    }

    fn move_plain(&mut self, node: &NodeName, load: Load, change: fn(Load, Load) -> Load) {
        let sum = change(self.plain_on(node), load);
        if sum.pods == 0 {
            self.plain_on.remove(node);
        } else {
            self.plain_on.insert(node.clone(), sum);
        }
        let Some(&slot) = self.slot_of.get(node) else { return };
        if let Some(mut entry) = self.entries[slot as usize].take() {
            entry.load = change(entry.load, load);
            self.put(slot, entry);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::book::{Holder, HolderState};
    use crate::model::Time;
    use crate::model::fixtures::{node, pod};

    fn load(cpu_milli: u64) -> Load {
        Load { cpu_milli, memory_bytes: 1 << 30, pods: 1 }
    }

    #[test]
    fn a_node_carries_its_holders_and_the_plain_pods_whoever_was_told_of_first() {
        let mut book = Book::default();
        book.set_plain(&PodUid::from("early"), &"n".into(), load(1000));
        book.set_node(node("n", 8));
        book.set_plain(&PodUid::from("late"), &"n".into(), load(2000));
        let asked = pod("p").gpus(1);
        book.set_holder(Holder {
            uid: asked.uid.clone(),
            key: asked.key.clone(),
            priority: 0,
            node: "n".into(),
            state: HolderState::Bound,
            grant: None,
            takes: crate::book::takes(&asked.request, None).0,
            load: load(4000),
            changed_at: Time::default(),
        });
        let carried = |book: &Book| (book.node("n").unwrap().load.cpu_milli, book.node("n").unwrap().load.pods);
        assert_eq!(carried(&book), (7000, 3));
        assert_eq!(book.node("n").unwrap().room().cpu_milli, 121_000);
        assert!(book.violations().is_empty());
        book.set_plain(&PodUid::from("late"), &"elsewhere".into(), load(2000));
        book.release(&asked.uid);
        assert_eq!(carried(&book), (1000, 1));
        book.retain_plain(|uid| uid.as_str() == "late");
        assert_eq!(carried(&book), (0, 0));
        book.set_node(node("elsewhere", 1));
        assert_eq!(book.node("elsewhere").unwrap().load.cpu_milli, 2000);
        assert!(book.violations().is_empty());
    }

    #[test]
    fn a_node_has_a_new_version_when_its_load_changes_and_not_when_it_is_told_again() {
        let mut book = Book::default();
        book.set_node(node("n", 8));
        let slot = book.slot("n").unwrap();
        let before = book.version(slot);
        book.set_plain(&PodUid::from("p"), &"n".into(), load(1000));
        let after = book.version(slot);
        assert!(after > before);
        book.set_plain(&PodUid::from("p"), &"n".into(), load(1000));
        assert_eq!(book.version(slot), after);
    }
}
