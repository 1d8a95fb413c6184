//! The order in which pods are tried: higher priority first, then who came first, as kube-scheduler's PrioritySort.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use super::SimPod;
use crate::model::PodUid;

/// Pods that wait for a try.
#[derive(Clone, Debug, Default)]
pub struct Queue {
    waiting: BTreeSet<(Reverse<i32>, u64, PodUid)>,
}

impl Queue {
    /// Puts a pod in, unless it has a node, is gated, on its way out or done.
    pub fn push(&mut self, pod: &SimPod) {
        let pending = pod.pod.node.is_none() && !pod.pod.gated && !pod.pod.deleting && !pod.pod.phase.is_finished();
        if pending {
            self.waiting.insert((Reverse(pod.pod.priority), pod.created, pod.pod.uid.clone()));
        }
    }

    /// The next pod to try.
    pub fn pop(&mut self) -> Option<PodUid> {
        self.waiting.pop_first().map(|(_, _, uid)| uid)
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::super::predicate::fixture::pod;
    use super::*;

    #[test]
    fn higher_priority_goes_first_then_the_older() {
        let mut queue = Queue::default();
        for (name, priority, created) in [("late", 0, 3), ("early", 0, 1), ("urgent", 5, 4), ("background", -1, 0)] {
            let mut pod = pod(name);
            pod.pod.priority = priority;
            pod.created = created;
            queue.push(&pod);
        }
        let mut gated = pod("gated");
        gated.pod.gated = true;
        queue.push(&gated);
        let order: Vec<_> = std::iter::from_fn(|| queue.pop()).map(|uid| uid.to_string()).collect();
        assert_eq!(order, ["uid-urgent", "uid-early", "uid-late", "uid-background"]);
    }
}
