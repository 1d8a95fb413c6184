//! What the watches tell: pods and nodes come, change and go, in any order, twice, or late.

use std::sync::Arc;
use std::time::Duration;

use super::Engine;
use crate::book::{HolderState, Load};
use crate::model::{Budget, Node, NodeName, Pod, PodUid, Quota, Time};

/// How old a filter's hold must be before "unschedulable" on the pod can be news about it and not about an attempt
/// before it: the watch may lag behind the filter call.
const HOLD_SETTLES: Duration = Duration::from_secs(5);

impl Engine {
    pub(super) fn pod_applied(&mut self, now: Time, pod: Pod) {
        if pod.request.is_empty() {
            self.plain_applied(&pod);
            self.companion_news(now, &pod);
            return;
        }
        if pod.phase.is_finished() {
            self.pod_deleted(now, &pod.uid);
            return;
        }
        self.arrived(&pod);
        if let Some(node) = &pod.node {
            self.pod_bound(now, &pod, node.clone());
        } else if pod.unschedulable {
            self.drop_stale_hold(now, &pod.uid);
        }
        let (bound, uid) = (pod.node.is_some(), pod.uid.clone());
        let record = self.record(now, &pod);
        (record.pod, record.shown) = (pod, true);
        if bound {
            record.refused = None;
        }
        self.lane_news(now, &uid);
    }

    /// A pod without devices counts for what else it takes of its node.
    pub(super) fn plain_applied(&mut self, pod: &Pod) {
        match &pod.node {
            Some(node) if !pod.phase.is_finished() => {
                self.book.release(&pod.uid);
                self.book.set_plain(&pod.uid, node, Load::of(pod));
            }
            Some(_) if self.book.drop_plain(&pod.uid) => self.lane.gained(),
            Some(_) | None => {}
        }
    }

    pub(super) fn pod_deleted(&mut self, now: Time, uid: &PodUid) {
        self.note_run(now, uid);
        self.queues.service.gone(now, uid);
        if self.book.drop_plain(uid) {
            self.lane.gained();
        }
        self.companion_gone(now, uid);
        let record = self.pods.remove(uid);
        let held = self.book.release(uid);
        if held.is_some() {
            self.gained(now);
        }
        // Nobody takes the place of a pod that made room.
        let held = if self.victim_gone(now, uid, held.as_ref()) { None } else { held };
        self.lane_gone(now, uid, record.map(|record| record.pod).zip(held));
    }

    /// A bound pod holds what its record says, or unknown devices: whatever we thought of it before.
    fn pod_bound(&mut self, now: Time, pod: &Pod, node: NodeName) {
        let (takes, honoured) = crate::book::takes(&pod.request, pod.recorded.as_ref());
        let known = self.book.holder(&pod.uid);
        let same = known.is_some_and(|holder| {
            holder.state == HolderState::Bound && holder.node == node && holder.takes == takes && holder.load == Load::of(pod)
        });
        if same {
            return;
        }
        if known.is_some_and(|holder| holder.node != node) {
            self.gained(now);
        }
        let grant = pod.recorded.clone().filter(|_| honoured);
        self.hold(now, pod, node, grant, HolderState::Bound);
        self.binding_written(&pod.uid);
    }

    /// kube-scheduler gave up on an attempt: what a filter call held for it is free again.
    fn drop_stale_hold(&mut self, now: Time, uid: &PodUid) {
        let stale = self
            .book
            .holder(uid)
            .is_some_and(|holder| matches!(holder.state, HolderState::Held { .. }) && now - holder.changed_at > HOLD_SETTLES);
        if stale {
            self.book.release(uid);
            self.gained(now);
        }
    }

    pub(super) fn node_applied(&mut self, now: Time, node: Node) {
        // kube-scheduler does not watch AcceleratorNodes: what an agent frees, only we see.
        let changed =
            self.book.node(node.name.as_str()).is_none_or(|entry| entry.node.pools != node.pools || entry.node.report != node.report);
        if !changed && self.book.node(node.name.as_str()).is_some_and(|entry| *entry.node == node) {
            return;
        }
        self.set_node(now, node);
        if changed {
            self.gained(now);
        }
        // Uncordoned, a taint less, more memory: kube-scheduler sees it as well, but it does not try pods that are gated.
        self.lane.gained();
    }

    pub(super) fn set_node(&mut self, now: Time, node: Node) {
        let name = node.name.clone();
        self.fabric.set_node(&node);
        self.book.set_node(node);
        self.look_at_node(now, &name);
        self.hear_operator(now, &name);
    }

    pub(super) fn node_deleted(&mut self, now: Time, name: &NodeName) {
        self.fabric.remove_node(name);
        self.book.remove_node(name);
        self.look_at_node(now, name);
    }

    /// More of its pods may go than before: who was refused may find victims now.
    pub(super) fn budget_applied(&mut self, budget: Budget) {
        let key = (budget.namespace.clone(), budget.name.clone());
        let allowed = budget.disruptions_allowed;
        let before = self.budgets.insert(key, budget);
        if before.is_some_and(|before| before.disruptions_allowed < allowed) {
            self.lane.gained();
        }
    }

    pub(super) fn budget_deleted(&mut self, namespace: Arc<str>, name: Arc<str>) {
        if self.budgets.remove(&(namespace, name)).is_some() {
            self.lane.gained();
        }
    }

    pub(super) fn quota_applied(&mut self, now: Time, quota: Quota) {
        self.quotas.insert((quota.namespace.clone(), quota.name.clone()), quota);
        self.gained(now);
    }

    pub(super) fn quota_deleted(&mut self, now: Time, namespace: Arc<str>, name: Arc<str>) {
        self.quotas.remove(&(namespace, name));
        self.gained(now);
    }
}
