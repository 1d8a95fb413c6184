//! The API server: objects with resourceVersions, preconditions of writes, and one log a kind for the watches.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::super::{BindError, Binding, Cluster, SimNode, SimPod};
use crate::model::{Budget, GangId, GangSpec, Grant, Node, NodeName, NodeReport, Pod, PodKey, PodPhase, PodUid, Quota};

/// Kinds that are watched apart, and so reach a watcher in any order of each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Pods,
    Nodes,
    Reports,
    Quotas,
    Gangs,
    Budgets,
}

impl Kind {
    pub(super) const ALL: [Self; 5] = [Self::Pods, Self::Nodes, Self::Reports, Self::Quotas, Self::Gangs];
    /// Those of a run with disruption budgets.
    pub(super) const WITH_BUDGETS: [Self; 6] = [Self::Pods, Self::Nodes, Self::Reports, Self::Quotas, Self::Gangs, Self::Budgets];
}

/// One entry of a watch log: the object as it was then.
#[derive(Clone, Debug)]
pub(super) enum News {
    Pod(Arc<Pod>, u64),
    PodGone(PodUid),
    Node(Arc<Node>),
    NodeGone(NodeName),
    Report(NodeName, Option<Arc<NodeReport>>),
    Quota(Quota),
    Gang(GangSpec),
    GangGone(GangId),
    Budget(Budget),
}

/// Why a write changed nothing, or nobody can tell whether it did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    Conflict,
    NotFound,
    Throttled,
    Unclear,
}

/// A Binding as it travels.
#[derive(Clone, Debug)]
pub(super) struct BindWrite {
    pub(super) key: PodKey,
    pub(super) uid: PodUid,
    pub(super) grant: Grant,
    /// The version that the pod must have; a museum piece leaves it out.
    pub(super) version: Option<u64>,
    /// Whether the UID is a precondition; a museum piece leaves it out.
    pub(super) by_uid: bool,
}

/// All objects.
#[derive(Debug, Default)]
pub(super) struct Store {
    cluster: Cluster,
    versions: BTreeMap<PodUid, u64>,
    conditions: BTreeMap<PodUid, u64>,
    reports: BTreeMap<NodeName, Arc<NodeReport>>,
    quotas: Vec<Quota>,
    budgets: BTreeMap<Arc<str>, Budget>,
    gangs: BTreeMap<GangId, GangSpec>,
    version: u64,
    logs: BTreeMap<Kind, Vec<News>>,
}

impl Store {
    pub(super) fn pod(&self, uid: &PodUid) -> Option<&Pod> {
        self.cluster.pod(uid).map(|pod| &pod.pod)
    }

    pub(super) fn pods(&self) -> impl Iterator<Item = &Pod> {
        self.cluster.pods().map(|pod| &pod.pod)
    }

    /// A pod by name, with its version: what a GET answers.
    pub(super) fn read(&self, key: &PodKey) -> Option<(Pod, u64)> {
        let pod = &self.cluster.pod_named(key)?.pod;
        Some((pod.clone(), self.versions.get(&pod.uid).copied().unwrap_or(0)))
    }

    pub(super) fn node(&self, name: &NodeName) -> Option<&Node> {
        self.cluster.node(name).map(|view| &view.node.node)
    }

