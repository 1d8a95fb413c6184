//! The controllers' side of the simulation: what comes back for a pod that had to go, what a suspended owner holds back until
//! it goes on, and how far disruption budgets are used up. A pod that comes back keeps its name, and waits behind our gate.

use std::collections::BTreeMap;

use super::{Cluster, SimPod};
use crate::engine::Input;
use crate::model::{Budget, GangSpec, OwnerRef, Pod, PodPhase, PodUid, Time};

/// Owners of pods.
#[derive(Debug)]
pub(super) struct Owners {
    gangs: Vec<GangSpec>,
    budgets: Vec<Budget>,
    /// What was taken back through an owner that we suspended.
    suspended: BTreeMap<OwnerRef, Vec<SimPod>>,
    created: u64,
}

impl Owners {
    pub(super) fn new(gangs: Vec<GangSpec>, budgets: Vec<Budget>) -> Self {
        Self { gangs, budgets, suspended: BTreeMap::new(), created: 0 }
    }

    /// Whether any owner waits to go on.
    pub(super) fn any_suspended(&self) -> bool {
        !self.suspended.is_empty()
    }

    /// Takes a pod away; its controller, if it has one, creates it anew. Returns what else the engine hears of it.
    pub(super) fn evict(&mut self, cluster: &mut Cluster, uid: &PodUid, now: Time) -> Vec<Input<'static>> {
        let Some(pod) = cluster.delete_pod(uid) else { return Vec::new() };
        let news = self.count(&pod.pod);
        if pod.pod.controller.is_some() {
            self.create(cluster, pod, now);
        }
        news
    }

    /// Suspends an owner, so that its pods go, or lets it go on, so that they come back. Returns what else the engine hears of it.
    pub(super) fn suspend(&mut self, cluster: &mut Cluster, owner: &OwnerRef, suspend: bool, now: Time) -> Vec<Input<'static>> {
        let mut news = Vec::new();
        for gang in self.gangs.iter_mut().filter(|gang| gang.suspend.as_ref() == Some(owner)) {
            gang.suspended_by_us = suspend;
            news.push(Input::GangApplied(gang.clone()));
        }
        if !suspend {
            for pod in self.suspended.remove(owner).unwrap_or_default() {
                self.create(cluster, pod, now);
            }
            return news;
        }
        let theirs: Vec<PodUid> = cluster
            .pods()
            .filter(|pod| !pod.pod.phase.is_finished() && self.owns(owner, &pod.pod))
            .map(|pod| pod.pod.uid.clone())
            .collect();
        for pod in theirs.iter().filter_map(|uid| cluster.delete_pod(uid)) {
            news.extend(self.count(&pod.pod));
            self.suspended.entry(owner.clone()).or_default().push(pod);
        }
        news
    }

    fn owns(&self, owner: &OwnerRef, pod: &Pod) -> bool {
        let controller = pod.controller.as_ref().map(|controller| &controller.uid);
        let through = |gang: &GangSpec| controller == Some(&gang.id.uid) || pod.gang.as_ref().is_some_and(|member| member.id == gang.id);
        controller == Some(&owner.uid) || self.gangs.iter().any(|gang| gang.suspend.as_ref() == Some(owner) && through(gang))
    }

    /// Budgets allow one disruption less for a pod that ran.
    fn count(&mut self, pod: &Pod) -> Vec<Input<'static>> {
        let covers = |budget: &&mut Budget| budget.namespace == pod.key.namespace && budget.covers(&pod.labels);
        let used = self.budgets.iter_mut().filter(covers).filter(|budget| pod.node.is_some() && budget.disruptions_allowed > 0);
        used.map(|budget| {
            budget.disruptions_allowed -= 1;
            Input::BudgetApplied(budget.clone())
        })
        .collect()
    }

    fn create(&mut self, cluster: &mut Cluster, mut pod: SimPod, now: Time) {
        self.created += 1;
        let fresh = &mut pod.pod;
        fresh.uid = PodUid::new(format!("{}+{}", fresh.uid, self.created));
        (fresh.node, fresh.nominated, fresh.recorded, fresh.planned, fresh.last_checkpoint) = (None, None, None, None, None);
        (fresh.phase, fresh.deleting, fresh.unschedulable) = (PodPhase::Pending, false, false);
        fresh.gated = fresh.gated_by_others || !fresh.request.is_empty();
        (fresh.created_at, fresh.started_at) = (now, now);
        // The one that it replaces is gone, and the UID is new: it cannot be refused.
        drop(cluster.create_pod(pod));
    }
}