    pub(super) fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.cluster.nodes().map(|view| &view.node.node)
    }

    pub(super) fn report(&self, name: &NodeName) -> Option<&Arc<NodeReport>> {
        self.reports.get(name)
    }

    /// The log of a kind, oldest first; nothing is ever forgotten, whoever reads it is told that it was.
    pub(super) fn log(&self, kind: Kind) -> &[News] {
        self.logs.get(&kind).map_or(&[], Vec::as_slice)
    }

    /// Everything of a kind as it is now.
    pub(super) fn list(&self, kind: Kind) -> Vec<News> {
        match kind {
            Kind::Pods => {
                self.pods().map(|pod| News::Pod(Arc::new(pod.clone()), self.versions.get(&pod.uid).copied().unwrap_or(0))).collect()
            }
            Kind::Nodes => self.nodes().map(|node| News::Node(Arc::new(node.clone()))).collect(),
            Kind::Reports => self.reports.iter().map(|(name, report)| News::Report(name.clone(), Some(report.clone()))).collect(),
            Kind::Quotas => self.quotas.iter().cloned().map(News::Quota).collect(),
            Kind::Gangs => self.gangs.values().cloned().map(News::Gang).collect(),
            Kind::Budgets => self.budgets.values().cloned().map(News::Budget).collect(),
        }
    }

    fn note(&mut self, kind: Kind, news: News) {
        self.logs.entry(kind).or_default().push(news);
    }

    fn note_pod(&mut self, uid: &PodUid) {
        let Some(pod) = self.cluster.pod(uid) else { return };
        self.version += 1;
        let news = News::Pod(Arc::new(pod.pod.clone()), self.version);
        self.versions.insert(uid.clone(), self.version);
        self.note(Kind::Pods, news);
    }

    /// Creates a pod; false where the name is taken.
    pub(super) fn create(&mut self, pod: Pod) -> bool {
        let uid = pod.uid.clone();
        let created = self.cluster.create_pod(SimPod::new(pod)).is_ok();
        if created {
            self.note_pod(&uid);
        }
        created
    }

    /// Changes a pod, if it is the one that is meant.
    pub(super) fn change(&mut self, uid: &PodUid, change: impl FnOnce(&mut Pod)) -> Result<(), Failure> {
        if !self.cluster.change_pod(uid, change) {
            return Err(Failure::NotFound);
        }
        self.note_pod(uid);
        Ok(())
    }

    /// kube-scheduler's word on its last attempt: a write only where it says something new.
    pub(super) fn set_condition(&mut self, uid: &PodUid, reason: u64, unschedulable: bool) {
        let Some(pod) = self.pod(uid).filter(|pod| pod.node.is_none()) else { return };
        let same = self.conditions.get(uid) == Some(&reason) && pod.unschedulable == unschedulable && pod.nominated.is_none();
        if same {
            return;
        }
        self.conditions.insert(uid.clone(), reason);
        let _ = self.change(uid, |pod| (pod.unschedulable, pod.nominated) = (unschedulable, None));
    }

    /// Writes a Binding, or refuses it as the API server does.
    pub(super) fn bind(&mut self, write: &BindWrite) -> Result<(), Failure> {
        let (pod, version) = self.read(&write.key).ok_or(Failure::NotFound)?;
        if write.version.is_some_and(|wanted| wanted != version) {
            return Err(Failure::Conflict);
        }
        let uid = if write.by_uid { write.uid.clone() } else { pod.uid };
        let binding = Binding { key: write.key.clone(), uid: uid.clone(), grant: write.grant.clone() };
        match self.cluster.bind(&binding) {
            Ok(()) => {
                self.cluster.set_phase(&uid, PodPhase::Pending);
                self.cluster.change_pod(&uid, |pod| pod.unschedulable = false);
                self.note_pod(&uid);
                Ok(())
            }
            Err(BindError::NotFound) => Err(Failure::NotFound),
            Err(_) => Err(Failure::Conflict),
        }
    }

    /// A pod is gone for good.
    pub(super) fn remove(&mut self, uid: &PodUid) -> Option<Pod> {
        let pod = self.cluster.delete_pod(uid)?;
        self.versions.remove(uid);
        self.conditions.remove(uid);
        self.version += 1;
        self.note(Kind::Pods, News::PodGone(uid.clone()));
        Some(pod.pod)
    }

    pub(super) fn apply_node(&mut self, node: Node) {
        self.note(Kind::Nodes, News::Node(Arc::new(node.clone())));
        self.cluster.apply_node(SimNode { node, extra: BTreeMap::new() });
    }

    pub(super) fn remove_node(&mut self, name: &NodeName) -> Option<Node> {
        let removed = self.cluster.remove_node(name)?;
        self.note(Kind::Nodes, News::NodeGone(name.clone()));
        Some(removed.node)
    }

    pub(super) fn apply_report(&mut self, name: &NodeName, report: NodeReport) {
        let report = Arc::new(report);
        if self.reports.get(name) == Some(&report) {
            return;
        }
        self.reports.insert(name.clone(), report.clone());
        self.note(Kind::Reports, News::Report(name.clone(), Some(report)));
    }

    pub(super) fn apply_quota(&mut self, quota: Quota) {
        self.note(Kind::Quotas, News::Quota(quota.clone()));
        self.quotas.push(quota);
    }

    pub(super) fn quotas(&self) -> &[Quota] {
        &self.quotas
    }

    pub(super) fn apply_budget(&mut self, budget: Budget) {
        let key = Arc::from(format!("{}/{}", budget.namespace, budget.name));
        if self.budgets.get(&key) != Some(&budget) {
            self.note(Kind::Budgets, News::Budget(budget.clone()));
            self.budgets.insert(key, budget);
        }
    }

    pub(super) fn budgets(&self) -> impl Iterator<Item = &Budget> {
        self.budgets.values()
    }

    pub(super) fn apply_gang(&mut self, spec: GangSpec) {
        if self.gangs.get(&spec.id) == Some(&spec) {
            return;
        }
        self.note(Kind::Gangs, News::Gang(spec.clone()));
        self.gangs.insert(spec.id.clone(), spec);
    }

    pub(super) fn remove_gang(&mut self, id: &GangId) {
        if self.gangs.remove(id).is_some() {
            self.note(Kind::Gangs, News::GangGone(id.clone()));
        }
    }
}
